"""A time grid for masked tokens and a number of calls: where many may be opened at once, and where few.

Tokens that are opened in one call are drawn independently of each other, given what was known before it. In nats, the mistake of
a step from t to s is at most the cross-entropy of what it opens, read with the knowledge of t instead of growing knowledge: the
left Riemann sum of the loss over the share of tokens that are opened (the compounding decoding error of Park et al. 2024, "Jump
Your Steps", arXiv 2410.07761, in the form of a curve of losses). The grid with the least sum of such steps is found by
dynamic programming on the model's own samples.

For uniform and marginal priors the bound says nothing useful: tried on molecules, the grid that it gives is far worse than the
quadratic one (56 against 88 % valid at 8 calls, 86 against 96 at 20).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suffuse.diffusion.process import full_levels
from suffuse.diffusion.random import Random
from suffuse.errors import AskError

if TYPE_CHECKING:
    from suffuse.diffusion.state import Task
    from suffuse.model import Model

POINTS = 96
"""Steps of the fine grid in which the losses are measured; every fourth is measured, the rest lies on lines between."""


def cheapest(cost: Tensor, calls: int) -> list[int]:
    """The way of `calls` steps from the first point to the last with the least summed cost, by dynamic programming.

    cost: (points, points) of a step from one point to another, inf where there is none. Returns calls + 1 positions.
    """
    points = len(cost)
    total = torch.full((calls + 1, points), float("inf"), dtype=torch.float64)
    back = torch.zeros(calls + 1, points, dtype=torch.long)
    total[0, 0] = 0.0
    for k in range(1, calls + 1):
        total[k], back[k] = (total[k - 1][:, None] + cost).min(0)
    chosen = [points - 1]
    for k in range(calls, 0, -1):
        chosen.append(int(back[k, chosen[-1]]))
    return chosen[::-1]


def tuned_categories(model: Model, task: Task, calls: int, seed: int, guidance: float | None) -> dict[str, Any]:
    """The stored form of a grid for `calls` calls of this question. Raises `AskError` where the path keeps no clock."""
    if hasattr(model.modality.path(2, "uniform").order, "inner"):
        raise AskError("the path of this model goes block by block and has no time grid to tune")
    if not model.joint[model.modality.main].masked:
        raise AskError(
            f"tuning is for continuous data and masked tokens; {model.modality.name} keep the grid that was measured best"
        )
    own = model.run(task, steps=2 * calls if calls > 24 else 48, seed=seed, guidance=guidance)
    clock = torch.linspace(1.0, 0.0, max(POINTS, 2 * calls) + 1, dtype=torch.float64)
    left, loss = losses(model, task, own, clock, seed)
    chosen = cheapest(step_costs(left, loss), calls)
    return {
        "grid_name": "fitted",
        "solver": model.settings["solver"],
        "grid": clock[torch.tensor(chosen)].tolist(),
        "weights": [],
        "distance": float(sum(step_costs(left, loss)[a, b] for a, b in zip(chosen[:-1], chosen[1:], strict=True))),
    }


def step_costs(left: Tensor, loss: Tensor) -> Tensor:
    """(points, points) cost in nats of a step: the share of the undecided entries that it decides times their loss before it.

    left: (points,) share of entries that are undecided at each time, falling. loss: (points,) nats an example at each time.
    """
    share = 1 - left[None, :] / left[:, None].clamp(min=1e-12)
    later = torch.arange(len(left))[None, :] > torch.arange(len(left))[:, None]
    return torch.where(later, share * loss[:, None], torch.full_like(share, float("inf")))


@torch.inference_mode()
def losses(model: Model, task: Task, own: dict[str, Tensor], clock: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The share of undecided entries and the cross-entropy of all categorical fields, in nats an example, at each clock time."""
    start = full_levels(model.joint, task.x, task.start.levels)
    context = dict(task.context) | {f"exists:{n}": m for n, m in task.exists.items()}
    kinds = {n: p for n, p in model.joint.items() if p.categorical and bool((start[n] > 0).any())}
    index = torch.arange(len(task)) if task.index is None else task.index
    lead = kinds[model.modality.main]
    left = 1 - lead.schedule.alpha(lead.level(clock))
    measured = torch.arange(0, len(clock), 4)
    values = torch.zeros(len(measured), dtype=torch.float64)
    random = Random(seed)
    for row, k in enumerate(measured.tolist()):
        levels = {n: torch.minimum(model.joint[n].level(clock[k]).to(v.dtype), v) for n, v in start.items()}
        noise = model.joint.noise(own, context, random, index, k)
        x = model.joint.null(model.joint.corrupt(own, noise, levels), task.start.held)
        clean = model.denoiser(x, levels, context)
        for name, process in kinds.items():
            wrong = torch.nn.functional.cross_entropy(
                clean[name].float().flatten(0, -2),
                own[name].flatten().clamp(max=process.classes - 1),  # held entries hold no class
                reduction="none",
            ).reshape(own[name].shape)
            asked = (x[name] == process.classes) if process.masked else (levels[name] > 0).expand(x[name].shape)
            for mask, keep in ((task.exists.get(name), True), (task.start.held.get(name), False)):
                if mask is not None:
                    asked = asked & (mask if keep else ~mask)
            values[row] += float((wrong * asked).sum()) / len(task)
    between = clock[measured].flip(0)
    place = torch.searchsorted(between, clock.contiguous()).clamp(1, len(between) - 1)
    low, high = between[place - 1], between[place]
    rising = values.flip(0)
    return left, rising[place - 1] + (clock - low) / (high - low) * (rising[place] - rising[place - 1])
