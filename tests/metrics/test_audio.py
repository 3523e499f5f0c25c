"""Distances of sound against closed forms."""

import math

import pytest
import torch

from suffuse.metrics.audio import log_spectral_distance, mel_cepstral_distance, spectral_convergence


def test_a_gain_is_its_own_distance_in_db():
    true = torch.rand(3, 65, 20) + 0.5
    assert log_spectral_distance(true, true).abs().max() == 0
    assert log_spectral_distance(true, 2 * true).tolist() == pytest.approx([20 * math.log10(2)] * 3, rel=1e-4)
    assert spectral_convergence(true, 2 * true).tolist() == pytest.approx([1.0] * 3)


def test_what_lies_below_the_floor_is_silence():
    true = torch.full((1, 10, 2), 1e-9)
    true[0, 0, 0] = 1.0
    assert log_spectral_distance(true, true * torch.where(true < 1e-6, 100.0, 1.0)).item() == 0


def test_one_cepstral_coefficient():
    bands = 40
    place = torch.arange(bands) + 0.5
    true = torch.randn(1, bands, 7)
    made = true + 2 * 0.1 * torch.cos(math.pi / bands * 3 * place)[None, :, None]
    assert mel_cepstral_distance(true, made).item() == pytest.approx(10 / math.log(10) * math.sqrt(2) * 0.1, rel=1e-4)
    assert mel_cepstral_distance(true, true + 5).item() == pytest.approx(0, abs=1e-4)  # c_0, the loudness, is left out
    high = true + torch.cos(math.pi / bands * 20 * place)[None, :, None]
    assert mel_cepstral_distance(true, high).item() == pytest.approx(0, abs=1e-4)
