"""Moving digits: the standard test film, made from any stack of glyphs (Srivastava, Mansimov & Salakhutdinov 2015)."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from suffuse.errors import DataError

STEP = 0.1
"""Length of one step as a share of the room a digit has to move in."""


def bounce(n: int, frames: int, rng: np.random.Generator, step: float = STEP) -> np.ndarray:
    """Paths in the unit square, (n, frames, 2) as (row, column): straight lines of `step` a frame that reflect at the walls."""
    place, angle = rng.random((n, 2)), rng.random(n) * 2 * np.pi
    speed = np.stack([np.sin(angle), np.cos(angle)], axis=1) * step
    path = np.empty((n, frames, 2))
    for k in range(frames):
        place = place + speed
        hit = (place <= 0) | (place >= 1)
        place = np.clip(place, 0, 1)
        speed = np.where(hit, -speed, speed)
        path[:, k] = place
    return path


def moving_digits(
    glyphs: np.ndarray, labels: np.ndarray, n: int, frames: int = 16, size: int = 32, seed: int = 0, digits: int = 1
) -> dict[str, np.ndarray]:
    """Films of bouncing digits, grey on black.

    glyphs: (M, h, w) uint8, smaller than `size`; labels: (M,). Returns video (n, frames, size, size, 1) uint8, label (n, 1)
    (of the first digit), path (n, digits, frames, 2) top-left corners in pixels, chosen (n, digits) rows of `glyphs`.
    """
    rng = np.random.default_rng(seed)
    height, width = glyphs.shape[1:]
    if height >= size or width >= size:
        raise DataError(f"glyphs of {height} x {width} need a canvas larger than {size} pixels.")
    chosen = rng.integers(len(glyphs), size=(n, digits))
    video = np.zeros((n, frames, size, size, 1), np.uint8)
    room = np.array([size - height, size - width])
    path = np.stack([bounce(n, frames, rng) for _ in range(digits)], axis=1) * room
    corners = path.astype(np.int64)
    for i in range(n):
        for d in range(digits):
            glyph = glyphs[chosen[i, d]]
            for k in range(frames):
                row, column = corners[i, d, k]
                window = video[i, k, row : row + height, column : column + width, 0]
                np.maximum(window, glyph, out=window)
    return {"video": video, "label": labels[chosen[:, :1]], "path": corners, "chosen": chosen}


def shrink(glyphs: np.ndarray, size: int) -> np.ndarray:
    """Glyphs (M, h, w) uint8 resized to (M, size, size) with an antialiasing filter."""
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(g).resize((size, size), Image.Resampling.BOX)) for g in glyphs])


def read_idx(folder: str | Path, train: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's own files: images (N, 28, 28) uint8 and labels (N,), from a folder of (gzipped) idx files."""
    part = "train" if train else "t10k"
    out = []
    for kind, head in (("images-idx3-ubyte", 16), ("labels-idx1-ubyte", 8)):
        plain, packed = Path(folder) / f"{part}-{kind}", Path(folder) / f"{part}-{kind}.gz"
        if not plain.exists() and not packed.exists():
            raise DataError(f"there is no {packed.name} in {folder}; the four idx files of MNIST are meant.")
        try:
            raw = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
        except (OSError, EOFError) as error:
            raise DataError(f"{packed.name}: truncated or broken compression.") from error
        out.append(np.frombuffer(raw, np.uint8, offset=head))
    if len(out[0]) != len(out[1]) * 784:
        raise DataError(f"{folder}: {len(out[0])} pixels do not fit {len(out[1])} labels of 28 x 28 digits.")
    return out[0].reshape(-1, 28, 28), out[1].astype(np.int64)
