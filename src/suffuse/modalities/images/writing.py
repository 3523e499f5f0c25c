"""Pictures to files: PNG, a grid, npz; and what is no picture (labels, captions) to text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import AskError
from suffuse.files import atomic_folder, atomic_write, write_json, write_text


def write_samples(samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
    """Write samples by the ending of `path`.

    .png, .jpg, .webp: the picture, or a grid of several. .npz: arrays 'images' (N, H, W[, C]) and, where known, 'labels'
    and 'captions'. .json, .txt, .csv: labels or captions. No ending: a folder of numbered PNG files, with metadata.csv
    where labels or captions are known; it can be trained on again. first: number of the first, where a picture has none.
    """
    path = Path(path)
    if not samples:
        raise AskError("there are no samples to write")
    suffix = path.suffix.lower()
    pictures = hasattr(samples[0], "save")
    if not pictures:
        texts = [str(s) for s in samples]
        if suffix == ".json":
            return [write_json(texts, path)]
        return [write_text("\n".join(texts) + "\n", path if suffix else path.with_suffix(".txt"))]
    if suffix in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"):
        image = samples[0] if len(samples) == 1 else grid(samples)
        if suffix in (".jpg", ".jpeg", ".bmp") and image.mode in ("LA", "RGBA"):
            raise AskError(f"{path.name}: {suffix[1:].upper()} files hold no transparency; write .png or .webp")
        with atomic_write(path) as partial:
            image.save(partial)
        return [path]
    if suffix == ".npz":
        arrays = {"images": np.stack([np.asarray(s) for s in samples])}
        for key, name in (("label", "labels"), ("caption", "captions")):
            if all(key in s.info for s in samples):
                arrays[name] = np.array([s.info[key] for s in samples])
        with atomic_write(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **arrays)
        return [path]
    if suffix:
        raise AskError(f"pictures are written as .png, .jpg, .webp, .npz or a folder, not as {suffix}")
    names = [f"{s.info.get('index', k):06d}.png" for k, s in enumerate(samples, first)]
    with atomic_folder(path, existing="merge") as folder:
        for name, sample in zip(names, samples, strict=True):
            sample.save(folder / name)
        keys = [key for key in ("label", "caption") if any(key in s.info for s in samples)]
        if keys:
            _write_table(folder / "metadata.csv", names, samples, keys, path / "metadata.csv")
    return [path / name for name in names]


def _write_table(path: Path, names: Sequence[str], samples: Sequence[Any], keys: Sequence[str], known: Path) -> None:
    """The table of these pictures and of those that `known`, the folder's table so far, has besides."""
    import csv

    others: list[dict[str, str]] = []
    if known.is_file():
        with open(known, newline="", encoding="utf-8") as file:
            others = [row for row in csv.DictReader(file) if row.get("file") not in set(names)]
        keys = list(dict.fromkeys([*(k for row in others[:1] for k in row if k and k != "file"), *keys]))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *keys])
        writer.writerows([row["file"], *(row.get(key) or "" for key in keys)] for row in others)
        writer.writerows([name, *(s.info.get(key, "") for key in keys)] for name, s in zip(names, samples, strict=True))


def grid(samples: Sequence[Any], columns: int | None = None, gap: int = 1, scale: int | None = None) -> Any:
    """One PIL image with the samples in rows; `columns` is near the square root of their number by default.

    scale: whole-number enlargement without smoothing; by default pictures get at least 64 pixels high.
    """
    from PIL import Image

    columns = columns or min(len(samples), max(1, round((2 * len(samples)) ** 0.5)))
    wide, high = max(s.width for s in samples), max(s.height for s in samples)
    scale = scale or max(1, 64 // high)
    mode = (
        "RGBA"
        if any(s.mode in ("LA", "RGBA") for s in samples)
        else "RGB"
        if any(s.mode == "RGB" for s in samples)
        else "L"
    )
    ground = {"L": 255, "RGB": (255, 255, 255), "RGBA": (0, 0, 0, 0)}[mode]
    step_x, step_y = wide * scale + gap, high * scale + gap
    sheet = Image.new(mode, (columns * step_x - gap, -(-len(samples) // columns) * step_y - gap), ground)
    for k, sample in enumerate(samples):
        large = sample.convert(mode).resize((sample.width * scale, sample.height * scale), Image.Resampling.NEAREST)
        sheet.paste(large, (k % columns * step_x, k // columns * step_y))
    return sheet
