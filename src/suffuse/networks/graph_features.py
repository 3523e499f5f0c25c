"""What a graph transformer cannot see by itself: random walks and short cycles of a batch of graphs."""

from __future__ import annotations

import torch
from torch import Tensor


def random_walks(adjacency: Tensor, steps: int) -> Tensor:
    """(B, N, N, steps) probabilities that a walk from i is at j after 1 .. `steps` steps (Ma et al., "GRIT", ICML 2023).

    adjacency: (B, N, N) of 0 and 1, row i the edges that leave i. A node without edges has zero rows.
    """
    walk = adjacency / adjacency.sum(-1, keepdim=True).clamp(min=1)
    powers = [walk]
    for _ in range(steps - 1):
        powers.append(powers[-1] @ walk)
    return torch.stack(powers, dim=-1)


def node_cycles(adjacency: Tensor) -> Tensor:
    """(B, N, 3) how many cycles of length 3, 4 and 5 pass through each node.

    adjacency: (B, N, N), symmetric, 0 and 1, zero diagonal. From traces of its powers less the walks that are not
    cycles (Harary & Manvel, "On the number of cycles in a graph", 1971, per node).
    """
    a = adjacency
    degree = a.sum(-1)
    a2 = a @ a
    a3 = a2 @ a
    triangles = a3.diagonal(dim1=1, dim2=2)
    a4 = (a2 * a2.transpose(1, 2)).sum(-1)
    a5 = (a2 * a3.transpose(1, 2)).sum(-1)
    squares = a4 - degree * (degree - 1) - (a @ degree[..., None])[..., 0]
    pendant = (a * a2 * degree[:, None]).sum(-1)
    pentagons = a5 - 2 * triangles * degree - (a @ triangles[..., None])[..., 0] + 5 * triangles - 2 * pendant
    return torch.stack([triangles / 2, squares / 2, pentagons / 2], dim=-1)
