"""Folders of sound: which clips there are, and what is known of each.

Layouts, in the order they are looked for: a metadata.csv (`id|text` as in LJSpeech, or a head line with `file` or `id` and any
of label, speaker, text); `clean/` and `noisy/` with equal names, or `clean/` and `noise/` to be mixed; sub-folders as labels,
or speaker/label; names such as 7_jackson_32.wav (label_speaker_number); a plain folder or one file, without labels.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import DataError
from suffuse.files import check_memory, read_text
from suffuse.modalities.audio import waves

_NAME = re.compile(r"([^_]+)_([^_]+)_(\d+)")


@dataclass
class Entry:
    """One clip of a folder, not yet read."""

    path: Path
    label: str | None = None
    speaker: str | None = None
    text: str | None = None
    noisy: Path | None = None


@dataclass
class Clip:
    """One clip: mono float32 at the data set's rate and loudness."""

    wave: np.ndarray
    name: str = ""
    label: str | None = None
    speaker: str | None = None
    text: str | None = None
    noisy: np.ndarray | None = None
    symbols: np.ndarray | None = None
    """What is spoken in each frame, where the text has been aligned: (T,) numbers of the model's symbols."""


def sounds(folder: Path) -> list[Path]:
    """All sound files below a folder, in the order of their names; hidden ones are left out."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in waves.SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def find(source: str | Path) -> list[Entry]:
    """The clips of a folder or file, with what its layout says of them. Raises DataError where there are none."""
    source = Path(source).expanduser()
    if not source.exists():
        raise DataError(f"there is no file or folder {source}")
    if source.is_file():
        return [Entry(source)]
    if (source / "metadata.csv").is_file():
        return _table(source, source / "metadata.csv")
    if (source / "clean").is_dir() and (source / "noisy").is_dir():
        return _pairs(source)
    if (source / "clean").is_dir() and (source / "noise").is_dir():
        return [Entry(p) for p in sounds(source / "clean")]
    paths = sounds(source)
    if not paths:
        raise DataError(f"the folder {source} holds no WAV, FLAC or OGG file")
    depth = {len(p.relative_to(source).parts) for p in paths}
    if depth == {2}:
        return [Entry(p, label=p.parent.name) for p in paths]
    if depth == {3}:
        return [Entry(p, label=p.parent.name, speaker=p.parent.parent.name) for p in paths]
    matches = [_NAME.fullmatch(p.stem) for p in paths]
    if all(matches) and len(paths) >= 4:
        labels, speakers = {m[1] for m in matches}, {m[2] for m in matches}
        if max(len(labels), len(speakers)) <= len(paths) / 2:
            return [Entry(p, label=m[1], speaker=m[2]) for p, m in zip(paths, matches, strict=True)]
    return [Entry(p) for p in paths]


def _table(folder: Path, table: Path) -> list[Entry]:
    lines = [line for line in read_text(table, 64 << 20).splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{table} is empty; it should hold lines of id|text")
    mark = "|" if "|" in lines[0] else ","
    rows = list(csv.reader(lines, delimiter=mark, quoting=csv.QUOTE_NONE if mark == "|" else csv.QUOTE_MINIMAL))
    head = [cell.strip().lower() for cell in rows[0]]
    names = {"file_name": "file", "filename": "file", "path": "file", "transcript": "text", "sentence": "text"}
    head = [names.get(cell, cell) for cell in head]
    if head[0] in ("file", "id"):
        rows = rows[1:]
    else:
        head = ["id", "text"]
    known = {p.stem: p for p in sounds(folder)} | {str(p.relative_to(folder)): p for p in sounds(folder)}
    entries = []
    for number, row in enumerate(rows, start=1):
        cells = dict(zip(head, (cell.strip() for cell in row)))
        key = cells.get("file") or cells.get("id") or ""
        path = known.get(key)
        if path is None:
            raise DataError(f"{table}, line {number}: there is no sound file named '{key}' beside it")
        entries.append(Entry(path, *(cells.get(name) or None for name in ("label", "speaker", "text"))))
    return entries


def _pairs(folder: Path) -> list[Entry]:
    clean = {p.relative_to(folder / "clean").with_suffix(""): p for p in sounds(folder / "clean")}
    noisy = {p.relative_to(folder / "noisy").with_suffix(""): p for p in sounds(folder / "noisy")}
    if not clean:
        raise DataError(f"the folder {folder / 'clean'} holds no WAV, FLAC or OGG file")
    alone = sorted(set(clean) ^ set(noisy))
    if alone:
        raise DataError(f"{folder}: '{alone[0]}' stands in only one of clean/ and noisy/; both need the same names")
    return [Entry(clean[k], noisy=noisy[k]) for k in sorted(clean)]


def noises(source: Any, rate: int) -> list[np.ndarray]:
    """The clips of a folder's `noise/`, mono float32 at a rate and of unit root mean square; none where there is no such
    folder beside `clean/`. Raises DataError."""
    if not isinstance(source, (str, Path)):
        return []
    source = Path(source).expanduser()
    if not ((source / "clean").is_dir() and (source / "noise").is_dir()) or (source / "noisy").is_dir():
        return []
    found = [waves.read_wave(p, rate)[0] for p in sounds(source / "noise")]
    if not found:
        raise DataError(f"the folder {source / 'noise'} holds no WAV, FLAC or OGG file")
    return [wave / np.float32(np.sqrt((wave.astype(np.float64) ** 2).mean())) for wave in found]


def load(source: Any, rate: int | None = None) -> tuple[list[Clip], int]:
    """Read clips from a folder, a file, or arrays, to one rate (default: the commonest of the files).

    Arrays: (samples, rate), a list of such pairs, or a dict {label: list of pairs}. Clips that are silent are left out with
    a warning, unless none is left. Raises DataError.
    """
    if isinstance(source, (str, Path)):
        entries = find(source)
        heads = [waves.inspect(e.path) for e in entries]
        rates = Counter(h.samplerate for h in heads)
        rate = rate or rates.most_common(1)[0][0]
        check_memory(sum(int(h.frames * rate / h.samplerate) for h in heads) * 12, str(source))
        arrays = None
    else:
        entries, arrays = arrays_of(source)
        rates = Counter(r for _, r in arrays)
        rate = rate or rates.most_common(1)[0][0]
    waves.check_rate(rate, "the asked rate")
    other = {r: n for r, n in rates.items() if r != rate}
    if other:
        told = ", ".join(f"{n} from {r} Hz" for r, n in sorted(other.items()))
        warnings.warn(f"resampled to {rate} Hz: {told}", stacklevel=3)
    clips, broken = [], []
    for number, entry in enumerate(entries):
        try:
            wave, found = waves.read_wave(entry.path) if arrays is None else arrays[number]
        except DataError as error:
            if "silent" not in str(error) or len(entries) == 1:
                raise
            broken.append(str(error))
            continue
        clips.append(_clip(entry, waves.resample(wave, found, rate), rate))
    if not clips:
        raise DataError(f"no clip can be used: {broken[0]}")
    if broken:
        warnings.warn(f"{len(broken)} silent clips were left out ({broken[0]})", stacklevel=3)
    hurt = [c.name for c in clips if waves.clipped(c.wave) > 0.01]
    if hurt:
        warnings.warn(f"{len(hurt)} clips are clipped (first: {hurt[0]}); a model learns that too", stacklevel=3)
    return clips, rate


def _clip(entry: Entry, wave: np.ndarray, rate: int) -> Clip:
    level, gain = waves.normalise(wave, rate)
    noisy = None
    if entry.noisy is not None:
        noisy, _ = waves.read_wave(entry.noisy, rate)
        if abs(len(noisy) - len(level)) > 0.02 * rate:
            raise DataError(
                f"{entry.noisy} and its clean partner differ in length ({len(noisy)} and {len(level)} samples)"
            )
        noisy, change = waves.normalise(np.pad(noisy, (0, max(0, len(level) - len(noisy))))[: len(level)], rate)
        level = level * np.float32(change / gain)  # the question sets the loudness, as it will when asked
    return Clip(level, entry.path.name, entry.label, entry.speaker, entry.text, noisy)


def arrays_of(source: Any) -> tuple[list[Entry], list[tuple[np.ndarray, int]]]:
    """(samples, rate) pairs, checked. Raises DataError."""
    if not isinstance(source, (tuple, list, dict)):
        raise DataError(f"sound is a file, a folder, (samples, rate) or a list of those, not {type(source).__name__}")

    pair = waves.is_pair
    if isinstance(source, dict):
        named = [(str(label), item) for label, items in source.items() for item in ([items] if pair(items) else items)]
    else:
        named = [(None, item) for item in ([source] if pair(source) else source)]
    entries, arrays = [], []
    for number, (label, item) in enumerate(named):
        if not pair(item):
            raise DataError(f"clip {number} must be a pair (samples, rate), not {type(item).__name__}")
        entries.append(Entry(Path(f"clip {number}"), label=label))
        arrays.append((waves.check_wave(item[0], item[1], f"clip {number}"), int(item[1])))
    if not arrays:
        raise DataError("there is no clip to read")
    return entries, arrays
