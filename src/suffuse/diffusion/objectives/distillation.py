"""Score distillation: a loss that pulls whatever made a clean sample towards what a denoiser knows.

The sample (a rendering, say) is noised, the denoiser cleans it, and the difference flows back to the sample's maker but
not through the denoiser. A loss and not a guidance: nothing is sampled here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suffuse.diffusion.process import Gaussian, Joint, full_levels
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Fields, Start

WEIGHTS = ("sds", "x0")


def score_distillation_loss(
    denoiser: Callable[..., Fields],
    joint: Joint,
    x: Fields,
    start: Start,
    field: str,
    levels: Tensor,
    random: Random,
    step: int,
    index: Tensor | None = None,
    context: Fields | None = None,
    weighting: str = "x0",
    antithetic: bool = True,
) -> Tensor:
    """(B,) losses whose gradient in x[field] is that of score distillation, w(t) (eps_hat(x_t) - eps) (Poole et al. 2022, eq. 3),
    divided by the number of entries.

    x: clean values of every field; x[field], a Gaussian one, carries the gradient, the others are conditions. start: levels (0
    given) and held entries of the other fields. levels: (B,) noise level of the field. random, step, index: as in training.
    weighting: 'sds' is w = sigma^2, as published; 'x0' is w = sigma / alpha, so that the gradient is x0 minus the clean
    prediction, whatever the level. antithetic: every noise is used with both signs, in one call of twice the batch, and the two
    gradients are averaged: what is odd in the noise cancels (Hammersley & Morton 1956), which is the whole variance where the
    denoiser is linear, as it is for Gaussian data.
    """
    process = joint[field]
    if not isinstance(process, Gaussian):
        raise ValueError(f"score distillation pulls on Gaussian fields, and {field!r} is categorical")
    if weighting not in WEIGHTS:
        raise ValueError(f"the weighting is one of {', '.join(WEIGHTS)}, not {weighting!r}")
    clean = x[field]
    size, axes = len(clean), clean.ndim - 1
    index = torch.arange(size, device=clean.device) if index is None else index
    context = context or {}
    level = levels.reshape(size, *(1,) * axes).to(clean)
    with torch.no_grad():
        noise = process.noise(clean, context, random, index, step, field)
        noises = [noise, -noise] if antithetic else [noise]
        noisy = torch.cat([process.corrupt(clean.detach(), n, level) for n in noises])
        times = len(noises)
        whole = full_levels(joint, x, {**start.levels, field: level})
        fields = {name: _repeat(value, times) for name, value in x.items()} | {field: noisy}
        fields = joint.null(fields, {name: _repeat(mask, times) for name, mask in start.held.items()})
        seen = {name: _repeat(value, times) for name, value in context.items()}
        found = denoiser(fields, {name: _repeat(value, times) for name, value in whole.items()}, seen)[field]
        pull = clean.detach() - found.reshape(times, *clean.shape).mean(0)
        if weighting == "sds":
            alpha, sigma = process.schedule.alpha(level), process.schedule.sigma(level)
            pull = alpha * sigma * pull  # eps_hat - eps = alpha / sigma (x0 - D), times sigma^2
    return (pull * clean).flatten(1).mean(1)


def annealed_levels(progress: float, count: int, high: float = 0.7, low: float = 0.1, spread: float = 0.05) -> Tensor:
    """(count,) noise levels for a share `progress` of an optimisation: from `high` down to `low`, never up again, spread
    evenly over +- `spread` (the non-increasing levels of DreamTime, Huang et al. 2023, on a straight line)."""
    middle = high + (low - high) * min(max(progress, 0.0), 1.0)
    offsets = (torch.arange(count) + 0.5) / count * 2 - 1
    return (middle + spread * offsets).clamp(1e-3, 1.0)


def _repeat(value: Tensor, times: int) -> Tensor:
    return torch.cat([value] * times)
