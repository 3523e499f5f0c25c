"""Windows of a panel: the training data set, and the collation that training and asking share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Batch
from suffuse.errors import DataError
from suffuse.modalities.series import scaling
from suffuse.modalities.series.panel import Panel, Record


@dataclass
class Window:
    """A stretch of one record, scaled. times: (T,) float64 as in `Record`; values: (N, T) float32, NaN where unknown;
    centre, scale: (N, 1); known: (C, N or 1, T), static: (S, N or 1) scaled covariates."""

    id: str
    times: np.ndarray
    values: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    known: np.ndarray | None = None
    static: np.ndarray | None = None


def scale_record(record: Record, config: dict[str, Any]) -> Window:
    """A whole record as one window, transformed and scaled as the model's config says."""
    values = scaling.forward(record.values, config["transform"])
    centre, scale = scaling.of_record(config["scaling"], record.id, values)
    known = _covariates(record.known, config["known"], config)
    static = _covariates(record.static, config["static"], config)
    return Window(record.id, record.times, ((values - centre) / scale).astype(np.float32), centre, scale, known, static)


def _covariates(values: np.ndarray | None, names: list[str], config: dict[str, Any]) -> np.ndarray | None:
    if not names or values is None:
        return None
    pairs = np.array([config["scaling"]["covariates"][n] for n in names])
    shape = (-1,) + (1,) * (values.ndim - 1)
    scaled = (values - pairs[:, 0].reshape(shape)) / pairs[:, 1].reshape(shape)
    return np.nan_to_num(scaled, nan=0.0).astype(np.float32)


def cut(window: Window, first: int, last: int) -> Window:
    """The times first..last-1 of a window."""
    known = None if window.known is None else window.known[..., first:last]
    part = slice(first, last)
    return Window(
        window.id, window.times[part], window.values[:, part], window.centre, window.scale, known, window.static
    )


def collate(
    windows: Sequence[Window], config: dict[str, Any], length: int | None = None
) -> tuple[Tensor, Tensor, dict, dict]:
    """(x, observed, exists, context) of windows padded at the end to one length. x (B, N, T) holds 0 where unknown."""
    size = length or max(len(w.times) for w in windows)
    count, nodes = len(windows), len(config["nodes"])
    x = np.zeros((count, nodes, size), np.float32)
    observed = np.zeros((count, nodes, size), bool)
    exists = np.zeros((count, 1, size), bool)
    times, clock = np.zeros((count, size), np.float32), np.zeros((count, size))
    step = config["step"]
    for k, w in enumerate(windows):
        n = len(w.times)
        exists[k, :, :n] = True
        observed[k, :, :n] = np.isfinite(w.values)
        x[k, :, :n] = np.nan_to_num(w.values, nan=0.0)
        clock[k, :n] = w.times
        if n < size:
            clock[k, n:] = w.times[-1] + step * np.arange(1, size - n + 1)
        times[k] = (clock[k] - clock[k, 0]) / step
    context = {"times": torch.from_numpy(times), "clock": torch.from_numpy(clock)}
    context["centre"] = torch.from_numpy(np.stack([w.centre for w in windows]).astype(np.float64))
    context["scale"] = torch.from_numpy(np.stack([w.scale for w in windows]).astype(np.float64))
    if config["periods"]:
        phases = scaling.calendar(clock.reshape(-1), config["periods"])
        context["calendar"] = torch.from_numpy(phases.reshape(-1, count, size).transpose(1, 0, 2).copy())
    for name in ("known", "static"):
        if config[name]:
            context[name] = torch.from_numpy(_stacked([getattr(w, name) for w in windows], name, config, size))
    masks = {} if exists.all() else {"series": torch.from_numpy(exists)}
    return torch.from_numpy(x), torch.from_numpy(observed), masks, context


def _stacked(values: list, name: str, config: dict[str, Any], size: int) -> np.ndarray:
    width = max((v.shape[1] for v in values if v is not None), default=1)
    shape = (len(values), len(config[name]), width) + ((size,) if name == "known" else ())
    out = np.zeros(shape, np.float32)
    for k, v in enumerate(values):
        if v is None:
            continue
        if name == "known":
            out[k, ..., : v.shape[-1]] = v
        else:
            out[k] = v
    return out


class Windows:
    """Every window of `config["window"]` times of every record; a shorter record is one padded window.

    With holes in the data each example brings the hole pattern of another window (context `pattern`), for the imputation
    task to copy.
    """

    def __init__(self, panel: Panel, config: dict[str, Any]):
        self.config = config
        self.records = [scale_record(r, config) for r in panel.records]
        size = config["window"]
        places = []
        for k, w in enumerate(self.records):
            seen = np.concatenate([[0], np.cumsum(np.isfinite(w.values).any(0))])
            last = max(len(w.times) - size, 0)
            first = np.arange(last + 1)
            enough = seen[np.minimum(first + size, len(w.times))] - seen[first] >= min(2, len(w.times))
            places.append(np.stack([np.full(enough.sum(), k), first[enough]], 1))
        self.places = np.concatenate(places)
        if not len(self.places):
            raise DataError("no window holds two measured times")
        self.padded = any(len(w.times) < size for w in self.records)
        self.holes = any(np.isnan(w.values).any() for w in self.records)

    def __len__(self) -> int:
        return len(self.places)

    def window(self, index: int) -> Window:
        record, first = self.places[int(index) % len(self)]
        w = self.records[record]
        return cut(w, first, min(first + self.config["window"], len(w.times)))

    def batch(self, indices: Tensor) -> Batch:
        windows = [self.window(k) for k in indices.tolist()]
        x, observed, exists, context = collate(windows, self.config, self.config["window"])
        if self.holes:
            others = [self.window((k * 2654435761 + 40503) % len(self)) for k in indices.tolist()]
            context["pattern"] = collate(others, self.config, self.config["window"])[1]
        return Batch({"series": x}, {"series": observed}, exists, context, indices)
