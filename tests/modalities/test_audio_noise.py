"""Noise taken away: speech and noise mixed as they are read, the first call trained by itself, what the network sees."""

import numpy as np
import pytest
import torch

import suffuse
from suffuse.diffusion.random import Random
from suffuse.errors import DataError
from suffuse.modalities.audio import Audio, reading
from suffuse.modalities.audio.data import RATIOS, TAKES
from suffuse.modalities.audio.network import AudioNetwork
from suffuse.modalities.audio.waves import LOUDNESS, loudness

soundfile = pytest.importorskip("soundfile")
RATE = 4000
TINY = dict(window=128, hop=32, bands=16, width=16, depth=2, rank=4, cond=16, seconds=0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, random = tmp_path_factory.mktemp("mixing"), np.random.default_rng(0)
    for part in ("clean", "noise"):
        (path / part).mkdir()
    for k in range(3):
        t = np.arange(RATE) / RATE
        soundfile.write(path / "clean" / f"{k}.wav", 0.3 * np.sin(6.2832 * 200 * (k + 1) * t) * np.hanning(RATE), RATE)
        soundfile.write(path / "noise" / f"n{k}.wav", random.normal(0, 0.1, (2 - k % 2) * RATE // 2), RATE)
    return path


def test_speech_and_noise_are_mixed_as_they_are_read(folder):
    made, data = Audio.read(folder, **TINY)
    assert made.paired and len(data) == TAKES * len(data.places) and len(data.noises) == 3
    assert all(abs(float((n**2).mean()) - 1) < 1e-3 for n in data.noises)
    ratios = []
    for seed in range(40):
        clean, noisy = data.mixed(data.clips[0].wave, seed)
        assert abs(loudness(noisy, RATE) - LOUDNESS) < 1e-4
        ratios.append(20 * np.log10(loudness(clean, RATE) / np.sqrt(((noisy - clean) ** 2).mean())))
    assert min(ratios) > RATIOS[0] - 0.1 and max(ratios) < RATIOS[1] + 0.1 and np.std(ratios) > 3
    first, again = data.batch(torch.tensor([0, 5])), data.batch(torch.tensor([0, 5]))
    assert torch.equal(first.x["noisy"], again.x["noisy"])
    other = data.batch(torch.tensor([len(data.places), 5 + len(data.places)]))
    assert not torch.equal(first.x["noisy"], other.x["noisy"])


def test_pairs_have_the_loudness_of_the_question(tmp_path):
    random = np.random.default_rng(1)
    clean = 0.3 * np.sin(6.2832 * 300 * np.arange(RATE) / RATE)
    for part, wave in (("clean", clean), ("noisy", clean + random.normal(0, 0.3, RATE))):
        (tmp_path / part).mkdir()
        soundfile.write(tmp_path / part / "a.wav", wave / 4, RATE)
    clips, _ = reading.load(tmp_path)
    assert abs(loudness(clips[0].noisy, RATE) - LOUDNESS) < 1e-4
    assert abs(loudness(clips[0].wave, RATE) - LOUDNESS * np.sqrt(0.045 / 0.135)) < 5e-3
    assert reading.noises(tmp_path, RATE) == []


def test_half_of_the_examples_train_the_first_call(folder):
    made, data = Audio.read(folder, **TINY)
    batch = data.batch(torch.arange(64))
    start = made.start("denoise", batch, Random(0), 0)
    assert 20 < int(start.exact.sum()) < 44 and float(start.levels["noisy"].max()) == 0 and "noisy" not in start.held
    assert made.start("vocode", batch, Random(0), 0).exact is None


def test_the_network_sees_how_loud_the_noise_is():
    noisy = torch.tensor([3.0, 4.0]).reshape(1, 2, 1)
    assert torch.allclose(AudioNetwork.loudness(noisy, torch.zeros(1, 1, 1)), torch.tensor(5.0).log(), atol=1e-4)
    assert AudioNetwork.loudness(noisy, torch.ones(1, 1, 1)).abs().max() == 0


def test_a_model_of_mixtures_answers(folder):
    model = suffuse.train(folder, "audio", steps=3, batch=4, read={**TINY, "attention": "0"})
    wave = (np.random.default_rng(2).normal(0, 0.1, 2000).astype(np.float32), RATE)
    for calls in (1, 2):
        assert model.denoise(wave, steps=calls)[0][0].shape == (2000,)
    assert np.isfinite(model.denoise(wave, steps=1)[0][0]).all()


def test_an_empty_noise_folder_is_refused(tmp_path):
    for part in ("clean", "noise"):
        (tmp_path / part).mkdir()
    soundfile.write(tmp_path / "clean" / "a.wav", 0.1 * np.sin(np.arange(RATE)), RATE)
    with pytest.raises(DataError, match="holds no WAV, FLAC or OGG file"):
        suffuse.train(tmp_path, "audio", steps=1, read=TINY)
