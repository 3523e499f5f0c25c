"""Measurements of scans as linear operators, for `model.restore`."""

from __future__ import annotations

import torch
from torch import Tensor


class KSpace:
    """Part of the orthonormal 2-D Fourier transform of real images (B, 1, H, W), as (B, 2, H, W): real and imaginary part.

    sampled: (H, W) bool, or (B, 1, H, W) where every image has its own, in the order of `torch.fft.fft2`. What was not
    sampled is zero.
    """

    def __init__(self, sampled: Tensor):
        self.keep = sampled.to(torch.float32)

    def apply(self, x: Tensor) -> Tensor:
        """Image to measurement."""
        f = torch.fft.fft2(x[:, 0].float(), norm="ortho")
        return torch.stack([f.real, f.imag], dim=1) * self.keep.to(x.device)

    def adjoint(self, y: Tensor) -> Tensor:
        """Measurement to image: zero-filled reconstruction."""
        y = y * self.keep.to(y.device)
        return torch.fft.ifft2(torch.complex(y[:, 0], y[:, 1]), norm="ortho").real[:, None]

    def inverse(self, y: Tensor) -> Tensor:
        """A pseudo-inverse: each coefficient and its mirror image tell of one another, as the image is real."""
        keep = self.keep.to(y.device)
        mirrored = torch.roll(keep.flip(-2, -1), (1, 1), (-2, -1))
        half = torch.where((keep > 0) & (mirrored == 0), 2.0, 1.0)
        return self.adjoint(y * half)


def lines(shape: tuple[int, int], factor: float, centre: float = 0.08, seed: int = 0) -> Tensor:
    """(H, W) bool: whole columns of k-space, the middle share `centre` of them and random others, one in `factor` in all."""
    high, wide = shape
    frequency = torch.fft.fftfreq(wide).abs()
    total, inner = max(1, round(wide / factor)), max(1, round(centre * wide))
    order = frequency.argsort(stable=True)
    generator = torch.Generator().manual_seed(seed)
    rest = order[inner:][torch.randperm(wide - inner, generator=generator)]
    columns = torch.zeros(wide, dtype=torch.bool)
    columns[order[:inner]] = True
    columns[rest[: max(0, total - inner)]] = True
    return columns.expand(high, wide).clone()
