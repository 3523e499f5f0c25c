"""Likelihood in bits a dimension: the probability-flow ODE for Gaussian fields, the ELBO for categorical ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Fields


def ode_bits(
    denoiser: Callable[..., Fields],
    joint: Joint,
    x: Fields,
    levels: Fields,
    context: Fields,
    field: str,
    index: Tensor,
    steps: int = 64,
    probes: int = 1,
    floor: float = 0.01,
    top: float = 0.999,
    seed: int = 0,
    exact_trace: bool = False,
) -> Tensor:
    """(B,) bits a dimension of a Gaussian field under white noise, given the other fields at their `levels`.

    Integrates d log p along the probability-flow ODE (Song et al. 2021, eq. 39) in half log-SNR with Heun's method, from
    level `floor` to `top`, with Hutchinson's estimate of the trace by `probes` Rademacher vectors (or exactly, one derivative
    a dimension). The density reported is that of the data noised to `floor`, rescaled by 1/alpha: for continuous data it tends
    to the data's own as floor goes to 0. Model units: add log2 of the scaling for another unit.
    """
    process = joint[field]
    assert isinstance(process, Gaussian)
    if not getattr(process.noise_model, "white", False):
        raise ValueError("the likelihood by the probability-flow ODE needs white noise")
    schedule = process.schedule
    times = torch.tensor([floor, top], dtype=torch.float64)
    snr = schedule.log_snr(times)
    lambdas = torch.linspace(float(snr[0]), float(snr[1]), steps + 1, dtype=torch.float64)
    grid = schedule.time(lambdas)
    random = Random(seed)
    value = x[field]
    shape = (len(value),) + (1,) * (value.ndim - 1)
    noise = process.noise(value, context, random, index, 0, f"{field}/floor")
    y = value * schedule.alpha(grid[0]).to(value.dtype) + schedule.sigma(grid[0]).to(value.dtype) * noise
    dims = value[0].numel()
    total = torch.zeros(len(value), dtype=torch.float64, device=value.device)

    def slope(y: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(dy / dlambda, its trace) at grid point k.

        With lambda as time, dy/dlambda = (alpha'/alpha) y + (sigma' - alpha' sigma/alpha) eps, eps = (y - alpha D)/sigma.
        """
        t = grid[k]
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        da, ds = schedule.slopes(t)
        rate = 1 / (da / alpha - ds / sigma)
        drift = (rate * ds / sigma).item()
        pull = (alpha * rate * (da / alpha - ds / sigma)).item()
        with torch.enable_grad():
            tracked = y.detach().requires_grad_(True)
            level = torch.full(shape, float(t), dtype=y.dtype, device=y.device)
            clean = denoiser({**x, field: tracked}, {**levels, field: level}, context)[field]
            trace = torch.zeros(len(y), dtype=torch.float64, device=y.device)
            if exact_trace:
                flat = clean.flatten(1)
                for d in range(dims):
                    (g,) = torch.autograd.grad(flat[:, d].sum(), tracked, retain_graph=True)
                    trace += g.flatten(1)[:, d].double()
            else:
                for p in range(probes):
                    u = random.uniform(value.shape[1:], index, k + 1, f"{field}/probe {p}")
                    probe = torch.where(u < 0.5, -1.0, 1.0).to(y.dtype)
                    (g,) = torch.autograd.grad((clean * probe).sum(), tracked, retain_graph=True)
                    trace += (g * probe).flatten(1).sum(1).double() / probes
        return (drift * y + pull * clean).detach(), drift * dims + pull * trace

    for k in range(steps):
        h = float(lambdas[k + 1] - lambdas[k])
        first, trace = slope(y, k)
        second, trace_ahead = slope(y + h * first, k + 1)
        y = y + 0.5 * h * (first + second)
        total += 0.5 * h * (trace + trace_ahead)
    alpha, sigma = (float(f(grid[-1])) for f in (schedule.alpha, schedule.sigma))
    spread = alpha**2 * process.std**2 + sigma**2
    end = -0.5 * ((y.double() ** 2).flatten(1).sum(1) / spread + dims * math.log(2 * math.pi * spread))
    log_p = end + total + dims * math.log(float(schedule.alpha(grid[0])))
    return -log_p / (dims * math.log(2))


def elbo_bits(
    denoiser: Callable[..., Fields],
    joint: Joint,
    x: Fields,
    levels: Fields,
    context: Fields,
    field: str,
    index: Tensor,
    exists: Tensor | None = None,
    samples: int = 16,
    seed: int = 0,
) -> Tensor:
    """(B,) upper bounds of bits an entry of a masked categorical field, given the other fields at their `levels`.

    Exact-count form: n uniform on 1..L, mask n entries chosen at random, and L times the mean cross-entropy of the masked
    (Ou et al. 2024, eq. 4: the same bound as the integral over levels, with less variance). The counts are stratified over
    `samples` draws.
    """
    process = joint[field]
    assert isinstance(process, Categorical)
    if not process.masked:
        raise ValueError("the ELBO is implemented for masked categorical fields")
    random = Random(seed)
    value = x[field]
    real = torch.ones_like(value, dtype=torch.bool) if exists is None else exists.expand(value.shape)
    length = real.flatten(1).sum(1).clamp(min=1)
    total = torch.zeros(len(value), dtype=torch.float64, device=value.device)
    offset = random.uniform((), index, 0, f"{field}/count", torch.float64)
    for s in range(samples):
        count = 1 + (((offset + s / samples) % 1.0) * length).long().clamp(max=length - 1)
        score = random.uniform(value.shape[1:], index, s + 1, f"{field}/which")
        score = torch.where(real, score, torch.full_like(score, 2.0)).flatten(1)
        rank = score.argsort(1).argsort(1)
        masked = (rank < count[:, None]).reshape(value.shape)
        seen = torch.where(masked, process.null(value), value)
        logits = denoiser({**x, field: seen}, {**levels, field: masked.float()}, context)[field]
        log_p = (
            torch.log_softmax(logits.double(), -1)
            .gather(-1, value.clamp(max=process.classes - 1).unsqueeze(-1))
            .squeeze(-1)
        )
        total += torch.where(masked, -log_p, torch.zeros_like(log_p)).flatten(1).sum(1) / count
    return total / samples / math.log(2)


def bits(
    denoiser: Callable[..., Fields],
    joint: Joint,
    batch: Batch,
    field: str,
    hold: tuple[str, ...] | None = None,
    **options: int,
) -> Tensor:
    """(B,) bits a dimension of one field of a batch. hold: fields to marginalise (default: every other one)."""
    hold = tuple(n for n in joint if n != field) if hold is None else hold
    context = dict(batch.context) | {f"exists:{n}": m for n, m in batch.exists.items()}
    levels = {
        n: torch.full((len(batch),) + (1,) * (v.ndim - 1), float(n in hold), device=v.device)
        for n, v in batch.x.items()
    }
    held = {n: torch.ones_like(levels[n], dtype=torch.bool) for n in hold}
    x = joint.null(batch.x, held)
    index = batch.index if batch.index is not None else torch.arange(len(batch))
    index = index.to(batch.x[field].device)
    if joint[field].categorical:
        with torch.inference_mode():
            return elbo_bits(denoiser, joint, x, levels, context, field, index, batch.exists.get(field), **options)
    return ode_bits(denoiser, joint, x, levels, context, field, index, **options)
