"""Pictures of shapes: a small renderer that marches rays through a signed-distance grid, sheets, and turning views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse.files import atomic_write

COLOURS = ((205, 170, 125), (140, 175, 205), (165, 195, 140), (215, 150, 140), (190, 165, 210), (225, 195, 110))


def look(grids: Tensor, points: Tensor) -> Tensor:
    """(..., *P) trilinear values of grids (..., R, R, R) at points (*P, 3) of the cube [-1, 1]^3, axes x, y, z."""
    place = points.to(grids).reshape(1, 1, 1, -1, 3).flip(-1)  # grid_sample wants the last axis first
    fields = grids.reshape(1, -1, *grids.shape[-3:])
    values = F.grid_sample(fields, place, align_corners=False, padding_mode="border")
    return values.reshape(*grids.shape[:-3], *points.shape[:-1])


def lamp(right: Tensor, up: Tensor, forward: Tensor) -> Tensor:
    """Unit vector towards the light of a camera's axes: from behind it, the upper left."""
    return F.normalize(-forward * 0.8 + up * 0.7 - right * 0.5, dim=0)


def camera(yaw: float, elevation: float) -> tuple[Tensor, Tensor, Tensor]:
    """(right, up, forward) unit vectors; yaw 0 looks along +y (at the front), angles in degrees."""
    a, e = math.radians(yaw), math.radians(elevation)
    forward = torch.tensor([math.sin(a) * math.cos(e), math.cos(a) * math.cos(e), -math.sin(e)])
    right = torch.tensor([math.cos(a), -math.sin(a), 0.0])
    return right, torch.linalg.cross(right, forward), forward


def render(
    grid: np.ndarray,
    yaw: float = 30.0,
    elevation: float = 25.0,
    size: int = 96,
    colour: tuple[int, ...] = COLOURS[0],
    steps: int = 56,
) -> np.ndarray:
    """(size, size, 3) bytes: a parallel view of the zero surface of signed distances in cells, lit from the upper left."""
    field = torch.as_tensor(np.asarray(grid, np.float32))
    right, up, forward = camera(yaw, elevation)
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    plane = (-axis[:, None, None] * up + axis[None, :, None] * right) * 1.35
    depth = torch.linspace(-1.75, 1.75, steps)
    points = plane[:, :, None] + depth[:, None] * forward
    outside = (points.abs() > 1).any(-1)
    values = torch.where(outside, torch.ones(()), look(field, points))
    hit = values < 0
    first = hit.int().argmax(-1)
    seen = hit.any(-1)
    late = values.gather(-1, first[..., None])[..., 0]
    early = values.gather(-1, (first - 1).clamp(min=0)[..., None])[..., 0].clamp(min=1e-4)
    share = early / (early - late).clamp(min=1e-6)
    where = depth[(first - 1).clamp(min=0)] + share * (depth[1] - depth[0])
    spot = plane + where[..., None] * forward
    reach = 2.0 / len(field)
    normal = torch.stack([look(field, spot + d) - look(field, spot - d) for d in torch.eye(3) * reach], dim=-1)
    normal = F.normalize(normal, dim=-1)
    light = lamp(right, up, forward)
    shade = 0.35 + 0.65 * (normal @ light).clamp(min=0)
    shade = torch.where(seen, shade, torch.zeros(()))[..., None]
    back = torch.full((size, size, 3), 250.0)
    picture = torch.where(seen[..., None], shade * torch.tensor(colour, dtype=torch.float32), back)
    return picture.clamp(0, 255).to(torch.uint8).numpy()


def sheet(
    grids: Sequence[np.ndarray],
    columns: int = 8,
    size: int = 96,
    yaw: float = 30.0,
    colours: Sequence[int] | None = None,
) -> Any:
    """A PIL image of many shapes in rows. colours: which of COLOURS each takes."""
    from PIL import Image

    return Image.fromarray(_tiles(grids, columns, size, yaw, colours))


def _tiles(
    grids: Sequence[np.ndarray], columns: int, size: int, yaw: float, colours: Sequence[int] | None
) -> np.ndarray:
    columns = min(columns, len(grids))
    rows = -(-len(grids) // columns)
    out = np.full((rows * size, columns * size, 3), 250, np.uint8)
    for k, grid in enumerate(grids):
        colour = COLOURS[(colours[k] if colours is not None else 0) % len(COLOURS)]
        top, left = k // columns * size, k % columns * size
        out[top : top + size, left : left + size] = render(grid, yaw, size=size, colour=colour)
    return out


def turning(
    grids: Sequence[np.ndarray],
    path: str | Path,
    columns: int = 8,
    size: int = 80,
    views: int = 18,
    colours: Sequence[int] | None = None,
) -> Path:
    """A GIF in which the shapes turn once around."""
    from PIL import Image

    frames = [
        Image.fromarray(_tiles(grids, columns, size, 360.0 * k / views, colours)).quantize(64) for k in range(views)
    ]
    path = Path(path)
    with atomic_write(path) as partial:
        frames[0].save(partial, save_all=True, append_images=frames[1:], duration=110, loop=0)
    return path
