""".npy and .npz files, read with care: no pickle, sizes checked before memory is taken, one sentence for what is broken."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from suffuse.errors import DataError, SuffuseError
from suffuse.files import check_file, check_memory


class Arrays(Mapping[str, Any]):
    """The arrays of a .npz file by name, or the one array of a .npy file under the name "". Each is read when asked for.

        arrays = Arrays("pictures.npz")
        if "images" in arrays:
            pixels = arrays["images"]

    mmap: leave the values of a .npy file on the disk until they are used. Raises DataError when the file is missing, broken,
    holds pickled objects, or would not fit into memory twice.
    """

    def __init__(self, path: str | Path, mmap: bool = False):
        self.path, self.mmap = Path(path), mmap
        size = check_file(self.path)
        self.single = self.path.suffix.lower() == ".npy"
        if not self.single:
            try:
                with zipfile.ZipFile(self.path) as archive:
                    parts = {part.filename.removesuffix(".npy"): part.file_size for part in archive.infolist()}
            except Exception as error:
                raise self._broken(error) from None
            self.sizes = parts
        else:
            self.sizes = {"": 0 if mmap else size}

    def __getitem__(self, name: str) -> Any:
        import numpy as np

        if name not in self.sizes:
            raise KeyError(name)
        check_memory(2 * self.sizes[name], str(self.path))
        try:
            if self.single:
                found = np.load(self.path, mmap_mode="r" if self.mmap else None, allow_pickle=False)
            else:
                with np.load(self.path, allow_pickle=False) as archive:
                    found = archive[name]
            if found.dtype.kind not in "biufcUSMm":
                raise ValueError(f"it holds values of type {found.dtype}")
        except Exception as error:
            raise self._broken(error) from None
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def _broken(self, error: Exception) -> SuffuseError:
        """numpy raises whatever its parsers do: ValueError, TokenError, BadZipFile, zlib.error, MemoryError and more."""
        detail = " ".join(str(error).split())[:100] or type(error).__name__
        if "pickle" in detail or "Python objects" in detail or "Object arrays" in detail:
            detail = "it holds pickled objects, which are never loaded"
        return DataError(f"{self.path} cannot be read as a NumPy file: {detail}")
