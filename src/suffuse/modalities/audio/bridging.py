"""Short gaps bridged by linear prediction from both sides: where the model starts from, in place of pure noise."""

from __future__ import annotations

import numpy as np

LONGEST = 0.06
"""Seconds; over longer gaps a prediction dies away and says less than nothing (measured on training sentences)."""
LEVEL = 0.75
"""The level that a bridged gap starts from."""


def burg(x: np.ndarray, order: int) -> np.ndarray:
    """Coefficients a (order + 1,), a[0] = 1, of the prediction x[n] = -sum a[k] x[n - k] (Burg 1967)."""
    f, b, a = x[1:].copy(), x[:-1].copy(), np.array([1.0])
    for _ in range(order):
        k = -2 * f.dot(b) / (f.dot(f) + b.dot(b) + 1e-12)
        a = np.append(a, 0) + k * np.append(a, 0)[::-1]
        f, b = (f + k * b)[1:], (b + k * f)[:-1]
    return a


def ahead(x: np.ndarray, count: int, order: int) -> np.ndarray:
    """(count,) samples that follow x, predicted one after the other."""
    x = x.astype(np.float64)
    a, out = burg(x, order), list(x[-order:])
    for _ in range(count):
        out.append(-np.dot(a[1:], out[-1 : -order - 1 : -1]))
    return np.array(out[order:])


def autoregressive(wave: np.ndarray, begin: int, end: int, order: int = 64, reach: int = 1600) -> np.ndarray:
    """The wave with samples begin..end predicted from up to `reach` samples on both sides, cross-faded (Janssen et al. 1986)."""
    out, n = wave.copy(), end - begin
    left = ahead(wave[max(0, begin - reach) : begin], n, order)
    right = ahead(wave[end : end + reach][::-1], n, order)[::-1]
    share = np.linspace(1, 0, n)
    out[begin:end] = share * left + (1 - share) * right
    return out


def bridge(wave: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """A wave with NaN gaps -> the wave without NaN, and which of its samples were bridged.

    Gaps of at most LONGEST seconds with 32 ms of known samples on both sides are bridged; in others stand zeros.
    """
    hole = np.isnan(wave)
    out, done = np.nan_to_num(wave), np.zeros(len(wave), dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hole.view(np.int8), [0]]))).reshape(-1, 2)
    order, least, reach = max(2, rate // 16), int(0.032 * rate), rate // 2
    for number, (begin, end) in enumerate(edges.tolist()):
        low = max(edges[number - 1, 1] if number else 0, begin - reach)
        high = min(edges[number + 1, 0] if number + 1 < len(edges) else len(wave), end + reach)
        near = min(begin - low, high - end)
        if end - begin <= LONGEST * rate and near >= least:
            part = autoregressive(out[low:high], begin - low, end - low, min(order, near // 2), reach)
            if np.isfinite(part).all() and np.abs(part).max() <= 2 * np.abs(out[low:high]).max():
                out[begin:end], done[begin:end] = part[begin - low : end - low], True
    return out, done
