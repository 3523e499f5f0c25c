"""Solvers as tables of weights: past clean predictions in, one effective clean prediction out.

One kernel serves every linear multistep solver. With lambda = log(alpha / sigma), h its change over the step and D the
effective clean prediction,

    x_s = a x_t + (alpha_s - alpha_t a) D + c z,   a = (sigma_s / sigma_t) e^(-eta h),   c = sigma_s sqrt(1 - e^(-2 eta h)),

which is the exact solution when the clean prediction is D throughout the step (eta 0: DDIM; eta 1: DDPM, SDE-DPM-Solver++).
Everything here is float64 and happens once, before the loop.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.schedule import Schedule


@dataclass(frozen=True)
class Solver:
    """name: as published. order: predictions combined at most. rule: how weights follow from log-SNRs (see `weights`).
    space: 'x0' or 'eps', where the polynomial lives. corrector: repeat the previous step with the new prediction as one more
    node (UniPC). heun: average with a second call at the end of each step (EDM 2022, algorithm 1). taper: the order also falls
    towards a last step to level 0, as UniPC's published loop does. table: fitted weights, one row a step, newest prediction first
    (see suffuse.tuning); used where an entry has its whole history, the rule elsewhere."""

    name: str
    order: int
    rule: str = "exact"
    space: str = "x0"
    corrector: bool = False
    heun: bool = False
    taper: bool = False
    table: tuple[tuple[float, ...], ...] = ()

    def fits(self, steps: int, top: float) -> bool:
        """Whether this solver can serve a path of `steps` from level `top`: a table of fitted weights holds for its own path."""
        return not self.table or (len(self.table) == steps and top == 1.0)

    def with_noise(self, eta: float) -> Solver:
        """What serves with fresh noise (eta > 0) in every step: past noise predictions speak of noise that is no longer there,
        so that solvers in noise space keep the newest alone (DDIM)."""
        return SOLVERS["ddim"] if eta > 0 and self.space == "eps" and not self.heun else self


SOLVERS: dict[str, Solver] = {
    s.name: s
    for s in (
        Solver("ddim", 1),
        Solver("exact2", 2),
        Solver("exact3", 3),
        Solver("dpmpp2m", 2, "midpoint"),
        Solver("dpmpp3m", 3, "published3m"),
        Solver("deis2", 2, space="eps"),
        Solver("deis3", 3, space="eps"),
        Solver("ipndm2", 2, "adams", "eps"),
        Solver("ipndm3", 3, "adams", "eps"),
        Solver("ipndm4", 4, "adams", "eps"),
        Solver("unipc2", 2, "midpoint", corrector=True, taper=True),
        Solver("unipc3", 3, "unipc", corrector=True, taper=True),
        Solver("heun", 1, heun=True, space="eps"),
    )
}

_ADAMS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def moments(h: Tensor, c: float, count: int) -> Tensor:
    """(count, ...) means of u^k over u in [-h, 0] under weight e^(c u), k = 0..count-1. h is finite, of either sign, not 0.

    Gauss-Legendre where |c h| is small (the closed form cancels there), the closed form elsewhere.
    """
    nodes, gauss = np.polynomial.legendre.leggauss(24)
    nodes, gauss = torch.tensor(nodes), torch.tensor(gauss)
    u = h.unsqueeze(-1) * (nodes - 1) / 2
    weight = gauss * torch.exp(c * u)
    small = torch.stack([(weight * u**k).sum(-1) / weight.sum(-1) for k in range(count)])
    decay = torch.exp(-c * h)
    mass = (1 - decay) / c
    integral, closed = mass, [torch.ones_like(h)]
    for k in range(1, count):
        integral = -((-h) ** k) * decay / c - (k / c) * integral
        closed.append(integral / mass)
    return torch.where((c * h).abs() < 4, small, torch.stack(closed))


def lagrange_weights(offsets: Tensor, h: Tensor, c: float) -> Tensor:
    """Exact weights of a polynomial through nodes at `offsets` (m, ...) relative to the end of the step (lambda_j - lambda_s),
    integrated against e^(c lambda) over the step of length h. Returns (m, ...) summing to 1."""
    m = offsets.shape[0]
    powers = torch.stack([offsets**k for k in range(m)], dim=0).movedim((0, 1), (-2, -1))
    right = moments(h, c, m).movedim(0, -1)
    scale = h.abs().clamp(min=1e-12).unsqueeze(-1) ** -torch.arange(m, dtype=h.dtype)
    return torch.linalg.solve(powers * scale.unsqueeze(-1), right * scale).movedim(-1, 0)


def weights(solver: Solver, log_snr: Tensor, target: Tensor, eta: float) -> Tensor:
    """Weights of the newest m predictions, newest first.

    log_snr: (m, ...) half log-SNRs of the predictions, newest (the step's start) first, all finite and distinct.
    target: (...) half log-SNR of the step's end. Returns (m, ...) summing to 1.
    """
    m = log_snr.shape[0]
    h = target - log_snr[0]
    if m == 1:
        return torch.ones_like(log_snr)
    if solver.rule == "adams":
        return torch.stack([torch.full_like(h, w) for w in _ADAMS[m - 1]])
    if m == 2 and solver.rule in ("midpoint", "published3m", "unipc"):
        ratio = h / (log_snr[0] - log_snr[1])
        return torch.stack([1 + ratio / 2, -ratio / 2])
    if solver.rule == "published3m":
        return _published_3m(log_snr, h)
    return lagrange_weights(log_snr - target, h, -1.0 if solver.space == "eps" else 1.0 + eta)


def _published_3m(log_snr: Tensor, h: Tensor) -> Tensor:
    """DPM-Solver++ 3M as published (Lu et al. 2022b and its copies): its second difference lacks a factor 2, so that it is
    not of third order; 'exact3' is."""
    r0, r1 = (log_snr[0] - log_snr[1]) / h, (log_snr[1] - log_snr[2]) / h
    mass = -torch.expm1(-h)
    first = (torch.expm1(-h) / h + 1) / mass
    second = -((torch.expm1(-h) + h) / h**2 - 0.5) / mass
    # D = m0 + first * D1 + second * D2 with D1, D2 the divided differences of m0, m1, m2
    d1 = [(1 + r0 / (r0 + r1)) / r0, -(1 + r0 / (r0 + r1)) / r0 - r0 / (r0 + r1) / r1, r0 / (r0 + r1) / r1]
    d2 = [1 / r0 / (r0 + r1), -(1 / r0 + 1 / r1) / (r0 + r1), 1 / r1 / (r0 + r1)]
    return torch.stack(
        [1 + first * d1[0] + second * d2[0], first * d1[1] + second * d2[1], first * d1[2] + second * d2[2]]
    )


def corrector_weights(log_snr: Tensor, target: Tensor, eta: float) -> Tensor:
    """UniPC's corrector (Zhao et al. 2023): weights of (prediction at the step's end, then the newest m), (m + 1, ...)."""
    if log_snr.shape[0] == 1:
        return torch.full((2, *target.shape), 0.5, dtype=target.dtype)
    offsets = torch.cat([torch.zeros_like(target)[None], log_snr - target])
    return lagrange_weights(offsets, target - log_snr[0], 1.0 + eta)


@dataclass(frozen=True)
class Coefficients:
    """All steps of one Gaussian field: one entry a step, each tensor of the shape of its level map.

    a, b, c: the kernel's x, D and z factors. weights: of the newest predictions. correct: weights for redoing the step with the
    prediction at its end first, empty where it is not redone. redo: where it is. count: the largest number of predictions any
    entry uses. noisy, moves: whether the step adds noise, changes anything. alpha, sigma: at the step's start.
    """

    a: tuple[Tensor, ...]
    b: tuple[Tensor, ...]
    c: tuple[Tensor, ...]
    weights: tuple[tuple[Tensor, ...], ...]
    correct: tuple[tuple[Tensor, ...], ...]
    redo: tuple[Tensor, ...]
    count: tuple[int, ...]
    noisy: tuple[bool, ...]
    moves: tuple[bool, ...]
    alpha: tuple[Tensor, ...]
    sigma: tuple[Tensor, ...]


def step_factors(
    schedule: Schedule, now: Tensor, then: Tensor, eta: float, renoise: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """(a, b, c) of the kernel from levels `now` to `then` (float64). Upward moves follow the ODE back (inversion), or add
    fresh noise as the forward process does when `renoise`."""
    a_t, s_t, a_s, s_s = schedule.alpha(now), schedule.sigma(now), schedule.alpha(then), schedule.sigma(then)
    h = schedule.log_snr(then) - schedule.log_snr(now)
    down = then < now
    if eta > 0:
        decay = torch.where(down, torch.exp(-eta * h), torch.ones_like(h))
        decay = torch.where(torch.isnan(decay), torch.zeros_like(h), decay)
    else:
        decay = torch.ones_like(h)
    a = torch.where(s_t > 0, s_s / s_t.clamp(min=1e-300), torch.zeros_like(s_t)) * decay
    b = a_s - a_t * a
    c = s_s * torch.sqrt((1 - decay**2).clamp(min=0))
    if renoise:
        up = then > now
        ratio = a_s / a_t.clamp(min=1e-300)
        a, b = torch.where(up, ratio, a), torch.where(up, torch.zeros_like(b), b)
        c = torch.where(up, torch.sqrt((s_s**2 - (ratio * s_t) ** 2).clamp(min=0)), c)
    still = then == now
    return (
        torch.where(still, torch.ones_like(a), a),
        torch.where(still, torch.zeros_like(b), b),
        torch.where(still, torch.zeros_like(c), c),
    )


def usable_history(schedule: Schedule, levels: Tensor, order: int) -> Tensor:
    """(steps, ...) how many predictions each entry may combine at each step: 1 at the start, after a pause, a kink or an
    infinite step, and on the step to 0; one more after each regular step, up to `order`."""
    snr = schedule.log_snr(levels)
    direction = torch.sign(levels[1:] - levels[:-1])
    count = torch.ones_like(direction)
    for k in range(1, len(direction)):
        regular = (direction[k - 1] == direction[k]) & (direction[k] != 0) & torch.isfinite(snr[k - 1])
        count[k] = torch.where(regular, (count[k - 1] + 1).clamp(max=order), torch.ones_like(count[k]))
    return torch.where(torch.isfinite(snr[1:]), count, torch.ones_like(count)).long()


def coefficients(
    solver: Solver,
    schedule: Schedule,
    levels: Tensor,
    eta: float = 0.0,
    renoise: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Coefficients:
    """Everything the loop needs for one field. levels: (steps + 1, *map) float64, the path's levels; map broadcasts to x."""
    levels = levels.double().cpu().contiguous()
    return _coefficients(solver, schedule, levels.numpy().tobytes(), tuple(levels.shape), eta, renoise, dtype)


