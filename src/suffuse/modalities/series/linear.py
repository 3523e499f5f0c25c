"""A linear forecast of each series from its own past, fitted in closed form before training: one more of the cheap answers
that the network starts from (linear forecasters rival transformers on long horizons: Zeng et al. 2023, "Are transformers
effective for time series forecasting?")."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from suffuse.modalities.series.baseline import regular
from suffuse.modalities.series.windows import Window

FLOOR = 0.05
RIDGES = (1e1, 1e2, 1e3, 1e4, 1e5)
MOST = 60_000
"""Pairs of past and future that a fit takes at most."""


def fit(records: list[Window], past: int, horizon: int) -> Tensor | None:
    """(horizon, past) ridge weights from `past` values to the next `horizon`, each past in units of its own mean and
    deviation, all series alike; the ridge is chosen on the last fifth of the pairs. None where there are too few pairs.

    Holes are interpolated; stretches that are mostly holes or not regular in time are left out.
    """
    pairs, size = [], past + horizon
    total = sum(max(len(r.times) - size + 1, 0) * len(r.values) for r in records)
    stride = max(1, -(-total // MOST))
    for record in records:
        steps = np.diff(record.times)
        for values in record.values:
            seen = np.isfinite(values)
            if seen.sum() < 2:
                continue
            line = np.interp(record.times, record.times[seen], values[seen])
            for first in range(0, len(line) - size + 1, stride):
                apart = steps[first : first + size - 1]
                if seen[first : first + size].mean() > 0.5 and np.ptp(apart) <= 0.01 * apart[0]:
                    pairs.append(line[first : first + size])
    if len(pairs) < 20:
        return None
    rows = np.stack(pairs).astype(np.float64)
    centre, spread = rows[:, :past].mean(1, keepdims=True), rows[:, :past].std(1, keepdims=True) + FLOOR
    rows = (rows - centre) / spread
    x, y = rows[:, :past], rows[:, past:]
    cut = int(0.8 * len(x))
    errors = [np.square(y[cut:] - x[cut:] @ solved(x[:cut], y[:cut], ridge)).mean() for ridge in RIDGES]
    return torch.from_numpy(solved(x, y, RIDGES[int(np.argmin(errors))]).T.copy()).float()


def solved(x: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """Ridge weights (inputs, outputs)."""
    return np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)


def ahead(filled: Tensor, known: Tensor, times: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The forecast behind the last known entry of each node, and where there is one: (B, N, T) each.

    filled: values (B, N, T) without holes up to there; times (B, T); weight (horizon, past) as from `fit`.
    """
    horizon, past = weight.shape
    size = filled.shape[-1]
    place = torch.arange(size, device=filled.device)
    origin = torch.where(known, place, -1).amax(-1, keepdim=True) + 1
    index = (origin - past).clamp(min=0) + torch.arange(past, device=filled.device)
    before = filled.gather(-1, index.clamp(max=size - 1))
    centre, spread = before.mean(-1, keepdim=True), before.std(-1, keepdim=True, correction=0) + FLOOR
    future = ((before - centre) / spread) @ weight.T.to(filled.dtype) * spread + centre
    lead = place - origin
    found = (lead >= 0) & (lead < horizon) & (origin >= past) & regular(times)[:, None, None]
    return future.gather(-1, lead.clamp(0, horizon - 1)) * found, found
