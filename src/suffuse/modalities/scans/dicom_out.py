"""DICOM out: new files with new identifiers, marked derived, synthetic and not for clinical use."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.files import atomic_folder
from suffuse.modalities.scans.dicom import TO_RAS, DicomForm
from suffuse.modalities.scans.volume import NOTICE, Volume

ANONYMOUS = "SYNTHETIC^NOT FOR CLINICAL USE"
_MULTI = {1: "1.2.840.10008.5.1.4.1.1.7.1", 8: "1.2.840.10008.5.1.4.1.1.7.2", 16: "1.2.840.10008.5.1.4.1.1.7.3"}
_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4", "PT": "1.2.840.10008.5.1.4.1.1.128"}
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"


def _number(value: float) -> str:
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))


def _base(volume: Volume, form: DicomForm, shared: dict[str, str]) -> Any:
    """A data set with the identifiers every file of one new series shares, and nothing of the patient."""
    from pydicom.dataset import Dataset

    now = datetime.datetime.now()
    d = Dataset()
    d.SOPClassUID = shared["sop_class"]
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = shared["study"], shared["series"], shared["frame"]
    d.ImageType = ["DERIVED", "SECONDARY", "SYNTHETIC" if volume.synthetic else "OTHER"]
    d.PatientName, d.PatientID = ANONYMOUS, "SYNTHETIC" if volume.synthetic else "ANONYMOUS"
    d.PatientBirthDate = d.PatientSex = d.AccessionNumber = d.ReferringPhysicianName = d.StudyID = ""
    d.PatientIdentityRemoved, d.DeidentificationMethod, d.BurnedInAnnotation = (
        "YES",
        "only numbers and geometry were kept",
        "NO",
    )
    d.ContentQualification = "RESEARCH"
    d.SeriesDescription = NOTICE if volume.synthetic else "derived; not for clinical use"
    d.DerivationDescription = NOTICE if volume.synthetic else "rewritten by suffuse; not for clinical use"
    d.Manufacturer, d.SeriesNumber = "suffuse", 1
    d.StudyDate = d.SeriesDate = d.ContentDate = now.strftime("%Y%m%d")
    d.StudyTime = d.SeriesTime = d.ContentTime = now.strftime("%H%M%S")
    d.Modality = "OT"
    d.LossyImageCompression = "00"
    for element in form.attributes.values():
        d.add(element)
    return d


def _form(volume: Volume) -> DicomForm:
    """The form the volume came with, or one made from its affine and storage (16 bits; floats are rescaled)."""
    if isinstance(volume.form, DicomForm):
        return volume.form
    return DicomForm(SECONDARY, {}, (), (), False, ())


def _storable(volume: Volume) -> Volume:
    from dataclasses import replace

    if volume.stored.dtype in (np.uint8, np.int16, np.uint16):
        return volume
    values = volume.values
    low, high = float(values.min()), float(values.max())
    slope = (high - low) / 65535 or 1.0
    return replace(
        volume,
        stored=np.rint((values - low) / slope).astype(np.uint16),
        slope=float(_number(slope)),
        intercept=float(_number(low)),
    )


def _geometry(d: Any, volume: Volume, form: DicomForm, k: int) -> None:
    if "ImageOrientationPatient" in form.attributes and k < len(form.positions) and form.positions[k]:
        d.ImagePositionPatient = list(form.positions[k])
        return
    if (
        isinstance(volume.form, DicomForm)
        and np.array_equal(volume.affine[:3, 3], np.zeros(3))
        and not form.positions[:1][0]
    ):
        return  # the source had no place in the patient, and none is made up
    lps = TO_RAS @ volume.affine
    size = np.sqrt((lps[:3, :3] ** 2).sum(0))
    i, j = lps[:3, 0] / size[0], lps[:3, 1] / size[1]
    d.ImageOrientationPatient = [_number(v) for v in (*i, *j)]
    d.PixelSpacing = [_number(size[1]), _number(size[0])]
    d.SpacingBetweenSlices = d.SliceThickness = _number(size[2])
    d.ImagePositionPatient = [_number(v) for v in lps[:3, 3] + k * lps[:3, 2]]


def _pixels(d: Any, numbers: np.ndarray) -> None:
    """numbers: (frames, rows, columns)."""
    frames, d.Rows, d.Columns = numbers.shape
    if "BitsAllocated" not in d:
        d.BitsAllocated = d.BitsStored = numbers.dtype.itemsize * 8
        d.HighBit = d.BitsAllocated - 1
        d.PixelRepresentation = int(np.issubdtype(numbers.dtype, np.signedinteger))
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    if d.BitsAllocated == 1:
        from pydicom.pixels.utils import pack_bits

        d.PixelData = pack_bits(numbers.astype(np.uint8).ravel(), pad=True)
        d["PixelData"].VR = "OB"
        return
    raw = np.ascontiguousarray(numbers).tobytes()
    d.PixelData = raw + b"\0" * (len(raw) % 2)
    d["PixelData"].VR = "OW" if d.BitsAllocated > 8 else "OB"


def write_dicom(volume: Volume, folder: str | Path) -> list[Path]:
    """Writes a series into the new `folder`, which appears whole or not at all; returns its files.

    Every UID is new, only numbers and geometry are taken over, and the series says that it is derived and not for
    clinical use (and synthetic, where a model made it). The source's stored numbers, positions and scaling are kept.
    """
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder, form = Path(folder), _form(volume)
    if not isinstance(volume.form, DicomForm):
        volume = _storable(volume)
    stored = volume.stored if volume.stored.ndim == 3 else volume.stored.T[..., None]
    sop = form.sop_class or _CLASSES.get(str(form.attributes.get("Modality", "")), SECONDARY)
    if (
        sop == "1.2.840.10008.5.1.4.1.1.66.4"
    ):  # a segmentation needs its whole object; its pixels go out as plain frames
        sop = _MULTI[1]
    shared = {"sop_class": sop, "study": generate_uid(), "series": generate_uid(), "frame": generate_uid()}
    numbers = stored.transpose(2, 1, 0)
    groups = (
        [numbers] if form.frames_in_one_file or sop == _MULTI[1] else [numbers[k : k + 1] for k in range(len(numbers))]
    )
    written = []
    with atomic_folder(folder) as partial:
        for k, frames in enumerate(groups):
            d = _base(volume, form, shared)
            _geometry(d, volume, form, k)
            if k < len(form.slopes) and form.slopes[k]:
                d.RescaleSlope, d.RescaleIntercept = form.slopes[k]
            elif not isinstance(volume.form, DicomForm):
                slope, intercept = (
                    np.broadcast_to(v, len(numbers))[k] if np.ndim(v) else v for v in (volume.slope, volume.intercept)
                )
                d.RescaleSlope, d.RescaleIntercept, d.RescaleType = _number(slope), _number(intercept), "US"
            d.SOPInstanceUID, d.InstanceNumber = generate_uid(), k + 1
            _pixels(d, frames)
            if len(frames) > 1 or form.frames_in_one_file or sop == _MULTI[1]:
                d.NumberOfFrames = len(frames)
            d.file_meta = FileMetaDataset()
            d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = (
                d.SOPClassUID,
                d.SOPInstanceUID,
            )
            pydicom.dcmwrite(partial / f"{k + 1:04d}.dcm", d, enforce_file_format=True)
            written.append(folder / f"{k + 1:04d}.dcm")
    return written
