"""The path of a clip as a field of its own: where in each frame the thing is that moves. It is drawn first, then the frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError
from suffuse.modalities.grids import Fields, GridNetwork
from suffuse.modalities.labelled import Rows
from suffuse.networks.tracks import PathNetwork, coordinates, where

CALLS = 24
"""Calls of the path's network alone when a path is drawn; all of them together cost less than one call of the clip's."""


def centres(stored: Tensor, chunk: int = 256) -> Tensor:
    """(N, T, 2) column and row, from -1 to 1 across the frame, of the centre of what differs from each frame's median colour, for
    clips (N, T, C, H, W). Empty frames: the middle."""
    out = []
    rows, columns = (coordinates(n) for n in stored.shape[3:])
    for part in stored.split(chunk):
        flat = part.float().flatten(3)
        weight = (flat - flat.median(dim=3, keepdim=True).values).abs().sum(2).unflatten(2, part.shape[3:])
        total = weight.sum((2, 3)).clamp(min=1e-6)
        across, down = (weight.sum(2) * columns).sum(2), (weight.sum(3) * rows).sum(2)
        out.append(torch.stack([across, down], dim=-1) / total[..., None])
    return torch.cat(out)


class PathGrid(GridNetwork):
    """A `GridNetwork` of clips with the field `path` (B, T, 2) beside: the path is answered by a network of its own, and what it
    makes of it is shown to the clip's. path: mean and deviation of the path's values as `centres` gives them.

    Where nothing of the clip is there (all frames held), only the path is computed.
    """

    def __init__(self, *parts: Any, path: dict[str, float], **settings: Any):
        super().__init__(*parts, **settings, context={"where": 3})
        self.follow, self.scale = PathNetwork(), path

    def forward(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        path, level, clip = x["path"], levels["path"], x["clip"]
        raw = self.follow(path, level)
        if not bool(clip.any()):
            logits = {n: clip.new_zeros(len(clip), 1, k) for n, k in self.labels.items()}
            return {"clip": torch.zeros_like(clip), "path": raw, **logits}
        angle = level.float() * (torch.pi / 2)
        place = (angle.cos() * path + angle.sin() * raw.float()).detach() * self.scale["std"] + self.scale["mean"]
        maps = where(place, level.float(), (clip.shape[3], clip.shape[4]))
        return {**super().forward(x, levels, {**context, "where": maps}, targets), "path": raw}


class Films(Rows):
    """Clips in memory, with their paths where the model has them."""

    def __init__(self, modality: Any, stored: Tensor, labels: dict[str, Tensor]):
        super().__init__(modality, stored, labels)
        self.paths = centres(stored) if modality.config.get("path") else None

    def batch(self, indices: Tensor) -> Any:
        out = super().batch(indices)
        if self.paths is not None:
            out.x["path"] = scaled(self.paths[indices], self.modality.config["path"])
        return out


def scaled(path: Tensor, scale: dict[str, float]) -> Tensor:
    """A path in model units."""
    return (path - scale["mean"]) / scale["std"]


def given_path(value: Any, n: int, frames: int) -> Tensor:
    """(n, T, 2) from -1 to 1 of a path (T, 2), or one a sample, of columns and rows as shares of width and height; NaN where it
    is asked. value: numbers, or a CSV file of two columns. Raises AskError."""
    try:
        numbers = np.genfromtxt(value, delimiter=",") if isinstance(value, (str, Path)) else value
        path = torch.as_tensor(np.asarray(numbers, np.float32))
    except (ValueError, TypeError, OSError) as error:
        raise AskError(
            "a path is [column, row] for each frame, as shares of width and height, or a CSV file of two columns."
        ) from error
    path = path[None] if path.ndim == 2 else path
    if path.ndim != 3 or path.shape[1:] != (frames, 2) or len(path) not in (1, n):
        raise AskError(
            f"a path of {frames} frames is {frames} pairs of column and row; this has shape {[*path.shape]}."
        )
    known = path[torch.isfinite(path)]
    if len(known) and (known.min() < 0 or known.max() > 1):
        raise AskError("columns and rows of a path are shares of width and height, from 0 to 1.")
    return (2 * path - 1).expand(n, frames, 2)


def told(start: Start, task: str, batch: Batch, random: Random, step: int) -> Start:
    """A training start with the path given, but held back from one clip in ten, and from every other that is known in part."""
    size = len(batch)
    index = torch.arange(size) if batch.index is None else batch.index
    held = random.uniform((), index, step, "path held") < (0.5 if task == "inpaint" else 0.1)
    start.levels["path"], start.held["path"] = held.float()[:, None, None], held[:, None, None]
    return start


def follow(modality: Any, task: Task, path: Any = None) -> Task:
    """A task with the path of its frames: as far as they are known, or as `path` says (see `given_path`)."""
    x, level = task.x["clip"], task.start.levels["clip"]
    n, frames = x.shape[:2]
    found = (level.flatten(2).amax(2).expand(n, frames)[..., None] >= 1).float()
    values = centres(modality.unscale(x))
    if path is not None:
        wanted = given_path(path, n, frames)
        known = torch.isfinite(wanted)
        values, found = torch.where(known, wanted, values), torch.where(known.all(2, keepdim=True), 0.0, found)
    task.x["path"], task.start.levels["path"] = scaled(values, modality.config["path"]), found
    task.given["path"] = found == 0
    return task


def drawn_first(model: Any, task: Any, seed: int, free: bool) -> Any:
    """The task with the path that it asks for drawn already, by the path's network alone; or held back, where frames must also
    agree with something that says where things are (`free` False, or frames known in part)."""
    levels, held = task.start.levels, task.start.held
    if "clip" in held or "path" in held or not bool((levels["path"] > 0).any()):
        return task
    frame = levels["clip"].flatten(2)
    if not free or bool((frame.amin(2) < frame.amax(2)).any()):
        kept = Start(levels, {**held, "path": torch.ones(1, 1, 1, dtype=torch.bool)})
        return replace(task, start=kept)
    no_label = {n: torch.ones(len(task), 1, dtype=torch.bool) for n in model.modality.labels}
    nothing = torch.ones((1,) * 5, dtype=torch.bool)
    start = Start({**levels, "clip": nothing.float()}, {"clip": nothing, **no_label})
    given = {**task.given, "clip": ~nothing} | {n: ~v for n, v in no_label.items()}
    alone = replace(task, start=start, given=given)
    path = model.run(alone, seed=seed, steps=CALLS, batch=max(len(task), 1), guidance=1.0)["path"]
    known = Start({**levels, "path": torch.zeros(len(task), 1, 1)}, held)
    return replace(
        task, x={**task.x, "path": path}, start=known, given={**task.given, "path": torch.ones(len(task), 1, 1).bool()}
    )


def anchored(model: Any, task: Any, first: Tensor, seed: int) -> Any:
    """A task that goes on from known frames, its path drawn, the earliest of these frames replaced by the `first` of the clip and
    where the thing is in them: looks come from there, places from the path."""
    task, count = drawn_first(model, task, seed, True), first.shape[1]
    places = scaled(centres(model.modality.unscale(first)), model.modality.config["path"])
    clip, path = (torch.cat([a, task.x[n][:, count:]], dim=1) for n, a in (("clip", first), ("path", places)))
    return replace(task, x={**task.x, "clip": clip, "path": path})
