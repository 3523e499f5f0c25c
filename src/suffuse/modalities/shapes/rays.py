"""A differentiable renderer in plain torch: rays march through a signed-distance grid that absorbs and shines.

    cameras = Cameras([0, 90, 180, 270], size=32)
    silhouettes, shaded = cameras.render(grid)          # grid (R, R, R) signed distances in cells; both (4, 32, 32)

Density is a soft step of the signed distance (VolSDF, Yariv et al. 2021, eq. 2, with a logistic step); light is gathered by
emission and absorption (Max 1995; NeRF, Mildenhall et al. 2020, eq. 3). All of it is differentiable in the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse.errors import AskError
from suffuse.modalities.shapes.pictures import camera, lamp, look

EXTENT = 1.3
"""Half the side of what a parallel view shows, in the cube's own units."""
REACH = 1.45
"""Rays are followed so far before and behind the middle of the cube."""
AMBIENT = 0.3


class Cameras:
    """Some views of the cube [-1, 1]^3, their rays laid out once.

    yaws, elevation: degrees; yaw 0 looks at the front, along +y. size: pixels along each edge. steps: samples a ray.
    distance: of a pin-hole camera from the middle of the cube, with rays through the same picture plane; None is a parallel
    view. Raises AskError for a camera inside the cube.
    """

    def __init__(
        self,
        yaws: Sequence[float],
        elevation: float | Sequence[float] = 20.0,
        size: int = 32,
        steps: int = 32,
        distance: float | None = None,
    ):
        if distance is not None and distance <= REACH + 0.1:
            raise AskError(f"a camera {distance:g} from the middle stands inside the shape; at least {REACH + 0.2:g}.")
        heights = list(elevation) if isinstance(elevation, (list, tuple)) else [elevation] * len(yaws)
        self.size, self.count = size, len(yaws)
        axis = ((torch.arange(size) + 0.5) / size * 2 - 1) * EXTENT
        depth = ((torch.arange(steps) + 0.5) / steps * 2 - 1) * REACH
        points, lights, lengths = [], [], []
        self.planes: list[tuple[Tensor, Tensor]] = []
        for yaw, height in zip(yaws, heights, strict=True):
            right, up, forward = camera(float(yaw), float(height))
            self.planes.append((right, up))
            plane = -axis[:, None, None] * up + axis[None, :, None] * right
            if distance is None:
                ray = forward.expand(size, size, 3)
            else:
                ray = (plane + distance * forward) / distance  # unit steps along the view axis, longer ones aslant
            points.append(plane[:, :, None] + depth[:, None] * ray[:, :, None])
            lengths.append(ray.norm(dim=-1) * (2 * REACH / steps))
            lights.append(lamp(right, up, forward))
        everywhere = torch.stack(points)
        self.inside = (everywhere.abs() < 1).all(-1).flatten().nonzero()[:, 0]
        self.points = everywhere.reshape(-1, 3)[self.inside]
        self.shape = (self.count, size, size, steps)
        self.length = torch.stack(lengths)[..., None]
        each = self.inside // (size * size * steps)
        self.light = torch.stack(lights)[each]
        self.depth = depth

    def weights(self, distances: Tensor, cells: int, opacity: float = 4.0, softness: float = 0.3) -> Tensor:
        """(V, H, W, S) share of the light that each ray sample sends: T_i (1 - exp(-density_i length)).

        distances: (M,) signed distances at the inside points, in cells. opacity: density inside, per cell of way. softness: cells
        over which it falls off at the surface.
        """
        density = opacity * cells / 2 * torch.sigmoid(-distances / softness)
        thick = distances.new_zeros(math.prod(self.shape)).index_put((self.inside,), density).reshape(self.shape)
        thick = thick * self.length
        before = F.pad(thick.cumsum(-1), (1, 0))
        return torch.exp(-before[..., :-1]) - torch.exp(-before[..., 1:])

    def render(self, grid: Tensor, opacity: float = 4.0, softness: float = 0.3) -> tuple[Tensor, Tensor]:
        """(silhouettes, shaded pictures), both (V, H, W) in [0, 1], of signed distances (R, R, R) in cells; background 0.

        Shading is Lambert's, by a light that goes with the camera, from the grid's central differences."""
        cells = len(grid)
        seen = look(torch.cat([grid[None], slopes(grid)]), self.points)
        weight = self.weights(seen[0], cells, opacity, softness)
        normal = F.normalize(seen[1:], dim=0, eps=1e-4)
        shade = AMBIENT + (1 - AMBIENT) * (normal * self.light.T).sum(0).clamp(min=0)
        colour = grid.new_zeros(math.prod(self.shape)).index_put((self.inside,), shade).reshape(self.shape)
        return weight.sum(-1), (weight * colour).sum(-1)

    def depths(self, grid: Tensor, opacity: float = 4.0, softness: float = 0.3) -> Tensor:
        """(V, H, W) mean depth along the view axis of what is seen, from the middle of the cube; REACH where nothing is."""
        weight = self.weights(look(grid, self.points), len(grid), opacity, softness)
        return (weight * self.depth).sum(-1) + (1 - weight.sum(-1)) * REACH


def slopes(grid: Tensor) -> Tensor:
    """(3, R, R, R) central differences of a grid, its edges repeated."""
    padded = F.pad(grid[None, None], (1,) * 6, mode="replicate")[0, 0]
    inner = slice(1, -1)
    return 0.5 * torch.stack(
        [
            padded[2:, inner, inner] - padded[:-2, inner, inner],
            padded[inner, 2:, inner] - padded[inner, :-2, inner],
            padded[inner, inner, 2:] - padded[inner, inner, :-2],
        ]
    )
