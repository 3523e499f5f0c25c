"""Line 7 of benchmarks/audio.py: noise taken away from speech, beside noisereduce.

    python benchmarks/audio.py noises --work runs/audio
    python benchmarks/audio.py enhance --work runs/audio --minutes 13 --clips 96 --calls 1,2,4    # trains first

Noises: white; pink (power 1 / f); hum (50 or 60 Hz and its harmonics); babble (six other sentences at once). Training mixes
sentences with white, hum and babble on the fly (work/mixing/clean and work/mixing/noise), so pink is unseen. The last HELD of the
600 training sentences are kept out of it: `--tag validation` measures on them, and what is chosen is chosen there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from audio_common import Table, clips_of, paths_of, trained
from tables import command

from suffuse.metrics.audio import log_spectral_distance
from suffuse.modalities.audio.stft import Spectral
from suffuse.modalities.audio.waves import loudness, normalise, write_wave

RATE = 16_000
SEEN, UNSEEN = ("white", "hum", "babble"), "pink"
RATIOS = (0, 5, 10, 15)
"""dB of speech (its active parts) over noise in the test."""
READ = {"hop": 256, "seconds": 1.5, "width": 176, "depth": 5, "attention": "1,3", "rank": 24, "view": False}
RECIPE = {"tasks": {"denoise": 1.0}, "batch": 24}
SECONDS, FILES = 6, 100
"""Of each noise file, and how many files a kind."""
HELD = 24


def noise(kind: str, samples: int, others: list[np.ndarray], draw: np.random.Generator) -> np.ndarray:
    """(samples,) of one kind of noise, of unit root mean square."""
    if kind == "white":
        wave = draw.normal(size=samples)
    elif kind == "pink":
        spectrum = np.fft.rfft(draw.normal(size=samples))
        wave = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)
    elif kind == "hum":
        at = np.arange(samples) / RATE
        base = draw.choice([50.0, 60.0]) * draw.uniform(0.995, 1.005)
        fall, count = draw.uniform(0.5, 1.5), int(draw.integers(5, 40))
        strength = draw.uniform(0.3, 1.0, count) / np.arange(1, count + 1) ** fall
        phase = draw.uniform(0, 2 * np.pi, count)
        wave = sum(s * np.sin(2 * np.pi * base * k * at + p) for k, (s, p) in enumerate(zip(strength, phase), 1))
    else:
        wave = np.zeros(samples)
        for number in draw.choice(len(others), 6, replace=False):
            other = np.roll(others[number], int(draw.integers(len(others[number]))))
            wave += np.resize(other, samples)
    return wave / np.sqrt((wave**2).mean())


def mix(wave: np.ndarray, kind: str, ratio: float, others: list[np.ndarray], draw: np.random.Generator) -> np.ndarray:
    """The wave with noise at so many dB below its active parts."""
    added = noise(kind, len(wave), others, draw) * loudness(wave, RATE) * 10 ** (-ratio / 20)
    return (wave + added).astype(np.float32)


def noises(a: argparse.Namespace) -> None:
    """Write work/mixing/clean (training sentences) and work/mixing/noise (white, hum, babble of those sentences)."""
    paths = paths_of(a.work / "kathleen" / "train")[:-HELD]
    clips = clips_of(a.work / "kathleen" / "train", RATE)[:-HELD]
    for part in ("clean", "noise"):
        (a.work / "mixing" / part).mkdir(parents=True, exist_ok=True)
    for path, wave in zip(paths, clips, strict=True):
        write_wave(wave * (0.9 / max(0.9, np.abs(wave).max())), RATE, a.work / "mixing" / "clean" / path.name)
    for kind in SEEN:
        for number in range(FILES):
            wave = noise(kind, SECONDS * RATE, clips, np.random.default_rng([SEEN.index(kind), number]))
            path = a.work / "mixing" / "noise" / f"{kind}_{number:03d}.flac"
            write_wave((wave * (0.5 / np.abs(wave).max())).astype(np.float32), RATE, path)


def enhance(a: argparse.Namespace) -> None:
    from audio_words import chooser, sentences, word_errors
    from noisereduce import reduce_noise
    from pesq import pesq
    from pystoi import stoi

    model = trained(a.work / "mixing", a.work / f"clean-{a.minutes:g}", a.minutes, READ, **RECIPE)
    paths = paths_of(a.work / "kathleen" / "test")
    clips = clips_of(a.work / "kathleen" / "test", RATE, a.clips)
    if "validation" in a.tag:
        paths = paths_of(a.work / "kathleen" / "train")[-HELD:]
        clips = clips_of(a.work / "kathleen" / "train", RATE)[-HELD:][: a.clips]
    s = Spectral(RATE)
    kinds = [(*SEEN, UNSEEN)[k % 4] for k in range(len(clips))]
    ratios = [RATIOS[k // 4 % 4] for k in range(len(clips))]
    noisy = [
        mix(wave, kind, ratio, clips[:k] + clips[k + 1 :], np.random.default_rng([99, k]))
        for k, (wave, kind, ratio) in enumerate(zip(clips, kinds, ratios, strict=True))
    ]
    texts = sentences(a.data)
    said = [texts[p.stem] for p in paths]
    listen = chooser(said)
    note = (
        f"{len(clips)} held-out Kathleen sentences, each with one of {', '.join(SEEN)} (seen in training, other noises) and "
        f"{UNSEEN} (unseen kind) at one of {', '.join(map(str, RATIOS))} dB. Wide-band PESQ. Sentence "
        f"found and word error: pocketsphinx with a closed grammar of the {len(said)} sentences. One seed. "
        f"The model: {a.minutes:g} minutes of one CPU core, {model.notes['steps']} steps. `{command()}`"
    )
    table = Table("Enhancement" + a.tag, note)

    def score(make: Callable[[int, np.ndarray], np.ndarray]) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            begun = time.process_time()
            made = [normalise(make(k, w), RATE)[0][: len(w)] for k, w in enumerate(noisy)]
            seconds = time.process_time() - begun
            quality = np.array([pesq(RATE, w, m, "wb") for w, m in zip(clips, made, strict=True)])
            row = {"PESQ": quality.mean()}
            row |= {f"PESQ {kind}": quality[[k == kind for k in kinds]].mean() for kind in (*SEEN, UNSEEN)}
            row |= {f"PESQ {ratio} dB": quality[[r == ratio for r in ratios]].mean() for ratio in RATIOS}
            row["ESTOI"] = np.mean([stoi(w, m, RATE, extended=True) for w, m in zip(clips, made, strict=True)])
            spectra = [
                [s.stft(torch.from_numpy(v)[None]).abs() for v in pair] for pair in zip(clips, made, strict=True)
            ]
            row["log-spectral distance, dB"] = np.mean([log_spectral_distance(*pair).item() for pair in spectra])
            heard = [listen(m) for m in made]
            row["sentence found, %"] = 100 * np.mean([h == k for k, h in enumerate(heard)])
            wrong = sum(word_errors(said[k], said[h] if h >= 0 else "") for k, h in enumerate(heard))
            row["word error, %"] = 100 * wrong / sum(len(said[k].split()) for k in range(len(made)))
            return row | {"CPU seconds a second": seconds / sum(len(c) / RATE for c in clips)}

        return run

    table.row("clean", score(lambda k, wave: clips[k]))
    table.row("noisy", score(lambda k, wave: wave))
    for name, fixed in (("noisereduce, stationary", True), ("noisereduce, moving", False)):
        table.row(
            name, score(lambda k, w, fixed=fixed: reduce_noise(y=w, sr=RATE, stationary=fixed).astype(np.float32))
        )
    for calls in a.calls:
        name = f"suffuse, {calls} call{'s' * (calls > 1)}"
        table.row(name, score(lambda k, w, c=calls: model.denoise((w, RATE), steps=c, seed=k)[0][0]))
