"""Minibatch optimal-transport coupling: which noise goes with which example of a batch.

Pairs that cross less make straighter paths, so that few steps go further (Pooladian et al., arXiv 2304.14772; Tong et al.,
arXiv 2302.00482). With conditions the plain coupling is biased: the noise given a condition is no longer the prior. The
condition-aware cost (Cheng & Schwing, arXiv 2503.10636, section 4) keeps noise with conditions like its own:

    cost(i, j) = |noise_i - x_j|^2 + w d(condition_i, condition_j)

For classes w is infinite: transport happens within each class. For continuous conditions w is found such that a pair (i, j)
is cheaper than the independent pair (i, i) for a share `ratio` of all pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def assignment(cost: Tensor) -> Tensor:
    """The cheapest permutation of a square cost matrix (N, N): (N,) int64, the column of each row. Needs scipy."""
    from scipy.optimize import linear_sum_assignment

    if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
        raise ValueError(f"an assignment needs a square cost, not {tuple(cost.shape)}")
    if not bool(torch.isfinite(cost).all()):
        raise ValueError("the costs of an assignment must be finite")
    _, column = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.as_tensor(column, dtype=torch.int64, device=cost.device)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2 over all but the first axis: (N, ...), (M, ...) -> (N, M), float32 or wider."""
    a, b = a.flatten(1), b.flatten(1)
    if a.dtype not in (torch.float32, torch.float64):
        a, b = a.float(), b.float()
    return torch.cdist(a, b).square()


def condition_weight(cost: Tensor, distance: Tensor, ratio: float, rounds: int = 30) -> float:
    """The weight w with mean(cost + w distance <= diag(cost)) closest to `ratio`, by bisection in log w.

    cost, distance: (N, N); distance is 0 on its diagonal, so the diagonal always counts.
    """
    own = cost.diagonal()[:, None]

    def share(w: float) -> float:
        return float((cost + w * distance <= own).double().mean())

    scale = float(cost.mean() / distance.mean().clamp(min=1e-12))
    if share(0.0) <= ratio:
        return 0.0
    low, high = 1e-6 * scale, 1e8 * scale
    for _ in range(rounds):
        middle = (low * high) ** 0.5
        if share(middle) > ratio:
            low = middle
        else:
            high = middle
    return high


def couple(
    x: Tensor, noise: Tensor, classes: Tensor | None = None, condition: Tensor | None = None, ratio: float = 0.05
) -> Tensor:
    """Noise reordered to go with x at the least cost, in the sense of the batch: the same shape, row j goes with x row j.

    x, noise: (N, ...) of one shape. classes: (N,) or (N, 1) int64 labels, transported within each class.
    condition: (N, ...) continuous conditions; `ratio` as above (smaller keeps closer to the prior given the condition).
    """
    if x.shape != noise.shape:
        raise ValueError(f"data {tuple(x.shape)} and noise {tuple(noise.shape)} must have one shape")
    if classes is not None:
        labels = classes.reshape(len(x), -1)
        _, group = torch.unique(labels, dim=0, return_inverse=True)
        out = noise.clone()
        for k in group.unique().tolist():
            rows = (group == k).nonzero()[:, 0]
            out[rows] = couple(x[rows], noise[rows], None, None if condition is None else condition[rows], ratio)
        return out
    cost = squared_distances(noise, x)
    if condition is not None:
        distance = squared_distances(condition, condition)
        cost = cost + condition_weight(cost, distance, ratio) * distance
    order = assignment(cost)
    out = torch.empty_like(noise)
    out[order] = noise
    return out
