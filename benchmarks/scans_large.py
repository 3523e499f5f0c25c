"""Line 7 of the scans room: a volume far larger than the model's grid, its memory and its seams."""

from __future__ import annotations

import resource
import time

import numpy as np
from tables import table


def seams(volume: np.ndarray, grid: list[int], overlap: int) -> list[tuple[float, float]]:
    """Of each axis: mean absolute difference of neighbours across the borders of windows, and away from them. (Axes are kept
    apart: they differ in their steps and in their number of borders.)"""
    from suffuse.modalities.scans.patches import starts

    out = []
    for axis, window in enumerate(grid):
        size = volume.shape[axis]
        step = np.abs(np.diff(volume, axis=axis)).mean(tuple(k for k in range(3) if k != axis))
        first = starts(size, window, min(overlap, window // 2))
        borders = {b - 1 for f in first for b in (f, f + window) if 0 < b < size}
        near = {b + k for b in borders for k in (-2, -1, 0, 1, 2)}
        inside = [step[k] for k in range(len(step)) if k not in near]
        out.append((float(np.mean([step[b] for b in borders])), float(np.mean(inside))))
    return out


def run(name: str, size: tuple[int, int, int], steps: int, seed: int) -> None:
    import suffuse

    model = suffuse.load(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    begun, spent = time.perf_counter(), time.process_time()
    case = model.sample(1, size=size, steps=steps, seed=seed)[0]
    wall, spent = time.perf_counter() - begun, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    volume = case.reference.values
    steps_of = seams(volume, list(model.modality.config["grid"]), 8)
    ratios = [border / interior for border, interior in steps_of]
    size_made = " x ".join(map(str, volume.shape))
    row = [
        name,
        size_made,
        steps,
        wall / 60,
        spent / 60,
        peak,
        before,
        *(f"{a:.1f} / {b:.1f}" for a, b in steps_of),
        float(np.mean(ratios)),
    ]
    head = ["model", "size", "calls", "minutes", "CPU minutes", "peak memory GiB", "of which before"]
    notes = (
        f"Windows of {model.modality.config['grid']} overlapping by 8. Step: mean absolute difference of neighbouring voxels "
        "across the borders of windows, and at least 3 voxels from any, by axis. Bars: 30 minutes, 6 GB, ratio "
        "within 5 % of 1; ratios: " + ", ".join(f"{r:.3f}" for r in ratios) + "."
    )
    table(
        "scans_large",
        "Scans 7: a volume sampled by windows",
        [*head, *(f"axis {k}: step at borders / inside" for k in (1, 2, 3)), "mean ratio"],
        [row],
        notes,
    )
