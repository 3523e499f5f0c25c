"""Line 4 of benchmarks/audio.py: how much pitch, energy and duration vary within one digit of one voice, against real speech."""

from __future__ import annotations

import argparse
import time
from typing import Any

import audio_judges as judges
import numpy as np
import torch
from audio_common import Table, asked_of, paths_of
from tables import command

import suffuse
from suffuse.modalities.audio.waves import normalise, read_wave

RATE, FRAME, HOP = 8000, 400, 80
LOWEST, HIGHEST = 70.0, 350.0
"""Hz between which a pitch is looked for."""
DEPTH = 35.0
"""Frames so many dB below the loudest are silence."""


def frames_of(wave: np.ndarray) -> torch.Tensor:
    """(T, FRAME) overlapping pieces of a wave."""
    wave = torch.from_numpy(np.pad(wave, (0, max(0, FRAME - len(wave)))))
    return wave.unfold(0, FRAME, HOP)


def pitch(frames: torch.Tensor) -> float:
    """Median of the voiced frames' pitch in semitones above 55 Hz (NaN where none is voiced): the highest peak of the
    autocorrelation, divided by that of the window (Boersma 1993), where it reaches 0.5."""
    window = torch.hann_window(FRAME)

    def correlation(x: torch.Tensor) -> torch.Tensor:
        power = torch.fft.rfft(x, 2 * FRAME).abs().square()
        value = torch.fft.irfft(power)[..., : FRAME // 2]
        return value / value[..., :1].clamp(min=1e-9)

    lags = slice(int(RATE / HIGHEST), int(RATE / LOWEST) + 1)
    found = (correlation((frames - frames.mean(1, keepdim=True)) * window) / correlation(window))[:, lags]
    best, place = found.max(1)
    voiced = place[best > 0.5] + lags.start
    return float(12 * torch.log2(RATE / voiced.float() / 55).median()) if len(voiced) else float("nan")


def measure(wave: np.ndarray) -> tuple[float, float, float]:
    """Pitch (semitones), energy (mean level in dB of the frames that sound, at the house's loudness), duration (seconds from the
    first to the last of them)."""
    frames = frames_of(normalise(wave, RATE)[0])
    level = 10 * frames.square().mean(1).clamp(min=1e-12).log10()
    loud = (level > level.max() - DEPTH).nonzero()[:, 0]
    part = slice(int(loud.min()), int(loud.max()) + 1)
    return pitch(frames[loud]), float(level[loud].mean()), (part.stop - part.start) * HOP / RATE


def within(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(K,) standard deviations about the mean of each group, pooled over the groups; NaN is left out."""
    total, freedom = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for group in np.unique(groups):
        part = values[groups == group]
        count = (~np.isnan(part)).sum(0)
        enough = count > 1
        total[enough] += np.nanvar(part[:, enough], 0) * count[enough]
        freedom[enough] += count[enough] - 1
    return np.sqrt(total / freedom)


def spread(a: argparse.Namespace) -> None:
    model = suffuse.load(a.model)
    words, voices = model.modality.classes["label"], model.modality.classes["speaker"]

    def real(part: str) -> tuple[list[np.ndarray], np.ndarray]:
        paths = paths_of(a.work / "fsdd" / part)
        names = [p.stem.split("_") for p in paths]
        return [read_wave(p)[0] for p in paths], np.array(
            [words.index(n[0]) * len(voices) + voices.index(n[1]) for n in names]
        )

    train, train_groups = real("train")
    bank = judges.stack([judges.mel_of(w) for w in train]).flatten(1)
    longest = (model.modality.length - 1) * model.modality.spectral.hop
    fits = np.array([len(w) <= longest for w in train])
    learnt, learnt_groups = [w for w, f in zip(train, fits, strict=True) if f], train_groups[fits]
    reference = within(np.array([measure(w) for w in learnt]), learnt_groups)
    heads = ("pitch, semitones", "energy, dB", "duration, s")

    def score(waves: list[np.ndarray], groups: np.ndarray, itself: bool = False) -> dict[str, float]:
        values = np.array([measure(w) for w in waves])
        deviation = within(values, groups)
        row = dict(zip(heads, deviation, strict=True))
        row |= {f"{h.split(',')[0]} / learnt": d / r for h, d, r in zip(heads, deviation, reference, strict=True)}
        row["voiced, %"] = 100 * (~np.isnan(values[:, 0])).mean()
        if not itself:
            far = torch.cdist(judges.stack([judges.mel_of(w) for w in waves]).flatten(1), bank).amin(1)
            row |= {"nearest training clip": far.mean().item(), "its 5 % quantile": far.quantile(0.05).item()}
        return row

    note = (
        f"{a.samples} samples, each digit of each voice in turn, seed 0. Standard deviations within one digit of one voice, "
        "pooled over the 60: median pitch, mean level of the frames that sound (after the house's loudness rule), duration. The "
        f"bar is .8-1.2 of real. Ratios are to the {len(learnt):,} training clips that the model learnt from (some 45 a digit "
        f"and voice); the {len(train) - len(learnt)} of more than {longest / RATE:.2f} s it leaves out, and beside stand all of "
        "them and the 300 official test clips. Nearest training clip: distance of log-mels. One "
        f"seed. `{command()}`"
    )
    table = Table("Variation" + a.tag, note)
    table.row("real training clips", lambda: score(train, train_groups, itself=True))
    table.row("those learnt from", lambda: score(learnt, learnt_groups, itself=True))
    table.row("real test clips", lambda: score(*real("test")))
    groups = np.arange(a.samples) % (len(words) * len(voices))
    given = {"label": [words[g // len(voices)] for g in groups], "speaker": [voices[g % len(voices)] for g in groups]}
    for calls in a.calls:
        for weight in a.guidance:
            asked, name = asked_of(a, calls, weight)

            def sampled(asked: dict[str, Any] = asked) -> dict[str, float]:
                begun = time.process_time()
                made = [w for w, _ in model.sample(a.samples, given=given, batch=50, **asked)]
                seconds = time.process_time() - begun
                return score(made, groups) | {"CPU seconds a second": seconds / sum(len(w) / RATE for w in made)}

            table.row(name, sampled)
