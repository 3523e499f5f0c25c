"""Line 9 of benchmarks/audio.py: not only speech. JSB chorales played by fluidsynth, learnt and made anew.

    python benchmarks/audio.py chorales --work runs/audio                               # MIDI -> sound, by fluidsynth
    python benchmarks/audio.py music --work runs/audio --minutes 8 --clips 24 --calls 20    # trains first

Played by fluidsynth 2.3 with the free sound font TimGM6mb (Debian: timgm6mb-soundfont, GPL-2), church organ, no reverb, no
chorus, 16 kHz mono, a sixteenth note in .15 s; a pitch that goes on is held. Judge: a small network that names pitches in half
a second, trained on the training chorales, then frozen; the 64 features before its answer are compared.
"""

from __future__ import annotations

import argparse
import gzip
import json
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_common import Table, asked_of, clips_of, trained
from tables import command
from torch import nn

from suffuse.metrics.frechet import frechet
from suffuse.modalities.audio.stft import Spectral
from suffuse.modalities.audio.waves import normalise, read_wave, write_wave

RATE, STEP, PROGRAM = 16_000, 0.15, 19
FONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
TRAINED, SECONDS, CLIPS, PATCH = 80, 30, 24, 31
"""Chorales to train on; seconds of a clip; clips a set; frames of 16 ms that one judgement sees."""
READ = {
    "window": 1024, "hop": 256, "seconds": 4.0, "width": 192, "depth": 7, "kernel": 9, "rank": 8, "patch": 2, "view": False,
    "mel_weight": 3.0,
}  # fmt: skip
RECIPE = {"tasks": {"generate": 1.0}, "batch": 16, "precision": "bf16"}


def midi(steps: list[list[float]]) -> bytes:
    """A MIDI file of voices on a grid of sixteenths: 480 ticks a quarter note, one channel a voice."""
    quarter = int(4 * STEP * 1e6)
    events = [(0, bytes([0xC0 | voice, PROGRAM])) for voice in range(4)]
    for voice in range(4):
        sounding = -1
        for at, notes in enumerate([*steps, [-1] * 4]):
            pitch = int(notes[voice]) if len(notes) > voice and notes[voice] == notes[voice] else -1
            if pitch != sounding:
                if sounding > 0:
                    events.append((at * 120, bytes([0x80 | voice, sounding, 0])))
                if pitch > 0:
                    events.append((at * 120 + 1, bytes([0x90 | voice, pitch, 80])))
                sounding = pitch
    track, before = b"\x00\xff\x51\x03" + quarter.to_bytes(3, "big"), 0
    for at, message in sorted(events, key=lambda e: e[0]):
        gap, before = at - before, at
        high = [(gap >> shift & 127) | 128 for shift in (14, 7) if gap >> shift]
        track += bytes([*high, gap & 127]) + message
    track += b"\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(track)) + track


