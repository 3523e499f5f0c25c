"""Cases to files: NIfTI, DICOM series, PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from suffuse.errors import AskError
from suffuse.files import atomic_folder, atomic_write
from suffuse.modalities.scans.dicom_out import write_dicom
from suffuse.modalities.scans.nifti import SUFFIXES, write_nifti
from suffuse.modalities.scans.volume import NOTICE, Case, Volume


def write_png(volume: Volume, path: Path) -> Path:
    """A 2-D scan as an 8-bit picture (16-bit where its values need it), with the notice in its text."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if volume.stored.ndim != 2:
        raise AskError(f"{path.name}: a volume is no single picture; write .nii.gz, a DICOM folder, or use show().")
    text = PngInfo()
    text.add_text("Comment", NOTICE if volume.synthetic else "derived; not for clinical use")
    values = np.rint(volume.values)
    kind, top = (np.uint8, 255) if values.max() <= 255 else (np.uint16, 65535)
    with atomic_write(path) as partial:
        Image.fromarray(np.clip(values, 0, top).astype(kind)).save(partial, format="PNG", pnginfo=text)
    return path


def write_cases(cases: list[Case], path: Path, first: int = 0) -> list[Path]:
    """Write cases to one file, or a folder with NAME.nii.gz and NAME_mask.nii.gz each (2-D: .png); a path that ends in
    /dicom becomes a folder of DICOM series. first: number of the first case."""
    name = path.name.lower()
    if name.endswith((*SUFFIXES, ".png")):
        if len(cases) != 1 or len(cases[0].volumes) != 1:
            raise AskError(f"{len(cases)} cases do not fit into the one file {path.name}; name a folder.")
        return _one(cases[0], path.parent, path.name)
    if path.suffix and not path.is_dir():
        raise AskError(f"{path.name}: scans are written as .nii, .nii.gz, .png, a folder, or a folder named dicom.")
    if name == "dicom":
        written = []
        for k, case in enumerate(cases, first):
            for channel, volume in _named(case):
                written += write_dicom(volume, path / f"{k:03d}{channel}")
        return written
    flat = cases[0].reference.stored.ndim == 2
    with atomic_folder(path, existing="merge") as partial:
        made = [
            p
            for k, case in enumerate(cases, first)
            for p in _one(case, partial, f"{k:03d}{'.png' if flat else '.nii.gz'}")
        ]
    return [path / p.name for p in made]


def _named(case: Case) -> list[tuple[str, Volume]]:
    several = len(case.volumes) > 1
    out = [(f"_{n}" if several else "", v) for n, v in case.volumes.items() if v is not None]
    return out + ([("_mask", case.mask)] if case.mask is not None else [])


def _one(case: Case, folder: Path, name: str) -> list[Path]:
    ending = ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix
    head, written = name[: -len(ending)], []
    for channel, volume in _named(case):
        to = folder / f"{head}{channel}{ending}"
        written.append(write_png(volume, to) if ending == ".png" else write_nifti(volume, to))
    return written
