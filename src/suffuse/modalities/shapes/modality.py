"""Shapes as truncated signed-distance grids: generate, complete, label, edit; meshes out, watertight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.files import check_memory
from suffuse.modalities.contract import SAMPLING
from suffuse.modalities.grids import GridNetwork
from suffuse.modalities.labelled import LabelledGrid, Rows, learn_scale
from suffuse.modalities.shapes import verbs as sugar
from suffuse.modalities.shapes.files import MESHES, Shape, read_grids, read_shape, write_shape
from suffuse.modalities.shapes.grid import Frame, from_voxels, to_grid, to_mesh
from suffuse.modalities.shapes.solids import KINDS, solids

DEPTH = 3.0
"""Distances are cut off at so many cells from the surface."""
WARP = 0.5
"""The level is the clock to this power: many cells tell of one form, so that it is decided at levels near 1."""


class Shapes(LabelledGrid):
    """Solids on a grid; the field `grid` is (B, 1, R, R, R), axes x, y, z, negative inside."""

    name = "shapes"
    summary = (
        "Shapes in 3-D (PLY, OBJ, GLB, STL, OFF, point clouds, voxels): generate, complete, label; watertight meshes."
    )
    extra = "shapes"
    numbered = True
    field = "grid"
    verbs = {"complete": sugar.complete}

    # -- reading ---------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        if isinstance(source, Shape) or (hasattr(source, "vertices") and hasattr(source, "export")):
            return 1.0
        if isinstance(source, (list, tuple)) and source:
            return cls.recognises(source[0])
        if isinstance(source, str) and source == "solids":
            return 1.0
        if not isinstance(source, (str, Path)) or not Path(source).expanduser().exists():
            return 0.0
        path = Path(source).expanduser()
        if path.suffix.lower() in (*MESHES, ".xyz"):
            return 1.0
        if path.suffix.lower() == ".npz":
            try:
                with np.load(path, allow_pickle=False) as loaded:
                    return 0.95 if {"voxels", "sdf", "occupancy"} & set(loaded.files) else 0.0
            except (ValueError, OSError):
                return 0.0
        if path.is_dir():
            return 0.95 if any(p.suffix.lower() in MESHES for p in list(path.rglob("*"))[:200]) else 0.0
        return 0.0

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        size: int | None = None,
        count: int = 4000,
        classes: str | Sequence[str] | None = None,
        limit: int | None = None,
        width: int = 48,
        patch: int = 2,
        warp: float = WARP,
    ) -> tuple[Shapes, Rows]:
        """source: "solids" (the procedural family, `count` of them), a mesh or cloud, a folder of them (sub-folder = label), an
        .npz of voxels or signed distances, shapes. size: cells along each edge (default 24, or the file's own up to 32).
        classes: names of the labels in a file. limit: at most so many shapes. width: of the network's first resolution.
        patch: cells along each edge that it folds into one (4 trains several times faster, and sees less detail).
        warp: the level trained at is the clock to this power; above 1 is more of detail, below 1 more of the whole form."""
        grids, labels, named = _read_all(source, size, count, limit)
        if classes is not None:
            named = classes.split(",") if isinstance(classes, str) else list(classes)
        if labels is not None and len(named) <= int(labels.max()):
            raise DataError(f"{len(named)} class names for {int(labels.max()) + 1} classes.")
        made = cls(size=int(grids.shape[-1]), labels={"label": named} if labels is not None else {}, width=int(width))
        if int(patch) != 2:
            made.config["patch"] = int(patch)
        stored = made._stored(grids)
        made.config |= {"warp": float(warp), **learn_scale(stored)}
        return made, Rows(made, stored, {} if labels is None else {"label": labels})

    def dataset(self, source: Any, *, count: int = 512, first: int = 1_000_000, limit: int | None = None) -> Rows:
        """More shapes for this model. count, first: of the procedural family (shapes from 1,000,000 on are held out)."""
        grids, labels, _ = _read_all(source, self.config["size"], count, limit, first)
        return Rows(self, self._stored(grids), {} if labels is None or not self.labels else {"label": labels})

    @staticmethod
    def _stored(grids: np.ndarray) -> Tensor:
        return torch.from_numpy(np.clip(grids / DEPTH, -1, 1)).to(torch.float16)[:, None]

    # -- the model's parts -------------------------------------------------------------------------------------------
    def network(self) -> nn.Module:
        from suffuse.networks.unet import UNet

        first = self.config["width"]
        widths, patch = (first, first * 5 // 3 // 8 * 8), self.config.get("patch", 2)
        backbone = UNet(2, 1, dims=3, widths=widths, patch=patch, condition=128)
        return GridNetwork(backbone, {"grid": 1}, labels={n: len(c) for n, c in self.labels.items()}, condition=128)

    @property
    def tasks(self) -> dict[str, float]:
        known = {"generate": 0.3, "complete": 0.25, "inpaint": 0.1}
        return known | ({"label": 0.3, "classify": 0.05} if self.labels else {})

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        if task != "complete":
            return super().start(task, batch, random, step)
        size = len(batch)
        index = torch.arange(size) if batch.index is None else batch.index
        start = super().start("inpaint", batch, random, step)  # conditions: given for half of the examples
        u = random.uniform((3,), index, step, "half")
        cells = batch.x["grid"].shape[2:]
        level = torch.zeros(size, 1, *cells)
        for axis, count in enumerate(cells):
            place = (torch.arange(count) + 0.5) / count
            cut = 0.25 + 0.5 * u[:, 1:2]
            asked = torch.where(u[:, 2:3] < 0.5, place < cut, place > cut).float()
            shape = [size, 1, 1, 1, 1]
            shape[axis + 2] = count
            level = torch.where(((u[:, 0] * 3).long() == axis).reshape(-1, 1, 1, 1, 1), asked.reshape(shape), level)
        start.levels["grid"] = level
        return start

    def defaults(self) -> dict[str, Any]:
        return {"batch": 8, "learning_rate": 3e-3, "optimiser": "muon", "sampling": dict(SAMPLING)}

    # -- asking ------------------------------------------------------------------------------------------------------
    def request(
        self, n: int, given: Any = None, *, index: Tensor, keep: str | None = None, ask: Sequence[str] | str = ()
    ) -> Task:
        """given: a shape (path, `Shape`, trimesh mesh, signed-distance array with NaN for unknown cells), a list of n, or a dict
        of grid and label. keep: which part of it holds, such as "z<0.5" or "x>0.4,y<0.6" (shares of the cube); the rest
        is asked."""
        thing, labels = self.split_given(given)
        size = self.config["size"]
        if thing is None:
            if keep is not None:
                raise AskError("keep says which part of a given shape holds; no shape is given.")
            task = self.pose(n, index, None, None, labels, ask, (1, size, size, size))
            task.frames = None
            return task
        grids, frames = [], []
        for one in thing if isinstance(thing, (list, tuple)) else [thing]:
            grid, frame = _one_grid(one, size)
            grids.append(grid)
            frames.append(frame)
        stored = torch.from_numpy(np.stack(grids))[:, None]
        known = torch.isfinite(stored)
        if keep is not None:
            known = known & region(keep, size)[None, None]
        if known.all():
            known = torch.ones((len(stored), 1, 1, 1, 1), dtype=torch.bool)
        value = (torch.nan_to_num(stored) / DEPTH).clamp(-1, 1)
        task = self.pose(n, index, self.scale(value), known, labels, ask)
        task.frames = frames
        return task

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[Shape]:
        """`Shape` objects: watertight meshes in the units of the given shape, or in the cube [-1, 1]^3."""
        frames, size, out = getattr(task, "frames", None), self.config["size"], []
        values = self.unscale(fields["grid"][:, 0]).numpy() * DEPTH
        for row, grid in enumerate(values):
            frame = frames[row % len(frames)] if frames else Frame(np.full(3, -1.0), 2.0)
            known = self.decoded_labels(fields, row)
            label = self.labels["label"].index(known["label"]) if "label" in known else None
            shape = to_mesh(grid, frame, label, keep=0.03)
            out.append(replace(shape, grid=grid, name=known.get("label", f"shape_{row:03d}")))
        assert all(s.grid.shape == (size,) * 3 for s in out)
        return out

    def mask(self, mask: Any, task: Task) -> Tensor:
        """A region such as "z>0.5" (shares of the cube), or a bool array of the grid: True is changed."""
        return region(mask, self.config["size"])[None, None] if isinstance(mask, str) else super().mask(mask, task)

    def write(self, samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
        """One shape to a mesh file (.ply, .obj, .glb, .stl, .off) or .npz; several to a folder of .ply files, or one .npz."""
        path, samples = Path(path), list(samples)
        if path.suffix.lower() == ".npz" and len(samples) > 1:
            from suffuse.files import atomic_write

            with atomic_write(path) as partial, partial.open("wb") as file:
                np.savez_compressed(file, sdf=np.stack([s.grid for s in samples]))
            return [path]
        if path.suffix:
            if len(samples) != 1:
                raise AskError(
                    f"{len(samples)} shapes do not fit into the one file {path.name}; name a folder or a .npz file."
                )
            return [write_shape(samples[0], path)]
        names = (f"{k:03d}{'.ply' if len(s.vertices) else '.npz'}" for k, s in enumerate(samples, first))
        return [write_shape(s, path / name) for s, name in zip(samples, names, strict=True)]

    def show(self, samples: Sequence[Any], path: Path) -> Path:
        """All shapes in rows; a .gif turns them."""
        from suffuse.modalities.shapes.pictures import sheet, turning

        path = Path(path)
        if path.suffix.lower() == ".gif":
            return turning([s.grid for s in samples], path)
        sheet([s.grid for s in samples]).save(path)
        return path

    def evaluate(self, model: Any, data: Rows, **options: Any) -> dict[str, float]:
        from suffuse.modalities.shapes.quality import evaluate

        return evaluate(model, data, **options)


def region(text: str, size: int) -> Tensor:
    """(R, R, R) bool of a region such as "z<0.5" or "x>0.2,y<0.6", in shares of the cube. Raises AskError."""
    place = (torch.arange(size) + 0.5) / size
    out = torch.ones(size, size, size, dtype=torch.bool)
    for part in str(text).split(","):
        found = re.fullmatch(r"\s*([xyz])\s*([<>])\s*(0?\.\d+|0|1|1\.0)\s*", part)
        if not found:
            raise AskError(f"{text!r} is no region; say for example z<0.5 or x>0.2,y<0.6 (shares of the cube).")
        axis, side, value = "xyz".index(found[1]), found[2], float(found[3])
        inside = place < value if side == "<" else place > value
        shape = [1, 1, 1]
        shape[axis] = size
        out = out & inside.reshape(shape)
    return out


def _as_shape(thing: Any) -> Shape:
    if isinstance(thing, Shape):
        return thing
    if isinstance(thing, (str, Path)):
        return read_shape(thing)
    if hasattr(thing, "vertices"):
        faces = np.asarray(getattr(thing, "faces", np.empty((0, 3))), np.int64).reshape(-1, 3)
        return Shape(np.asarray(thing.vertices, np.float64), faces, name="mesh")
    array = np.asarray(thing)
    if array.ndim == 2 and array.shape[1] == 3:
        from suffuse.modalities.shapes.files import check_shape

        check_shape(array, np.empty((0, 3), np.int64), "the cloud")
        return Shape(array.astype(np.float64), np.empty((0, 3), np.int64), name="cloud")
    raise AskError(
        f"an object of type {type(thing).__name__} with shape {array.shape} is no shape; "
        "give a path, a mesh, points (N, 3) or a grid."
    )


def _one_grid(thing: Any, size: int) -> tuple[np.ndarray, Frame]:
    """Signed distances in cells (NaN where unknown) and where their cube lies."""
    if isinstance(thing, Shape) and thing.grid is not None and thing.grid.shape == (size,) * 3:
        return thing.grid.astype(np.float32), Frame(np.full(3, -1.0), 2.0)
    if isinstance(thing, (str, Path)) and Path(thing).suffix.lower() in (".npz", ".npy"):
        grids, _, signed = read_grids(thing)
        thing = grids[0] if signed else grids[0].astype(bool)
    array = None if isinstance(thing, (Shape, str, Path)) or hasattr(thing, "vertices") else np.asarray(thing)
    if array is not None and array.ndim == 3:
        if array.shape != (size,) * 3:
            raise AskError(f"the grid has {array.shape} cells, and this model {size} along each edge.")
        return (from_voxels(array) if array.dtype == bool else array.astype(np.float32)), Frame(np.full(3, -1.0), 2.0)
    return to_grid(_as_shape(thing), size)


def _read_all(
    source: Any, size: int | None, count: int, limit: int | None, first: int = 0
) -> tuple[np.ndarray, Tensor | None, list[str]]:
    """(signed distances (N, R, R, R) in cells, labels or None, class names)."""
    if isinstance(source, str) and source == "solids":
        size = size or 24
        count = min(count, limit or count)
        check_memory(count * size**3 * 8, f"{count} solids of {size} cells")
        made = solids(count, size, first=first)
        return made["grid"] * (size / 2), torch.from_numpy(made["label"]), list(KINDS)
    if isinstance(source, (str, Path)) and Path(source).suffix.lower() in (".npz", ".npy"):
        array, labels, signed = read_grids(source)
        array = array[:limit]
        if size is not None and size != array.shape[-1]:
            raise DataError(f"{source}: grids of {array.shape[-1]} cells, and {size} are meant.")
        if array.shape[1] > 40 or len(set(array.shape[1:])) > 1:
            raise DataError(f"{source}: grids of {array.shape[1:]} cells; cubes of at most 40 cells an edge are meant.")
        full = np.array([k for k, g in enumerate(array) if signed or (g.any() and not g.all())], int)
        grids = np.stack([array[k] if signed else from_voxels(array[k]) for k in full])
        named = [] if labels is None else [str(k) for k in range(int(labels.max()) + 1)]
        return grids, None if labels is None else torch.from_numpy(labels[full].astype(np.int64)), named
    shapes = list(_shapes(source))[:limit]
    if not shapes:
        raise DataError(f"{source}: holds no shapes.")
    named = sorted({name for _, name in shapes if name})
    grids = np.stack([_one_grid(s, size or 24)[0] for s, _ in shapes])
    labels = torch.tensor([named.index(n) if n else -1 for _, n in shapes]) if named else None
    return grids, labels, named


def _shapes(source: Any):
    """(shape, label name or "") of a folder, file or list."""
    if isinstance(source, (list, tuple)):
        for one in source:
            yield from _shapes(one)
    elif isinstance(source, (str, Path)) and Path(source).expanduser().is_dir():
        for path in sorted(Path(source).expanduser().rglob("*")):
            if path.suffix.lower() in (*MESHES, ".xyz"):
                yield read_shape(path), path.parent.name if path.parent != Path(source).expanduser() else ""
    else:
        yield _as_shape(source), ""
