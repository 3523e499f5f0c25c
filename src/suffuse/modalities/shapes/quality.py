"""Figures of quality for shapes: Chamfer distance, nearest-neighbour test, watertight share; real against real beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.modalities.shapes.files import Shape
from suffuse.modalities.shapes.grid import Frame, sample_points, to_mesh
from suffuse.modalities.shapes.rays import Cameras


def chamfer(a: Tensor, b: Tensor) -> Tensor:
    """Chamfer distance of clouds a (..., N, 3) and b (..., M, 3): mean squared nearest distance, both ways added (...,)."""
    d = torch.cdist(a, b).square()
    return d.amin(-1).mean(-1) + d.amin(-2).mean(-1)


def chamfer_table(a: Tensor, b: Tensor, block: int = 64) -> Tensor:
    """(n, m) Chamfer distances between every cloud of a (n, N, 3) and of b (m, M, 3)."""
    rows = [torch.cat([chamfer(one[None], part) for part in b.split(block)]) for one in a]
    return torch.stack(rows)


def one_nna(made: Tensor, real: Tensor) -> float:
    """1-NN accuracy in percent (Lopez-Paz & Oquab 2017; Yang et al. 2019): 50 means that nobody can tell the sets apart."""
    clouds = torch.cat([made, real])
    table = chamfer_table(clouds, clouds)
    table.fill_diagonal_(float("inf"))
    own = torch.arange(len(clouds)) < len(made)
    return float((own[table.argmin(1)] == own).float().mean() * 100)


def cloud_of(grid: np.ndarray, points: int = 512, seed: int = 0) -> np.ndarray | None:
    """Points on the surface of signed distances in cells, in the cube [-1, 1]^3; None where there is no surface."""
    shape: Shape = to_mesh(grid, Frame(np.full(3, -1.0), 2.0), keep=0.03)
    return sample_points(shape, points, seed) if len(shape.faces) else None


def clouds_of(grids: Sequence[np.ndarray], points: int = 512, seed: int = 0) -> Tensor:
    """(n, points, 3) float32; grids without a surface are left out."""
    found = [cloud_of(g, points, seed + k) for k, g in enumerate(grids)]
    return torch.from_numpy(np.stack([c for c in found if c is not None])).float()


def silhouette_overlap(cameras: Cameras, grid: np.ndarray, other: np.ndarray) -> float:
    """Mean over the views of the intersection over union of two shapes' sharp silhouettes; signed distances in cells."""
    one, two = (cameras.render(torch.from_numpy(g), 10.0, 0.1)[0] > 0.5 for g in (grid, other))
    return float(((one & two).flatten(1).sum(1) / (one | two).flatten(1).sum(1).clamp(min=1)).mean())


def evaluate(
    model: Any, data: Any, samples: int = 64, seed: int = 0, steps: int | None = None, points: int = 256
) -> dict[str, float]:
    """1-NNA against held-out shapes (and of two halves of real shapes), the share of watertight and of empty meshes, and the
    accuracy of labels in one call."""
    from suffuse.modalities.shapes.modality import DEPTH

    count = min(samples, len(data) // 2)
    real = [model.modality.unscale(g)[0].numpy() * DEPTH for g in data.batch(torch.arange(2 * count)).x["grid"]]
    made = model.sample(count, steps=steps, seed=seed)
    clouds = clouds_of([s.grid for s in made if len(s.faces)], points)
    out = {
        "one_nna": one_nna(clouds, clouds_of(real[:count], points, 10_000)),
        "one_nna_real": one_nna(clouds_of(real[count:], points, 20_000), clouds_of(real[:count], points, 10_000)),
        "watertight": float(np.mean([len(s.faces) > 0 and s.mesh().is_watertight for s in made])),
        "empty": float(np.mean([len(s.faces) == 0 for s in made])),
    }
    if model.modality.labels:
        chosen = model.predict(data, "label")[:, 0].argmax(-1)
        out["label_accuracy"] = float((chosen == data.labels["label"]).float().mean())
    return out
