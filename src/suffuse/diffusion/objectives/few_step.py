"""Few-step models: the network learns the effective clean prediction between two levels, without Jacobian products.

A step of order 1 with stochasticity 0 carries x_t to x_s = (sigma_s/sigma_t) x_t + b D. For an ordinary denoiser D is the
expected clean sample, right for small steps only. For every pair (t, s) there is one D, the *effective clean prediction*,
that lands exactly where the teacher's ODE does; a flow map is a network that answers it when it is told s as well
(consistency models, Song et al. 2023, for s = 0; consistency trajectory models, Kim et al. 2310.02279, MeanFlow,
Geng et al. 2505.13447, and SoFlow for any s). Here the teacher's trajectory is solved once a batch and the D of any two of
its points is read off, so targets are exact and nothing is bootstrapped.

Masked tokens: the logits that the teacher had when it opened a token, at a later time with more context, become the target
at the earlier one (self-distillation through time, Deschenaux & Gulcehre 2410.21035).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from suffuse.diffusion.objectives.denoising import Loss
from suffuse.diffusion.path import Path
from suffuse.diffusion.process import Gaussian, Joint, full_levels
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import events
from suffuse.diffusion.state import Batch, Fields, Start, Task


def effective_clean(process: Gaussian, x: Tensor, after: Tensor, levels: Tensor, targets: Tensor) -> Tensor:
    """The D with (sigma_s/sigma_t) x + (alpha_s - alpha_t sigma_s/sigma_t) D = after; x itself where levels = targets.

    x, after: the field at `levels` and, further down the same trajectory, at `targets` <= levels.
    """
    alpha, sigma = process.schedule.alpha, process.schedule.sigma
    now, then = levels.double(), targets.double()
    share = sigma(then) / sigma(now).clamp(min=1e-12)
    gain = alpha(then) - alpha(now) * share
    still = (now <= then) | (gain.abs() < 1e-9)
    clean = (after.double() - share * x.double()) / torch.where(still, torch.ones_like(gain), gain)
    return torch.where(still, x.double(), clean).to(x.dtype)


@dataclass
class Trajectory:
    """What a teacher saw and answered at each call (lists over calls), and where it ended."""

    x: list[Fields] = field(default_factory=list)
    levels: list[Fields] = field(default_factory=list)
    clean: list[Fields] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.clean)


def question(joint: Joint, batch: Batch, start: Start) -> Task:
    """A batch and the starting levels of its training tasks as a task for the sampler."""
    held = dict(start.held)
    for name, seen in batch.observed.items():
        held[name] = held[name] | ~seen if name in held else ~seen
    levels = full_levels(joint, batch.x, start.levels)
    return Task(batch.x, Start(levels, held), {}, batch.exists, batch.context, batch.index)


@torch.no_grad()
def follow(
    teacher: Callable[..., Fields], joint: Joint, task: Task, path: Path, solver: str, random: Random
) -> Trajectory:
    """Solve a task with a teacher and keep every point on the way; the end is the last of `x` and `levels`."""
    seen = Trajectory()

    def recorded(x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        clean = teacher(x, levels, context, targets)
        seen.x.append(x)
        seen.levels.append(levels)
        seen.clean.append(clean)
        return clean

    last = None
    for event in events(recorded, joint, task, path, solver, random):
        last = event
    if last is None:
        raise ValueError("nothing is asked in this batch: every entry is given")
    seen.x.append(last.x)
    seen.levels.append(last.levels)
    return seen


def flow_map_loss(
    student: Callable[..., Fields],
    joint: Joint,
    task: Task,
    path: Trajectory,
    pairs: list[tuple[int, int]],
    robust: float = 1e-3,
) -> Loss:
    """Error of the student's effective clean prediction over pairs (from, to) of points of a trajectory.

    Gaussian fields: the squared error weighted as the process weighs it, each sample's divided by its own root (which tames
    outliers and evens out the levels; Geng et al. 2406.14548, section 3.3, and 2505.13447, section 4.3). robust: the constant
    below which it stays quadratic. Masked tokens: Kullback-Leibler divergence from the teacher's later logits.
    """
    size, times = len(task), len(pairs)

    def rows(values: Fields) -> Fields:
        return {k: torch.cat([v] * times) if v.shape[0] == size else v for k, v in values.items()}

    def gather(points: list[Fields], which: list[int]) -> Fields:
        out = {}
        for name in joint:
            parts = [points[k][name] for k in which]
            shape = torch.broadcast_shapes(*(p.shape[1:] for p in parts))
            out[name] = torch.cat([p.expand(size, *shape) for p in parts])
        return out

    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    x, levels = gather(path.x, first), gather(path.levels, first)
    after, targets = gather(path.x, second), gather(path.levels, second)
    context = dict(task.context) | {f"exists:{n}": m for n, m in task.exists.items()}
    clean = student(x, levels, rows(context), targets)
    held, exists = rows(task.start.held), rows(task.exists)
    parts, means, total = {}, {}, None
    for name, process in joint.items():
        asked = (levels[name] > 0).expand(x[name].shape)
        for mask, keep in ((held.get(name), False), (exists.get(name), True)):
            if mask is not None:
                asked = asked & (mask if keep else ~mask)
        if process.categorical:
            wanted = torch.cat([_later(path, name, process, a, b) for a, b in pairs])
            if process.masked:
                asked = asked & (x[name] == process.classes)
            error = _divergence(clean[name], wanted)
        else:
            asked = asked & (targets[name] < levels[name])
            wanted = effective_clean(process, x[name], after[name], levels[name], targets[name])
            error = process.loss(clean[name], wanted, x[name], levels[name])
        error = torch.where(asked, error, torch.zeros_like(error))
        count = asked.sum()
        if not process.categorical:
            mean = error.flatten(1).sum(1) / asked.flatten(1).sum(1).clamp(min=1)
            scale = (mean.detach() + robust).rsqrt()
            error = error * scale.reshape(-1, *(1,) * (error.ndim - 1))
        parts[name] = (error.sum(), count)
        share = error.sum() / count.clamp(min=1)
        means[name] = share.detach()
        weighted = joint.weights.get(name, 1.0) * share
        total = weighted if total is None else total + weighted
    assert total is not None
    return Loss(total, means, parts)


def _later(path: Trajectory, name: str, process, first: int, second: int) -> Tensor:
    """The teacher's logits for each token between two points: those it was opened with, else the last before the second."""
    wanted = path.clean[min(second, len(path)) - 1][name]
    if process.masked:
        for k in range(min(second, len(path)) - 1, first - 1, -1):
            opened = (path.x[k][name] == process.classes) & (path.x[k + 1][name] != process.classes)
            wanted = torch.where(opened[..., None], path.clean[k][name], wanted)
    return wanted


def _divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """KL(wanted || logits) over the last axis."""
    ours, theirs = torch.log_softmax(logits.float(), -1), torch.log_softmax(wanted.float(), -1)
    return (theirs.exp() * (theirs - ours).clamp(-1e4, 1e4)).sum(-1)


def segments(calls: tuple[int, ...], length: int, step: int, each: int = 2) -> list[tuple[int, int]]:
    """Pairs of points for each number of calls: of `length` equal steps cut into that many segments, `each` of these (all
    where there are fewer), evenly apart and moving on with `step`."""
    pairs = []
    for count in calls:
        count = min(count, length)
        taken = min(each, count)
        for k in range(taken):
            place = (step + k * count // taken) % count
            pairs.append((place * length // count, (place + 1) * length // count))
    return pairs
