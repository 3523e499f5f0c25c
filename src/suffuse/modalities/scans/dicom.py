"""DICOM series in and out. Geometry, scaling, window and units are kept; patients are not.

Reading follows the Image Plane Module (DICOM PS3.3 C.7.6.2) and, for frames in one file, the Multi-frame Functional
Groups and the RT Dose grid. DICOM counts millimetres to the left, the back and the head (LPS); volumes here use RAS+.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import DataError
from suffuse.modalities.scans.volume import LIMIT, Volume, check_size

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
KEPT = (
    "Modality",
    "BodyPartExamined",
    "PatientPosition",
    "SpacingBetweenSlices",
    "SliceThickness",
    "PixelSpacing",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "Units",
    "DoseUnits",
    "DoseType",
    "DoseSummationType",
    "DoseGridScaling",
    "WindowCenter",
    "WindowWidth",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "SamplesPerPixel",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "GridFrameOffsetVector",
    "FrameIncrementPointer",
)
"""Attributes that describe numbers and geometry. Everything else, every identifier included, is left behind."""


@dataclass(frozen=True)
class DicomForm:
    """What a series needs to be written again. attributes: keyword -> element (those of `KEPT`); positions: one a slice."""

    sop_class: str
    attributes: dict[str, Any]
    positions: tuple[tuple[str, ...], ...]
    slopes: tuple[tuple[str, str] | None, ...]
    frames_in_one_file: bool = False
    names: tuple[str, ...] = ()


def dicom_files(folder: Path) -> list[Path]:
    """The files of a folder that carry DICOM's mark, sorted by name."""
    found = []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        with path.open("rb") as file:
            head = file.read(132)
        if head[128:] == b"DICM" or path.suffix.lower() == ".dcm":
            found.append(path)
    return found


def _open(path: Path) -> Any:
    import pydicom

    try:
        data = pydicom.dcmread(path)
    except Exception as error:
        raise DataError(
            f"{path.name}: not a readable DICOM file ({type(error).__name__}); it may be truncated."
        ) from error
    if "PixelData" not in data and "FloatPixelData" not in data:
        kind = data.SOPClassUID.name if "SOPClassUID" in data else "unknown kind"
        raise DataError(
            f"{path.name}: holds no pixels ({kind}), or is truncated before them; an image series is meant."
        )
    if int(data.get("SamplesPerPixel", 1)) != 1:
        raise DataError(
            f"{path.name}: {data.PhotometricInterpretation} colour pixels; a scan holds one number a pixel."
        )
    return data


