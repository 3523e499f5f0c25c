"""Conformal correction: stretch quantiles about the median until held-out data are covered as often as they should be.

Split conformal prediction on the normalised error |y - median| / (half width of the central interval on that side)
(Romano et al. 2019, "Conformalized quantile regression", with a multiplicative score). It corrects marginal intervals of
new data that are exchangeable with the held-out ones; the joint samples stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from suffuse.errors import DataError

LEVELS = (0.5, 0.8, 0.9, 0.95)
LEAST = 40
"""Held-out truths below which no correction is fitted."""


def factors(draws: np.ndarray, truth: np.ndarray, levels: Sequence[float] = LEVELS) -> list[list[float]]:
    """[central level, factor] pairs from draws (S, M) and truths (M,); NaN truths do not count. Raises DataError on few."""
    seen = np.isfinite(truth)
    x, y = np.asarray(draws)[:, seen], np.asarray(truth)[seen]
    if len(y) < LEAST:
        raise DataError(f"{len(y)} held-out values are too few to calibrate on; at least {LEAST} are needed")
    found = []
    for level in levels:
        low, middle, high = np.quantile(x, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
        half = np.where(y >= middle, high - middle, middle - low)
        score = np.abs(y - middle) / np.maximum(half, 1e-12)
        rank = min(np.ceil((len(y) + 1) * level) / len(y), 1.0)
        found.append([level, float(np.quantile(score, rank, method="higher"))])
    return found


def widen(
    cuts: np.ndarray, quantiles: Sequence[float], middle: np.ndarray, pairs: Sequence[Sequence[float]]
) -> np.ndarray:
    """Corrected quantiles (Q, M): each one's distance to the median times the factor of its central level, interpolated
    between the fitted levels; still in order."""
    level = [abs(2 * q - 1) for q in quantiles]
    known, values = [p[0] for p in pairs], [p[1] for p in pairs]
    stretch = np.interp(level, known, values)[:, None]
    order = np.argsort(quantiles)
    moved = middle + stretch * (cuts - middle)
    moved[order] = np.maximum.accumulate(moved[order], axis=0)
    return moved


def report(draws: np.ndarray, truth: np.ndarray, pairs: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Coverage and mean width of each central interval without and with the correction."""
    seen = np.isfinite(truth)
    x, y, rows = np.asarray(draws)[:, seen], np.asarray(truth)[seen], []
    middle = np.median(x, axis=0)
    for level, _ in pairs:
        ends = [(1 - level) / 2, (1 + level) / 2]
        plain = np.quantile(x, ends, axis=0)
        fixed = widen(plain, ends, middle, pairs)
        row: dict[str, Any] = {"level": level}
        for name, (low, high) in (("", plain), ("_conformal", fixed)):
            row[f"coverage{name}"] = float(((y >= low) & (y <= high)).mean())
            row[f"width{name}"] = float((high - low).mean())
        rows.append(row)
    return rows
