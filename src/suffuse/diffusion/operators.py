"""Linear measurements of fields (B, C, *grid), for DDNM, PiGDM and DPS: `apply` A, `adjoint` A^T, `inverse` A^+.

All but `Noise` keep constants (A 1 = 1), so that a shift and scale of the field shifts and scales the measurement alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """A = 1: the field itself, measured with noise (denoising)."""

    def apply(self, x: Tensor) -> Tensor:
        return x

    adjoint = inverse = apply


@dataclass(frozen=True)
class Downsample:
    """Means over blocks of `factor` cells along each of the last `dims` axes (super-resolution)."""

    factor: int
    dims: int = 2

    def apply(self, x: Tensor) -> Tensor:
        if any(size % self.factor for size in x.shape[-self.dims :]):
            raise ValueError(f"the grid {tuple(x.shape[-self.dims :])} is no multiple of {self.factor}")
        for axis in range(x.ndim - self.dims, x.ndim):
            x = x.unflatten(axis, (-1, self.factor)).mean(axis + 1)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        for axis in range(y.ndim - self.dims, y.ndim):
            y = y.repeat_interleave(self.factor, axis)
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inverse(y) / self.factor**self.dims


@dataclass(frozen=True)
class Blur:
    """Gaussian blur of `width` cells (standard deviation), periodic, along the last `dims` axes (deblurring).

    floor: frequencies kept by less than this are not inverted.
    """

    width: float
    dims: int = 2
    floor: float = 0.05

    def _gain(self, x: Tensor) -> Tensor:
        gain = torch.ones((), dtype=x.dtype, device=x.device)
        for k, size in enumerate(x.shape[-self.dims :]):
            frequency = torch.fft.fftfreq(size, dtype=x.dtype, device=x.device) * 2 * torch.pi
            part = torch.exp(-0.5 * (frequency * self.width) ** 2)
            gain = gain * part.reshape(-1, *[1] * (self.dims - 1 - k))
        return gain

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        axes = tuple(range(-self.dims, 0))
        return torch.fft.ifftn(torch.fft.fftn(x, dim=axes) * gain, dim=axes).real

    def apply(self, x: Tensor) -> Tensor:
        return self._filter(x, self._gain(x))

    adjoint = apply

    def inverse(self, y: Tensor) -> Tensor:
        gain = self._gain(y)
        return self._filter(y, torch.where(gain > self.floor, 1 / gain, torch.zeros_like(gain)))


@dataclass(frozen=True)
class Grey:
    """The mean of the channels (axis 1) by `weights`, which add up to 1 (colourising)."""

    weights: tuple[float, ...] = (0.299, 0.587, 0.114)

    def _row(self, like: Tensor) -> Tensor:
        return torch.tensor(self.weights, dtype=like.dtype, device=like.device).reshape(1, -1, *[1] * (like.ndim - 2))

    def apply(self, x: Tensor) -> Tensor:
        return (x * self._row(x)).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self._row(y)

    def inverse(self, y: Tensor) -> Tensor:
        return self.adjoint(y) / sum(w * w for w in self.weights)


@dataclass(frozen=True)
class Keep:
    """Entries where `mask` (broadcastable bool) is True; the rest is lost (inpainting)."""

    mask: Tensor

    def apply(self, x: Tensor) -> Tensor:
        return x * self.mask.to(x.dtype)

    adjoint = inverse = apply
