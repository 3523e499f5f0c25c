"""Which symbol is spoken when: a hidden Markov model with Gaussian mixtures, trained from nothing on a set of transcripts.

Every symbol has STATES states in a row, each with a mixture of Gaussians over cepstra and their slopes; the path through a
sentence is monotonic (Rabiner 1989; a flat start with hard assignments, as in monophone training). Durations of new sentences
are predicted by ridge regression of their logarithms on the symbol and its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

STATES = 2
ROUNDS, SPLITS = 16, (5, 9)
"""Passes over the data, and before which of them every Gaussian is split in two."""
CEPSTRA = 13
REACH = 2
"""Neighbours on each side that a predicted duration depends on."""


def features(mel: Tensor) -> Tensor:
    """Log-mel (M, T) -> (T, 2 CEPSTRA): cepstra, each with its mean over the clip taken away but the first, and their slopes."""
    bands = mel.shape[0]
    k, position = torch.arange(CEPSTRA)[:, None], torch.arange(bands) + 0.5
    cepstra = (torch.cos(math.pi / bands * k * position) / math.sqrt(bands)) @ mel.float()
    cepstra[1:] -= cepstra[1:].mean(1, keepdim=True)
    wide = torch.nn.functional.pad(cepstra[None], (2, 2), mode="replicate")[0]
    slope = (2 * (wide[:, 4:] - wide[:, :-4]) + wide[:, 3:-1] - wide[:, 1:-3]) / 10
    return torch.cat([cepstra, 3 * slope]).T


def align(clips: Sequence[Tensor], symbols: Sequence[Sequence[int]], count: int) -> list[np.ndarray | None]:
    """Frames of each symbol, one array (N,) a clip that add up to its T; None where the clip is too short for its symbols.

    clips: features (T, D). symbols: numbers below `count`.
    """
    states = [torch.tensor([STATES * s + k for s in row for k in range(STATES)]) for row in symbols]
    usable = [k for k, (clip, row) in enumerate(zip(clips, states, strict=True)) if len(clip) >= len(row)]
    out: list[np.ndarray | None] = [None] * len(clips)
    if not usable:
        return out
    every = torch.cat([clips[k] for k in usable])
    every = (every - every.mean(0)) / every.std(0).clamp(min=1e-3)
    spans = np.cumsum([0, *(len(clips[k]) for k in usable)])
    rows = [states[k] for k in usable]
    paths = [_flat(every[a:b, 0], len(row)) for a, b, row in zip(spans[:-1], spans[1:], rows, strict=True)]
    model = None
    for number in range(ROUNDS):
        owner = torch.cat([row[path] for row, path in zip(rows, paths, strict=True)])
        model = _fit(every, owner, STATES * count, model, split=number in SPLITS)
        paths = _viterbi(_likelihood(every, model), spans, rows)
    for k, path, row in zip(usable, paths, rows, strict=True):
        out[k] = np.bincount(path.numpy(), minlength=len(row)).reshape(-1, STATES).sum(1)
    return out


def _flat(energy: Tensor, count: int) -> Tensor:
    """A first path: the pauses at both ends take what is quiet there, all other states equal parts of the rest."""
    loud = (energy > energy.min() + 0.35 * (energy.max() - energy.min())).nonzero()[:, 0]
    total, edge = len(energy), STATES
    low = max(edge, int(loud[0])) if len(loud) else edge
    high = min(total - edge, int(loud[-1]) + 1) if len(loud) else total - edge
    if high - low < count - 2 * edge:
        low, high = edge, total - edge
    head = torch.linspace(0, edge - 1e-3, low).long()
    body = torch.linspace(edge, count - edge - 1e-3, high - low).long()
    return torch.cat([head, body, torch.linspace(count - edge, count - 1e-3, total - high).long()])


def _fit(x: Tensor, owner: Tensor, count: int, model: tuple[Tensor, ...] | None, split: bool) -> tuple[Tensor, ...]:
    """Means and variances (count, C, D) and log weights (count, C) of the frames that each state owns, hardly assigned."""
    if model is None:
        means, size = x.mean(0).expand(count, 1, -1).clone(), 1
        component = torch.zeros(len(x), dtype=torch.int64)
    else:
        means, variances, _ = model
        if split:
            means = torch.cat([means - 0.3 * variances.sqrt(), means + 0.3 * variances.sqrt()], 1)
        size = means.shape[1]
        component = (x[:, None] - means[owner]).square().sum(-1).argmin(1)
    place = owner * size + component
    number = torch.zeros(count * size).index_add_(0, place, torch.ones(len(x)))
    total = torch.zeros(count * size, x.shape[1]).index_add_(0, place, x)
    square = torch.zeros(count * size, x.shape[1]).index_add_(0, place, x.square())
    prior = 3.0  # so many frames' worth of what was there before, so that a rare symbol stays in reach
    means = (total + prior * means.reshape(-1, x.shape[1])) / (number + prior)[:, None]
    variances = (square + prior * (0.5 + means.square())) / (number + prior)[:, None] - means.square()
    weights = ((number + 1) / (number + 1).view(count, size).sum(1).repeat_interleave(size)).log()
    shape = (count, size, -1)
    return means.view(shape), variances.clamp(min=0.05).view(shape), weights.view(count, size)


def _likelihood(x: Tensor, model: tuple[Tensor, ...]) -> Tensor:
    """(T, count) log densities, the best component's."""
    means, variances, weights = model
    best = None
    for c in range(means.shape[1]):
        inverse = 1 / variances[:, c]
        constant = weights[:, c] + 0.5 * (inverse.log().sum(1) - (means[:, c].square() * inverse).sum(1))
        value = x @ (means[:, c] * inverse).T - 0.5 * (x.square() @ inverse.T) + constant
        best = value if best is None else torch.maximum(best, value)
    return best


