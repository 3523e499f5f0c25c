"""The training mixture of time series: which entries are hidden, drawn for each example by its own index."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start

TASKS = ("impute", "forecast", "channels", "points", "times", "generate")


def start(task: str, batch: Batch, random: Random, step: int, horizon: int) -> Start:
    """Level 1 where hidden. `impute`: single points, blocks per node, blocks over all nodes, or the hole pattern of another
    window; `forecast`: the last 1..horizon times of every node; `channels`: whole nodes, all the time or from some time
    on; `points`: single entries alone; `times`: every node at times drawn at random; `generate`: everything."""
    x = batch.x["series"]
    index = batch.index if batch.index is not None else torch.arange(len(x))
    if task == "generate":
        return Start({"series": torch.ones((len(x), 1, 1))})
    kinds = {"impute": _impute, "forecast": _forecast, "channels": _channels, "points": _points, "times": _times}
    hide = kinds[task]
    hidden = hide(batch, random, step, index, horizon)
    empty = ~hidden.flatten(1).any(1)
    if empty.any():
        hidden = hidden | empty[:, None, None]
    return Start({"series": hidden.float()})


def _uniform(random: Random, shape: tuple[int, ...], index: Tensor, step: int, name: str) -> Tensor:
    return random.uniform(shape, index, step, "series " + name)


def _lengths(batch: Batch) -> Tensor:
    """(B, 1, 1) number of real times of each window."""
    x = batch.x["series"]
    exists = batch.exists.get("series")
    if exists is None:
        return torch.full((len(x), 1, 1), x.shape[-1])
    return exists.any(1, keepdim=True).sum(-1, keepdim=True)


def blocks(starts: Tensor, sizes: Tensor, length: int) -> Tensor:
    """True inside any block: starts and sizes (..., K) in steps -> (..., length)."""
    place = torch.arange(length)
    inside = (place >= starts[..., None]) & (place < (starts + sizes)[..., None])
    return inside.any(-2)


def _impute(batch: Batch, random: Random, step: int, index: Tensor, horizon: int) -> Tensor:
    size, nodes, length = batch.x["series"].shape
    points = _points(batch, random, step, index, horizon)
    which, where, long = _uniform(random, (3, nodes + 1, 3), index, step, "blocks").unbind(1)
    spans = torch.exp(long * math.log(max(0.75 * length, 2)))
    begins = where * (length + spans) - spans
    keep = which < 0.2 + 0.6 * _uniform(random, (1, 1), index, step, "block rate")
    spans = spans * keep
    apart = blocks(begins[:, :nodes].round(), spans[:, :nodes].round(), length)
    together = blocks(begins[:, nodes:].round(), spans[:, nodes:].round().clamp(min=1), length).expand(-1, nodes, -1)
    kind = _uniform(random, (1, 1), index, step, "kind")
    hidden = torch.where(kind < 0.25, points, torch.where(kind < 0.7, apart, together))
    if "pattern" in batch.context:
        hidden = torch.where((kind > 0.85) | ((kind > 0.25) & (kind < 0.4)), hidden | ~batch.context["pattern"], hidden)
    return hidden


def _points(batch: Batch, random: Random, step: int, index: Tensor, horizon: int) -> Tensor:
    size, nodes, length = batch.x["series"].shape
    rate = 0.05 + 0.9 * _uniform(random, (1, 1), index, step, "rate")
    return _uniform(random, (nodes, length), index, step, "points") < rate


def _times(batch: Batch, random: Random, step: int, index: Tensor, horizon: int) -> Tensor:
    size, nodes, length = batch.x["series"].shape
    rate = 0.05 + 0.9 * _uniform(random, (1, 1), index, step, "rate")
    return (_uniform(random, (1, length), index, step, "moments") < rate).expand(-1, nodes, -1)


def _forecast(batch: Batch, random: Random, step: int, index: Tensor, horizon: int) -> Tensor:
    size, nodes, length = batch.x["series"].shape
    u = _uniform(random, (2, 1), index, step, "horizon")
    ahead = torch.where(u[:, :1] < 0.5, torch.full_like(u[:, :1], horizon), torch.ceil(u[:, 1:] * horizon))
    real = _lengths(batch)
    hidden = torch.arange(length) >= real - ahead
    scattered = _uniform(random, (nodes, length), index, step, "gaps") < 0.3
    messy = _uniform(random, (1, 1), index, step, "messy") < 0.15
    return (hidden.expand(-1, nodes, -1)) | (scattered & messy)


def _channels(batch: Batch, random: Random, step: int, index: Tensor, horizon: int) -> Tensor:
    size, nodes, length = batch.x["series"].shape
    u = _uniform(random, (3, 1), index, step, "share")
    chosen = _uniform(random, (nodes,), index, step, "which") < 0.1 + 0.8 * u[:, 0]
    begin = torch.where(u[:, 1] < 0.5, torch.zeros_like(u[:, 1]), torch.floor(u[:, 2] * length))
    return chosen[..., None] & (torch.arange(length) >= begin[..., None])