def _numbers(data: Any, path: Path, limit: int) -> np.ndarray:
    """Stored numbers, (frames, rows, columns)."""
    shape = (int(data.get("NumberOfFrames", 1) or 1), int(data.Rows), int(data.Columns))
    bits = int(data.BitsAllocated)
    check_size(shape, max(1, bits // 8), path.name, limit)
    syntax = (
        data.file_meta.TransferSyntaxUID
        if getattr(data, "file_meta", None) and "TransferSyntaxUID" in data.file_meta
        else None
    )
    if syntax is None or not syntax.is_compressed:
        need, have = (
            -(-shape[0] * shape[1] * shape[2] * bits // 8),
            len(data.get("PixelData", b"") or data.get("FloatPixelData", b"")),
        )
        if have < need:
            raise DataError(f"{path.name}: truncated; {have} of {need} bytes of pixels are there.")
    try:
        return np.asarray(data.pixel_array).reshape(shape)
    except Exception as error:
        if syntax is not None and syntax.is_compressed:
            from pydicom.pixels import get_decoder

            try:
                missing = ", ".join(get_decoder(syntax).missing_dependencies)
            except NotImplementedError:
                missing = "no decoder is known"
            raise DataError(
                f"{path.name}: pixels compressed as {syntax.name} cannot be decoded here ({missing or error}); "
                "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or decompress the series first."
            ) from error
        raise DataError(f"{path.name}: pixels cannot be decoded ({error}).") from error


def _strings(values: Any) -> tuple[str, ...]:
    return tuple(str(getattr(v, "original_string", v)) for v in values)


def _frame_plane(data: Any, frame: int) -> tuple[Any, Any, Any]:
    """Position, orientation and pixel spacing of one frame, from the functional groups or the flat attributes; None if absent."""
    groups = [
        g[k]
        for k, g in (("PerFrameFunctionalGroupsSequence", data), ("SharedFunctionalGroupsSequence", data))
        if k in g
    ]
    items = [s[frame] if len(s.value) > frame else s[0] for s in groups if len(s.value)]

    def find(sequence: str, key: str) -> Any:
        for item in items:
            if sequence in item and key in item[sequence][0]:
                return item[sequence][0].get(key)
        return data.get(key)

    return (
        find("PlanePositionSequence", "ImagePositionPatient"),
        find("PlaneOrientationSequence", "ImageOrientationPatient"),
        find("PixelMeasuresSequence", "PixelSpacing"),
    )


def _axes(orientation: Any, spacing: Any, where: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit steps along columns (i), rows (j) and the slice normal, in LPS; spacing is applied to the first two."""
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    if abs(np.linalg.norm(row) - 1) > 1e-2 or abs(np.linalg.norm(column) - 1) > 1e-2 or abs(row @ column) > 1e-2:
        raise DataError(
            f"{where}: ImageOrientationPatient {list(map(float, orientation))} is not two perpendicular unit vectors."
        )
    down, right = float(spacing[0]), float(spacing[1])
    if down <= 0 or right <= 0:
        raise DataError(f"{where}: zero spacing in PixelSpacing {[down, right]}; both need to be above 0 mm.")
    return row * right, column * down, np.cross(row, column)


def _gaps(along: np.ndarray, where: str) -> None:
    """Refuses repeated, missing and unevenly spaced slices. along: sorted positions on the normal in millimetres."""
    gaps = np.diff(along)
    if not len(gaps):
        return
    usual = float(np.median(gaps))
    if usual <= 1e-6 or (gaps < 1e-3 * usual).any():
        raise DataError(f"{where}: two slices lie at the same place; give one series (one phase or echo) at a time.")
    odd = np.flatnonzero(np.abs(gaps - usual) > 0.02 * usual)
    if len(odd):
        many = gaps[odd[0]] / usual
        if len(odd) <= max(1, len(gaps) // 3) and abs(many - round(many)) < 0.05 and many > 1.5:
            raise DataError(
                f"{where}: missing slices: {round(many) - 1} between {along[odd[0]]:g} and {along[odd[0] + 1]:g} mm "
                f"(usual step {usual:g} mm)."
            )
        raise DataError(
            f"{where}: mixed spacings: slices are {gaps.min():g} to {gaps.max():g} mm apart; resample to an even step."
        )


def read_dicom(source: str | Path, series: str | None = None, limit: int = LIMIT) -> Volume:
    """Reads a DICOM series (a folder, or one file) as one volume with axes (columns, rows, slices).

    series: the SeriesInstanceUID, where a folder holds several. Raises DataError on missing slices, mixed spacings or
    sizes, several series, colour, truncated files, and compressed syntaxes without a decoder (which it names).
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source.name}: no such file or folder.")
    paths = dicom_files(source) if source.is_dir() else [source]
    if not paths:
        raise DataError(f"{source.name}: no DICOM files in this folder.")
    slices = [(_open(path), path) for path in paths]
    by_series = Counter(str(d.get("SeriesInstanceUID", "")) for d, _ in slices)
    if series is not None:
        slices = [(d, p) for d, p in slices if str(d.get("SeriesInstanceUID", "")) == series]
        if not slices:
            raise DataError(f"{source.name}: no series {series}; there are {', '.join(by_series)}.")
    elif len(by_series) > 1:
        listed = ", ".join(f"{uid} ({count} files)" for uid, count in by_series.items())
        raise DataError(f"{source.name}: {len(by_series)} series in one folder; choose one with series=...: {listed}.")
    first = slices[0][0]
    if len(slices) > 1 and any(int(d.get("NumberOfFrames", 1) or 1) > 1 for d, _ in slices):
        raise DataError(f"{source.name}: several files of many frames; a 3-D volume is meant, give one of them.")
    for key in ("Rows", "Columns", "BitsAllocated", "PixelRepresentation", "PhotometricInterpretation"):
        if len({str(d.get(key)) for d, _ in slices}) > 1:
            raise DataError(f"{source.name}: slices differ in {key}; give one series at a time.")
    for key in ("PixelSpacing", "ImageOrientationPatient"):
        values = [np.array(d.get(key) if d.get(key) is not None else [], float) for d, _ in slices]
        if any(v.shape != values[0].shape or np.abs(v - values[0]).max(initial=0) > 1e-4 for v in values):
            raise DataError(
                f"{source.name}: mixed {'spacings' if key == 'PixelSpacing' else 'orientations'}: slices differ in {key}."
            )
    check_size(
        (len(slices), int(first.Rows), int(first.Columns), int(first.get("NumberOfFrames", 1) or 1)),
        max(1, int(first.BitsAllocated) // 8),
        source.name,
        limit,
    )
    return (
        _many_frames(*slices[0], limit)
        if int(first.get("NumberOfFrames", 1) or 1) > 1
        else _many_files(slices, source, limit)
    )


def _many_files(slices: list[tuple[Any, Path]], source: Path, limit: int) -> Volume:
    first = slices[0][0]
    affine = np.eye(4)
    position, orientation, spacing = _frame_plane(first, 0)
    if orientation is not None and spacing is not None:
        i, j, normal = _axes(orientation, spacing, source.name)
        places = [_frame_plane(d, 0)[0] for d, _ in slices]
        if any(p is None for p in places):
            raise DataError(f"{source.name}: a slice has no ImagePositionPatient, so the order of slices is unknown.")
        along = np.array([np.array(p, float) @ normal for p in places])
        order = np.argsort(along, kind="stable")
        slices, along = [slices[n] for n in order], along[order]
        _gaps(along, source.name)
        origin = np.array(places[order[0]], float)
        if len(slices) > 1:
            step = (np.array(places[order[-1]], float) - origin) / (len(slices) - 1)
        else:
            step = normal * float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1.0)
        affine = TO_RAS @ np.vstack([np.column_stack([i, j, step, origin]), [0, 0, 0, 1]])
    elif len(slices) > 1:
        raise DataError(
            f"{source.name}: slices carry no position, orientation or spacing, so they make no volume; read them one by one."
        )
    elif spacing is not None:
        affine = TO_RAS @ np.diag([float(spacing[1]), float(spacing[0]), 1.0, 1.0])
    stored = np.stack([_numbers(d, p, limit)[0].T for d, p in slices], axis=-1)
    scales = [(d.get("RescaleSlope"), d.get("RescaleIntercept")) for d, _ in slices]
    slope = np.array([1.0 if s is None else float(s) for s, _ in scales])
    intercept = np.array([0.0 if b is None else float(b) for _, b in scales])
    even = (slope == slope[0]).all() and (intercept == intercept[0]).all()
    form = DicomForm(
        str(first.get("SOPClassUID", "")),
        {k: first[k] for k in KEPT if k in first},
        tuple(_strings(d.ImagePositionPatient) if d.get("ImagePositionPatient") is not None else () for d, _ in slices),
        tuple(None if s is None else (_strings([s])[0], _strings([b or 0])[0]) for s, b in scales),
        False,
        tuple(p.name for _, p in slices),
    )
    return Volume(
        stored,
        affine,
        float(slope[0]) if even else slope,
        float(intercept[0]) if even else intercept,
        form,
        name=source.name,
    )


def _many_frames(data: Any, path: Path, limit: int) -> Volume:
    stored = np.ascontiguousarray(_numbers(data, path, limit).transpose(2, 1, 0))
    frames = stored.shape[2]
    planes = [_frame_plane(data, f) for f in range(frames)]
    position, orientation, spacing = planes[0]
    affine = np.eye(4)
    if orientation is not None and spacing is not None and position is not None:
        i, j, normal = _axes(orientation, spacing, path.name)
        origin = np.array(position, float)
        step = normal * float(data.get("SpacingBetweenSlices") or data.get("SliceThickness") or 1.0)
        if data.get("GridFrameOffsetVector") is not None:
            offsets = np.array(data.GridFrameOffsetVector, float)
            if len(offsets) != frames:
                raise DataError(f"{path.name}: {len(offsets)} offsets for {frames} frames.")
            _gaps(np.sort(offsets), path.name)
            step = normal * (offsets[-1] - offsets[0]) / (frames - 1)
        elif any(p[0] is not None and list(p[0]) != list(position) for p in planes):
            along = np.array([np.array(p[0], float) @ normal for p in planes])
            order = np.argsort(along, kind="stable")
            stored, along = stored[:, :, order], along[order]
            _gaps(along, path.name)
            origin = np.array(planes[order[0]][0], float)
            step = (np.array(planes[order[-1]][0], float) - origin) / (frames - 1)
        affine = TO_RAS @ np.vstack([np.column_stack([i, j, step, origin]), [0, 0, 0, 1]])
    elif str(data.get("Modality", "")) in ("US", "XA", "RF"):
        raise DataError(f"{path.name}: {frames} frames in time where a 3-D volume is meant; read it as video.")
    slope = float(data.get("DoseGridScaling") or data.get("RescaleSlope") or 1.0)
    form = DicomForm(
        str(data.SOPClassUID),
        {k: data[k] for k in KEPT if k in data},
        (_strings(position) if position is not None else (),),
        (None,),
        True,
        (path.name,),
    )
    return Volume(stored, affine, slope, float(data.get("RescaleIntercept") or 0.0), form, name=path.name)
