"""From documents to training data: form, vocabulary and encoding are inferred here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import AskError, DataError
from suffuse.modalities.text import reading
from suffuse.modalities.text.vocabulary import Vocabulary

LONGEST_LINE = 512
"""Documents longer than this are packed into windows unless told otherwise."""


def path_score(path: Path) -> float:
    """How much a path looks like text, 0..1."""
    if path.is_dir():
        kinds = [reading.kind_of(p) for p, _ in zip(path.rglob("*"), range(200), strict=False) if p.is_file()]
        return 0.7 * sum(k in reading.PLAIN for k in kinds) / max(len(kinds), 1)
    kind = reading.kind_of(path)
    if kind in reading.PLAIN:
        return 0.9
    if kind in (".jsonl", ".ndjson") and path.exists():
        try:
            opener = reading.OPENERS.get(path.suffix.lower(), open)
            with opener(path, "rb") as f:
                return 0.8 if b'"text"' in f.read(4096) else 0.2
        except OSError:
            return 0.2
    if kind == ".parquet" and path.exists():
        try:
            import pyarrow.parquet as pq

            return 0.7 if "text" in pq.read_schema(path).names else 0.0
        except Exception:  # not a Parquet file, or no library: another modality may know
            return 0.0
    return 0.0


def likely_form(found: list[reading.Document]) -> str:
    """Many short documents are samples; few or long ones are packed into windows."""
    if len(found) < 32:
        return "packed"
    return "lines" if np.median([len(d.text) for d in found]) <= LONGEST_LINE else "packed"


def lines_of(found: list[reading.Document]) -> list[reading.Document]:
    """A few text files as one document a line; anything else, and many files, as they are."""
    if len(found) >= 32 or not all(d.file for d in found):
        return found
    out = []
    for d in found:
        out += [
            reading.Document(line, f"{d.where} line {i}", d.label)
            for i, line in enumerate(d.text.split("\n"), 1)
            if line.strip()
        ]
    if not out:
        raise DataError("the source is empty: there is nothing to learn from")
    return out


def make_vocabulary(
    what: Any, found: list[reading.Document], limit: int | None, integers: bool, end: bool
) -> Vocabulary:
    """The vocabulary that was asked for, learnt from documents where it has to be. Raises DataError."""
    if integers or what == "integers":
        arrays = [np.asarray(d.text).reshape(-1) for d in found]
        for d, a in zip(found, arrays, strict=True):
            if a.size and (not np.issubdtype(a.dtype, np.integer) or a.min() < 0):
                raise DataError(f"{d.where} is no sequence of whole numbers from 0 up")
        return Vocabulary("integers", count=int(max(a.max(initial=0) for a in arrays)) + 1, end=end)
    if what == "characters":
        return Vocabulary.of_characters((d.text for d in found), limit, end)
    if what == "bytes":
        return Vocabulary("bytes", end=end)
    if not Path(what).exists():
        raise DataError(
            f"vocabulary {str(what)!r} is neither 'characters', 'bytes', 'integers' nor a tokenizers file that exists"
        )
    return Vocabulary.from_tokenizer(what, end)


def encode(vocabulary: Vocabulary, document: reading.Document) -> np.ndarray:
    """Tokens of a document; what cannot be encoded raises DataError saying where."""
    try:
        return vocabulary.encode(document.text, strict=False)
    except AskError as e:
        raise DataError(f"{document.where}: {e}") from e
