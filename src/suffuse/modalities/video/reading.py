"""Sources of many clips: folders of films, folders of frame folders, npz, lists; and moving digits made from MNIST."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import DataError
from suffuse.modalities.video.digits import moving_digits, read_idx, shrink
from suffuse.modalities.video.files import (
    CONTAINERS,
    MOVING,
    Clip,
    as_clips,
    frame_files,
    natural,
    read_arrays,
    read_clip,
)


def fit_frames(frames: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Frames (T, H, W, C) uint8 scaled so that they just cover `size` (H, W), then cropped to their middle."""
    from PIL import Image

    high, wide = size
    if frames.shape[1:3] == (high, wide):
        return frames
    scale = max(high / frames.shape[1], wide / frames.shape[2])
    tall, broad = max(high, round(frames.shape[1] * scale)), max(wide, round(frames.shape[2] * scale))
    kind = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC
    out = np.empty((len(frames), tall, broad, frames.shape[3]), np.uint8)
    for t, frame in enumerate(frames):
        picture = Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).resize((broad, tall), kind)
        out[t] = np.asarray(picture).reshape(tall, broad, -1)
    top, left = (tall - high) // 2, (broad - wide) // 2
    return out[:, top : top + high, left : left + wide]


def windows(clip: Clip, frames: int, size: Sequence[int], every: int) -> list[Clip]:
    """Clips of `frames` frames cut from a film, one after another, each `every`-th frame; shorter films are refused."""
    strip = clip.frames[::every]
    if len(strip) < 2:
        raise DataError(f"{clip.name}: {len(strip)} frame; a clip needs at least 2, single frames are images.")
    if len(strip) < frames:
        raise DataError(
            f"{clip.name}: {len(strip)} frames, and clips of {frames} are meant; ask for frames={len(strip)} or fewer."
        )
    starts = range(0, len(strip) - frames + 1, frames)
    return [replace(clip, frames=fit_frames(strip[s : s + frames], size)) for s in starts]


def read_clips(
    source: Any, frames: int, size: Sequence[int], every: int = 1, limit: int | None = None, moving: int | None = None
) -> list[Clip]:
    """All clips of a source, cut and scaled.

    source: a film, a .npz or .npy file, a folder of films (sub-folder = label, or labels.csv with file and one column an
    attribute), a folder of frames or of such folders, an array (N, T, H, W, C), clips. moving: make so many films of moving
    digits from the MNIST idx files in the folder `source`. Raises DataError.
    """
    if moving is not None:
        return digit_films(source, moving, frames, size)
    out: list[Clip] = []
    for clip in _sources(source):
        out += windows(clip, frames, size, every)
        if limit is not None and len(out) >= limit:
            return out[:limit]
    if not out:
        raise DataError(f"{source}: holds no clips.")
    return out


def digit_films(
    folder: Any, count: int, frames: int, size: Sequence[int], seed: int = 0, train: bool = True
) -> list[Clip]:
    """Films of one moving digit (half as large as the picture) from MNIST, with its label."""
    images, labels = read_idx(folder, train)
    if size[0] != size[1]:
        raise DataError(f"moving digits are square; {size[0]} x {size[1]} was asked.")
    chosen = np.random.default_rng(seed).permutation(len(images))[: max(2000, count)]
    made = moving_digits(shrink(images[chosen], size[0] // 2), labels[chosen], count, frames, size[0], seed)
    return [
        Clip(v, 8.0, {"digit": int(k)}, f"moving_{i}")
        for i, (v, k) in enumerate(zip(made["video"], made["label"][:, 0]))
    ]


def _sources(source: Any):
    if isinstance(source, Clip):
        yield source
    elif isinstance(source, (list, tuple)):
        for one in source:
            yield from _sources(one)
    elif isinstance(source, np.ndarray):
        yield from as_clips(source, "array")
    elif isinstance(source, (str, Path)):
        path = Path(source).expanduser()
        if not path.exists():
            raise DataError(f"there is no file or folder {path}.")
        if path.suffix.lower() in (".npz", ".npy"):
            yield from read_arrays(path)
        elif path.is_dir() and not frame_files(path):
            yield from _folder(path)
        else:
            yield read_clip(path)
    else:
        raise DataError(
            f"an object of type {type(source).__name__} is no video; give a path, clips or an array (N, T, H, W, C)."
        )


def _is_film(path: Path) -> bool:
    return path.suffix.lower() in (*MOVING, *CONTAINERS, ".npz") or (path.is_dir() and bool(frame_files(path)))


def _folder(folder: Path):
    inside = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural)
    films = [p for p in inside if _is_film(p)]
    table = _labels(folder / "labels.csv") if (folder / "labels.csv").is_file() else {}
    for path in films:
        for clip in _sources(path):
            yield replace(clip, labels=table.get(path.name, clip.labels))
    if films:
        return
    groups = [p for p in inside if p.is_dir() and any(_is_film(q) for q in p.iterdir())]
    if not groups:
        raise DataError(f"{folder}: no films and no frames in this folder.")
    for group in groups:
        for path in sorted((p for p in group.iterdir() if _is_film(p)), key=natural):
            for clip in _sources(path):
                yield replace(clip, labels={"label": group.name})


def _labels(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or "file" not in rows[0]:
        raise DataError(f"{path}: needs a column named file, and one column for each attribute.")
    return {row["file"]: {k: v for k, v in row.items() if k != "file" and v not in (None, "")} for row in rows}
