"""Scaling per series, calendars and seasons: what a model remembers about the numbers and the clock of its data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from suffuse.errors import DataError
from suffuse.modalities.series.panel import Panel

DAY = 86400.0
TRANSFORMS = ("none", "log", "log1p")


def forward(values: np.ndarray, transform: str) -> np.ndarray:
    """The transform applied before scaling; refuses values outside its domain."""
    if transform == "none":
        return values
    low = np.nanmin(values) if np.isfinite(values).any() else 1.0
    if transform == "log":
        if low <= 0:
            raise DataError(f"transform 'log' needs values above 0, and the smallest is {low:g}; use 'log1p' or 'none'")
        return np.log(values)
    if low <= -1:
        raise DataError(f"transform 'log1p' needs values above -1, and the smallest is {low:g}; use 'none'")
    return np.log1p(values)


def backward(values: np.ndarray, transform: str) -> np.ndarray:
    """The inverse of `forward`, kept finite."""
    if transform == "none":
        return values
    limited = np.minimum(values, 80.0)
    return np.exp(limited) if transform == "log" else np.expm1(limited)


def floors(panel: Panel) -> list[float | None]:
    """Per node 0 where no value of the training data is below it (prices, concentrations), else None."""
    lows = [min(np.nanmin(r.values[k], initial=np.inf) for r in panel.records) for k in range(len(panel.nodes))]
    return [0.0 if low >= 0 else None for low in lows]


def finest(panel: Panel, transform: str) -> float:
    """The smallest deviation, over nodes, of the change from one time to the next, in units of the node's own deviation; 1
    where nothing moves."""
    ratios = [1.0]
    for k in range(len(panel.nodes)):
        values = [forward(r.values[k], transform) for r in panel.records]
        moves = np.concatenate([np.diff(v) for v in values])
        moves, spread = moves[np.isfinite(moves)], moments(np.concatenate(values))[1]
        if moves.size > 1 and moves.std() > 0:
            ratios.append(float(moves.std() / spread))
    return min(ratios)


def original(scaled: np.ndarray, centre: np.ndarray, scale: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Scaled values (..., N, T) in the units of the data, not below the floors; centre, scale (..., N, 1)."""
    values = backward(scaled.astype(np.float64) * scale + centre, config["transform"])
    low = np.array([-np.inf if f is None else f for f in config["floors"]])
    return np.maximum(values, low[:, None])


def moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of the finite values; deviation 1 where they never change or there are none."""
    seen = values[np.isfinite(values)]
    if not seen.size:
        return 0.0, 1.0
    centre, scale = float(seen.mean()), float(seen.std())
    return centre, scale if scale > 1e-9 * max(1.0, abs(centre)) else 1.0


def learn(panel: Panel, transform: str, window: int) -> dict[str, Any]:
    """Centre and scale: per node ("nodes"); also per series ("ids") when series are separate, have one variable and are at
    least three windows long, so that a series' own moments give nothing away about what follows in a window."""
    records = [(r.id, forward(r.values, transform)) for r in panel.records]
    nodes = [moments(np.concatenate([v[k] for _, v in records])) for k in range(len(panel.nodes))]
    answer: dict[str, Any] = {"nodes": [list(m) for m in nodes]}
    typical = np.median([len(r.times) for r in panel.records])
    if panel.layout == "separate" and len(panel.nodes) == 1 and typical >= 3 * window:
        answer["ids"] = {id: list(moments(v[0])) for id, v in records}
    answer["covariates"] = {
        **{
            n: list(moments(np.concatenate([r.known[k].ravel() for r in panel.records])))
            for k, n in enumerate(panel.known)
        },
        **{
            n: list(moments(np.concatenate([r.static[k].ravel() for r in panel.records])))
            for k, n in enumerate(panel.static)
        },
    }
    return answer


def of_record(scaling: dict[str, Any], id: str, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(centre, scale), each (N, 1), for a record of transformed values (N, T); an unknown id is scaled by its own values."""
    if "ids" in scaling:
        pair = scaling["ids"].get(id) or moments(values)
        return np.full((1, 1), pair[0]), np.full((1, 1), pair[1])
    pairs = np.array(scaling["nodes"])
    return pairs[:, :1], pairs[:, 1:]


def periods(step: float, dates: bool, seasons: list[int], span: float) -> list[float]:
    """Periods of the calendar features in units of time: day, week, year where the step is fine enough and the data hold at
    least ten of them (fewer would let a network learn dates by heart), or the season asked for."""
    if not dates:
        return [s * step for s in seasons]
    found = [
        p
        for p, finest in ((DAY, 0.8 * DAY), (7 * DAY, 1.5 * DAY), (365.2425 * DAY, 40 * DAY))
        if step < finest and span > 10 * p
    ]
    return found + [s * step for s in seasons if not any(abs(p - s * step) < 0.01 * p for p in found)]


def calendar(times: np.ndarray, cycles: list[float]) -> np.ndarray:
    """(2 len(cycles), T): sine and cosine of each period."""
    if not cycles:
        return np.zeros((0, len(times)), np.float32)
    angle = np.array([2 * math.pi * np.mod(times, p) / p for p in cycles])
    return np.concatenate([np.sin(angle), np.cos(angle)]).astype(np.float32)


def natural_seasons(step: float, dates: bool) -> list[int]:
    """The seasons in steps that dates of this spacing suggest: a day, a week, a year; none for plain numbers."""
    if not dates or step <= 0:
        return []
    kinds = ((DAY, 0.5 * DAY, 0), (7 * DAY, 1.5 * DAY, 0.01 * DAY), (365.2425 * DAY, 100 * DAY, 6 * DAY))
    return [max(2, round(period / step)) for period, finest, least in kinds if least <= step <= finest]
