"""Reading text: files, folders, JSONL, Parquet, lists and integer sequences, as documents with optional labels."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.arrays import Arrays
from suffuse.errors import DataError

OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PLAIN = (".txt", ".text", ".md")
TABLES = (".jsonl", ".ndjson", ".json", ".parquet")
LARGEST = 2**31
"""Bytes of text that are read into memory; larger corpora come as a Hugging Face data set."""


@dataclass
class Document:
    """One document: its text (or integers), where it came from, and its label."""

    text: Any
    where: str
    label: str | None = None
    file: bool = False
    """Whether it is the whole of a text file (which may hold one sample a line)."""


def kind_of(path: Path) -> str:
    """The suffix that says what a file holds, without that of a compressor: '.txt' of 'book.txt.gz'."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] in OPENERS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A text file, possibly compressed, strictly decoded; line ends become newlines."""
    try:
        opener = OPENERS.get(path.suffix.lower(), open)
        with opener(path, "rb") as f:
            data = f.read(LARGEST + 1)
    except (OSError, EOFError, lzma.LZMAError) as e:
        raise DataError(f"{path} cannot be read: {e}") from e
    if len(data) > LARGEST:
        raise DataError(
            f"{path} holds over {LARGEST >> 30} GiB of text: pass it as a Hugging Face data set, which streams"
        )
    if encoding == "utf-8" and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(
            f"{path} is UTF-16 (byte order mark at byte 0), not UTF-8: save it as UTF-8 or pass encoding='utf-16'"
        )
    try:
        text = data.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except LookupError as e:
        raise DataError(f"encoding {encoding!r} is not known: try 'utf-8', 'latin-1' or 'gb18030'") from e
    except UnicodeDecodeError as e:
        raise DataError(
            f"{path} is not {encoding}: byte {e.start} is 0x{data[e.start]:02x}; save it as UTF-8 or pass encoding='...'"
        ) from e
    return text.replace("\r\n", "\n").replace("\r", "\n")


def documents(source: Any, text: str = "text", label: str = "label", encoding: str = "utf-8") -> Iterator[Document]:
    """The documents of a source: a path (text, JSONL, JSON, Parquet, .npy, a folder, whose subfolders become labels), a string
    that is no path is refused, a list of strings, integer sequences or dicts, a pandas frame or a Hugging Face data set.

    text, label: names of the columns or keys.
    """
    if isinstance(source, (str, Path)):
        yield from _from_path(Path(source), text, label, encoding)
    elif isinstance(source, np.ndarray):
        yield from (Document(row, f"row {i}") for i, row in enumerate(source if source.ndim > 1 else source[None]))
    elif hasattr(source, "to_dict") and hasattr(source, "columns"):
        yield from _from_rows(source.to_dict("records"), text, label, "row")
    elif isinstance(source, (list, tuple)) or hasattr(source, "column_names"):
        yield from _from_rows(source, text, label, "item")
    else:
        raise DataError(f"text cannot be read from {type(source).__name__}: give a path, a list of texts or a table")


def _from_path(path: Path, text: str, label: str, encoding: str) -> Iterator[Document]:
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and kind_of(p) in PLAIN + TABLES and p.name[0] != ".")
        if not files:
            raise DataError(f"{path} holds no text files ({', '.join(PLAIN + TABLES)})")
        for file in files:
            parts = file.relative_to(path).parts
            for document in _from_path(file, text, label, encoding):
                if len(parts) > 1 and document.label is None:
                    document.label = parts[0]
                yield document
        return
    kind = kind_of(path)
    if kind == ".parquet":
        yield from _from_rows(_parquet(path, text, label), text, label, f"{path.name} row")
    elif kind == ".npy":
        yield from documents(Arrays(path)[""])
    elif kind in (".jsonl", ".ndjson"):
        yield from _from_rows(_json_lines(path, encoding), text, label, f"{path.name} line")
    elif kind == ".json":
        try:
            rows = json.loads(read_text(path, encoding))
        except json.JSONDecodeError as e:
            raise DataError(f"{path} is not JSON: line {e.lineno}, column {e.colno}: {e.msg}") from e
        if not isinstance(rows, list):
            raise DataError(f"{path} holds a JSON {type(rows).__name__}: a list of texts or objects is needed")
        yield from _from_rows(rows, text, label, f"{path.name} item")
    else:
        content = read_text(path, encoding)
        if not content.strip():
            raise DataError(f"{path} is empty: there is nothing to learn from")
        yield Document(content, path.name, file=True)


def _json_lines(path: Path, encoding: str) -> Iterator[Any]:
    for number, line in enumerate(read_text(path, encoding).split("\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as e:
                raise DataError(f"{path} line {number} is not JSON: {e.msg} at column {e.colno}") from e


def _parquet(path: Path, text: str, label: str) -> list[dict]:
    try:
        import pyarrow.parquet as pq
    except ImportError as e:
        raise DataError("Parquet needs pyarrow: pip install 'suffuse[text]'") from e
    try:
        names = pq.read_schema(path).names
        wanted = [n for n in (text, label) if n in names]
        if text not in names:
            raise DataError(f"{path} has no column {text!r}; it has {', '.join(names)}: pass text='...'")
        return pq.read_table(path, columns=wanted).to_pylist()
    except (OSError, ValueError) as e:
        raise DataError(f"{path} is not a Parquet file: {e}") from e


def _from_rows(rows: Any, text: str, label: str, where: str) -> Iterator[Document]:
    for i, row in enumerate(rows):
        if isinstance(row, dict):
            if text not in row:
                raise DataError(
                    f"{where} {i + 1} has no {text!r}; it has {', '.join(map(str, row)) or 'nothing'}: pass text='...'"
                )
            value, mark = row[text], row.get(label)
        else:
            value, mark = row, None
        if isinstance(value, str):
            value = value.replace("\r\n", "\n")
        elif not isinstance(value, (list, tuple, np.ndarray)):
            raise DataError(f"{where} {i + 1} is {type(value).__name__}: a text or a sequence of integers is needed")
        yield Document(value, f"{where} {i + 1}", None if mark is None else str(mark))
