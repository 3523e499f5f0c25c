"""Sound from a mel spectrogram: a guess by Griffin-Lim, then calls of the network, each on the answer so far.

A mel says nothing of the phases, so from pure noise the first calls can but draw some that fit neighbouring frames, which
Griffin-Lim (1984; fast form Perraudin et al. 2013) does as well and without a network. The network mends what that leaves wrong:
the guess is shown to it as if it were noised to a level, what it makes of it gets the mel's magnitudes and becomes the STFT of a
wave again, and so on from lower levels. The guess is wrong by itself: noise added to it made no answer better.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Task
from suffuse.errors import AskError
from suffuse.modalities.audio import asking
from suffuse.modalities.audio.consistency import polish

Sound = tuple[np.ndarray, int]
CHUNK, OVERLAP = 640, 16
"""Frames: longer sounds are vocoded in chunks, each given the last OVERLAP frames of the one before."""
CALLS = 4
"""Network calls of an answer, where none are asked."""
LEVELS, ALONE = (0.95, 0.1), 0.6
"""The level shown at the first call and at the last; that of a call that is the only one."""
GUESS, BETWEEN, LAST, QUICK = 16, 8, 12, 10
"""Rounds of Griffin-Lim before the first of several calls, between two, and after the last; before and after one alone."""


def vocode(
    model: Any, audio: Any, *, n: int = 1, steps: int | None = None, seed: int = 0, **settings: Any
) -> list[Sound]:
    """Sound from a mel spectrogram, or from the mel of a sound (copy synthesis). Long ones go in chunks, without seams.

    audio: (samples, rate), a path, or a mel (M, T) in the model's own setting (`model.modality.spectral.mel`).
    suffuse vocode kathleen speech.wav -o copy.wav
    """
    m = model.modality
    steps = CALLS if steps is None else steps
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise AskError(f"steps must be a whole number of at least 1, not {steps!r}")
    mels, lengths, gains = asking.mels_of(m, audio, n)
    settings = {"guidance": 1.0} | settings | {"steps": steps, "seed": seed}
    if m.whole or max(mel.shape[1] for mel in mels) <= CHUNK + OVERLAP:
        task = m.request(n, {"mel": audio}, index=torch.arange(n))
        return asking.sounds_of(m, spectrum_of(model, task, **settings), task)
    out = []
    for k in range(n):
        mel, length, gain = (many[k % len(many)] for many in (mels, lengths, gains))
        wave = _in_chunks(model, mel, length, k, **settings)
        out.append((wave / np.float32(gain), m.rate))
    return out


def spectrum_of(model: Any, task: Task, steps: int, seed: int, **settings: Any) -> Tensor:
    """(B, F, T) complex: the answer to a task that gives the mel and asks for frames; those at level 0 stay as they are."""
    s = model.modality.spectral
    asked, mel = task.start.levels["frames"] > 0, task.x["mel"]
    asked = asked[:, :1].expand(len(mel), 1, mel.shape[2])
    known = s.unpack(task.x["frames"])
    size = torch.where(asked, s.magnitude_of_mel(mel, rounds=8), known.abs())
    phase = torch.stack([_phases(size.shape[1:], seed, k) for k in task.index.tolist()])
    phase = torch.where(asked, phase, known.angle())
    first, last = (GUESS, LAST) if steps > 1 else (QUICK, QUICK)
    spectrum = s.griffin_lim(size, phase, first, keep=None if bool(asked.all()) else (~asked, known))
    levels = torch.linspace(*LEVELS, steps).tolist() if steps > 1 else [ALONE]
    schedule, settings["batch"] = model.joint["frames"].schedule, len(mel)
    for call, level in enumerate(levels):
        start = replace(task.start, levels={**task.start.levels, "frames": level * asked.float()})
        shown = {"frames": schedule.alpha(start.levels["frames"]) * s.pack(spectrum), "mel": mel}
        fields = model.run(replace(task, start=start), steps=1, seed=seed, state=shown, **settings)
        spectrum = polish(s, fields, asked, last if call + 1 == steps else BETWEEN)
    return spectrum


def _phases(shape: torch.Size, seed: int, index: int) -> Tensor:
    """Uniform phases of one sample, drawn from the seed and its number."""
    draw = torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)
    return 2 * torch.pi * torch.rand(shape, generator=draw)


def _in_chunks(model: Any, mel: Tensor, samples: int, index: int, **settings: Any) -> np.ndarray:
    """The wave (samples,) of one long mel (M, T), chunk after chunk: beside mel and wave, memory holds one chunk."""
    m, total = model.modality, mel.shape[1]
    s = m.spectral
    wave = np.zeros(samples, dtype=np.float32)
    margin = -(-s.n_fft // (2 * s.hop))
    overlap = max(OVERLAP, 2 * margin)
    begin, before = 0, torch.zeros(1, s.bins, 0, dtype=torch.complex64)
    while begin < total:
        end = total if total - begin <= CHUNK + overlap else begin + CHUNK
        low = max(0, begin - overlap)
        part = m.request(1, {"mel": mel[:, low:end].numpy()}, index=torch.tensor([index + (begin << 20)]))
        part.x["frames"][..., : begin - low] = s.pack(before)
        part.start.levels["frames"] = (torch.arange(low, end) >= begin)[None, None].float()
        spectrum = spectrum_of(model, part, **settings)
        # samples under the first and last frames lack neighbours: they come from the chunk beside this one
        first, last = low + margin if low else 0, end - margin if end < total else end
        piece = s.istft(spectrum, (end - low) * s.hop)[0, (first - low) * s.hop : (last - low) * s.hop].numpy()
        piece = piece[: samples - first * s.hop]
        wave[first * s.hop : first * s.hop + len(piece)] = piece
        begin, before = end, spectrum[..., -overlap:]
    return wave
