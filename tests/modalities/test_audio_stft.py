"""Frames and mel against librosa's published values and closed forms."""

import math

import pytest
import torch

from suffuse.modalities.audio.stft import Spectral, hz_to_mel, mel_bank, mel_to_hz


def test_mel_scale_has_the_values_of_librosas_documentation():
    assert hz_to_mel(torch.tensor([110.0, 220, 440])).tolist() == pytest.approx([1.65, 3.3, 6.6])
    assert mel_to_hz(torch.tensor([1.0, 15, 20, 30])).tolist() == pytest.approx([66.6667, 1000, 1410.2386, 2804.6441])


def test_mel_bank_has_the_values_of_librosa():
    # Computed by librosa 0.11.0: librosa.filters.mel(sr=16000, n_fft=512, n_mels=80), rows 0 and 10; (8000, 256, 40), row 5.
    bank = mel_bank(16000, 512, 80)
    assert bank.shape == (80, 257)
    assert bank.sum().item() == pytest.approx(2.5582607, rel=1e-5)
    assert bank[0, :4].tolist() == pytest.approx([0, 0.0225346, 0.0086377, 0], abs=2e-7)
    assert bank[10, 12:15].tolist() == pytest.approx([0.0018806, 0.0244151, 0.0067571], abs=2e-7)
    bank = mel_bank(8000, 256, 40)
    assert bank[5][bank[5] > 0].tolist() == pytest.approx([0.0081414, 0.0172789, 0.0077199], abs=2e-7)
    assert mel_bank(22050, 1024, 80, 20, 8000).sum().item() == pytest.approx(3.7139044, rel=1e-5)


@pytest.mark.parametrize("rate,n_fft,bands", [(16000, 1024, 80), (8000, 256, 40), (44100, 2048, 128)])
def test_mel_bank_equals_librosas_where_it_is_installed(rate, n_fft, bands):
    librosa = pytest.importorskip("librosa")
    theirs = torch.from_numpy(librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands))
    assert torch.allclose(mel_bank(rate, n_fft, bands), theirs, atol=1e-6)


def speechlike(rate: int = 8000, seconds: float = 0.45) -> torch.Tensor:
    t = torch.arange(int(rate * seconds)) / rate
    pitch = 2 * math.pi * (120 * t + 20 * t**2)
    return (sum(torch.sin(k * pitch) / k for k in range(1, 12)) * torch.hann_window(len(t)))[None] * 0.2


@pytest.mark.parametrize("samples", [3200, 3211, 64, 63, 130])
def test_frames_hold_the_whole_wave(samples):
    s = Spectral(8000, 256, 64, 40, scale=[0.5] * 129)
    wave = speechlike()[:, :samples]
    frames, mel = s.encode(wave)
    assert frames.shape == (1, 258, s.frames_of(samples)) and mel.shape == (1, 40, s.frames_of(samples))
    error = (s.decode(frames, samples) - wave).abs().max()
    assert error < 1e-4 or samples < 64 and error < 0.3  # below one hop the window's tail is all there is


def test_a_sine_stands_in_its_bin():
    s = Spectral(8000, 256, 64, 40)
    wave = torch.sin(2 * math.pi * 1000 * torch.arange(4000) / 8000)[None]
    spectrum = s.stft(wave).abs()[0, :, 30]
    assert spectrum.argmax() == 32  # 1000 Hz / (8000 / 256)
    assert spectrum[32].item() == pytest.approx(64.0, rel=1e-3)  # half the sum of the window


def test_the_magnitude_of_a_mel_has_that_mel():
    s = Spectral(8000, 256, 64, 40)
    mel = s.mel(s.stft(speechlike()))
    again = s.mel(s.magnitude_of_mel(mel, rounds=100))
    assert (again - mel).abs().mean() < 0.05
    rough = torch.rand(1, 129, mel.shape[2]) + 0.1
    before, after = ((s.mel(v) - mel).abs().mean() for v in (rough, s.towards_mel(rough, mel)))
    assert after < 0.5 * before


def test_griffin_lim_comes_closer_to_a_wave_and_keeps_what_it_is_told():
    s = Spectral(8000, 256, 64, 40)
    true = s.stft(speechlike())
    size = true.abs()
    phase = 2 * math.pi * torch.rand(size.shape, generator=torch.Generator().manual_seed(0))

    def inconsistent(spectrum):
        return ((s.stft(s.istft(spectrum)).abs() - size).norm() / size.norm()).item()

    errors = [inconsistent(s.griffin_lim(size, phase, rounds)) for rounds in (0, 10, 60)]
    assert errors[2] < errors[1] < 0.5 * errors[0]
    keep = torch.zeros_like(size, dtype=torch.bool)
    keep[..., :10] = True
    kept = s.griffin_lim(size, phase, 5, keep=(keep, true))
    assert torch.equal(kept[..., :10], true[..., :10])


@pytest.mark.parametrize("hop", [64, 100, 128])
def test_a_round_of_griffin_lim_is_the_stft_of_the_inverse_stft(hop):
    s = Spectral(8000, 256, hop, 40)
    size = s.stft(speechlike()).abs()
    spectrum = torch.polar(size, 2 * math.pi * torch.rand(size.shape, generator=torch.Generator().manual_seed(0)))
    consistent = s.stft(s.istft(spectrum))
    made = s.griffin_lim(size, spectrum.angle(), 1, momentum=0.0)
    assert (made - size * consistent / consistent.abs().clamp(min=1e-9)).norm() < 1e-4 * size.norm()


@pytest.mark.parametrize("samples", [3600, 250, 64])
def test_the_mel_of_a_wave_comes_out_the_same_in_blocks(samples):
    s = Spectral(8000, 256, 64, 40)
    wave = speechlike()[:, :samples]
    assert torch.allclose(s.mel_of(wave, block=7), s.mel(s.stft(wave)), atol=1e-4)


def test_settings_are_refused_and_survive_json():
    with pytest.raises(ValueError, match="hop"):
        Spectral(8000, 256, 200)
    s = Spectral(8000, 256, 64, 40, mel_mean=[1.0] * 40)
    assert Spectral(**s.settings()) == s


@pytest.mark.parametrize("rate, n_fft, bands", [(16000, 512, 80), (8000, 256, 40), (4000, 128, 64)])
def test_sums_over_two_bands_are_the_whole_matrix(rate, n_fft, bands):
    s = Spectral(rate, n_fft, n_fft // 4, bands)
    value = torch.rand(2, s.bins, 9)
    assert torch.allclose(s._gathered(value), s._bank @ value, atol=1e-6)
    assert torch.allclose(s._spread(value[:, :bands]), s._bank.T @ value[:, :bands], atol=1e-6)
