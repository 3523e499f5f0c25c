"""Sources of scans: folders and archives of NIfTI, DICOM series, MedMNIST npz, arrays and objects, as a stream of cases."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.arrays import Arrays
from suffuse.errors import DataError
from suffuse.files import check_memory
from suffuse.modalities.scans.dicom import dicom_files, read_dicom
from suffuse.modalities.scans.nifti import SUFFIXES, read_nifti
from suffuse.modalities.scans.volume import Case, Volume

IMAGES = ("imagesTr", "images", "image")
MASKS = ("labelsTr", "labels", "masks", "mask", "seg")
ARCHIVES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".tar.bz2")


def stem(name: str) -> str:
    """A file's name without the endings of NIfTI."""
    name = Path(name).name
    for ending in (".nii.gz", ".nii", ".dcm"):
        if name.endswith(ending):
            return name[: -len(ending)]
    return name


def cases(source: Any, split: str = "train", unlabelled: bool = True) -> Iterator[Case]:
    """Every case of a source, one at a time, checked to lie on one grid.

    source: a NIfTI or DICOM file; a folder of NIfTI files (with images/ and labels/ as in the Medical Segmentation
    Decathlon, or one sub-folder a modality with the same file names, mask(s)/ among them); a folder of DICOM series; a tar
    archive of NIfTI files; a MedMNIST .npz; an array (N, H, W) or (N, D, H, W); volumes, cases or nibabel images.
    split: of an npz. unlabelled: keep cases whose mask is missing. Raises DataError.
    """
    for case in _cases(source, split):
        if case.mask is not None or unlabelled:
            yield case.check()


def _cases(source: Any, split: str) -> Iterator[Case]:
    if isinstance(source, (str, Path)):
        yield from _from_path(Path(source).expanduser(), split)
    elif isinstance(source, Case):
        yield source
    elif isinstance(source, Volume):
        yield Case({"image": source}, name=source.name)
    elif isinstance(source, np.ndarray):
        yield from _from_array(source, None, "array")
    elif hasattr(source, "dataobj"):
        yield Case({"image": read_nifti(source.to_bytes(), "image")})
    elif isinstance(source, (list, tuple)):
        for one in source:
            yield from _cases(one, split)
    else:
        raise DataError(
            f"an object of type {type(source).__name__} is no scan; give a path, an array or a nibabel image."
        )


def _from_path(path: Path, split: str) -> Iterator[Case]:
    name = path.name.lower()
    if not path.exists():
        raise DataError(f"there is no file or folder {path}.")
    if path.is_dir():
        yield from _from_folder(path)
    elif name.endswith(SUFFIXES):
        yield Case({"image": read_nifti(path)}, name=stem(name))
    elif name.endswith(ARCHIVES):
        yield from _from_tar(path)
    elif name.endswith((".npz", ".npy")):
        yield from _from_numpy(path, split)
    else:
        yield Case({"image": read_dicom(path)}, name=stem(name))


def _nifti_in(folder: Path) -> dict[str, Path]:
    found = sorted(p for p in folder.iterdir() if p.name.endswith(SUFFIXES) and not p.name.startswith("."))
    return {stem(p.name): p for p in found}


def _from_folder(folder: Path) -> Iterator[Case]:
    inside = {p.name: p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")}
    images = next((inside[n] for n in IMAGES if n in inside), None)
    masks = next((inside[n] for n in MASKS if n in inside), None)
    if images is not None and _nifti_in(images):
        yield from _decathlon(_nifti_in(images), _nifti_in(masks) if masks else {}, read_nifti)
        return
    by_modality = {n: files for n, p in inside.items() if n not in MASKS and (files := _nifti_in(p))}
    if by_modality:
        labels = _nifti_in(masks) if masks else {}
        for key in sorted(set().union(*by_modality.values())):
            volumes = {n: read_nifti(files[key]) if key in files else None for n, files in by_modality.items()}
            yield Case(volumes, read_nifti(labels[key]) if key in labels else None, name=key)
        return
    files = _nifti_in(folder)
    if files:
        for key, path in files.items():
            yield Case({"image": read_nifti(path)}, name=key)
        return
    if dicom_files(folder):
        yield Case({"image": read_dicom(folder)}, name=folder.name)
        return
    series = {n: p for n, p in inside.items() if dicom_files(p)}
    if not series:
        raise DataError(f"{folder}: no NIfTI files and no DICOM series in this folder.")
    for name, part in series.items():
        yield Case({"image": read_dicom(part)}, name=name)


def _decathlon(images: dict[str, Any], masks: dict[str, Any], read: Any) -> Iterator[Case]:
    """images: name -> file; a name that ends in _0000, _0001, ... is one modality of a case."""
    grouped: dict[str, dict[str, Any]] = {}
    for name, file in images.items():
        head, _, tail = name.rpartition("_")
        several = len(tail) == 4 and tail.isdigit() and head and head in masks
        grouped.setdefault(head if several else name, {})["channel" + tail if several else "image"] = file
    channels = sorted(set().union(*grouped.values()))
    for name, files in grouped.items():
        volumes = {c: read(files[c]) if c in files else None for c in channels}
        yield Case(volumes, read(masks[name]) if name in masks else None, name=name)


def _from_tar(path: Path) -> Iterator[Case]:
    try:
        with tarfile.open(path) as archive:
            members = [m for m in archive.getmembers() if m.isfile() and m.name.endswith(SUFFIXES)]
            check_memory(2 * sum(m.size for m in members), path.name)
            raw = {m.name: archive.extractfile(m).read() for m in members}  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path.name}: a broken or truncated archive ({error}).") from error
    if not raw:
        raise DataError(f"{path.name}: no NIfTI files in this archive.")
    masks = {stem(n): n for n in raw if Path(n).parent.name in MASKS}
    images = {stem(n): n for n in sorted(raw) if Path(n).parent.name not in MASKS}
    yield from _decathlon(images, masks, lambda name: read_nifti(raw[name], name))


def _from_numpy(path: Path, split: str) -> Iterator[Case]:
    arrays, labels = Arrays(path), None
    key = next((k for k in ("", f"{split}_images", "images", "volumes", "image") if k in arrays), None)
    if key is None:
        raise DataError(f"{path.name}: no array named {split}_images or images; it holds {', '.join(arrays)}.")
    images = arrays[key]
    label = next((k for k in (f"{split}_labels", "labels", "label") if k in arrays), None)
    if label and arrays[label].size == len(images):
        labels = arrays[label].reshape(-1)
    yield from _from_array(images, labels, path.name)


def _from_array(array: np.ndarray, labels: np.ndarray | None, where: str) -> Iterator[Case]:
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise DataError(f"{where}: an array of shape {array.shape}; (N, H, W) or (N, D, H, W) is meant.")
    if array.dtype.kind not in "uif":
        raise DataError(f"{where}: values of type {array.dtype}; a scan holds numbers.")
    for k, one in enumerate(array):
        label = None if labels is None else int(labels[k])
        yield Case({"image": Volume(one, np.eye(4), name=f"{where}[{k}]")}, label=label, name=f"{stem(where)}_{k:05d}")
