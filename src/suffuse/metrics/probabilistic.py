"""Scores of probabilistic forecasts and imputations, from samples or from quantiles.

Samples come first: (S, ...) with truths (...). Entries whose truth is NaN are left out of means. Lower is better for every
score here; coverage and PIT are calibration figures with a target instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NINE = tuple(k / 10 for k in range(1, 10))
"""The nine levels .1 ... .9 of the M4 and GluonTS habit."""
NINETEEN = tuple(k / 20 for k in range(1, 20))
"""The nineteen levels .05 ... .95 of the CSDI habit."""


def crps_samples(samples: np.ndarray, truth: np.ndarray, fair: bool = False) -> np.ndarray:
    """Continuous ranked probability score, per entry: E|X - y| - E|X - X'| / 2 (Gneiting & Raftery 2007, eq. 21).

    samples (S, ...), truth (...). `fair` divides the second term by S (S - 1) in place of S^2, which makes the score of a
    small ensemble an unbiased estimate of the score of the law it was drawn from (Ferro 2014).
    """
    x = np.sort(np.asarray(samples, dtype=np.float64), axis=0)
    size = x.shape[0]
    rank = (2 * np.arange(1, size + 1) - size - 1).reshape(-1, *([1] * (x.ndim - 1)))
    spread = (rank * x).sum(0) / (size * (max(size - 1, 1) if fair else size))
    return np.abs(x - truth).mean(0) - spread


def pinball(prediction: np.ndarray, truth: np.ndarray, level: float) -> np.ndarray:
    """Quantile (pinball) loss per entry of a prediction of the `level` quantile."""
    gap = np.asarray(truth) - np.asarray(prediction)
    return np.maximum(level * gap, (level - 1) * gap)


def crps_quantiles(quantiles: np.ndarray, truth: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """Twice the mean pinball loss over `levels`, per entry: tends to the CRPS as the levels fill (0, 1).

    quantiles (len(levels), ...), truth (...).
    """
    return 2 * np.mean([pinball(q, truth, p) for q, p in zip(quantiles, levels, strict=True)], axis=0)


def normalised_crps(samples: np.ndarray, truth: np.ndarray, levels: Sequence[float] = NINETEEN) -> float:
    """Mean over levels of 2 sum(pinball) / sum|truth|: the "CRPS" of CSDI, TimeGrad and GluonTS tables, which call it
    mean weighted quantile loss. Truths that are NaN do not count."""
    seen = np.isfinite(truth)
    values = np.quantile(np.asarray(samples)[:, seen], levels, axis=0)
    return float(crps_quantiles(values, truth[seen], levels).sum() / np.abs(truth[seen]).sum())


def weighted_quantile_loss(quantiles: np.ndarray, truth: np.ndarray, levels: Sequence[float] = NINE) -> float:
    """As `normalised_crps`, from quantiles (len(levels), ...) instead of samples."""
    seen = np.isfinite(truth)
    return float(crps_quantiles(np.asarray(quantiles)[:, seen], truth[seen], levels).sum() / np.abs(truth[seen]).sum())


def mase(prediction: np.ndarray, truth: np.ndarray, history: np.ndarray, season: int = 1) -> float:
    """Mean absolute scaled error of one series: the error over the in-sample error of the seasonal naive method
    (Hyndman & Koehler 2006). NaN where the history is constant."""
    scale = np.nanmean(np.abs(history[season:] - history[:-season]))
    return float(np.nanmean(np.abs(prediction - truth)) / scale) if scale > 0 else float("nan")


def coverage(samples: np.ndarray, truth: np.ndarray, level: float = 0.9) -> tuple[float, float]:
    """(share of truths inside the central interval, mean width of that interval)."""
    seen = np.isfinite(truth)
    low, high = np.quantile(np.asarray(samples)[:, seen], [(1 - level) / 2, (1 + level) / 2], axis=0)
    inside = (truth[seen] >= low) & (truth[seen] <= high)
    return float(inside.mean()), float((high - low).mean())


def pit(samples: np.ndarray, truth: np.ndarray, bins: int = 10) -> np.ndarray:
    """Histogram (bins,) of the probability integral transform, shares that sum to 1; flat when calibrated. Ties count half."""
    seen = np.isfinite(truth)
    x = np.asarray(samples)[:, seen]
    u = ((x < truth[seen]).sum(0) + 0.5 * (x == truth[seen]).sum(0) + 0.5) / (x.shape[0] + 1)
    return np.histogram(u, bins=bins, range=(0, 1))[0] / max(seen.sum(), 1)


def spread_error_correlation(samples: np.ndarray, truth: np.ndarray) -> float:
    """Pearson correlation of the predicted deviation with the absolute error of the median, over entries."""
    seen = np.isfinite(truth)
    x = np.asarray(samples)[:, seen]
    return float(np.corrcoef(x.std(0), np.abs(np.median(x, axis=0) - truth[seen]))[0, 1])


def energy_score(samples: np.ndarray, truth: np.ndarray) -> float:
    """Energy score of a vector: E|X - y| - E|X - X'| / 2 in the Euclidean norm (Gneiting & Raftery 2007, eq. 22).

    samples (S, D), truth (D,); the multivariate CRPS.
    """
    x = np.asarray(samples, dtype=np.float64).reshape(len(samples), -1)
    error = np.linalg.norm(x - np.asarray(truth).reshape(-1), axis=1).mean()
    square = (x**2).sum(1)
    pairs = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * x @ x.T, 0))
    np.fill_diagonal(pairs, 0)
    return float(error - pairs.mean() / 2)


def variogram_score(
    samples: np.ndarray, truth: np.ndarray, order: float = 0.5, weights: np.ndarray | None = None
) -> float:
    """Variogram score: sum over pairs of w (|y_i - y_j|^p - E|X_i - X_j|^p)^2 (Scheuerer & Hamill 2015); it sees a wrong
    correlation where the energy score hardly does. samples (S, D), truth (D,), weights (D, D) or ones."""
    x = np.asarray(samples, dtype=np.float64).reshape(len(samples), -1)
    y = np.asarray(truth, dtype=np.float64).reshape(-1)
    seen = np.abs(y[:, None] - y[None]) ** order
    expected = np.zeros_like(seen)
    for row in x:
        expected += np.abs(row[:, None] - row[None]) ** order
    gap = (seen - expected / len(x)) ** 2
    return float((gap if weights is None else gap * weights).sum())


def summary(samples: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The usual figures at once: crps (19 levels, normalised), mae of the median, coverage and width at 50, 80, 90 %."""
    seen = np.isfinite(truth)
    x, y = np.asarray(samples)[:, seen], np.asarray(truth)[seen]
    figures = {"crps": normalised_crps(x, y), "mae": float(np.abs(np.median(x, axis=0) - y).mean())}
    figures["crps_mean"] = float(crps_samples(x, y, fair=True).mean())
    for level in (0.5, 0.8, 0.9):
        inside, width = coverage(x, y, level)
        figures[f"coverage{round(100 * level)}"], figures[f"width{round(100 * level)}"] = inside, width
    return figures
