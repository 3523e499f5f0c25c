"""NIfTI and DICOM in and out: exact voxels and geometry, no patients, clear refusals."""

import gzip
import shutil

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")

from pydicom.data import get_testdata_file  # noqa: E402

from suffuse.errors import DataError  # noqa: E402
from suffuse.modalities.scans.dicom import read_dicom  # noqa: E402
from suffuse.modalities.scans.dicom_out import write_dicom  # noqa: E402
from suffuse.modalities.scans.nifti import read_nifti, write_nifti  # noqa: E402
from suffuse.modalities.scans.volume import Case, Volume, oriented  # noqa: E402

AFFINE = np.array([[0, -1.5, 0.1, 10], [2.0, 0, 0, -20], [0, 0.1, 3.0, 5], [0, 0, 0, 1]])


def nifti(tmp_path, dtype=np.int16, slope=None, shape=(5, 6, 7), name="a.nii.gz", kind=None, order="<"):
    kind = kind or nibabel.Nifti1Image
    numbers = (np.random.default_rng(0).normal(size=shape) * 50).astype(np.dtype(dtype).newbyteorder(order))
    header = kind.header_class(endianness=order)
    header.set_data_dtype(numbers.dtype)
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = b"Jane Doe 1970"
    image = kind(numbers, AFFINE, header)
    image.header.set_slope_inter(*(slope or (1, 0)))
    nibabel.save(image, tmp_path / name)
    return tmp_path / name, numbers


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_nifti_round_trip_is_exact(tmp_path, dtype, kind):
    path, numbers = nifti(tmp_path, dtype, (0.37, -11.5), kind=kind, order=">" if kind is nibabel.Nifti1Image else "<")
    volume = read_nifti(path)
    again = nibabel.load(write_nifti(volume, tmp_path / "b.nii"))
    first = nibabel.load(path)
    assert np.array_equal(volume.stored, numbers)
    assert np.array_equal(np.asarray(again.dataobj.get_unscaled()), numbers)
    assert np.array_equal(first.get_fdata(), again.get_fdata()) and np.array_equal(first.affine, again.affine)
    for key in ("pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "quatern_b", "datatype"):
        assert np.array_equal(first.header[key], again.header[key]), key
    assert np.allclose(volume.values, first.get_fdata(), rtol=1e-6)


def test_nifti_names_no_patient_and_says_synthetic(tmp_path):
    path, _ = nifti(tmp_path)
    volume = read_nifti(path)
    raw = gzip.decompress(write_nifti(volume.with_values(volume.values + 3), tmp_path / "b.nii.gz").read_bytes())
    assert b"Jane" not in raw and b"synthetic; not for clinical use" in raw


def test_nifti_refusals(tmp_path):
    path, _ = nifti(tmp_path, shape=(4, 4, 4, 3))
    with pytest.raises(DataError, match="4-D.*4 x 4 x 4 x 3"):
        read_nifti(path)
    path, _ = nifti(tmp_path, shape=(4, 4, 4, 1))
    volume = read_nifti(path)
    assert volume.shape == (4, 4, 4) and nibabel.load(write_nifti(volume, tmp_path / "c.nii")).shape == (4, 4, 4, 1)
    path, _ = nifti(tmp_path, name="t.nii")
    raw = path.read_bytes()
    with pytest.raises(DataError, match="truncated"):
        read_nifti(raw[:-50], "t.nii")
    with pytest.raises(DataError, match="not a NIfTI"):
        read_nifti(b"hello", "t.nii")
    with pytest.raises(DataError, match="truncated"):
        read_nifti(gzip.compress(raw)[:200], "t.nii.gz")
    zero = bytearray(raw)
    zero[84:88] = b"\0\0\0\0"
    with pytest.raises(DataError, match="zero spacing along axis 1"):
        read_nifti(bytes(zero), "z.nii")
    huge = bytearray(raw)
    huge[40:56] = np.array([3, 30000, 30000, 30000, 1, 1, 1, 1], "<i2").tobytes()
    with pytest.raises(DataError, match="GiB"):
        read_nifti(bytes(huge), "h.nii")


def test_masks_of_another_grid_are_refused():
    base = Volume(np.zeros((4, 4, 4), np.int16), np.eye(4), name="t1")
    with pytest.raises(DataError, match="grid 4 x 4 x 5"):
        Case({"t1": base}, Volume(np.zeros((4, 4, 5), np.uint8), np.eye(4))).check()
    with pytest.raises(DataError, match="lies elsewhere"):
        Case({"t1": base}, Volume(np.zeros((4, 4, 4), np.uint8), np.diag([1, 1, 2, 1.0]))).check()
    with pytest.raises(DataError, match="whole numbers"):
        Case({"t1": base}, Volume(np.full((4, 4, 4), 0.5), np.eye(4))).check()


def test_turning_axes_moves_no_voxel_in_the_patient():
    stored = np.arange(60).reshape(3, 4, 5)
    volume = Volume(stored, AFFINE)
    turned = oriented(volume, "RAS")
    assert turned.orientation == "RAS" and turned.shape != volume.shape
    place = {tuple(np.round(AFFINE @ [*index, 1], 6)): value for index, value in np.ndenumerate(stored)}
    for index, value in np.ndenumerate(turned.stored):
        assert place[tuple(np.round(turned.affine @ [*index, 1], 6))] == value
    assert np.array_equal(oriented(turned, volume.orientation).stored, stored)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "rtdose.dcm", "examples_palette.dcm", "liver_1frame.dcm"]
)
def test_dicom_round_trip_is_exact_and_nameless(tmp_path, name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not carry {name}")
    first = read_dicom(path)
    source = pydicom.dcmread(path)
    assert np.array_equal(first.stored.transpose(2, 1, 0).squeeze(), source.pixel_array.squeeze())
    files = write_dicom(first, tmp_path / "out")
    again = read_dicom(tmp_path / "out")
    assert np.array_equal(first.stored, again.stored) and first.stored.dtype == again.stored.dtype
    assert np.array_equal(first.affine, again.affine)
    assert first.slope == again.slope and first.intercept == again.intercept
    written = pydicom.dcmread(files[0])
    assert written.ImageType[0] == "DERIVED" and written.PatientName == "SYNTHETIC^NOT FOR CLINICAL USE"
    raw = files[0].read_bytes()
    for key in (
        "PatientName",
        "PatientID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "InstitutionName",
        "StudyDate",
    ):
        value = str(source.get(key) or "")
        assert len(value) < 4 or value.encode() not in raw, key


def series(tmp_path, places=(0.0, 2.5, 5.0, 7.5), shuffle=True, change=None):
    """A series of slices cut from pydicom's CT, its files named in another order than they lie."""
    folder = tmp_path / "series"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for k, z in enumerate(places):
        d = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
        d.ImagePositionPatient = [str(v) for v in (-158.1, -179.0, z)]
        d.SOPInstanceUID = f"1.2.3.{k}"
        d.PixelData = np.full((128, 128), k * 7 - 3, "<i2").tobytes()
        if change:
            change(k, d)
        d.save_as(folder / f"{(k * 3) % len(places) if shuffle else k}.dcm")
    return folder


def test_dicom_series_is_sorted_by_place(tmp_path):
    volume = read_dicom(series(tmp_path, (5.0, 0.0, 7.5, 2.5)))
    assert volume.shape == (128, 128, 4) and volume.spacing == pytest.approx((0.661468, 0.661468, 2.5))
    assert volume.stored[0, 0].tolist() == [4, 18, -3, 11]
    assert volume.values[0, 0, 0] == 4 - 1024
    assert np.allclose(volume.affine @ [0, 0, 1, 1], [158.1, 179.0, 2.5, 1])
    write_dicom(volume, tmp_path / "again")
    assert np.array_equal(read_dicom(tmp_path / "again").affine, volume.affine)
    write_nifti(volume, tmp_path / "v.nii.gz")
    assert np.array_equal(read_nifti(tmp_path / "v.nii.gz").values, volume.values)


def test_dicom_rescale_may_change_from_slice_to_slice(tmp_path):
    def change(k, d):
        d.RescaleSlope = str(1 + k)

    volume = read_dicom(series(tmp_path, change=change))
    assert volume.values[0, 0].tolist() == [-3 - 1024, 4 * 2 - 1024, 11 * 3 - 1024, 18 * 4 - 1024]
    write_dicom(volume, tmp_path / "again")
    assert np.array_equal(read_dicom(tmp_path / "again").values, volume.values)


def test_volume_without_dicom_past_becomes_a_series(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    volume = Volume(values, AFFINE, synthetic=True)
    files = write_dicom(volume, tmp_path / "new")
    again = read_dicom(tmp_path / "new")
    assert len(files) == 4 and np.allclose(again.values, values, atol=1e-4)
    # DICOM slices are perpendicular stacks or sheared; positions and in-plane axes are kept to DICOM's 16 characters
    assert np.allclose(again.affine, AFFINE, atol=1e-6)
    assert pydicom.dcmread(files[0]).SeriesDescription.startswith("synthetic; not for clinical use")


def _set(key, value, only=1):
    def change(k, d):
        if k == only:
            setattr(d, key, value)

    return change


@pytest.mark.parametrize(
    "places, change, message",
    [
        ((0.0, 2.5, 7.5, 10.0, 12.5), None, "missing slices: 1 between 2.5 and 7.5"),
        ((0.0, 2.5, 3.5, 9.0), None, "mixed spacings: slices are 1 to 5.5 mm apart"),
        ((0.0, 2.5, 2.5, 5.0), None, "same place"),
        ((0.0, 2.5), _set("PixelSpacing", [1.0, 1.0]), "mixed spacings"),
        ((0.0, 2.5), _set("ImageOrientationPatient", [0, 1, 0, 0, 0, -1]), "mixed orientations"),
        ((0.0, 2.5), _set("SeriesInstanceUID", "1.2.3"), "2 series in one folder"),
        ((0.0,), _set("PixelSpacing", [0.0, 1.0], 0), "zero spacing"),
        ((0.0,), _set("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], 0), "perpendicular"),
        ((0.0,), _set("PixelData", b"\0" * 100, 0), "truncated; 100 of 32768 bytes"),
    ],
)
def test_dicom_refusals(tmp_path, places, change, message):
    with pytest.raises(DataError, match=message):
        read_dicom(series(tmp_path, places, change=change))


def test_compressed_pixels_without_decoder_are_named(tmp_path, monkeypatch):
    path = get_testdata_file("JPEG2000.dcm", download=False) or get_testdata_file("MR_small.dcm")
    d = pydicom.dcmread(path)
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.PixelData = pydicom.encaps.encapsulate([b"not a picture "])
    d["PixelData"].VR = "OB"
    d.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    d.save_as(tmp_path / "c.dcm")
    with pytest.raises(DataError, match="JPEG 2000 Image Compression \\(Lossless Only\\).*pylibjpeg"):
        read_dicom(tmp_path / "c.dcm")
    with pytest.raises(DataError, match="no DICOM files"):
        (tmp_path / "empty").mkdir()
        read_dicom(tmp_path / "empty")