@functools.lru_cache(maxsize=64)
def _coefficients(
    solver: Solver,
    schedule: Schedule,
    data: bytes,
    shape: tuple[int, ...],
    eta: float,
    renoise: bool,
    dtype: torch.dtype,
) -> Coefficients:
    levels = torch.frombuffer(bytearray(data), dtype=torch.float64).reshape(shape)
    steps = len(levels) - 1
    a, b, c = step_factors(schedule, levels[:-1], levels[1:], eta, renoise)
    snr = schedule.log_snr(levels)
    usable = usable_history(schedule, levels, solver.order)
    if solver.taper:
        left = torch.arange(steps, 0, -1).reshape(-1, *(1,) * (levels.ndim - 1))
        usable = torch.where(torch.isinf(snr[-1]), torch.minimum(usable, left.expand_as(usable)), usable)
    table = _weight_table(solver, snr, usable, eta)
    correct = _corrector_table(solver, snr, levels, usable, eta)
    redo = (correct != 0).any(0)
    redoes = redo.reshape(steps, -1).any(1).tolist()
    return Coefficients(
        a.to(dtype).unbind(0),
        b.to(dtype).unbind(0),
        c.to(dtype).unbind(0),
        tuple(tuple(w) for w in table.to(dtype).unbind(1)),
        tuple(tuple(w) if again else () for w, again in zip(correct.to(dtype).unbind(1), redoes, strict=True)),
        redo.unbind(0),
        tuple(usable.reshape(steps, -1).amax(1).tolist()),
        tuple((c.reshape(steps, -1) > 0).any(1).tolist()),
        tuple((levels[1:] != levels[:-1]).reshape(steps, -1).any(1).tolist()),
        schedule.alpha(levels[:-1]).to(dtype).unbind(0),
        schedule.sigma(levels[:-1]).to(dtype).unbind(0),
    )


