"""What quality means for time series: held-out entries hidden, answered, and scored beside the simple methods."""

from __future__ import annotations

from typing import Any

import numpy as np

from suffuse.metrics import probabilistic
from suffuse.modalities.series import asking, scaling
from suffuse.modalities.series.panel import Record


def hide_blocks(shape: tuple[int, int], share: float, rng: np.random.Generator, sizes: tuple[int, int]) -> np.ndarray:
    """(N, T) bool: per node, blocks of sizes[0]..sizes[1] steps at random places until `share` of its entries is hidden."""
    nodes, length = shape
    hidden = np.zeros(shape, bool)
    for line in hidden:
        while line.mean() < share:
            size = int(rng.integers(sizes[0], sizes[1] + 1))
            begin = int(rng.integers(1 - size, length))
            line[max(begin, 0) : begin + size] = True
            if line.all():
                line[:] = False
    return hidden


def linear(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(N, T): linear interpolation in time, the nearest value outside; a node without values gets the mean of the rest."""
    filled = np.empty_like(values)
    rest = np.nanmean(values) if np.isfinite(values).any() else 0.0
    for k, line in enumerate(values):
        seen = np.isfinite(line)
        filled[k] = np.interp(times, times[seen], line[seen]) if seen.any() else rest
    return filled


def seasonal(values: np.ndarray, horizon: int, season: int | None) -> np.ndarray:
    """(N, horizon): the last season again, or the last value where there is no season or it holds a hole."""
    past = values[:, :-horizon]
    last = np.array([line[np.isfinite(line)][-1] if np.isfinite(line).any() else 0.0 for line in past])
    answer = np.repeat(last[:, None], horizon, 1)
    if season and season <= past.shape[1]:
        place = past.shape[1] - season + np.arange(horizon) % season
        answer = np.where(np.isfinite(past[:, place]), past[:, place], answer)
    return answer


def first(seasons: list[int]) -> int | None:
    """The shortest season, or None."""
    return seasons[0] if seasons else None


def original(window: Any, config: dict[str, Any]) -> np.ndarray:
    """A window's values (N, T) in original units."""
    return scaling.original(window.values, window.centre, window.scale, config)


def questions(
    pieces: list[Any], task: str, config: dict[str, Any], share: float, rng: np.random.Generator
) -> tuple[list[Record], list[np.ndarray]]:
    """(records with entries hidden, truths (N, T) that are NaN elsewhere) for task "impute" or "forecast"."""
    records, truths = [], []
    for piece in pieces:
        truth = original(piece, config)
        size = truth.shape[1]
        hidden = np.zeros(truth.shape, bool)
        if task == "forecast":
            hidden[:, size - config["horizon"] :] = True
        else:
            hidden = hide_blocks(truth.shape, share, rng, (2, max(2, size // 4)))
        records.append(Record(piece.id, piece.times, np.where(hidden, np.nan, truth)))
        truths.append(np.where(hidden, truth, np.nan))
    return records, truths


def evaluate(
    model: Any,
    modality: Any,
    data: Any,
    *,
    windows: int = 24,
    n: int = 50,
    share: float = 0.2,
    seed: int = 0,
    **how: Any,
) -> dict[str, float]:
    """Imputation (a `share` of entries hidden in blocks) and forecasting (the trained horizon) on windows of `data`.

    Normalised CRPS at 19 levels and coverage of the central 90 %, beside linear interpolation and the seasonal naive
    method (a point forecast's CRPS is its absolute error). Entries without truth do not count.
    """
    config, rng = modality.config, np.random.default_rng(seed)
    chosen = rng.choice(len(data), size=min(windows, len(data)), replace=False)
    pieces = [data.window(int(k)) for k in chosen]
    pieces = [p for p in pieces if len(p.times) > config["horizon"] + 1]
    figures: dict[str, float] = {}
    for task in ("impute", "forecast"):
        records, truths = questions(pieces, task, config, share, rng)
        simple = []
        for record in records:
            guess = linear(record.values, record.times)
            if task == "forecast":
                size = guess.shape[1]
                guess[:, size - config["horizon"] :] = seasonal(
                    record.values, config["horizon"], first(config["seasons"])
                )
            simple.append(guess.reshape(-1))
        filled = asking.fill(model, records, n, seed, **how)
        draws = np.concatenate([f.values.reshape(n, -1) for f in filled], axis=1)
        truth, guess = np.concatenate([t.reshape(-1) for t in truths]), np.concatenate(simple)
        if not np.isfinite(truth).any():
            continue
        figures[f"{task}_crps"] = probabilistic.normalised_crps(draws, truth)
        figures[f"{task}_crps_simple"] = probabilistic.normalised_crps(guess[None], truth)
        figures[f"{task}_coverage90"], _ = probabilistic.coverage(draws, truth, 0.9)
        figures[f"{task}_coverage90_real"] = 0.9
    return figures
