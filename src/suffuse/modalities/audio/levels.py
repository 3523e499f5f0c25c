"""The starting levels of the training tasks: which part of a clip is given, which is asked, which is held back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start

FIRST = 0.5
"""Share of the examples with noise to be taken away that train the first call, from level 1: what is given says nearly all
there, and one call is what most will ask for."""

GUESSED, TOP = 0.6, 0.75
"""Share of the examples to be vocoded that start below the prior, and where: an answer begins from a noised guess."""


def start(modality: Any, task: str, batch: Batch, random: Random, step: int) -> Start:
    """Levels and held entries of one task for a batch. Labels that are not asked are given or held, half and half; a label
    whose truth is not observed is held."""
    size, index = len(batch), batch.index
    frames = batch.x["frames"]
    one = torch.ones(size, 1, 1)
    levels, held = {"frames": one, "mel": one}, {}
    if task == "vocode":
        time = _span(random, index, step, frames.shape[-1], 0.3, 0.9)
        part = random.uniform((), index, step, "part of it") < 0.2
        top = torch.where(random.uniform((), index, step, "from a guess") < GUESSED, TOP, 1.0)
        levels = {"frames": torch.where(part[:, None, None], time, 1.0) * top[:, None, None], "mel": 0 * one}
    elif task == "fill":
        time = _span(random, index, step, frames.shape[-1], 0.03, 0.5, 3)
        levels = {"frames": time, "mel": time}
    elif task == "extend":
        share = 0.3 + 0.5 * random.uniform((), index, step, "cutoff")
        levels = cut_levels(modality.spectral, share * modality.rate / 2)
    elif task == "classify":
        blind = (random.uniform((), index, step, "from mel alone") < 0.5)[:, None, None]
        levels = {"frames": torch.where(blind, 1.0, 0.0), "mel": 0 * one}
        held = {"frames": blind}
    elif task not in ("generate", "label", "denoise", "speak"):
        raise ValueError(f"unknown audio task {task!r}")
    exact = None
    if task == "denoise":
        exact = random.uniform((), index, step, "from the start") < FIRST
    if modality.paired:
        away = task != "denoise"
        levels["noisy"] = one if away else 0 * one
        if away:
            held["noisy"] = torch.ones(size, 1, 1, dtype=torch.bool)
    if modality.text:
        seen = batch.observed.get("text", torch.ones(size, 1, dtype=torch.bool))
        chance = {"speak": 0.9, "generate": 0.0}.get(task, 0.3)
        given = (random.uniform((), index, step, "text given")[:, None] < chance) & seen
        levels["text"], held["text"] = torch.where(given, 0.0, 1.0), ~given
    for name in modality.classes:
        seen = batch.observed.get(name, torch.ones(size, 1, dtype=torch.bool))
        u = random.uniform((), index, step, f"{name} given")[:, None]
        chance = {"label": 0.9, "generate": 0.0, "classify": 0.0}.get(task, 0.5)
        given = (u < chance) & seen
        levels[name] = torch.where(given, 0.0, 1.0)
        held[name] = ~seen if task == "classify" else ~given
    return Start(levels, held, exact)


def _span(random: Random, index: Tensor, step: int, frames: int, low: float, high: float, power: int = 1) -> Tensor:
    """(B, 1, T) levels, 1 within one stretch of low..high of all frames (mostly short ones with a higher power), 0 elsewhere."""
    u = random.uniform((2,), index, step, "stretch")
    length = (low + (high - low) * u[:, 0] ** power) * frames
    begin = u[:, 1] * (frames - length)
    at = torch.arange(frames) + 0.5
    return ((at >= begin[:, None]) & (at < (begin + length)[:, None])).float()[:, None]


def cut_levels(spectral: Any, cutoff: Tensor) -> dict[str, Tensor]:
    """Levels of frames (B, 2F, 1) and mel (B, M, 1) with everything that reaches above cutoff (B,) Hz at 1."""
    from suffuse.modalities.audio.stft import hz_to_mel, mel_to_hz

    top = hz_to_mel(torch.tensor(spectral.rate / 2)).item()
    corners = mel_to_hz(torch.linspace(0, top, spectral.bands + 2, dtype=torch.float64))[2:].float()
    bins = torch.linspace(0, spectral.rate / 2, spectral.bins)
    cutoff = torch.as_tensor(cutoff, dtype=torch.float32).reshape(-1, 1)
    above = (bins > cutoff).float()
    return {"frames": torch.cat([above, above], dim=1)[..., None], "mel": (corners > cutoff).float()[..., None]}
