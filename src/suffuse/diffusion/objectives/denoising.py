"""The training objective: predict the clean sample at every mixture of levels the tasks can ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from suffuse.diffusion.process import Joint, full_levels
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Fields, Start

_GOLDEN = 0.6180339887498949


@dataclass
class Loss:
    """total: scalar to minimise. fields: each field's own mean loss, detached. parts: per field (sum over asked entries,
    number of asked entries), so that several processes can add both up before they divide."""

    total: Tensor
    fields: dict[str, Tensor]
    parts: dict[str, tuple[Tensor, Tensor]]


def stratified(random: Random, step: int, index: Tensor, name: str) -> Tensor:
    """(B,) levels in (0, 1) that cover the interval evenly over consecutive indices (a Kronecker sequence with a random
    offset each step), whatever the split over processes."""
    offset = random.uniform((), torch.zeros(1, dtype=torch.int64), step, name).double().item()
    u = (offset + _GOLDEN * index.double()) % 1.0
    return u.clamp(1e-6, 1 - 1e-6).float()


def logit_normal(u: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Uniforms to logit-normal levels (Esser et al. 2024, eq. 19), which favour the middle."""
    return torch.sigmoid(mean + std * torch.special.ndtri(u.double())).float()


DENSITIES: dict[str, Callable[[Tensor], Tensor]] = {"uniform": lambda u: u, "logit_normal": logit_normal}


def draw_levels(
    joint: Joint, batch: Batch, start: Start, random: Random, step: int, index: Tensor, density: str, split: float
) -> Fields:
    """Training levels of every field: min(clock, start), with one shared clock, or a clock a field for a share `split` of the
    examples. index: (B,) positions in the stream of examples of the whole run."""
    shared = stratified(random, step, index, "clock")
    apart = random.uniform((), index, step, "split clocks") < split
    start_levels = full_levels(joint, batch.x, start.levels)
    out = {}
    for name, process in joint.items():
        own = stratified(random, step, index, f"clock {name}")
        u = torch.where(apart, own, shared)
        clock = DENSITIES[density](u) if not process.categorical else u
        level = process.level(clock).to(batch.x[name].device).reshape(-1, *(1,) * (batch.x[name].ndim - 1))
        level = torch.minimum(level, start_levels[name])
        if start.exact is not None:
            exact = start.exact.reshape(-1, *(1,) * (level.ndim - 1))
            level = torch.where(exact, start_levels[name].expand(level.shape), level)
        if name in batch.exists:
            level = torch.where(batch.exists[name], level, torch.zeros_like(level))
        if name in batch.observed:
            level = torch.where(batch.observed[name], level, torch.ones_like(level))
        if name in start.held:
            level = torch.where(start.held[name], torch.ones_like(level), level)
        out[name] = level
    return out


def denoising_loss(
    denoiser: Callable[..., Fields],
    joint: Joint,
    batch: Batch,
    start: Start,
    random: Random,
    step: int,
    index: Tensor | None = None,
    density: str = "uniform",
    split: float = 0.25,
) -> Loss:
    """Mean weighted error of the clean prediction over the entries asked.

    Entries that are held, unobserved, padded or at level 0 carry no loss; unobserved entries are shown as held at level 1.
    index: (B,) positions in the run's stream of examples, from which all draws are made (default: batch.index).
    density: 'uniform' or 'logit_normal' levels of Gaussian fields. split: share of examples with independent clocks a field.
    """
    index = batch.index if index is None else index
    if index is None:
        index = torch.arange(len(batch))
    context = dict(batch.context)
    context.update({f"exists:{name}": mask for name, mask in batch.exists.items()})
    levels = draw_levels(joint, batch, start, random, step, index, density, split)
    noise = joint.noise(batch.x, context, random, index.to(next(iter(batch.x.values())).device), step)
    x = joint.corrupt(batch.x, noise, levels)
    held = dict(start.held)
    for name, seen in batch.observed.items():
        held[name] = held[name] | ~seen if name in held else ~seen
    if batch.exists:
        x = {n: torch.where(batch.exists[n], v, batch.x[n]) if n in batch.exists else v for n, v in x.items()}
    x = joint.null(x, held)
    clean = denoiser(x, levels, context)
    parts, means, total = {}, {}, None
    for name, process in joint.items():
        error = process.loss(clean[name], batch.x[name], x[name], levels[name])
        asked = (levels[name] > 0).expand(error.shape)
        if name in held:
            asked = asked & ~held[name]
        if name in batch.exists:
            asked = asked & batch.exists[name]
        error = torch.where(asked, error, torch.zeros_like(error))
        count = asked.sum()
        if start.exact is not None and process.categorical and process.masked:
            error, count = _exact_counts(error, asked, start.exact, batch.exists.get(name))
        parts[name] = (error.sum(), count)
        mean = error.sum() / count.clamp(min=1)
        means[name] = mean.detach()
        weighted = joint.weights.get(name, 1.0) * mean
        total = weighted if total is None else total + weighted
    assert total is not None
    return Loss(total, means, parts)


def _exact_counts(error: Tensor, asked: Tensor, exact: Tensor, exists: Tensor | None) -> tuple[Tensor, Tensor]:
    """Weights for examples of which exactly n of L tokens were masked: the masked ones stand for all L, so each counts L / n.
    With n uniform on 1..L the mean is the likelihood bound with less variance than 1 / t (Ou et al. 2024, eq. 12; Uria et al.
    2014). Returns the weighted errors and the number of tokens they stand for."""
    rows = asked.flatten(1).sum(1)
    size = torch.full_like(rows, asked[0].numel()) if exists is None else exists.expand(asked.shape).flatten(1).sum(1)
    exact = exact.to(rows.device)
    weight = torch.where(exact, size / rows.clamp(min=1), torch.ones_like(rows, dtype=error.dtype))
    stands = torch.where(exact, size * (rows > 0), rows)
    return error * weight.reshape(-1, *(1,) * (error.ndim - 1)), stands.sum()
