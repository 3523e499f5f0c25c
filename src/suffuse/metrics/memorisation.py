"""Does a model repeat its training data? Distances to the nearest training sample, beside those of held-out samples."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_distances(points: Tensor, support: Tensor, chunk: int = 500) -> tuple[Tensor, Tensor]:
    """Distance of each of `points` (M, ...) to its nearest of `support` (N, ...), and which it is: two (M,) tensors."""
    points, support = points.flatten(1).float(), support.flatten(1).float()
    best, where = [], []
    for rows in points.split(chunk):
        parts = [torch.cdist(rows, part).min(dim=1) for part in support.split(20000)]
        values = torch.stack([part.values for part in parts])
        positions = torch.stack([part.indices + 20000 * k for k, part in enumerate(parts)])
        smallest = values.min(dim=0)
        best.append(smallest.values)
        where.append(positions.gather(0, smallest.indices[None])[0])
    return torch.cat(best), torch.cat(where)


def memorisation(made: Tensor, train: Tensor, held_out: Tensor) -> dict[str, float]:
    """Median distance of made samples to the nearest training sample, and the share that is suspiciously close.

    'closest_share' is the share of made samples closer to training data than the closest 1 % of held-out samples are;
    0.01 is expected of new samples, much more means copies. '_real' keys hold the same for the held-out samples.
    """
    ours, theirs = nearest_distances(made, train)[0], nearest_distances(held_out, train)[0]
    limit = theirs.double().quantile(0.01)
    return {
        "nearest_distance": ours.double().median().item(),
        "nearest_distance_real": theirs.double().median().item(),
        "closest_share": (ours <= limit).double().mean().item(),
        "closest_share_real": (theirs <= limit).double().mean().item(),
    }
