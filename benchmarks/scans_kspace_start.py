"""What a quarter of k-space says of the rest in closed form: kernel ridge regression, which is the mean of a Gaussian process
(Rasmussen & Williams 2006, equations 2.25 and 5.10), over the training pictures. A start for line 5."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class KernelStart:
    """start(v): (N, 1, H, W) pictures that agree with the measurement of v; start.training: those of the training pictures, each
    foretold from all others (leave-one-out in closed form), so that errors there are what they are on new pictures.

    width: of the Gaussian kernel, in medians of squared distances between measurements. ridge: variance of the error.
    """

    def __init__(self, pictures: Tensor, operator: Any, width: float, ridge: float):
        self.operator = operator
        self.known = self._seen(pictures)
        shown, distance = self._inverse(pictures), torch.cdist(self.known, self.known).square()
        self.scale = width * float(distance.median())
        missing = (pictures - shown).flatten(1).double()
        self.mean = missing.mean(0)
        kernel = torch.exp(-distance / self.scale).double()
        kernel.diagonal().add_(ridge)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(kernel))
        weights = inverse @ (missing - self.mean)
        left_out = missing - weights / inverse.diagonal()[:, None]
        self.weights, self.training = weights.float(), shown + left_out.float().reshape(shown.shape)

    def _inverse(self, pictures: Tensor) -> Tensor:
        return self.operator.inverse(self.operator.apply(pictures))

    def _seen(self, pictures: Tensor) -> Tensor:
        return self._inverse(pictures).flatten(1)

    def __call__(self, pictures: Tensor) -> Tensor:
        kernel = torch.exp(-torch.cdist(self._seen(pictures), self.known).square() / self.scale)
        return self._inverse(pictures) + (kernel @ self.weights + self.mean.float()).reshape(pictures.shape)


def chosen_start(pictures: Tensor, operator: Any) -> tuple[KernelStart, str]:
    """The start whose leave-one-out error over the training pictures is lowest, and how that was chosen."""
    found = {}
    for width in (3.0, 6.0):
        for ridge in (3e-3, 1e-2):
            start = KernelStart(pictures, operator, width, ridge)
            found[width, ridge] = float(-10 * (start.training - pictures).square().mean().log10()), start
    best = max(found, key=lambda k: found[k][0])
    tried = ", ".join(f"{w:g} and {r:g}: {v[0]:.2f}" for (w, r), v in found.items())
    return found[best][1], f"width and ridge by leave-one-out on the training pictures (dB: {tried})"
