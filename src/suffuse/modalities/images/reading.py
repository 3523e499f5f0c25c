"""Sources of pictures: folders, arrays, MNIST idx files, Parquet and Hugging Face datasets, as one `Pictures`."""

from __future__ import annotations

import csv
import gzip
import io
import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.arrays import Arrays
from suffuse.errors import DataError
from suffuse.files import check_file, check_memory
from suffuse.modalities.images.decoding import SUFFIXES, grey_levels, lay_on, open_picture

PICTURE_NAMES = (
    "images",
    "image",
    "x",
    "pictures",
    "train_images",
    "x_train",
    "test_images",
    "x_test",
    "data",
    "arr_0",
)
LABEL_NAMES = ("labels", "label", "y", "train_labels", "y_train", "test_labels", "y_test", "targets", "arr_1")
CAPTION_NAMES = ("caption", "text", "captions")


@dataclass
class Pictures:
    """What was read: `pixels` are uint8 (H, W, C) each; labels and captions are None where there is none."""

    pixels: list[np.ndarray] | np.ndarray
    labels: list[str | None] = field(default_factory=list)
    captions: list[str | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    classes: list[str] | None = None

    def __len__(self) -> int:
        return len(self.pixels)


def read_pictures(
    source: Any,
    alpha: str | None = None,
    skip_bad: bool = False,
    split: str = "train",
    classes: Sequence[str] | None = None,
) -> Pictures:
    """Read any source of pictures.

    source: a folder (sub-folder = label, or metadata.csv with file and label and/or caption), a .npz, .npy, idx or
    .parquet file, a single picture, an array (N, H, W[, C]) or (N, C, H, W), (pictures, labels), a list of PIL images or
    arrays, or a Hugging Face dataset. alpha: see `open_picture`. skip_bad: leave broken files out, with a warning.
    split: 'train' or 'test', where a source holds both. classes: names for whole-number labels, in their order.
    """
    if isinstance(source, (str, Path)):
        found = _from_path(Path(source).expanduser(), alpha, skip_bad, split)
    elif hasattr(source, "column_names") or hasattr(source, "features"):
        found = _from_table(source, alpha, skip_bad, split)
    else:
        found = _from_objects(source, alpha)
    if not len(found):
        raise DataError(f"{_describe(source)} holds no pictures; name a folder or file with some")
    count = len(found)
    found.labels = found.labels or [None] * count
    found.captions = found.captions or [None] * count
    if classes is not None:
        found.labels = [_named(label, classes) for label in found.labels]
        found.classes = list(classes)
    return found


def _describe(source: Any) -> str:
    return str(source) if isinstance(source, (str, Path)) else f"this {type(source).__name__}"


def _named(label: str | None, classes: Sequence[str]) -> str | None:
    if label is None or label in classes:
        return label
    if label.isdigit() and int(label) < len(classes):
        return classes[int(label)]
    raise DataError(f"the label {label!r} has no name: {len(classes)} class names were given")


# -- files and folders ------------------------------------------------------------------------------------------------
def _from_path(path: Path, alpha: str | None, skip_bad: bool, split: str) -> Pictures:
    if path.is_dir():
        idx = _idx_files(path, split)
        if idx is not None:
            return _from_idx(idx)
        if (path / "metadata.csv").is_file():
            return _from_metadata(path / "metadata.csv", alpha, skip_bad)
        tables = sorted(path.rglob("*.parquet"))
        if tables:
            return _from_parquet([t for t in tables if split in t.name] or tables, alpha, skip_bad)
        return _from_folder(path, alpha, skip_bad)
    check_file(path)
    name = path.name.lower()
    if name.endswith((".npz", ".npy")):
        return _from_numpy(path, alpha, split)
    if "idx3-ubyte" in name or "idx4-ubyte" in name:
        return _from_idx(path)
    if name.endswith(".parquet"):
        return _from_parquet([path], alpha, skip_bad)
    if name == "metadata.csv":
        return _from_metadata(path, alpha, skip_bad)
    if path.suffix.lower() in SUFFIXES:
        return Pictures([open_picture(path, alpha=alpha)], names=[path.name])
    raise DataError(f"{path} is no source of pictures; name a folder, .npz, .npy, .parquet, idx or picture file")


def _from_folder(path: Path, alpha: str | None, skip_bad: bool) -> Pictures:
    files = sorted(
        f for f in path.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file() and not f.name.startswith(".")
    )
    if not files:
        raise DataError(f"the folder {path} holds no pictures ({', '.join(sorted(SUFFIXES))}); name one that does")
    labels = [f.relative_to(path).parts[0] if f.parent != path else None for f in files]
    rows = [(str(f), f, label, None) for f, label in zip(files, labels, strict=True)]
    return _open_all(rows, alpha, skip_bad)


def _from_metadata(path: Path, alpha: str | None, skip_bad: bool) -> Pictures:
    check_file(path, 1 << 30)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV file in UTF-8: {error}") from None
    columns = rows[0].keys() if rows else []
    key = next((name for name in ("file", "file_name", "filename", "path", "image") if name in columns), None)
    if key is None:
        raise DataError(f"{path} needs a header with a column 'file', and 'label' or 'caption' beside it")
    text = next((name for name in CAPTION_NAMES if name in columns), None)
    out = []
    for number, row in enumerate(rows, start=2):
        if not row[key]:
            raise DataError(f"{path} names no file in line {number}")
        file = path.parent / row[key]
        label = (row.get("label") or "").strip() or None
        caption = ((row.get(text) if text else None) or "").strip() or None
        out.append((str(file), file, label, caption))
    return _open_all(out, alpha, skip_bad)


def _open_all(rows: Iterable[tuple[str, Any, str | None, str | None]], alpha: str | None, skip_bad: bool) -> Pictures:
    found, bad = Pictures([]), []
    for name, what, label, caption in rows:
        try:
            pixels = open_picture(what, name, alpha)
        except DataError as error:
            if not skip_bad:
                if "cut short" in str(error) or "cannot be read" in str(error):
                    raise DataError(f"{error}, or leave such files out with skip_bad") from None
                raise
            bad.append(name)
            continue
        found.pixels.append(pixels)
        found.labels.append(label)
        found.captions.append(caption)
        found.names.append(name)
    if bad:
        warnings.warn(f"{len(bad)} broken pictures were left out (first: {bad[0]})", stacklevel=4)
    return found


# -- arrays -----------------------------------------------------------------------------------------------------------
def _from_numpy(path: Path, alpha: str | None, split: str) -> Pictures:
    arrays = Arrays(path, mmap=True)
    if arrays.single:
        return from_array(arrays[""], None, str(path), alpha)

    def first(names: Iterable[str]) -> str | None:
        return next((n for n in sorted(names, key=lambda n: split not in n) if n in arrays), None)

    pictures, labels, captions = first(PICTURE_NAMES), first(LABEL_NAMES), first(CAPTION_NAMES)
    if pictures is None:
        raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; call the array of pictures 'images'")
    found = from_array(arrays[pictures], arrays[labels] if labels else None, str(path), alpha)
    if captions:
        found.captions = [str(text) or None for text in arrays[captions]]
    return found


def from_array(array: np.ndarray, labels: Any, name: str, alpha: str | None = None) -> Pictures:
    """(N, H, W), (N, H, W, C) or (N, C, H, W) as pictures, with (N,) labels: numbers or strings; -1, '' or NaN for none."""
    if array.ndim == 4 and array.shape[-1] not in (1, 2, 3, 4) and array.shape[1] in (1, 2, 3, 4):
        array = np.moveaxis(array, 1, -1)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 2, 3, 4):
        raise DataError(
            f"{name} has an array of shape {array.shape}; pictures are (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if 0 in array.shape:
        raise DataError(f"{name} holds no pictures: its array has shape {array.shape}")
    check_memory(array.size * (1 if array.dtype == np.uint8 else 4), name)
    pixels = grey_levels(array, name)
    if pixels.shape[-1] in (2, 4):
        opaque = pixels[..., -1].min() == 255 and alpha != "keep"
        pixels = pixels[..., :-1] if opaque else np.stack([lay_on(p, alpha, name) for p in pixels])
    found = Pictures(pixels, names=[f"{name}[{k}]" for k in range(len(pixels))])
    if labels is not None:
        labels = np.asarray(labels)
        labels = labels.reshape(len(labels), -1)[:, 0] if labels.ndim > 1 and labels.size == len(labels) else labels
        if labels.shape != (len(pixels),):
            raise DataError(
                f"{name} has {len(pixels)} pictures, and labels of shape {labels.shape}; give one label a picture"
            )
        found.labels = [_label(value) for value in labels.tolist()]
    return found


def _label(value: Any) -> str | None:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value == -1 else str(value)


def _from_objects(source: Any, alpha: str | None) -> Pictures:
    from PIL import Image

    if isinstance(source, dict):
        pictures = next((source[n] for n in PICTURE_NAMES if n in source), None)
        if pictures is None:
            raise DataError(f"the dict holds {', '.join(map(str, source))}; call the pictures 'images'")
        labels = next((source[n] for n in LABEL_NAMES if n in source), None)
        found = _from_objects((pictures, labels), alpha)
        captions = next((source[n] for n in CAPTION_NAMES if n in source), None)
        found.captions = [] if captions is None else [str(c) if c else None for c in captions]
        if found.captions and len(found.captions) != len(found):
            raise DataError(f"there are {len(found)} pictures and {len(found.captions)} captions; give one a picture")
        return found
    labels = None
    if isinstance(source, tuple) and len(source) == 2:
        source, labels = source
    if isinstance(source, Image.Image):
        source = [source]
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray) and source.dtype != object:
        return from_array(source, labels, "the array", alpha)
    try:
        items = list(source)
    except TypeError:
        raise DataError(f"an object of type {type(source).__name__} is no source of pictures") from None
    found = Pictures([])
    for k, item in enumerate(items):
        if isinstance(item, np.ndarray):
            one = from_array(item[None] if item.ndim < 4 else item, None, f"picture {k}", alpha)
            found.pixels.append(np.asarray(one.pixels)[0])
        else:
            found.pixels.append(open_picture(item, f"picture {k}", alpha))
        found.names.append(f"picture {k}")
    if labels is not None:
        if len(labels) != len(items):
            raise DataError(f"there are {len(items)} pictures and {len(labels)} labels; give one a picture")
        found.labels = [_label(label) for label in labels]
    return found


