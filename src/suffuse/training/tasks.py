"""The training mixture: each example of a batch gets its own task, and so its own starting levels."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start
from suffuse.errors import AskError
from suffuse.modalities.contract import Modality, choose_tasks


def mixture(modality: Modality, chosen: dict[str, float] | None) -> dict[str, float]:
    """Task names and weights of a run: the modality's own, or those asked for. Raises `AskError` on an unknown name."""
    known = dict(modality.tasks)
    if chosen is None:
        return {name: weight for name, weight in known.items() if weight > 0}
    for name in chosen:
        if name not in known:
            raise AskError(f"{name!r} is no task of {modality.name}; choose from {', '.join(known)}.")
    return {name: float(weight) for name, weight in chosen.items() if weight > 0}


def mixed_start(modality: Modality, tasks: dict[str, float], batch: Batch, random: Random, step: int) -> Start:
    """The starting levels of a batch whose examples train on different tasks.

    batch.index must be unique per example of the step. Every task that was drawn answers for the whole batch, and rows
    are picked from the answers, so an example's start does not depend on its neighbours.
    """
    names = list(tasks)
    choice = choose_tasks(tasks, random, step, batch.index)
    present = [k for k in range(len(names)) if bool((choice == k).any())]
    starts = {k: modality.start(names[k], batch, random, step) for k in present}
    if len(starts) == 1:
        return next(iter(starts.values()))
    size = len(batch)
    levels, held = {}, {}
    for field, x in batch.x.items():
        unit = (1,) * x.ndim
        if any(field in s.levels for s in starts.values()):
            one = torch.ones(unit, device=x.device)
            levels[field] = _pick({k: s.levels.get(field, one) for k, s in starts.items()}, choice, size)
        if any(field in s.held for s in starts.values()):
            no = torch.zeros(unit, dtype=torch.bool, device=x.device)
            held[field] = _pick({k: s.held.get(field, no) for k, s in starts.items()}, choice, size)
    exact = None
    if any(s.exact is not None for s in starts.values()):
        no = torch.zeros(1, dtype=torch.bool, device=choice.device)
        exact = _pick({k: no if s.exact is None else s.exact for k, s in starts.items()}, choice, size)
    return Start(levels, held, exact)


def _pick(values: dict[int, Tensor], choice: Tensor, size: int) -> Tensor:
    """Row b of the answer is row b of values[choice[b]]; values broadcast against each other."""
    parts = list(values.items())
    out = parts[0][1]
    for k, value in parts[1:]:
        mine = (choice == k).reshape(-1, *(1,) * (value.ndim - 1))
        out = torch.where(mine, value, out)
    return out if out.shape[0] == size else out.expand(size, *out.shape[1:])
