"""What the prior of a Gaussian process of diffusion looks like: white, centred, or correlated along real time.

Noise never depends on data: unknown entries take the marginal covariance on their own times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Fields


class Noise(Protocol):
    """Zero-mean noise of unit marginal variance (up to a projection)."""

    white: bool

    def sample(self, like: Tensor, context: Fields, random: Random, index: Tensor, step: int, field: str) -> Tensor:
        """Noise of the shape and dtype of `like` (B, ...), drawn for sample numbers `index` (B,)."""
        ...

    def project(self, x: Tensor, context: Fields) -> Tensor:
        """x restricted to the space the noise lives in (the identity unless the noise is centred)."""
        ...


@dataclass(frozen=True)
class White:
    """Independent standard normals."""

    white = True

    def sample(self, like: Tensor, context: Fields, random: Random, index: Tensor, step: int, field: str) -> Tensor:
        return random.normal(like.shape[1:], index, step, field, like.dtype)

    def project(self, x: Tensor, context: Fields) -> Tensor:
        return x


@dataclass(frozen=True)
class ZeroCentred:
    """White noise without its mean over the points of axis 1: for coordinates (B, N, 3) with no preferred origin
    (Hoogeboom et al. 2022, section 3). `exists` names a context mask (B, N) of the real points; when the context holds
    `fixed_origin` true for a sample (some points are given), its noise keeps full rank."""

    exists: str | None = None
    white = False

    def sample(self, like: Tensor, context: Fields, random: Random, index: Tensor, step: int, field: str) -> Tensor:
        return self.project(random.normal(like.shape[1:], index, step, field, like.dtype), context)

    def project(self, x: Tensor, context: Fields) -> Tensor:
        mask = context.get(self.exists) if self.exists else None
        keep = torch.ones_like(x[..., :1]) if mask is None else mask[..., None].to(x.dtype)
        mean = (x * keep).sum(1, keepdim=True) / keep.sum(1, keepdim=True).clamp(min=1)
        if "fixed_origin" in context:
            mean = mean * (~context["fixed_origin"].bool()).to(x.dtype).reshape(-1, 1, 1)
        return (x - mean) * keep


@dataclass(frozen=True)
class OrnsteinUhlenbeck:
    """Noise with covariance exp(-|s - t| / scale) along the last axis, as an exact AR(1) on the actual times.

    times: the context key of times (B, T), ascending, in the unit of `scale` (Bilos et al. 2023, section 3).
    """

    scale: float
    times: str = "times"
    white = False

    def sample(self, like: Tensor, context: Fields, random: Random, index: Tensor, step: int, field: str) -> Tensor:
        white = random.normal(like.shape[1:], index, step, field, like.dtype)
        times = context[self.times].to(like.dtype)
        decay = torch.exp(-(times[:, 1:] - times[:, :-1]).abs() / self.scale)
        while decay.ndim < like.ndim:
            decay = decay.unsqueeze(1)
        fresh = torch.sqrt((1 - decay**2).clamp(min=0))
        values = [white[..., 0]]
        for k in range(1, like.shape[-1]):
            values.append(decay[..., k - 1] * values[-1] + fresh[..., k - 1] * white[..., k])
        return torch.stack(values, dim=-1)

    def project(self, x: Tensor, context: Fields) -> Tensor:
        return x


@dataclass(frozen=True)
class RBF:
    """Gaussian-process noise with covariance exp(-(s - t)^2 / (2 scale^2)) along the last axis (Bilos et al. 2023).

    A small white share keeps the matrix well conditioned; the marginal variance is exactly 1.
    """

    scale: float
    times: str = "times"
    jitter: float = 1e-3
    white = False

    def sample(self, like: Tensor, context: Fields, random: Random, index: Tensor, step: int, field: str) -> Tensor:
        white = random.normal(like.shape[1:], index, step, field, like.dtype)
        times = context[self.times].double()
        gap = times[:, :, None] - times[:, None, :]
        size = times.shape[1]
        kernel = torch.exp(-0.5 * (gap / self.scale) ** 2) * (1 - self.jitter)
        kernel = kernel + self.jitter * torch.eye(size, dtype=torch.float64, device=times.device)
        root = torch.linalg.cholesky(kernel).to(like.dtype)
        while root.ndim < like.ndim + 1:
            root = root.unsqueeze(1)
        return (root @ white.unsqueeze(-1)).squeeze(-1)

    def project(self, x: Tensor, context: Fields) -> Tensor:
        return x
