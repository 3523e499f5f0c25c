"""Classifier two-sample test (Lopez-Paz & Oquab 2017): can a classifier tell made from real?"""

from __future__ import annotations

import torch
from torch import Tensor


def two_sample_accuracy(a: Tensor, b: Tensor, folds: int = 5, ridge: float = 1e-2, seed: int = 0) -> float:
    """Cross-validated accuracy in [0, 1] of telling features a (N, D) from b (M, D); 0.5 is indistinguishable.

    The classifier is ridge logistic regression on standardised features and their squares and products (at most 64 of
    them after projection), fitted by Newton's method: deterministic given `seed`. Sides are cut to equal numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    count = min(len(a), len(b))
    if count < 2 * folds:
        raise ValueError(f"a two-sample test with {folds} folds needs at least {2 * folds} points on each side")
    a = a[torch.randperm(len(a), generator=generator)[:count]].flatten(1).double()
    b = b[torch.randperm(len(b), generator=generator)[:count]].flatten(1).double()
    x, y = torch.cat([a, b]), torch.cat([torch.zeros(count), torch.ones(count)]).double()
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-9)
    x = torch.cat([x, _products(x, generator), torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    order = torch.randperm(len(x), generator=generator)
    right = torch.zeros(len(x), dtype=torch.double)
    for fold in order.chunk(folds):
        train = torch.ones(len(x), dtype=torch.bool)
        train[fold] = False
        weights = _logistic(x[train], y[train], ridge)
        right[fold] = ((x[fold] @ weights > 0) == (y[fold] > 0.5)).double()
    return right.mean().item()


def _products(x: Tensor, generator: torch.Generator, width: int = 64) -> Tensor:
    """Squares of 64 random projections: second moments, which a linear classifier cannot see."""
    projection = torch.randn(x.shape[1], width, generator=generator, dtype=x.dtype) / x.shape[1] ** 0.5
    squares = (x @ projection) ** 2
    return (squares - squares.mean(0)) / squares.std(0).clamp(min=1e-9)


def _logistic(x: Tensor, y: Tensor, ridge: float, steps: int = 12) -> Tensor:
    weights = torch.zeros(x.shape[1], dtype=x.dtype)
    penalty = ridge * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    for _ in range(steps):
        p = torch.sigmoid(x @ weights)
        gradient = x.T @ (p - y) + penalty @ weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + penalty
        weights = weights - torch.linalg.solve(hessian, gradient)
    return weights
