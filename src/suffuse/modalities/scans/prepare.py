"""From cases to tensors on one grid and back: intensities, cropping and padding about the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.errors import AskError, DataError
from suffuse.modalities.scans.volume import Case, Volume, oriented

CELLS = 65536
"""Most voxels of a grid that is chosen without being named."""


@dataclass(frozen=True)
class Place:
    """Where a grid lies in a case's own array: of each axis, the first voxel (negative: padding) and the length there."""

    first: tuple[int, ...]
    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def cut(self, array: np.ndarray, grid: Sequence[int], fill: float) -> np.ndarray:
        """The part of an array that lies on the grid; `fill` where there is none."""
        out = np.full(tuple(grid), fill, array.dtype)
        there, here = self._slices(grid)
        out[here] = array[there]
        return out

    def put(self, values: np.ndarray, fill: float, grid: Sequence[int]) -> np.ndarray:
        """The inverse of `cut`: an array of the case's own shape, `fill` outside the grid."""
        out = np.full(self.shape, fill, values.dtype)
        there, here = self._slices(grid)
        out[there] = values[here]
        return out

    def _slices(self, grid: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        there, here = [], []
        for first, size, cells in zip(self.first, self.shape, grid):
            low, high = max(first, 0), min(first + cells, size)
            there.append(slice(low, high))
            here.append(slice(low - first, high - first))
        return tuple(there), tuple(here)


def middle(shape: Sequence[int], grid: Sequence[int]) -> tuple[int, ...]:
    """The first voxel of a grid laid on the middle of an array."""
    return tuple((size - cells) // 2 for size, cells in zip(shape, grid))


def choose_grid(shapes: Sequence[Sequence[int]]) -> list[int]:
    """A grid for volumes of these shapes: the median size, in multiples of 8 (2-D: 4), of at most CELLS voxels."""
    size = np.median(np.array(shapes), axis=0)
    unit = 8 if len(size) == 3 else 4
    grid = np.maximum(unit, (size // unit) * unit).astype(int)
    while np.prod(grid) > CELLS:
        grid[np.argmax(grid)] -= unit
    return [int(g) for g in grid]


def intensity(volume: Volume, rule: Any) -> tuple[float, float]:
    """(low, high) that become 0 and 1: the fixed pair of the rule, or the 1st and 99.5th percentile of the volume."""
    if rule != "volume":
        return float(rule[0]), float(rule[1])
    values = volume.values
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, (1, 99.5))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return float(low), float(high if high > low else low + 1)


def choose_rule(case: Case) -> Any:
    """Which intensity rule suits the data: fixed limits for CT and for bytes, each volume's own percentiles otherwise."""
    volume = case.reference
    modality = str(getattr(getattr(volume.form, "attributes", {}).get("Modality", None), "value", ""))
    if modality == "CT":
        return [-1000.0, 1000.0]
    if volume.stored.dtype == np.uint8 and volume.stored.ndim == 2:
        return [0.0, 255.0]
    return "volume"


def reduce(volume: Volume) -> Volume:
    """A volume of one slice as a 2-D image (rows, columns), as pictures are; others as they are."""
    from dataclasses import replace

    if volume.stored.ndim == 3 and volume.shape[2] == 1:
        return replace(volume, stored=volume.stored[..., 0].T)
    return volume


def to_grid(case: Case, config: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | None, Place, Case]:
    """(image (C, *grid) float32 in 0..1, seen (C, *grid) bool, mask (*grid) int64 or None, where it lies, turned case).

    Voxels outside the volume, missing channels and NaN are not seen. Axes are turned to the model's orientation first.
    """
    grid, names = config["grid"], config["channels"]
    turned = {n: turn(case.volumes.get(n), config) for n in names}
    if len(names) == 1 and turned[names[0]] is None and len(case.volumes) == 1:
        turned = {names[0]: turn(next(iter(case.volumes.values())), config)}
    mask = turn(case.mask, config)
    case = Case(turned, mask, case.label, case.name, case.notes)
    base = case.reference
    if base.stored.ndim != len(grid):
        raise DataError(f"{case.name or 'case'}: {base.stored.ndim}-D, and {len(grid)}-D scans are meant here.")
    limits = [(0.0, 1.0) if turned[n] is None else intensity(turned[n], config["rule"]) for n in names]
    place = Place(middle(base.shape, grid), base.shape, tuple(a for a, _ in limits), tuple(b for _, b in limits))
    image = np.zeros((len(names), *grid), np.float32)
    seen = np.zeros((len(names), *grid), bool)
    for c, name in enumerate(names):
        if turned[name] is None:
            continue
        values = (turned[name].values - limits[c][0]) / (limits[c][1] - limits[c][0])
        part = place.cut(values.astype(np.float32), grid, np.nan)
        seen[c] = np.isfinite(part)
        image[c] = np.clip(np.nan_to_num(part), -1, 3)
    tokens = None
    if mask is not None:
        whole = np.rint(mask.values).astype(np.int64)
        if whole.max(initial=0) >= max(config["mask_classes"], 1):
            raise AskError(
                f"{case.name or 'mask'}: label {int(whole.max())}, and this model knows 0 to {config['mask_classes'] - 1}."
            )
        tokens = torch.from_numpy(place.cut(whole, grid, 0))
    return torch.from_numpy(image), torch.from_numpy(seen), tokens, place, case


def turn(volume: Volume | None, config: dict[str, Any]) -> Volume | None:
    """A volume with its axes as the model wants them."""
    if volume is None:
        return None
    if len(config["grid"]) == 2:
        return reduce(volume)
    return oriented(volume, config["orientation"])