# -- MNIST idx --------------------------------------------------------------------------------------------------------
def _idx_files(folder: Path, split: str) -> Path | None:
    files = sorted(
        f for f in folder.iterdir() if "images" in f.name and ("idx3-ubyte" in f.name or "idx4-ubyte" in f.name)
    )
    wanted = [f for f in files if ("train" in f.name) == (split == "train")]
    return (wanted or files or [None])[0]


def _from_idx(path: Path) -> Pictures:
    pixels = _read_idx(path)
    if pixels.ndim not in (3, 4):
        raise DataError(f"{path} has {pixels.ndim} axes; an idx file of pictures has 3 or 4")
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1"))
    twin = next((p for p in (beside, beside.with_suffix(""), Path(f"{beside}.gz")) if p.is_file() and p != path), None)
    return from_array(pixels, None if twin is None else _read_idx(twin), str(path))


def _read_idx(path: Path) -> np.ndarray:
    """The idx format of MNIST: two zero bytes, type, number of axes, big-endian sizes, values; plain or gzipped."""
    check_file(path, 1 << 34)
    opener: Callable[..., Any] = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != 8 or not 1 <= head[3] <= 4:
                raise DataError(f"{path} is no idx file of bytes: it begins with {head.hex() or 'nothing'}")
            sizes = struct.unpack(f">{head[3]}I", file.read(4 * head[3]))
            count = math.prod(sizes)
            check_memory(2 * count, str(path))
            values = file.read(count + 1)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} is cut short or damaged: {error}") from None
    if len(values) != count:
        raise DataError(
            f"{path} should hold {count} values of shape {sizes}, and holds {'more' if len(values) > count else len(values)}"
        )
    return np.frombuffer(values, np.uint8).reshape(sizes)


