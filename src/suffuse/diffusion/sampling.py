"""The sampler: a generator of events. Stopping early is `break`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from suffuse.diffusion.logits import shape_logits
from suffuse.diffusion.path import Clock, Path
from suffuse.diffusion.process import Joint, full_levels
from suffuse.diffusion.random import Random
from suffuse.diffusion.schedule import Linear
from suffuse.diffusion.solver import SOLVERS, Solver
from suffuse.diffusion.state import Fields, Task
from suffuse.diffusion.stepping import GaussianStepper, JumpStepper, MaskedStepper, Stepper

INITIAL_STEP = 0xFFFFFFFF
"""The step number under which a sample's initial noise is drawn."""


@dataclass
class Event:
    """One step has been made. step counts from 1 to steps; levels and x are those after the step; clean is the prediction the
    step was made with."""

    step: int
    steps: int
    levels: Fields
    clean: Fields
    x: Fields


def events(
    denoiser: Callable[..., Fields],
    joint: Joint,
    task: Task,
    path: Path | None = None,
    solver: Solver | str = "dpmpp2m",
    random: Random | None = None,
    stochasticity: float | dict[str, float] = 0.0,
    adjust: Callable[[Fields, Fields, int], Fields] | None = None,
    state: Fields | None = None,
) -> Iterator[Event]:
    """Carry a task's entries to level 0 (or along its path), one event a network call; steps at which nothing moves are skipped.

    denoiser: `denoiser(x, levels, context, targets) -> clean`, guided or not. solver: a name of `SOLVERS` or a `Solver`.
    stochasticity: eta, for all fields or by field. adjust: called as adjust(x, levels, step) after each step, may return a
    changed x; if it has `separate`, that is called first, as separate(before, x, step), and returns x with changes of categorical
    fields taken back and masks of where: these entries count as lost in the next step. state: initial noised values, instead of
    noising task.x. The last event holds the answer.
    """
    path, random = path or Clock(), random or Random(0)
    solver = _named(solver)
    batch, device = len(task), next(iter(task.x.values())).device
    index = (torch.arange(batch) if task.index is None else task.index).to(device)
    context = task.context | {f"exists:{name}": mask for name, mask in task.exists.items()}
    start = full_levels(joint, task.x, task.start.levels)
    locked = {name: _lock(name, task, start[name]) for name in joint}

    tops = {name: _top(start[name], locked[name]) ** (1 / p.warp) for name, p in joint.items()}
    lead = next((p.schedule for name, p in joint.items() if not p.categorical and tops[name] > 0), Linear())
    top = max(tops.values()) or 1.0
    clock = path.clock(lead, top)
    steps = len(clock) - 1
    if not solver.fits(steps, top):
        solver = SOLVERS["dpmpp2m"]
    x = _initial(joint, task, start, locked, context, path, random, index, state)

    steppers: dict[str, Stepper] = {}
    for name, process in joint.items():
        eta = stochasticity.get(name, 0.0) if isinstance(stochasticity, dict) else stochasticity
        shape = x[name].shape[1:]
        if not process.categorical:
            noise = partial(_noise, process, task.x[name], context, random, index, name)
            steppers[name] = GaussianStepper(
                process, solver, task.x[name], start[name], locked[name], path, clock, eta, noise
            )
            continue
        draw = partial(_uniform, random, shape, index, name)
        if process.masked:
            steppers[name] = MaskedStepper(process, start[name], locked[name], path, clock, draw)
        else:
            steppers[name] = JumpStepper(process, start[name], locked[name], path, clock, eta, draw)

    def levels_at(k: int) -> Fields:
        """Levels as the network sees them: locked entries at 0, held ones at 1."""
        out = {}
        for name, stepper in steppers.items():
            level, held = stepper.level(k, batch), task.start.held.get(name)
            out[name] = level if held is None else torch.where(held, torch.ones_like(level), level)
        return out

    # masked tokens say their own level, so an unchanged state has an unchanged prediction
    reuses = getattr(denoiser, "pure", False) and all(p.categorical and p.masked for _, p in joint.items())
    clean, seen = {}, x
    levels = levels_at(0)
    for k in range(steps):
        moving = [name for name, stepper in steppers.items() if stepper.moves(k, x[name])]
        targets = levels_at(k + 1)
        if not moving:
            levels = targets
            continue
        if not (reuses and clean and all(torch.equal(x[name], seen[name]) for name in joint)):
            clean = shape_logits(denoiser(x, levels, context, targets), joint, context)
        seen = x
        following = {
            name: steppers[name].step(k, x[name], clean[name]) if name in moving else x[name] for name in joint
        }
        if solver.heun:
            following = _heun(denoiser, steppers, k, x, following, clean, targets, context)
        levels, x = targets, following
        if k + 1 < steps and hasattr(adjust, "separate"):
            x, waiting = adjust.separate(seen, x, k)
            for name, mask in waiting.items():
                steppers[name].waiting = mask
        if adjust is not None:
            x = adjust(x, levels, k)
        yield Event(k + 1, steps, levels, clean, x)


