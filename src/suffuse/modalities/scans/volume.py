"""What a scan is in memory: stored numbers, how they scale to physical values, and where they lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from suffuse.errors import DataError

LIMIT = 2 << 30
"""Largest volume that is read, in bytes of its stored numbers."""

NOTICE = "synthetic; not for clinical use (suffuse)"


@dataclass(frozen=True)
class Volume:
    """One scan of one modality on one grid.

    stored: the numbers as the file holds them, (I, J, K), or (rows, columns) of a 2-D image; any dtype,
      written back bit for bit.
    affine: (4, 4), from voxel index (i, j, k) to millimetres, axes to the right, the front and the head (RAS+).
    slope, intercept: physical value = slope * stored + intercept; numbers, or arrays that broadcast (one per slice).
    form: what only one file format knows (a NIfTI header, DICOM attributes); needed to write that format back exactly.
    synthetic: made or altered by a model. Such files are marked as derived, synthetic and not for clinical use.
    """

    stored: np.ndarray
    affine: np.ndarray
    slope: Any = 1.0
    intercept: Any = 0.0
    form: Any = None
    synthetic: bool = False
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape

    @property
    def values(self) -> np.ndarray:
        """Physical values, float32, shaped as `stored`."""
        return (self.stored * np.asarray(self.slope, np.float64) + np.asarray(self.intercept, np.float64)).astype(
            np.float32
        )

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along i, j, k in millimetres."""
        return tuple(float(v) for v in np.sqrt((self.affine[:3, :3] ** 2).sum(0)))

    @property
    def orientation(self) -> str:
        """Where the axes point, as three letters such as RAS."""
        import nibabel

        return "".join(nibabel.aff2axcodes(self.affine))

    def with_values(self, values: np.ndarray) -> Volume:
        """The same grid holding other physical values, in the storage and units of this one; marked synthetic.

        Integer storage rounds and clips; values of another shape are refused.
        """
        if values.shape != self.shape:
            raise DataError(
                f"{self.name or 'volume'}: values of shape {values.shape} do not fit the grid {self.shape}."
            )
        numbers = (np.asarray(values, np.float64) - self.intercept) / self.slope
        if np.issubdtype(self.stored.dtype, np.integer):
            limits = np.iinfo(self.stored.dtype)
            numbers = np.clip(np.rint(numbers), limits.min, limits.max)
        return replace(self, stored=numbers.astype(self.stored.dtype), synthetic=True)


@dataclass(frozen=True)
class Case:
    """One patient or phantom at one time: co-registered volumes, and what is known about them.

    volumes: modality name (such as T1) -> volume, or None where that modality is missing.
    mask: labels 0..K-1 on the same grid, or None. label: a class of the whole case, or None.
    """

    volumes: dict[str, Volume | None]
    mask: Volume | None = None
    label: int | None = None
    name: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> Volume:
        """The first volume that is there: its grid is the grid of the case."""
        for volume in (*self.volumes.values(), self.mask):
            if volume is not None:
                return volume
        raise DataError(f"{self.name or 'case'}: holds no volume at all.")

    def check(self) -> Case:
        """Refuses volumes and masks that do not lie on one grid, and masks that are not whole numbers."""
        base = self.reference
        tolerance = 1e-3 * min(base.spacing)
        for name, volume in {**self.volumes, "mask": self.mask}.items():
            if volume is None:
                continue
            where = f"{self.name or 'case'}: {name}"
            if volume.shape != base.shape:
                raise DataError(
                    f"{where} has the grid {_by(volume.shape)}, but {base.name or 'the first volume'} has "
                    f"{_by(base.shape)}; resample one onto the other."
                )
            if np.abs(volume.affine - base.affine).max() > max(tolerance, 1e-4):
                raise DataError(
                    f"{where} lies elsewhere than {base.name or 'the first volume'} (their affines differ); "
                    "resample one onto the other."
                )
        if self.mask is not None:
            values = self.mask.values
            if values.min() < 0 or np.any(values != np.rint(values)):
                raise DataError(
                    f"{self.name or 'case'}: the mask holds {values.min():g} to {values.max():g} with fractions or "
                    "negative numbers; labels must be whole numbers from 0."
                )
        return self


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(s) for s in shape)


def check_size(shape: tuple[int, ...], itemsize: int, where: str, limit: int = LIMIT) -> None:
    """Refuses what would not fit before memory is taken."""
    size = itemsize
    for length in shape:
        size *= int(length)
    if min(shape, default=0) < 1:
        raise DataError(f"{where}: the grid {_by(shape)} is empty; every axis needs at least one voxel.")
    if size > limit:
        raise DataError(
            f"{where}: the grid {_by(shape)} takes {size / 2**30:.1f} GiB; at most {limit / 2**30:.1f} GiB are read. "
            "Crop or downsample it."
        )


def check_affine(affine: np.ndarray, where: str) -> None:
    """Refuses an affine that is not finite, has a zero spacing or is singular."""
    if not np.isfinite(affine).all():
        raise DataError(f"{where}: the affine holds NaN or infinite numbers.")
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    if (spacing <= 0).any():
        raise DataError(
            f"{where}: zero spacing along axis {int(np.argmin(spacing))}; every axis needs a spacing above 0 mm."
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise DataError(
            f"{where}: the axes of the affine lie in one plane, so voxels have no place; correct the header."
        )


def oriented(volume: Volume, codes: str) -> Volume:
    """The same voxels with axes flipped and swapped so that they point along `codes` (such as RAS). Nothing is resampled."""
    import nibabel
    from nibabel import orientations as o

    if volume.orientation == codes or volume.stored.ndim != 3:
        return volume
    turn = o.ornt_transform(nibabel.io_orientation(volume.affine), o.axcodes2ornt(tuple(codes)))
    affine = volume.affine @ o.inv_ornt_aff(turn, volume.shape)

    def moved(numbers: Any) -> Any:
        spread = np.ndim(numbers) == 3
        return o.apply_orientation(np.broadcast_to(numbers, volume.shape), turn) if spread else numbers

    return replace(
        volume,
        stored=np.ascontiguousarray(o.apply_orientation(volume.stored, turn)),
        affine=affine,
        slope=moved(volume.slope),
        intercept=moved(volume.intercept),
    )
