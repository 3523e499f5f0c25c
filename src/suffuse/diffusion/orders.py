"""Orders in which masked tokens open: per sample, never per batch.

Each order answers, for tokens that are masked now, which stay masked after this step. All randomness comes from `draw(name)`,
a function that returns x-shaped uniforms in (0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from suffuse.diffusion.process import Categorical

Draw = Callable[[str], Tensor]


class Order(Protocol):
    """adaptive: steps are a cap; sampling ends when nothing is masked. An order that masks visible tokens again also has
    `remasks = True`."""

    adaptive: bool

    def next(
        self, masked: Tensor, free: Tensor, logits: Tensor, process: Categorical, now: Tensor, then: Tensor, draw: Draw
    ) -> Tensor:
        """Which tokens are masked after this step, (B, *entries) bool.

        masked: tokens masked now. free: tokens that may change at all (not given, existing, not held). logits: (B, *entries, K).
        now, then: clock levels before and after, broadcastable.
        """
        ...


def _ranked(score: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    """Masked tokens of each sample by rising score: (order (B, M) of flat positions, rank (B, M) of each position)."""
    flat = torch.where(masked, score, torch.full_like(score, float("inf"))).flatten(1)
    order = flat.argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return order, rank


def _open_first(masked: Tensor, score: Tensor, count: Tensor) -> Tensor:
    """Open the `count` (B,) masked tokens of lowest score in each sample; returns what stays masked."""
    _, rank = _ranked(score, masked)
    return masked & (rank.reshape(masked.shape) >= count.reshape(-1, *(1,) * (masked.ndim - 1)))


def entropies(logits: Tensor) -> Tensor:
    """Entropy in nats of each prediction, (...,)."""
    log_p = torch.log_softmax(logits.double(), dim=-1)
    return -(log_p.exp() * log_p.clamp(min=-1e30)).sum(-1)


@dataclass(frozen=True)
class Ancestral:
    """Each masked token opens by itself with probability (alpha_s - alpha_t) / (1 - alpha_t) (Sahoo et al. 2024)."""

    adaptive: bool = False

    def next(
        self, masked: Tensor, free: Tensor, logits: Tensor, process: Categorical, now: Tensor, then: Tensor, draw: Draw
    ) -> Tensor:
        return masked & (draw("open") >= process.jump(now, then))


@dataclass(frozen=True)
class FirstHitting:
    """A fixed number of masked tokens a call, in random order (Zheng et al. 2024: one a call is exact)."""

    tokens: int = 1
    adaptive: bool = True

    def next(
        self, masked: Tensor, free: Tensor, logits: Tensor, process: Categorical, now: Tensor, then: Tensor, draw: Draw
    ) -> Tensor:
        count = torch.full((len(masked),), self.tokens, device=masked.device)
        return _open_first(masked, draw("open"), count)


@dataclass(frozen=True)
class LeftToRight:
    """The leftmost `tokens` masked tokens a call."""

    tokens: int = 1
    adaptive: bool = True

    def next(
        self, masked: Tensor, free: Tensor, logits: Tensor, process: Categorical, now: Tensor, then: Tensor, draw: Draw
    ) -> Tensor:
        place = torch.arange(masked[0].numel(), device=masked.device, dtype=torch.float64).reshape(1, *masked.shape[1:])
        count = torch.full((len(masked),), self.tokens, device=masked.device)
        return _open_first(masked, place.expand(masked.shape), count)


@dataclass(frozen=True)
class Confidence:
    """All tokens whose likeliest class has at least `threshold` probability, and always the surest one
    (Wu et al. 2025). Known to repeat itself when used alone."""

    threshold: float = 0.9
    adaptive: bool = True

    def next(
        self, masked: Tensor, free: Tensor, logits: Tensor, process: Categorical, now: Tensor, then: Tensor, draw: Draw
    ) -> Tensor:
        sure = torch.softmax(logits.double(), -1).amax(-1)
        count = (masked & (sure >= self.threshold)).flatten(1).sum(1).clamp(min=1)
        return _open_first(masked, -sure, count)


@dataclass(frozen=True)
class EntropyBounded:
    """The largest set of lowest-entropy tokens whose summed entropy less the largest stays within gamma nats, at least one
    (Ben-Hamu et al. 2025, algorithm 1)."""

    gamma: float = 0.1
    adaptive: bool = True

    def next(
        self, masked: Tensor, free: Tensor, logits: Tensor, process: Categorical, now: Tensor, then: Tensor, draw: Draw
    ) -> Tensor:
        entropy = entropies(logits)
        order, _ = _ranked(entropy, masked)
        ordered = torch.where(masked, entropy, torch.full_like(entropy, float("inf"))).flatten(1).gather(1, order)
        # sorted upwards, so the largest of the first k is the k-th, and the sum without it is the sum before it
        before = torch.cat([torch.zeros_like(ordered[:, :1]), ordered.cumsum(1)[:, :-1]], dim=1)
        count = (torch.isfinite(ordered) & (before <= self.gamma)).sum(1).clamp(min=1)
        return _open_first(masked, entropy, count)


@dataclass(frozen=True)
class Remask:
    """Ancestral opening, and visible tokens masked again with a share `eta` of the largest admissible probability
    sigma_max = min(1, (1 - alpha_s) / alpha_t), so that early mistakes are mended (ReMDM, Wang et al. 2025, 'rescaled').
    Active while the clock is at most `below`."""

    eta: float = 0.2
    below: float = 1.0
    adaptive: bool = False
    remasks: bool = True

    def next(
        self, masked: Tensor, free: Tensor, logits: Tensor, process: Categorical, now: Tensor, then: Tensor, draw: Draw
    ) -> Tensor:
        a_t, a_s = process.schedule.alpha(now), process.schedule.alpha(then)
        largest = torch.where(a_t > 0, (1 - a_s) / a_t.clamp(min=1e-12), torch.ones_like(a_t)).clamp(0, 1)
        sigma = torch.where(now <= self.below, self.eta * largest, torch.zeros_like(largest))
        opening = ((a_s - (1 - sigma) * a_t) / (1 - a_t).clamp(min=1e-12)).clamp(0, 1)
        u = draw("open")
        return torch.where(masked, u >= opening, free & (u < sigma))


@dataclass(frozen=True)
class Even:
    """Ancestral opening with its expected number of tokens, rounded up, instead of a random one: `by` 'random' order, 'entropy'
    (surest first) or 'left' (from the left). Fewer tokens meet in one call than when each opens by itself."""

    by: str = "random"
    adaptive: bool = False

    def __post_init__(self) -> None:
        if self.by not in ("random", "entropy", "left"):
            raise ValueError(f"tokens open by 'random', 'entropy' or 'left', not '{self.by}'")

    def next(
        self,
        masked: Tensor,
        free: Tensor,
        logits: Tensor,
        process: Categorical,
        now: Tensor,
        then: Tensor,
        draw: Draw,
    ) -> Tensor:
        jump = process.jump(now, then).expand(masked.shape)
        expected = torch.where(masked, jump, torch.zeros_like(jump)).flatten(1).sum(1)
        count = torch.ceil(expected - 1e-4).long()
        if self.by == "random":
            score = draw("open")
        elif self.by == "entropy":
            score = entropies(logits)
        else:
            score = (
                torch.arange(masked[0].numel(), device=masked.device)
                .reshape(1, *masked.shape[1:])
                .expand(masked.shape)
                .float()
            )
        return _open_first(masked, score, count)


@dataclass(frozen=True)
class Blocks:
    """Blocks of `size` tokens from left to right, any order inside (Nie et al. 2025, semi-autoregressive): only tokens of each
    sample's leftmost block that is not complete may open. `inner` must be adaptive, so that a block takes what it needs."""

    size: int = 16
    inner: Order = EntropyBounded()
    adaptive: bool = True

    def next(
        self,
        masked: Tensor,
        free: Tensor,
        logits: Tensor,
        process: Categorical,
        now: Tensor,
        then: Tensor,
        draw: Draw,
    ) -> Tensor:
        number = torch.arange(masked.shape[-1], device=masked.device) // self.size
        first = torch.where(masked, number, torch.full_like(number, masked.shape[-1])).amin(-1, keepdim=True)
        here = masked & (number == first)
        stay = self.inner.next(here, free, logits, process, now, then, draw)
        return torch.where(here, stay, masked)


@dataclass(frozen=True)
class Stripes:
    """Every sample's free tokens are cut into equal stripes of at most `length`, and all stripes open from the left at once, one
    token each a call: what opens together lies a stripe apart, hence nearly independent, and next to what is known
    (dilated groups as in Luxembourg et al. 2025, 'Plan for Speed', here from the left). Takes at most `length` calls."""

    length: int = 16
    adaptive: bool = True

    def next(
        self, masked: Tensor, free: Tensor, logits: Tensor, process: Categorical, now: Tensor, then: Tensor, draw: Draw
    ) -> Tensor:
        free, flat = free.expand(masked.shape).flatten(1), masked.flatten(1)
        total = free.sum(1, keepdim=True)
        stripes = torch.ceil(total / self.length).clamp(min=1)
        place = (free.cumsum(1) - 1) % torch.ceil(total / stripes).clamp(min=1).long()
        first = torch.where(flat, place, place.new_full((), self.length)).amin(1, keepdim=True)
        return masked & (place > first).reshape(masked.shape)
