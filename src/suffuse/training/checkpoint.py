"""Training state on disk: written whole or not at all, checked when read, the last two kept.

FOLDER/checkpoints/step-00000500/state.safetensors   weights, optimiser, running averages, loss history
FOLDER/checkpoints/step-00000500/state.json          step, recipe, hash of every file it relies on
FOLDER/averages/step-00000500-0.050.safetensors      stored averages (see `averaging`), referred to by their hash
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from suffuse.errors import DataError, ModelError
from suffuse.files import atomic_folder, atomic_write, read_json

FORMAT = 1
KEPT = 2


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits. Raises `ModelError` where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); restore the file.") from None
    return digest.hexdigest()


def read_tensors(path: Path, expected: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file; `expected` is its hash. Raises `ModelError` in one sentence."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); restore it or name another folder.") from None
    if expected is not None and hashlib.sha256(data).hexdigest() != expected:
        raise ModelError(f"{path} is not what was written (its hash differs); restore it or remove its folder.")
    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is no sound safetensors file ({error}); restore it or remove its folder.") from None


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write a safetensors file whole or not at all; returns its hash. Tied tensors are written once a name."""
    from safetensors.torch import save

    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        tied = value.numel() > 0 and value.untyped_storage().data_ptr() in seen
        seen.add(value.untyped_storage().data_ptr())
        own[name] = value.clone() if tied else value
    data = save(own)
    with atomic_write(path) as partial:
        partial.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


@dataclass
class State:
    """One checkpoint as read: plain JSON values and named tensors."""

    step: int
    values: dict[str, Any]
    tensors: dict[str, Tensor]
    folder: Path


class Checkpoints:
    """The checkpoints of one training folder."""

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.root = self.folder / "checkpoints"
        self.averages = self.folder / "averages"

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints on disk, rising."""
        found = []
        with contextlib.suppress(OSError):
            for entry in self.root.iterdir():
                if entry.name.startswith("step-") and entry.name[5:].isdigit() and entry.is_dir():
                    found.append(int(entry.name[5:]))
        return sorted(found)

    def place(self, step: int) -> Path:
        """The folder of one checkpoint."""
        return self.root / f"step-{step:08d}"

    def write(self, step: int, values: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
        """Write one checkpoint, then remove all but the newest two. One of this step that is there already is left.

        Raises `DataError` on a full disk or a missing permission; older checkpoints stay as they were.
        """
        place = self.place(step)
        if place.is_dir():
            return place
        with atomic_folder(place, existing="replace") as partial:
            digest = write_tensors(partial / "state.safetensors", tensors)
            document = {"format": FORMAT, "step": step, "values": values, "files": {"state.safetensors": digest}}
            (partial / "state.json").write_text(json.dumps(_sealed(document), indent=1) + "\n")
        _sync_folder(self.root)
        for old in self.steps()[:-KEPT]:
            shutil.rmtree(self.place(old), ignore_errors=True)
        self._sweep()
        return place

    def read(self, step: int | None = None) -> State | None:
        """The newest checkpoint (or one of a given step); None where there is none.

        Raises `ModelError` when a file of it is missing, altered or unsafe: nothing is guessed.
        """
        steps = self.steps()
        if step is None and not steps:
            return None
        place = self.place(steps[-1] if step is None else step)
        document = read_json(place / "state.json", 1 << 28, ModelError)
        try:
            seal = document.pop("seal")
            if document["format"] != FORMAT:
                raise ModelError(f"{place} has format {document['format']}, and this version reads {FORMAT}.")
            if seal != _sealed(document)["seal"]:
                raise ModelError(f"{place / 'state.json'} is not what was written; restore it or remove {place}.")
            files, values, number = document["files"], document["values"], int(document["step"])
            tensors = read_tensors(place / "state.safetensors", files["state.safetensors"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{place / 'state.json'} is no checkpoint of suffuse ({error}); remove {place}.") from None
        return State(number, values, tensors, place)

    def finished(self) -> bool:
        """Whether the newest checkpoint says that its run had come to its end."""
        try:
            return bool(read_json(self.place(self.steps()[-1]) / "state.json", 1 << 28)["values"]["finished"])
        except (DataError, KeyError, TypeError, IndexError):
            return False

    def write_average(self, step: int, width: float, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """Store one average; returns the entry by which a checkpoint refers to it."""
        name = f"step-{step:08d}-{width:.3f}.safetensors"
        return {"file": name, "step": step, "width": width, "hash": write_tensors(self.averages / name, tensors)}

    def read_average(self, entry: dict[str, Any]) -> dict[str, Tensor]:
        """The tensors of a stored average, checked against its hash."""
        name = Path(str(entry["file"])).name
        return read_tensors(self.averages / name, entry["hash"])

    def clear(self) -> None:
        """Remove all training state of this folder (a fresh start)."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.averages, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed writers left behind."""
        for root in (self.folder, self.root, self.averages):
            with contextlib.suppress(OSError):
                for entry in root.iterdir():
                    if entry.name.startswith(".") and (".partial" in entry.name or entry.name.endswith(".old")):
                        shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def _sealed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a hash of its own content, so that a hand-edited file is noticed."""
    text = json.dumps(document, sort_keys=True)
    return {**document, "seal": hashlib.sha256(text.encode()).hexdigest()}


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
