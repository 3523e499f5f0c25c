"""Meshes, point clouds and voxels in and out: PLY, OBJ, GLB, STL, OFF (trimesh), XYZ, npz."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.arrays import Arrays
from suffuse.errors import DataError
from suffuse.files import atomic_write, check_memory

MESHES = (".ply", ".obj", ".glb", ".gltf", ".stl", ".off")
MAX_FACES = 4_000_000
MIN_POINTS = 32
"""Fewest points of a cloud that can stand for a surface."""


@dataclass(frozen=True)
class Shape:
    """One solid as a mesh, a point cloud or both, in its own units and axes.

    vertices: (V, 3) float64; faces: (F, 3) int64, empty for a point cloud. label: a class, or None.
    grid: (R, R, R) float32 signed distances in cells, negative inside, when the shape came from a grid (a model's answer).
    notes: what was dropped or mended while reading, in words.
    """

    vertices: np.ndarray
    faces: np.ndarray
    label: int | None = None
    grid: np.ndarray | None = None
    name: str = ""
    notes: tuple[str, ...] = field(default=())

    def mesh(self) -> Any:
        """As a trimesh.Trimesh (PointCloud without faces)."""
        import trimesh

        if not len(self.faces):
            return trimesh.PointCloud(self.vertices)
        return trimesh.Trimesh(self.vertices, self.faces, process=False)


def check_shape(vertices: np.ndarray, faces: np.ndarray, where: str) -> None:
    """Refuses empty, NaN, oversized, flat and point-like geometry."""
    if not len(vertices):
        raise DataError(f"{where}: an empty shape; it holds no points.")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices).all(axis=1)).sum())
        raise DataError(f"{where}: {bad} of {len(vertices)} points are NaN or infinite.")
    if len(faces) > MAX_FACES:
        raise DataError(f"{where}: {len(faces)} faces, at most {MAX_FACES} are read; simplify the mesh first.")
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise DataError(f"{where}: a face names point {int(faces.max())} of {len(vertices)}.")
    if not len(faces) and len(vertices) < MIN_POINTS:
        raise DataError(
            f"{where}: a cloud of {len(vertices)} points; at least {MIN_POINTS} are needed to stand for a surface."
        )
    extent = np.ptp(vertices, axis=0)
    if extent.max() <= 0 or extent.min() < 1e-6 * extent.max():
        raise DataError(
            f"{where}: flat, its extents are {' x '.join(f'{e:g}' for e in extent)}; a solid needs a volume."
        )


def read_shape(source: str | Path) -> Shape:
    """A mesh or point cloud from a file. Textures and materials are dropped, and `notes` says so; scenes are merged.

    Raises DataError on unknown, empty, broken, NaN, flat or oversized files and on clouds of a few points.
    """
    path = Path(source)
    if not path.is_file():
        raise DataError(f"there is no file {path}.")
    suffix = path.suffix.lower()
    if suffix in (".xyz", ".txt"):
        try:
            points = np.loadtxt(path, ndmin=2)
        except ValueError as error:
            raise DataError(f"{path.name}: not a table of numbers ({error}).") from error
        if points.shape[1] < 3:
            raise DataError(f"{path.name}: {points.shape[1]} columns where x, y, z are meant.")
        check_shape(points[:, :3], np.empty((0, 3), int), path.name)
        return Shape(points[:, :3], np.empty((0, 3), np.int64), name=path.name)
    if suffix not in MESHES:
        raise DataError(f"{path.name}: not a shape; known are {', '.join(MESHES)}, .xyz and .npz.")
    import trimesh

    check_memory(path.stat().st_size * 12, path.name)
    try:
        loaded = trimesh.load(path, process=False)
        notes = []
        if isinstance(loaded, trimesh.Scene):
            parts = [g for g in loaded.dump() if isinstance(g, (trimesh.Trimesh, trimesh.PointCloud))]
            if not parts:
                raise DataError(f"{path.name}: an empty shape; it holds no points.")
            if len(parts) > 1:
                notes.append(f"{len(parts)} parts merged")
            solid_parts = [g for g in parts if isinstance(g, trimesh.Trimesh)]
            loaded = trimesh.util.concatenate(solid_parts) if solid_parts else parts[0]
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"{path.name}: a broken or truncated {suffix[1:].upper()} file ({type(error).__name__}: {error})."
        ) from error
    vertices = np.asarray(getattr(loaded, "vertices", np.empty((0, 3))), np.float64).reshape(-1, 3)
    faces = np.asarray(getattr(loaded, "faces", np.empty((0, 3))), np.int64).reshape(-1, 3)
    check_shape(vertices, faces, path.name)
    if getattr(getattr(loaded, "visual", None), "kind", None) in ("texture", "vertex", "face"):
        notes.append("textures and colours dropped")
    if len(faces):
        merged = trimesh.Trimesh(vertices, faces, process=False)
        merged.merge_vertices(merge_tex=True, merge_norm=True)
        if not merged.is_watertight:
            notes.append("not watertight: gaps smaller than a grid cell are closed")
        if len(merged.edges_unique) and np.bincount(merged.edges_unique_inverse).max(initial=0) > 2:
            notes.append("not a manifold: some edges join more than two faces")
        vertices, faces = np.asarray(merged.vertices), np.asarray(merged.faces)
    return Shape(vertices, faces, name=path.name, notes=tuple(notes))


def read_grids(source: str | Path) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """(grids (N, R, R, R), labels (N,) or None, signed) of an npz or npy file.

    Keys: voxels (0/1, bool or uint8) or sdf (float distances in cells, negative inside); label. Raises DataError.
    """
    path = Path(source)
    arrays = Arrays(path)
    key = "" if arrays.single else next((k for k in ("sdf", "grid", "voxels", "occupancy") if k in arrays), None)
    if key is None:
        raise DataError(f"{path.name}: no array named voxels or sdf; it holds {', '.join(arrays) or 'nothing'}.")
    array, key = arrays[key], key or "voxels"
    labels = next((arrays[k].reshape(-1) for k in ("label", "labels") if k in arrays), None)
    if array.ndim == 3:
        array = array[None]
    if array.ndim == 5 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 4 or 0 in array.shape:
        raise DataError(f"{path.name}: {key} has {array.ndim} axes {array.shape}; (N, R, R, R) is meant.")
    if not np.isfinite(array).all():
        raise DataError(f"{path.name}: {key} holds NaN or infinite numbers.")
    if labels is not None and len(labels) != len(array):
        raise DataError(f"{path.name}: {len(labels)} labels for {len(array)} shapes.")
    signed = key in ("sdf", "grid")
    if not signed and not np.isin(np.unique(array), (0, 1)).all():
        raise DataError(f"{path.name}: voxels hold other numbers than 0 and 1; name signed distances 'sdf'.")
    return array, labels, signed


def write_shape(shape: Shape, path: str | Path) -> Path:
    """Writes .ply, .obj, .glb, .stl, .off (meshes; .ply also clouds), .xyz (points) or .npz (the grid), whole or not at all."""
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffix == ".npz":
        if shape.grid is None:
            raise DataError(f"{path.name}: this shape has no grid; write it as a mesh, such as .ply.")
        with atomic_write(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, sdf=shape.grid[None])
    elif suffix == ".xyz":
        with atomic_write(path) as partial:
            np.savetxt(partial, shape.vertices, fmt="%.9g")
    elif suffix in MESHES and suffix != ".gltf":
        if not len(shape.vertices):
            raise DataError(f"{path.name}: the shape is empty and cannot be written as a mesh.")
        if not len(shape.faces) and suffix != ".ply":
            raise DataError(f"{path.name}: a point cloud is written as .ply or .xyz.")
        raw = shape.mesh().export(file_type=suffix[1:])
        with atomic_write(path) as partial:
            partial.write_bytes(raw.encode() if isinstance(raw, str) else raw)
    else:
        raise DataError(
            f"{path.name}: shapes are written as {', '.join(m for m in MESHES if m != '.gltf')}, .xyz or .npz."
        )
    return path
