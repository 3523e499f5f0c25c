"""Improved precision and recall of generated features (Kynkaanniemi et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor


def precision_recall(real: Tensor, made: Tensor, neighbours: int = 3, chunk: int = 1000) -> tuple[float, float]:
    """(precision, recall) of `made` (M, D) against `real` (N, D), in [0, 1].

    Precision is the share of made points within the manifold of real ones (closer to some real point than that
    point's k-th nearest real neighbour), recall the share of real points within that of the made ones. Both depend on
    the number of points: compare at equal N and M, beside real against real.
    """
    real, made = real.double(), made.double()
    return _covered(real, made, neighbours, chunk), _covered(made, real, neighbours, chunk)


def _covered(support: Tensor, points: Tensor, neighbours: int, chunk: int) -> float:
    if len(support) <= neighbours or not len(points):
        raise ValueError(f"precision and recall need more than {neighbours} points on each side")
    distances = (torch.cdist(rows, support) for rows in support.split(chunk))
    radii = torch.cat([rows.kthvalue(neighbours + 1, dim=1).values for rows in distances])
    inside = [(torch.cdist(rows, support) <= radii).any(dim=1) for rows in points.split(chunk)]
    return torch.cat(inside).double().mean().item()
