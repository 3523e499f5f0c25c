"""Between surfaces and signed-distance grids: meshes and clouds in, watertight meshes out (marching cubes).

Grids are (R, R, R) with axes x, y, z and values in cells, negative inside; cell k covers [k, k + 1) of the cube of side R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from suffuse.errors import DataError
from suffuse.modalities.shapes.files import Shape

MARGIN = 0.06
"""Share of the cube kept free on each side."""
FINE = 4
"""How many times finer the surface is rastered than the grid."""


@dataclass(frozen=True)
class Frame:
    """Where the cube lies in a shape's own coordinates: corner (3,) and side, in its units."""

    corner: np.ndarray
    side: float

    @classmethod
    def around(cls, vertices: np.ndarray) -> Frame:
        low, high = vertices.min(0), vertices.max(0)
        side = float((high - low).max()) / (1 - 2 * MARGIN)
        return cls((low + high) / 2 - side / 2, side)


def surface_points(vertices: np.ndarray, faces: np.ndarray, pitch: float) -> np.ndarray:
    """Points that cover every triangle no farther apart than `pitch`: (P, 3)."""
    corners = vertices[faces]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=-1).max(axis=1)
    steps = np.maximum(1, np.ceil(longest / pitch).astype(int))
    out = []
    for n in np.unique(steps):
        rows = corners[steps == n]
        i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
        keep = i + j <= n
        u, v = i[keep] / n, j[keep] / n
        weight = np.stack([1 - u - v, u, v], axis=1)
        for part in np.array_split(rows, max(1, len(rows) * len(weight) // 2_000_000)):
            out.append(np.einsum("wk,fkd->fwd", weight, part).reshape(-1, 3))
    return np.concatenate(out)


def to_grid(shape: Shape, size: int, frame: Frame | None = None) -> tuple[np.ndarray, Frame]:
    """Signed distances of a mesh or cloud on (size, size, size), and the cube they lie in.

    The surface is rastered FINE times finer, what it encloses is filled, and distances are measured to the raster, so
    meshes need not be manifold. Clouds, and meshes with holes, are widened until they enclose the most.
    Raises DataError when nothing is enclosed.
    """
    from scipy import ndimage

    frame = frame or Frame.around(shape.vertices)
    fine, where = size * FINE, shape.name or "shape"
    pitch = frame.side / fine
    points = surface_points(shape.vertices, shape.faces, pitch * 0.7) if len(shape.faces) else shape.vertices
    cells = np.floor((points - frame.corner) / pitch).astype(int)
    cells = cells[((cells >= 0) & (cells < fine)).all(axis=1)]
    surface = np.zeros((fine,) * 3, bool)
    surface[tuple(cells.T)] = True
    inside = ndimage.binary_fill_holes(surface) & ~surface
    reach = 0
    if not len(shape.faces) or inside.sum() < 0.02 * fine**3:
        sizes = [_enclosed(surface, r).sum() for r in range(1, 3 * FINE)]
        if max(sizes) > 2 * inside.sum():  # points, or a mesh with holes: widen it until it encloses the most
            reach = 1 + int(np.argmax(sizes))
            inside = _enclosed(surface, reach)
    if inside.sum() < 8:
        raise DataError(
            f"{where}: encloses no volume at a grid of {size} cells (open, or thinner than {pitch:.3g}); "
            "a closed surface is meant."
        )
    if reach:
        distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside) - (reach + 0.5)
    else:
        distance = ndimage.distance_transform_edt(~surface) * np.where(inside, -1.0, 1.0)
    coarse = distance.reshape(size, FINE, size, FINE, size, FINE).mean(axis=(1, 3, 5)) / FINE
    return coarse.astype(np.float32), frame


def _enclosed(surface: np.ndarray, reach: int) -> np.ndarray:
    from scipy import ndimage

    grown = ndimage.binary_dilation(surface, iterations=reach)
    return ndimage.binary_fill_holes(grown) & ~grown


def from_voxels(voxels: np.ndarray) -> np.ndarray:
    """Signed distances in cells of a 0/1 grid: the surface runs halfway between filled and empty centres."""
    from scipy import ndimage

    voxels = voxels.astype(bool)
    if voxels.all() or not voxels.any():
        return np.full(voxels.shape, -1.0 if voxels.all() else 1.0, np.float32) * max(voxels.shape)
    outside = ndimage.distance_transform_edt(~voxels) - 0.5
    inside = ndimage.distance_transform_edt(voxels) - 0.5
    return np.where(voxels, -inside, outside).astype(np.float32)


def to_mesh(grid: np.ndarray, frame: Frame | None = None, label: int | None = None, keep: float = 0.0) -> Shape:
    """The zero surface of a grid as a watertight mesh (marching cubes, Lewiner et al. 2003); empty when nothing is inside.

    keep: parts smaller than this share of the largest are left out (specks).
    """
    from scipy import ndimage
    from skimage.measure import marching_cubes

    grid = np.asarray(grid, np.float32)
    empty = Shape(np.empty((0, 3)), np.empty((0, 3), np.int64), label, grid)
    if keep > 0 and (grid < 0).any():
        parts, count = ndimage.label(grid < 0)
        sizes = ndimage.sum_labels(np.ones_like(grid), parts, np.arange(1, count + 1))
        small = np.isin(parts, 1 + np.flatnonzero(sizes < keep * sizes.max()))
        grid = np.where(small, np.float32(0.25), grid)
    if not (grid < 0).any():
        return empty
    away = max(1.0, float(np.abs(grid).max()))
    padded = np.pad(np.where(np.abs(grid) < 1e-5, np.float32(1e-5), grid), 1, constant_values=away)
    vertices, faces, _, _ = marching_cubes(padded, 0.0)
    vertices = vertices - 0.5  # cell k of the grid sits at k + 1 in the padded one, and its centre at k + 1/2
    if frame is not None:
        vertices = frame.corner + vertices * (frame.side / len(grid))
    return Shape(vertices.astype(np.float64), faces.astype(np.int64), label, grid)


def sample_points(shape: Shape, count: int, seed: int = 0) -> np.ndarray:
    """(count, 3) points drawn evenly by area from a mesh (or with replacement from a cloud)."""
    rng = np.random.default_rng(seed)
    if not len(shape.faces):
        return shape.vertices[rng.integers(len(shape.vertices), size=count)]
    corners = shape.vertices[shape.faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    picked = corners[rng.choice(len(area), size=count, p=area / area.sum())]
    u, v = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return picked[:, 0] * (1 - u) + picked[:, 1] * (u * (1 - v)) + picked[:, 2] * (u * v)
