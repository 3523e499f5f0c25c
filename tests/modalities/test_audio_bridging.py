"""Short gaps are bridged by linear prediction before the model starts from there."""

import numpy as np
import pytest
import torch

import suffuse
from suffuse.modalities.audio import bridging

RATE = 4000


def test_prediction_goes_on_with_a_tone():
    t = np.arange(3000) / RATE
    wave = np.sin(6.2832 * 220 * t) + 0.5 * np.sin(6.2832 * 530 * t) + np.random.default_rng(0).normal(0, 1e-3, len(t))
    made = bridging.autoregressive(wave, 1500, 1600, order=32)
    assert np.abs(made - wave).max() < 0.1 and np.array_equal(made[:1500], wave[:1500])


def test_only_short_gaps_between_known_samples_are_bridged():
    wave = np.sin(np.arange(4000) * 0.3).astype(np.float32)
    wave[:50] = wave[1000:1100] = wave[2000:2500] = wave[2550:2600] = np.nan
    out, done = bridging.bridge(wave, RATE)
    assert np.isfinite(out).all() and np.array_equal(out[~np.isnan(wave)], wave[~np.isnan(wave)])
    assert done[1000:1100].all() and done.sum() == 100  # one at the end, one too long, one with too little around it
    assert np.abs(out[1000:1100] - np.sin(np.arange(1000, 1100) * 0.3)).max() < 0.2
    whole, none = bridging.bridge(np.ones(200, dtype=np.float32), RATE)
    assert not none.any() and whole.shape == (200,)


@pytest.mark.parametrize("samples, level", [(160, bridging.LEVEL), (800, 1.0)])
def test_a_bridged_gap_starts_below_noise(samples, level):
    pytest.importorskip("soundfile")
    clips = [(np.sin(np.arange(RATE) * (0.2 + 0.1 * k)).astype(np.float32) * 0.2, RATE) for k in range(3)]
    read = dict(window=128, hop=32, bands=16, width=16, depth=2, rank=4, cond=16, seconds=0.25)
    model = suffuse.train(clips, "audio", steps=1, batch=2, read=read)
    wave = clips[0][0].copy()
    wave[1500 : 1500 + samples] = np.nan
    task = model.modality.request(1, {"audio": (wave, RATE)}, index=torch.arange(1))
    assert sorted(task.start.levels["frames"].unique().tolist()) == pytest.approx([0.0, level])
    made = model.fill((wave, RATE), steps=1)[0][0]
    assert np.abs(made[:1450] - wave[:1450]).max() < 1e-3 and np.isfinite(made).all()