def chorales(a: argparse.Namespace) -> None:
    """Play the chorales of at least SECONDS + 2 s: TRAINED of the training part, the first CLIPS of the others."""
    with gzip.open(a.data / "audio" / "jsb_chorales" / "jsb-chorales-16th.json.gz") as file:
        parts = json.load(file)
    for part, count in (("train", TRAINED), ("valid", CLIPS), ("test", CLIPS)):
        long = [c for c in parts[part] if len(c) * STEP >= SECONDS + 2][:count]
        (a.work / "chorales" / part).mkdir(parents=True, exist_ok=True)
        for number, chorale in enumerate(long):
            with tempfile.TemporaryDirectory() as folder:
                score, sound = Path(folder) / "a.mid", Path(folder) / "a.wav"
                score.write_bytes(midi(chorale))
                player = [
                    "fluidsynth",
                    "-ni",
                    "-q",
                    "-R",
                    "0",
                    "-C",
                    "0",
                    "-r",
                    str(RATE),
                    "-F",
                    str(sound),
                    str(FONT),
                    str(score),
                ]
                subprocess.run(player, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                wave, _ = read_wave(sound, RATE)
            wave = wave[: int(len(chorale) * STEP * RATE)]
            write_wave(normalise(wave, RATE)[0], RATE, a.work / "chorales" / part / f"{number:03d}.flac")
            np.save(
                a.work / "chorales" / part / f"{number:03d}.npy",
                np.array([(notes + [0] * 4)[:4] for notes in chorale], np.float32),
            )


class Judge(nn.Module):
    """Log-mels (B, 80, PATCH) -> which of 128 pitches sound, through 64 features."""

    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        self.mean, self.std = x.mean((0, 2))[:, None], x.std((0, 2)).clamp(min=0.05)[:, None]
        self.body = nn.Sequential(
            nn.Conv1d(80, 96, 5, stride=2, padding=2), nn.GELU(), nn.Conv1d(96, 96, 5, stride=2, padding=2), nn.GELU()
        )
        self.features, self.answer = nn.Sequential(nn.LayerNorm(96), nn.Linear(96, 64)), nn.Linear(64, 128)

    def look(self, x: torch.Tensor) -> torch.Tensor:
        return self.features(self.body((x - self.mean) / self.std).mean(-1))


def patches(waves: list[np.ndarray], s: Spectral) -> list[torch.Tensor]:
    """Log-mels in stretches of PATCH frames, (N, 80, PATCH) a wave."""
    mels = [s.mel(s.stft(torch.from_numpy(w)[None]))[0] for w in waves]
    return [(m[:, : m.shape[1] // PATCH * PATCH].reshape(80, -1, PATCH).transpose(0, 1) + 2) / 3 for m in mels]


def judge_of(folder: Path, s: Spectral, seconds: float) -> Judge:
    """Trained on the training chorales for so many CPU seconds."""
    rolls = [np.load(p) for p in sorted(folder.glob("*.npy"))]
    x, y = [], []
    for part, roll in zip(patches(clips_of(folder, RATE), s), rolls, strict=True):
        for number, patch in enumerate(part):
            low, high = number * PATCH * s.hop / RATE, (number + 1) * PATCH * s.hop / RATE
            notes = roll[int(low / STEP) : max(int(high / STEP), int(low / STEP) + 1)]
            target = torch.zeros(128)
            target[[int(n) for n in notes[np.isfinite(notes)] if n > 0]] = 1
            x.append(patch)
            y.append(target)
    x, y = torch.stack(x), torch.stack(y)
    torch.manual_seed(0)
    judge, begun = Judge(x), time.process_time()
    judge.answer.bias.data = torch.logit(y.mean(0).clamp(1e-3, 0.999))
    optimiser = torch.optim.AdamW(judge.parameters(), 2e-3)
    while time.process_time() - begun < seconds:
        rows = torch.randint(len(x), (64,))
        loss = nn.functional.binary_cross_entropy_with_logits(judge.answer(torch.tanh(judge.look(x[rows]))), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return judge.eval()


def music(a: argparse.Namespace) -> None:
    source = a.work / "chorales"
    s = Spectral(RATE, 1024, 256, 80)
    model = trained(source / "train", a.work / f"chorales-{a.minutes:g}", a.minutes, READ, **RECIPE)
    judge = judge_of(source / "train", s, a.judge_seconds)
    cut, count = SECONDS * RATE, min(CLIPS, a.clips)
    train, test = (
        [normalise(w[:cut], RATE)[0] for w in clips_of(source / part, RATE, count)] for part in ("train", "test")
    )

    @torch.no_grad()
    def seen(waves: list[np.ndarray]) -> list[torch.Tensor]:
        return [judge.look(part) for part in patches(waves, s)]

    real = seen(test)
    note = (
        f"{count} clips of {SECONDS} s each, made in one piece. Frechet: 64 features of half seconds, by a judge of pitches, "
        f"against {count} test chorales; real: as many training chorales against them. Drift: the same distance between the "
        "first 5 s and the last 5 s of the clips, and the change of loudness. One seed. "
        f"The model: {model.notes.get('about', '')} {a.minutes:g} minutes of one CPU core, windows of 4 s of {TRAINED} chorales. "
        f"`{command()}`"
    )
    table = Table("Music" + a.tag, note)

    def score(waves: list[np.ndarray], seconds: float) -> dict[str, float]:
        found, edge = seen(waves), 10
        loud = [20 * np.log10(np.sqrt((w[-5 * RATE :] ** 2).mean() / (w[: 5 * RATE] ** 2).mean())) for w in waves]
        row = {"Frechet": frechet(torch.cat(found), torch.cat(real))}
        row["first to last 5 s, Frechet"] = frechet(
            torch.cat([f[:edge] for f in found]), torch.cat([f[-edge:] for f in found])
        )
        row |= {"first 5 s": frechet(torch.cat([f[:edge] for f in found]), torch.cat(real))}
        row |= {"last 5 s": frechet(torch.cat([f[-edge:] for f in found]), torch.cat(real))}
        return row | {"loudness, dB": np.mean(loud), "CPU seconds a second": seconds / (SECONDS * len(waves))}

    table.row("real, training chorales", lambda: score(train, 0.0))
    table.row("real, test chorales", lambda: score(test, 0.0))
    table.row("real, vocoded by this model", lambda: score([model.vocode((w, RATE), steps=4)[0][0] for w in test], 0.0))
    for calls in a.calls:
        asked, name = asked_of(a, calls)

        def made(asked: dict[str, Any] = asked) -> dict[str, float]:
            begun, same = time.process_time(), {"solver": "deis2", "grid": "rho3", "seconds": SECONDS}
            waves = [normalise(model.sample(1, start=k, **same, **asked)[0][0], RATE)[0] for k in range(count)]
            for k, wave in enumerate(waves[:2]):
                write_wave(wave, RATE, a.work / f"chorales-{a.minutes:g}" / f"made-{asked['steps']}-{k}.flac")
            return score(waves, time.process_time() - begun)

        table.row(name, made)