def _history(snr: Tensor, m: int) -> Tensor:
    """(m, steps, ...) log-SNRs of the newest m predictions at each step, newest first; NaN before the start."""
    steps = len(snr) - 1
    nothing = torch.full_like(snr[:1], float("nan"))
    return torch.stack([torch.cat([nothing.expand(j, *nothing.shape[1:]), snr[: steps - j]]) for j in range(m)])


def _weight_table(solver: Solver, snr: Tensor, usable: Tensor, eta: float) -> Tensor:
    """(order, steps, ...) weights of the newest predictions."""
    table = torch.zeros(solver.order, *usable.shape, dtype=torch.float64)
    table[0] = 1.0
    for m in range(2, min(solver.order, len(usable)) + 1):
        chosen = usable == m
        if chosen.any():
            table[:m][:, chosen] = weights(solver, _history(snr, m)[:, chosen], snr[1:][chosen], eta)
    for k, row in enumerate(solver.table):
        whole = usable[k] >= len(row)
        table[: len(row), k][:, whole] = (
            torch.tensor(row, dtype=torch.float64).reshape(-1, 1).expand(-1, int(whole.sum()))
        )
    return table


def _corrector_table(solver: Solver, snr: Tensor, levels: Tensor, usable: Tensor, eta: float) -> Tensor:
    """(order + 1, steps, ...) weights for redoing each step, zero where it is not redone."""
    table = torch.zeros(solver.order + 1, *usable.shape, dtype=torch.float64)
    if not solver.corrector:
        return table
    regular = torch.isfinite(snr[:-1]) & torch.isfinite(snr[1:]) & (levels[1:] != levels[:-1])
    regular[-1] = False
    for m in range(1, min(solver.order, len(usable)) + 1):
        chosen = regular & (usable == m)
        if chosen.any():
            table[: m + 1][:, chosen] = corrector_weights(_history(snr, m)[:, chosen], snr[1:][chosen], eta)
    return table
