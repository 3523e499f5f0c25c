"""Frechet distance between two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance of Gaussians fitted to features a (N, D) and b (M, D).

    |m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)), Heusel et al. 2017, eq. 6, in float64. The trace of the root is the sum
    of singular values of A^(1/2) B^(1/2), which stays real where N < D. Raises ValueError on fewer than two rows or
    values that are not finite.
    """
    for features in (a, b):
        if features.ndim != 2 or features.shape[0] < 2 or not bool(torch.isfinite(features).all()):
            raise ValueError("the Frechet distance needs two or more rows of finite features on each side")
    a, b = a.double(), b.double()
    cov_a, cov_b = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    root = torch.linalg.svdvals(_square_root(cov_a) @ _square_root(cov_b)).sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root
    return max(float(distance), 0.0)


def _square_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def real_against_real(features: Tensor, other: Tensor, count: int, seed: int = 0) -> float:
    """The floor of `frechet` at `count` samples: a random `count` rows of real `features` against real `other` rows."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(features), generator=generator)[:count]
    return frechet(features[rows], other)