def _named(solver: Solver | str) -> Solver:
    if isinstance(solver, Solver):
        return solver
    if solver not in SOLVERS:
        raise ValueError(f"unknown solver '{solver}': choose one of {', '.join(SOLVERS)}")
    return SOLVERS[solver]


def _lock(name: str, task: Task, start: Tensor) -> Tensor:
    """Entries that never change: given, held, or padding."""
    lock = task.given[name] if name in task.given else start == 0
    if name in task.start.held:
        lock = lock | task.start.held[name]
    if name in task.exists:
        lock = lock | ~task.exists[name]
    return lock


def _top(start: Tensor, locked: Tensor) -> float:
    """The highest starting level of the entries that move, 0 when none do."""
    level, lock = torch.broadcast_tensors(start, locked)
    free = level[~lock]
    return float(free.max()) if free.numel() else 0.0


def _initial(
    joint: Joint,
    task: Task,
    start: Fields,
    locked: Fields,
    context: Fields,
    path: Path,
    random: Random,
    index: Tensor,
    state: Fields | None,
) -> Fields:
    """The noised start of every field."""
    x = dict(state) if state is not None else {}
    for name, process in joint.items():
        if name in x:
            continue
        value = task.x[name]
        level = start[name] if process.categorical else start[name].to(value.dtype)
        if path.fresh:
            begun = process.corrupt(value, process.noise(value, context, random, index, INITIAL_STEP, name), level)
        else:
            begun = value if process.categorical else process.schedule.alpha(level) * value
        x[name] = torch.where(locked[name], value, begun)
    return joint.null(x, task.start.held)


def _noise(process: Any, like: Tensor, context: Fields, random: Random, index: Tensor, name: str, step: int) -> Tensor:
    return process.noise(like, context, random, index, step, name)


def _uniform(random: Random, shape: torch.Size, index: Tensor, name: str, kind: str, step: int) -> Tensor:
    return random.uniform(shape, index, step, f"{name}/{kind}")


def _heun(
    denoiser: Any,
    steppers: dict[str, Stepper],
    k: int,
    x: Fields,
    ahead: Fields,
    clean: Fields,
    targets: Fields,
    context: Fields,
) -> Fields:
    """The continuous fields stepped again with a second prediction at the end of the step."""
    chosen = [
        n for n, s in steppers.items() if isinstance(s, GaussianStepper) and s.moves(k, x[n]) and s.can_correct(k)
    ]
    if not chosen:
        return ahead
    second = denoiser(ahead, targets, context, targets)
    return ahead | {n: steppers[n].heun(k, x[n], ahead[n], clean[n], second[n]) for n in chosen}  # type: ignore[attr-defined]


def sample(*args: Any, **kwargs: Any) -> Fields:
    """Run `events` to the end and return the fields."""
    x: Fields | None = None
    for event in events(*args, **kwargs):
        x = event.x
    if x is None:
        task = args[2] if len(args) > 2 else kwargs["task"]
        return dict(task.x)
    return x