def _viterbi(likelihood: Tensor, spans: np.ndarray, rows: list[Tensor], block: int = 64) -> list[Tensor]:
    """The best monotonic path (T,) of each clip through its states."""
    order, out = np.argsort(np.diff(spans)), [torch.empty(0)] * len(rows)
    for first in range(0, len(rows), block):
        part = order[first : first + block].tolist()
        times, sizes = [int(spans[k + 1] - spans[k]) for k in part], [len(rows[k]) for k in part]
        value = torch.full((len(part), max(times), max(sizes)), -1e9)
        for b, k in enumerate(part):
            value[b, : times[b], : sizes[b]] = likelihood[spans[k] : spans[k + 1]][:, rows[k]]
        score = torch.full((len(part), max(sizes)), -1e9)
        score[:, 0] = value[:, 0, 0]
        moved = torch.zeros(value.shape, dtype=torch.bool)
        for t in range(1, max(times)):
            before = torch.nn.functional.pad(score[:, :-1], (1, 0), value=-1e9)
            moved[:, t] = before > score
            score = torch.maximum(before, score) + value[:, t]
        for b, k in enumerate(part):
            place, path, back = sizes[b] - 1, [], moved[b].numpy()
            for t in range(times[b] - 1, -1, -1):
                path.append(place)
                place -= int(back[t, place]) if place else 0
            out[k] = torch.tensor(path[::-1])
    return out


def duration_model(symbols: Sequence[Sequence[int]], durations: Sequence[np.ndarray], count: int) -> dict[str, Any]:
    """Ridge regression of log frames: {"bias", "weights" [2 REACH + 1][count], "longest" [count], "variance"}, plain numbers."""
    rows = np.concatenate([_neighbours(s, count) for s in symbols])
    target = np.log(np.concatenate([np.asarray(d, float) for d in durations]))
    size = (2 * REACH + 1) * (count + 1)
    gram, right = np.eye(size) * 3.0, np.zeros(size)
    bias = target.mean()
    for column in range(rows.shape[1]):
        np.add.at(right, rows[:, column], target - bias)
        for other in range(rows.shape[1]):
            np.add.at(gram, (rows[:, column], rows[:, other]), 1.0)
    weights = np.linalg.solve(gram, right)
    rest = target - bias - weights[rows].sum(1)
    return {
        "bias": round(float(bias), 4),
        "variance": round(float(rest.var()), 4),
        "weights": [[round(float(w), 4) for w in row] for row in weights.reshape(2 * REACH + 1, -1)],
    }


def durations_of(symbols: Sequence[int], model: dict[str, Any]) -> np.ndarray:
    """Predicted frames of each symbol, at least 1: the mean of a log-normal law, rounded so that the rests are not lost."""
    weights = np.asarray(model["weights"])
    log = model["bias"] + weights.reshape(-1)[_neighbours(symbols, weights.shape[1] - 1)].sum(1)
    return whole_frames(np.exp(log + 0.5 * model["variance"]))


def whole_frames(lengths: np.ndarray) -> np.ndarray:
    """Positive lengths as whole numbers of at least 1 whose running sum stays near the true one."""
    out, owed = [], 0.0
    for length in lengths:
        out.append(max(1, round(length + owed)))
        owed += length - out[-1]
    return np.array(out)


def _neighbours(symbols: Sequence[int], count: int) -> np.ndarray:
    """(N, 2 REACH + 1) places in the flat weights: the symbol and its neighbours; `count` stands for beyond the ends."""
    wide = [count] * REACH + list(symbols) + [count] * REACH
    n = len(symbols)
    return np.stack([np.array(wide[k : k + n]) + k * (count + 1) for k in range(2 * REACH + 1)], 1)