# -- Parquet and Hugging Face datasets ----------------------------------------------------------------------------------
def _from_parquet(paths: list[Path], alpha: str | None, skip_bad: bool) -> Pictures:
    import json

    import pyarrow
    import pyarrow.parquet

    rows: list[tuple[str, Any, str | None, str | None]] = []
    classes = None
    for path in paths:
        try:
            table = pyarrow.parquet.read_table(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read as Parquet: {str(error)[:100]}") from None
        picture, label, text = _columns(table.column_names, str(path))
        classes = _class_names((table.schema.metadata or {}).get(b"huggingface"), label, json) or classes
        for k, row in enumerate(table.select([c for c in (picture, label, text) if c]).to_pylist()):
            value = row[picture]
            if isinstance(value, dict):
                value = value.get("bytes") or (path.parent / value["path"] if value.get("path") else None)
            if isinstance(value, str):
                value = path.parent / value
            if not isinstance(value, (bytes, Path)):
                raise DataError(
                    f"{path} has no picture in row {k}: its column '{picture}' holds {type(value).__name__}"
                )
            name = _label(row.get(label)) if label else None
            if classes and name is not None and name.isdigit() and int(name) < len(classes):
                name = classes[int(name)]
            rows.append((f"{path}, row {k}", value, name, row.get(text) if text else None))
    found = _open_all(rows, alpha, skip_bad)
    found.classes = classes
    return found


def _columns(names: Sequence[str], where: str) -> tuple[str, str | None, str | None]:
    picture = next((n for n in ("image", "img", "picture", "images") if n in names), None)
    if picture is None:
        raise DataError(f"{where} has the columns {', '.join(names)}; call the one with pictures 'image'")
    label = next((n for n in ("label", "labels", "fine_label", "class") if n in names), None)
    return picture, label, next((n for n in CAPTION_NAMES if n in names), None)


def _class_names(metadata: bytes | None, label: str | None, json: Any) -> list[str] | None:
    try:
        return list(json.loads(metadata or b"{}")["info"]["features"][label]["names"])
    except (ValueError, KeyError, TypeError):
        return None


def _from_table(source: Any, alpha: str | None, skip_bad: bool, split: str) -> Pictures:
    if isinstance(source, dict):
        source = source[split] if split in source else next(iter(source.values()))
    features = source.features or {}
    picture, label, text = _columns(list(source.column_names or features), "the dataset")
    classes = list(getattr(features.get(label), "names", None) or []) or None

    def rows() -> Iterator[tuple[str, Any, str | None, str | None]]:
        for k, row in enumerate(source):
            value = row[picture]
            if isinstance(value, dict):
                value = value.get("bytes") or value.get("path")
            name = _label(row[label]) if label else None
            if classes and name is not None and name.isdigit():
                name = classes[int(name)]
            yield f"row {k}", value, name, (row[text] or None) if text else None

    found = _open_all(rows(), alpha, skip_bad)
    found.classes = classes
    return found


def to_png_bytes(array: np.ndarray) -> bytes:
    """A uint8 (H, W, C) picture as the bytes of a PNG file."""
    from PIL import Image

    handle = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(handle, format="PNG")
    return handle.getvalue()
