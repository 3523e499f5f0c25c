"""Figures of quality for clips: appearance and motion apart, each beside real against real."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from suffuse.metrics.frechet import frechet


def centroids(frames: np.ndarray) -> np.ndarray:
    """(..., 2) centre of brightness (row, column) of grey frames (..., H, W); NaN where a frame is empty."""
    weight = frames.astype(np.float64)
    total = weight.sum((-1, -2))
    rows = (weight.sum(-1) * np.arange(frames.shape[-2])).sum(-1)
    columns = (weight.sum(-2) * np.arange(frames.shape[-1])).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack([rows, columns], axis=-1) / total[..., None]


def bounces(start: np.ndarray, speed: np.ndarray, frames: int) -> np.ndarray:
    """(..., frames) places in [0, 1] of the standard rule along one axis: move, stop at the wall, turn round."""
    place, speed = np.broadcast_arrays(np.asarray(start, float), np.asarray(speed, float))
    out = []
    for _ in range(frames):
        place = place + speed
        hit = (place <= 0) | (place >= 1)
        place = np.clip(place, 0, 1)
        speed = np.where(hit, -speed, speed)
        out.append(place)
    return np.stack(out, axis=-1)


def path_residual(path: np.ndarray, room: float, step: float = 0.1, angles: int = 180, starts: int = 101) -> float:
    """How far (root mean square, pixels) a path (T, 2) is from the family of bouncing paths with speed `step` in a room of
    `room` pixels, wherever the digit's centre lies in its box: direction and start are searched, the offset is free."""
    frames = len(path)
    angle = np.arange(angles) * 2 * np.pi / angles
    total = np.zeros(angles)
    for axis, speed in enumerate((np.sin(angle) * step, np.cos(angle) * step)):
        family = bounces(np.linspace(0, 1, starts)[None], speed[:, None], frames) * room
        gap = family - path[:, axis]
        total += ((gap - gap.mean(-1, keepdims=True)) ** 2).mean(-1).min(1)
    return float(np.sqrt(total.min()))


def sharpness(frames: np.ndarray) -> np.ndarray:
    """(...) mean gradient magnitude of grey frames (..., H, W) relative to their mean brightness."""
    frames = frames.astype(np.float64)
    gradient = np.abs(np.diff(frames, axis=-1)).mean((-1, -2)) + np.abs(np.diff(frames, axis=-2)).mean((-1, -2))
    return gradient / np.maximum(frames.mean((-1, -2)), 1e-6)


def evaluate(model: Any, data: Any, samples: int = 48, seed: int = 0, steps: int | None = None) -> dict[str, float]:
    """Frechet distance of clips and of their frame-to-frame differences in principal components of real clips, and the mean
    squared error of predicting the second half of held-out clips from the first, beside repeating the last frame."""
    half = len(data) // 2
    real = data.batch(torch.arange(len(data))).x["clip"]
    made = model.run(model.modality.request(samples, None, index=torch.arange(samples)), steps=steps, seed=seed)["clip"]
    out = {}
    for name, view in (("appearance", lambda c: c.flatten(1)), ("motion", lambda c: (c[:, 1:] - c[:, :-1]).flatten(1))):
        a, b, m = view(real[:half]), view(real[half:]), view(made)
        mean = a.mean(0)
        _, _, v = torch.linalg.svd(a - mean, full_matrices=False)
        v = v[: min(32, half - 1)].T
        out[f"frechet_{name}"], out[f"frechet_{name}_real"] = (
            frechet((m - mean) @ v, (b - mean) @ v),
            frechet((a - mean) @ v, (b - mean) @ v),
        )
    keep, count = real.shape[1] // 2, min(samples, len(real))
    task = model.modality.request(count, None, index=torch.arange(count))
    level = (torch.arange(real.shape[1]) >= keep).float().reshape(1, -1, 1, 1, 1).expand(count, -1, 1, 1, 1)
    task.x["clip"], task.start.levels["clip"], task.given["clip"] = real[:count], level, level == 0
    guess = model.run(model.modality.follow(task), steps=steps, seed=seed)["clip"]
    out["prediction_error"] = float(((guess - real[:count])[:, keep:] ** 2).mean())
    out["prediction_error_still"] = float(((real[:count, keep - 1 : keep] - real[:count, keep:]) ** 2).mean())
    return out
