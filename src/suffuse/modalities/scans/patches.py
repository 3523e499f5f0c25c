"""Volumes larger than a model's grid: one state, many overlapping windows, one prediction.

Every network call of the sampler becomes a round over windows whose clean predictions are blended (Bar-Tal et al. 2023,
MultiDiffusion). The noise is drawn for the whole volume, so windows agree from the first step on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from suffuse.diffusion.state import Fields


def starts(size: int, window: int, overlap: int) -> list[int]:
    """First cells of windows that cover `size` cells, the last one flush with the end, at least `overlap` cells shared."""
    if size <= window:
        return [0]
    count = -(-(size - overlap) // (window - overlap))
    return [round(k * (size - window) / (count - 1)) for k in range(count)]


def ramp(window: int, overlap: int) -> Tensor:
    """(window,) weights: 1 inside, falling linearly to almost 0 over the overlap at both ends."""
    edge = (torch.arange(window) + 0.5) / max(overlap, 1)
    return torch.minimum(edge, edge.flip(0)).clamp(max=1.0)


class Windows:
    """A denoiser of large grids made from one of small grids.

    grid: the window. overlap: cells shared by neighbours. grids: field -> axis of its first grid axis in the values and
    levels (the grid axes follow one another). Other fields and context are handed to every window; categorical answers
    beside the grid (labels) are averaged. batch: windows in one call.
    """

    needs_gradients = False

    def __init__(
        self,
        denoiser: Callable[..., Fields],
        grid: Sequence[int],
        grids: dict[str, int],
        overlap: int = 8,
        batch: int = 8,
    ):
        self.denoiser, self.grid, self.grids, self.overlap, self.batch = denoiser, tuple(grid), grids, overlap, batch

    def places(self, size: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """The first cells of all windows of a grid of `size`."""
        each = [starts(s, w, min(self.overlap, w // 2)) for s, w in zip(size, self.grid)]
        return itertools.product(*each)

    def _cut(self, values: Fields, place: tuple[int, ...]) -> Fields:
        out = dict(values)
        for name, axis in self.grids.items():
            value = values[name]
            for k, (first, window) in enumerate(zip(place, self.grid)):
                if value.shape[axis + k] > 1:
                    value = value.narrow(axis + k, first, min(window, value.shape[axis + k]))
            out[name] = value
        return out

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        name, axis = next(iter(self.grids.items()))
        size = x[name].shape[axis : axis + len(self.grid)]
        total: Fields = {}
        weights = torch.zeros(size, device=x[name].device)
        weight = torch.ones(())
        for k, window in enumerate(self.grid):
            shape = [1] * len(self.grid)
            shape[k] = -1
            weight = weight * ramp(min(window, size[k]), min(self.overlap, window // 2)).reshape(shape)
        weight = weight.to(x[name].device)
        places, samples = list(self.places(size)), x[name].shape[0]
        for first in range(0, len(places), self.batch):
            part = places[first : first + self.batch]
            cuts = [[self._cut(v, p) for p in part] for v in (x, levels, targets or {}) if v]
            joined = [{n: torch.cat([c[n] for c in cut]) for n in cut[0]} for cut in cuts]
            answer = self.denoiser(joined[0], joined[1], context, joined[2] if targets else None)
            for k, p in enumerate(part):
                inside = tuple(slice(f, f + w) for f, w in zip(p, weight.shape))
                weights[inside] += weight
                for field, value in answer.items():
                    self._add(total, field, value[k * samples : (k + 1) * samples], weight, inside, x)
        for field in self.grids:
            shape = [1] * total[field].ndim
            shape[self.grids[field] : self.grids[field] + len(size)] = size
            total[field] /= weights.reshape(shape)
        return {f: v if f in self.grids else v / len(places) for f, v in total.items()}

    def _add(
        self, total: Fields, field: str, value: Tensor, weight: Tensor, inside: tuple[slice, ...], x: Fields
    ) -> None:
        if field not in self.grids:
            total[field] = total.get(field, 0) + value
            return
        axis = self.grids[field]
        if field not in total:
            whole = x[field].shape[axis : axis + len(self.grid)]
            total[field] = value.new_zeros((*value.shape[:axis], *whole, *value.shape[axis + len(self.grid) :]))
        shape = [1] * value.ndim
        shape[axis : axis + len(self.grid)] = weight.shape
        total[field][(slice(None),) * axis + inside] += value * weight.reshape(shape)


def windows_of(modality: Any, overlap: int = 8, batch: int = 8) -> Callable[[Any], Windows]:
    """What `model.run(task, wrap=...)` takes to work on grids larger than the model's."""
    grids = {"image": 2} | ({"mask": 1} if modality.masked else {})
    return lambda denoiser: Windows(denoiser, modality.config["grid"], grids, overlap, batch)
