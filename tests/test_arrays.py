"""NumPy files: read when asked for, refused in one sentence."""

import zipfile

import numpy as np
import pytest

from suffuse.arrays import Arrays
from suffuse.errors import DataError


def test_arrays_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.arange(6).reshape(2, 3), labels=np.arange(2))
    np.save(tmp_path / "b.npy", np.arange(4.0))
    arrays = Arrays(tmp_path / "a.npz")
    assert list(arrays) == ["images", "labels"] and len(arrays) == 2 and "masks" not in arrays
    assert arrays["images"].tolist() == [[0, 1, 2], [3, 4, 5]] and arrays.get("masks") is None
    for mmap in (False, True):
        assert Arrays(tmp_path / "b.npy", mmap)[""].tolist() == [0, 1, 2, 3]


def test_pickles_are_never_loaded(tmp_path):
    things = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "a.npy", things, allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=things)
    for name, key in (("a.npy", ""), ("a.npz", "images")):
        with pytest.raises(DataError, match="pickled objects, which are never loaded"):
            Arrays(tmp_path / name)[key]


def test_broken_files(tmp_path):
    np.save(tmp_path / "good.npy", np.arange(100))
    good = (tmp_path / "good.npy").read_bytes()
    for k, spoilt in enumerate([b"", good[:40], good[:200], b"\x00" + good[1:], good.replace(b"{'", b"({", 1), b"PK\x03\x04"]):
        for suffix in (".npy", ".npz"):
            path = tmp_path / f"{k}{suffix}"
            path.write_bytes(spoilt)
            with pytest.raises(DataError, match="cannot be read as a NumPy file"):
                Arrays(path)[""]
    with pytest.raises(DataError, match="there is no file"):
        Arrays(tmp_path / "gone.npy")


def test_a_bomb_is_refused_before_it_is_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", b"\0" * 1000)
        archive.infolist()[0].file_size = 10**16
    data = (tmp_path / "bomb.npz").read_bytes()
    assert data
    with pytest.raises(DataError, match="of memory|cannot be read"):
        Arrays(tmp_path / "bomb.npz")["images"]
