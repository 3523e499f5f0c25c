"""Pictures of scans: three planes, sheets and slice films, masks drawn over in colour, synthetic ones marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.files import atomic_write
from suffuse.modalities.scans.volume import Case

COLOURS = np.array([[0, 0, 0], [255, 120, 60], [70, 170, 255], [120, 230, 120], [240, 220, 70], [220, 110, 230]], float)
MARK = "synthetic, not for clinical use"


def window(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Values as grey bytes; without limits from the 1st to the 99.5th percentile."""
    finite = values[np.isfinite(values)]
    low = float(np.percentile(finite, 1)) if low is None else low
    high = float(np.percentile(finite, 99.5)) if high is None else high
    return (np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def overlay(grey: np.ndarray, mask: np.ndarray | None, strength: float = 0.45) -> np.ndarray:
    """(H, W, 3) bytes: a grey slice (H, W) with the classes of a mask (H, W) above 0 in colour."""
    out = np.repeat(grey[..., None], 3, axis=-1).astype(float)
    if mask is not None:
        tint = COLOURS[np.where(mask > 0, (mask.astype(int) - 1) % (len(COLOURS) - 1) + 1, 0)]
        out = np.where((mask > 0)[..., None], (1 - strength) * out + strength * tint, out)
    return out.astype(np.uint8)


def planes(case: Case, scale: int = 3, channel: str | None = None, limits: tuple[float, float] | None = None) -> Any:
    """A PIL image: the middle slice along each axis side by side (head up), or the one slice of a 2-D scan."""
    from PIL import Image

    volume = case.volumes[channel] if channel else case.reference
    assert volume is not None
    grey = window(volume.values, *(limits or (None, None)))
    mask = None if case.mask is None else np.rint(case.mask.values).astype(int)
    if grey.ndim == 2:
        parts = [overlay(grey, mask)]
    else:
        if mask is not None and mask.any():
            centre = [int(np.median(where)) for where in np.nonzero(mask)]
        else:
            centre = [size // 2 for size in grey.shape]
        parts = []
        for axis in (2, 1, 0):
            cut = tuple(slice(None) if k != axis else centre[axis] for k in range(3))
            turned = np.flipud(grey[cut].T)
            parts.append(overlay(turned, None if mask is None else np.flipud(mask[cut].T)))
    height = max(p.shape[0] for p in parts)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, 2), (0, 0))) for p in parts]
    picture = Image.fromarray(np.concatenate(padded, axis=1)[:, :-2])
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def marked(picture: Any, text: str = MARK) -> Any:
    """A picture with a line of text below it."""
    from PIL import Image, ImageDraw

    out = Image.new("RGB", (max(picture.width, 6 * len(text) + 8), picture.height + 14))
    out.paste(picture, (0, 0))
    ImageDraw.Draw(out).text((3, picture.height + 1), text, fill=(255, 200, 90))
    return out


def sheet(cases: Sequence[Case], columns: int | None = None, scale: int = 3, mark: bool = True) -> Any:
    """A PIL image of many cases in rows, with the mark of synthetic scans below."""
    from PIL import Image

    tiles = [planes(case, scale) for case in cases]
    columns = columns or (8 if tiles[0].width < 160 else 2)
    columns = min(columns, len(tiles))
    wide, high = max(t.width for t in tiles) + 4, max(t.height for t in tiles) + 4
    rows = -(-len(tiles) // columns)
    out = Image.new("RGB", (wide * columns - 4, high * rows - 4), (24, 24, 24))
    for k, tile in enumerate(tiles):
        out.paste(tile, (k % columns * wide, k // columns * high))
    return marked(out) if mark else out


def film(case: Case, path: str | Path, axis: int = 2, scale: int = 3, fps: float = 8.0) -> Path:
    """A GIF that runs through the slices of a volume along one axis, with its mask drawn over."""
    from PIL import Image

    volume = case.reference
    grey = np.moveaxis(window(volume.values), axis, 0)
    mask = None if case.mask is None else np.moveaxis(np.rint(case.mask.values).astype(int), axis, 0)
    frames = []
    for k, cut in enumerate(grey):
        picture = Image.fromarray(overlay(np.flipud(cut.T), None if mask is None else np.flipud(mask[k].T)))
        picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
        frames.append(marked(picture) if volume.synthetic else picture)
    path = Path(path)
    with atomic_write(path) as partial:
        frames[0].save(partial, save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0)
    return path
