"""Clips side by side, and as strips of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from suffuse.modalities.video.files import Clip


def enlarged(frames: np.ndarray, scale: int) -> np.ndarray:
    """(T, H, W, C) with every pixel `scale` times as large."""
    return frames.repeat(scale, axis=1).repeat(scale, axis=2)


def side_by_side(
    clips: Sequence[Clip], columns: int | None = None, scale: int = 2, gap: int = 4, held: Sequence[int] | None = None
) -> Clip:
    """One clip that shows many at once, row by row; shorter ones stay on their last frame.

    held: for each clip how many of its first frames were given: those are framed in colour.
    """
    columns = min(len(clips), columns or 8)
    length = max(len(c) for c in clips)
    high, wide = (s * scale + gap for s in clips[0].frames.shape[1:3])
    rows = -(-len(clips) // columns)
    out = np.full((length, rows * high + gap, columns * wide + gap, 3), 40, np.uint8)
    for k, clip in enumerate(clips):
        frames = enlarged(np.broadcast_to(clip.frames, (*clip.frames.shape[:3], 3)), scale)
        frames = np.concatenate([frames, frames[-1:].repeat(length - len(frames), axis=0)])
        top, left = k // columns * high + gap, k % columns * wide + gap
        if held is not None and held[k]:
            out[: held[k], top - 2 : top + high - gap + 2, left - 2 : left + wide - gap + 2] = (250, 170, 50)
        out[:, top : top + high - gap, left : left + wide - gap] = frames
    return Clip(out, clips[0].fps)


def film_strip(clips: Sequence[Clip], scale: int = 2, gap: int = 2) -> Any:
    """A PIL image: one row a clip, its frames from left to right."""
    from PIL import Image

    rows = []
    for clip in clips:
        frames = enlarged(np.broadcast_to(clip.frames, (*clip.frames.shape[:3], 3)), scale)
        rows.append(np.concatenate([np.pad(f, ((0, gap), (0, gap), (0, 0))) for f in frames], axis=1))
    wide = max(r.shape[1] for r in rows)
    return Image.fromarray(np.concatenate([np.pad(r, ((0, 0), (0, wide - r.shape[1]), (0, 0))) for r in rows]))
