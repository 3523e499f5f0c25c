"""Noise schedules: how much signal and noise an entry holds at a level t in [0, 1] (0 data, 1 prior).

Everything is written in the half log-SNR lambda = log(alpha / sigma), which falls from +inf at t = 0. All functions are
element-wise and keep the dtype of t.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Schedule(Protocol):
    """x_t = alpha(t) x_0 + sigma(t) noise, with alpha(0) = 1 and sigma(0) = 0."""

    def alpha(self, t: Tensor) -> Tensor: ...

    def sigma(self, t: Tensor) -> Tensor: ...

    def log_snr(self, t: Tensor) -> Tensor:
        """lambda = log(alpha / sigma): +inf at 0, and -inf at 1 where alpha(1) = 0."""
        ...

    def time(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`."""
        ...

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha / dt, d sigma / dt)."""
        ...


@dataclass(frozen=True)
class Cosine:
    """Variance preserving: alpha = cos(pi t / 2), sigma = sin(pi t / 2) (Nichol & Dhariwal 2021, without the offset)."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin((1 - t) * (math.pi / 2))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t * (math.pi / 2))

    def log_snr(self, t: Tensor) -> Tensor:
        return torch.log(self.alpha(t)) - torch.log(self.sigma(t))

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.atan2(torch.ones_like(log_snr), torch.exp(log_snr)) * (2 / math.pi)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -self.sigma(t) * (math.pi / 2), self.alpha(t) * (math.pi / 2)


@dataclass(frozen=True)
class Linear:
    """Flow matching's straight path: alpha = 1 - t, sigma = t (Lipman et al. 2022; Liu et al. 2022)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t.clone()

    def log_snr(self, t: Tensor) -> Tensor:
        return torch.log1p(-t) - torch.log(t)

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(t), torch.ones_like(t)


@dataclass(frozen=True)
class VE:
    """Variance exploding: alpha = 1, sigma = sigma_max t^rho, so a uniform grid in t is Karras' grid (EDM 2022, eq. 5)
    with a zero smallest sigma."""

    sigma_max: float = 80.0
    rho: float = 7.0

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * t**self.rho

    def log_snr(self, t: Tensor) -> Tensor:
        return -math.log(self.sigma_max) - self.rho * torch.log(t)

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.exp((-log_snr - math.log(self.sigma_max)) / self.rho)

    def slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(t), self.sigma_max * self.rho * t ** (self.rho - 1)


SCHEDULES: dict[str, type] = {"cosine": Cosine, "linear": Linear, "ve": VE}


def to_config(schedule: Schedule) -> dict[str, Any]:
    """A JSON form of a schedule."""
    return {"name": type(schedule).__name__.lower(), **asdict(schedule)}  # type: ignore[call-overload]


def from_config(config: dict[str, Any]) -> Schedule:
    """The inverse of `to_config`."""
    return SCHEDULES[config["name"]](**{k: v for k, v in config.items() if k != "name"})
