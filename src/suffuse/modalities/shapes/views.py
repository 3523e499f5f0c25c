"""Pictures of the procedural solids from all sides: what a view model learns from, each picture with its angle and no more."""

from __future__ import annotations

import numpy as np
import torch

from suffuse.modalities.shapes.rays import Cameras
from suffuse.modalities.shapes.solids import solids

BINS = 16
ELEVATION = 20.0
ANGLES = tuple(f"{360 * k / BINS:g}" for k in range(BINS))
"""Names of the view angles in degrees, the classes of a view model: 0 is the front, 90 a quarter turn."""


@torch.no_grad()
def solid_views(
    count: int, first: int = 0, each: int = 4, size: int = 32, seed: int = 0, cells: int = 24
) -> dict[str, np.ndarray]:
    """{"images": (count * each, size, size) uint8 grey, "labels": (count * each,) positions in ANGLES}.

    Solids first..first+count-1, each from `each` of the BINS angles drawn at random and shuffled, so that no two pictures are
    known to show the same solid. Background 0.
    """
    rng = np.random.default_rng([seed, first, 17])
    grids = solids(count, cells, first=first)["grid"] * (cells / 2)
    cameras = [Cameras([float(a)], ELEVATION, size) for a in ANGLES]
    images = np.empty((count * each, size, size), np.uint8)
    labels = np.empty(count * each, np.int64)
    for k, grid in enumerate(grids):
        field = torch.from_numpy(np.clip(grid, -3, 3))
        for j, angle in enumerate(rng.permutation(BINS)[:each]):
            shaded = cameras[angle].render(field)[1][0]
            images[k * each + j] = (shaded * 255).round().clamp(0, 255).numpy()
            labels[k * each + j] = angle
    order = rng.permutation(len(labels))
    return {"images": images[order], "labels": labels[order]}
