"""NIfTI-1 and NIfTI-2 in and out: stored numbers, affine, spacing, units and scaling kept bit for bit."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import DataError
from suffuse.files import atomic_write
from suffuse.modalities.scans.volume import LIMIT, NOTICE, Volume, check_affine, check_size

SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class NiftiForm:
    """The header as read, and the shape with its trailing axes of length one."""

    header: Any
    shape: tuple[int, ...]


def _header(raw: bytes, where: str) -> Any:
    import nibabel

    for kind in (nibabel.Nifti1Header, nibabel.Nifti2Header):
        if len(raw) >= kind.template_dtype.itemsize:
            header = kind(raw[: kind.template_dtype.itemsize], check=False)
            if header["sizeof_hdr"] == kind.sizeof_hdr:
                return header
    raise DataError(f"{where}: not a NIfTI file, or cut off within its header.")


def _check_header(header: Any, where: str, limit: int) -> tuple[int, ...]:
    dim = [int(v) for v in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise DataError(f"{where}: the header claims {dim[0]} axes; a scan has 2 or 3.")
    shape = tuple(dim[1 : dim[0] + 1])
    kept = shape
    while len(kept) > 3 and kept[-1] == 1:
        kept = kept[:-1]
    if len(kept) > 3:
        raise DataError(
            f"{where}: {len(kept)}-D ({' x '.join(map(str, shape))}) where a 3-D volume is meant; save one frame of it."
        )
    if len(kept) < 2:
        raise DataError(f"{where}: {len(kept)}-D where a 2-D or 3-D scan is meant.")
    if int(header["datatype"]) in (128, 2304, 32, 1792):
        raise DataError(f"{where}: colour or complex voxels; a scan holds one real number a voxel.")
    try:
        dtype = header.get_data_dtype()
    except Exception as error:
        raise DataError(f"{where}: unknown voxel type (code {int(header['datatype'])}).") from error
    check_size(kept, dtype.itemsize, where, limit)
    spacing = np.abs(header["pixdim"][1 : len(kept) + 1])
    if not (spacing > 0).all() or not np.isfinite(spacing).all():
        raise DataError(
            f"{where}: zero spacing along axis {int(np.argmin(spacing))}; every axis needs a spacing above 0 mm."
        )
    return kept


def read_nifti(source: str | Path | bytes, name: str = "", limit: int = LIMIT) -> Volume:
    """Reads one volume from a .nii or .nii.gz file, or from its bytes.

    Raises DataError on 4-D data, zero spacing, truncated files, and volumes above `limit` bytes (before they are read).
    """
    import nibabel

    where = name or (
        source.name if isinstance(source, Path) else "NIfTI bytes" if isinstance(source, bytes) else Path(source).name
    )
    try:
        raw = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror}).") from error
    try:
        if raw[:2] == b"\x1f\x8b":
            head = gzip.GzipFile(fileobj=BytesIO(raw)).read(544)
            kept = _check_header(_header(head, where), where, limit)
            raw = gzip.GzipFile(fileobj=BytesIO(raw)).read(limit + (1 << 20))
        else:
            kept = _check_header(_header(raw, where), where, limit)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{where}: truncated or broken compression; fetch the file again.") from error
    kind = nibabel.Nifti2Image if int(_header(raw, where)["sizeof_hdr"]) == 540 else nibabel.Nifti1Image
    try:
        image = kind.from_bytes(raw)
        stored = np.asanyarray(image.dataobj.get_unscaled())
    except Exception as error:
        raise DataError(
            f"{where}: truncated or damaged ({type(error).__name__}); the header promises {' x '.join(map(str, kept))} voxels."
        ) from error
    if np.issubdtype(stored.dtype, np.floating) and not np.isfinite(stored).any():
        raise DataError(f"{where}: no voxel holds a finite number.")
    check_affine(image.affine, where)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    form = NiftiForm(image.header.copy(), tuple(image.shape))
    return Volume(stored.reshape(kept), np.array(image.affine), float(slope), float(intercept), form, name=where)


def _image(volume: Volume) -> Any:
    import nibabel

    if np.ndim(volume.slope) or np.ndim(volume.intercept):
        stored, slope, intercept = volume.values, 1.0, 0.0
    else:
        stored, slope, intercept = volume.stored, float(volume.slope), float(volume.intercept)
    if stored.dtype == bool:
        stored = stored.astype(np.uint8)
    shape = stored.shape
    if isinstance(volume.form, NiftiForm) and np.prod(volume.form.shape) == stored.size:
        header = volume.form.header.copy()
        shape = volume.form.shape
        kind = nibabel.Nifti2Image if int(header["sizeof_hdr"]) == 540 else nibabel.Nifti1Image
    else:
        kind, header = nibabel.Nifti1Image, nibabel.Nifti1Header()
        header.set_xyzt_units("mm")
        header.set_data_dtype(stored.dtype)
        header["scl_slope"] = 1.0
    scaled = np.isfinite(float(header["scl_slope"])) or slope != 1.0 or intercept != 0.0
    header.extensions.clear()
    for text in ("descrip", "db_name", "aux_file", "intent_name"):
        if text in header.keys():
            header[text] = b""
    header["descrip"] = (NOTICE if volume.synthetic else "written by suffuse").encode()
    image = kind(stored.reshape(shape), volume.affine, header)
    image.header.set_data_dtype(stored.dtype)
    image.header.set_slope_inter(slope if scaled else 1.0, intercept if scaled else 0.0)
    return image


def write_nifti(volume: Volume, path: str | Path) -> Path:
    """Writes .nii or .nii.gz, whole or not at all.

    Stored numbers, scaling, both affines and units are those of the file the volume came from; free text and header
    extensions, which may name a patient, are never copied; synthetic volumes say so in `descrip`.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        path = path.with_name(path.name + ".nii.gz")
    raw = _image(volume).to_bytes()
    with atomic_write(path) as partial:
        partial.write_bytes(gzip.compress(raw, 6, mtime=0) if path.name.endswith(".gz") else raw)
    return path
