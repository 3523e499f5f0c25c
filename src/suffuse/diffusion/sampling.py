"""The sampler: a generator of events. Stopping early is `break`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from suffuse.diffusion.logits import shape_logits
from suffuse.diffusion.path import Clock, Path
from suffuse.diffusion.process import Gaussian, Joint, full_levels
from suffuse.diffusion.random import Random
from suffuse.diffusion.schedule import Linear
from suffuse.diffusion.solver import SOLVERS, Coefficients, Solver, coefficients
from suffuse.diffusion.state import Fields, Task

INITIAL_STEP = 0xFFFFFFFF
"""The step number under which a sample's initial noise is drawn."""


@dataclass
class Event:
    """One network call has been used. step counts from 1 to steps; levels and x are those after the step; clean is the
    prediction the step was made with."""

    step: int
    steps: int
    levels: Fields
    clean: Fields
    x: Fields


def _shared(start: Tensor, locked: Tensor, elementwise: bool) -> tuple[Tensor, Tensor | None]:
    """The distinct starting levels of the entries that move, and where each is used (None when all are the same)."""
    start = start.double().cpu()
    if not elementwise:
        return start, None
    moving = start.expand(torch.broadcast_shapes(start.shape, locked.shape))[
        ~locked.cpu().expand(torch.broadcast_shapes(start.shape, locked.shape))
    ]
    values = moving.unique()
    if len(values) <= 1:
        top = values if len(values) else torch.ones(1, dtype=torch.float64)
        return top.reshape((1,) * start.ndim), None
    return values, torch.searchsorted(values, start.clamp(values[0], values[-1]))


class _GaussianField:
    """The state of one continuous field in the loop."""

    def __init__(
        self,
        name: str,
        process: Gaussian,
        solver: Solver,
        task: Task,
        start: Tensor,
        locked: Tensor,
        path: Path,
        clock: Tensor,
        eta: float,
    ):
        like = task.x[name]
        self.name, self.process, self.solver = name, process, solver
        values, where = _shared(start, locked, path.elementwise)
        self.plan = path.plan(clock, process, values)
        table = coefficients(solver, process.schedule, self.plan, eta, path.renoise, like.dtype)
        if where is not None:
            where = where.to(like.device)
        self.where, self.locked = where, locked if locked.any() else None
        self.static = bool(locked.all())
        self.table: Coefficients = table
        self.levels = self.plan.to(like.dtype)
        self.device = like.device
        self.history: list[Tensor] = []
        self.eps_history: list[Tensor] = []
        self.previous: tuple[Tensor, int] | None = None

    def _map(self, value: Tensor) -> Tensor:
        value = value.to(self.device)
        return value if self.where is None else value[..., self.where]

    def level(self, k: int, batch: int) -> Tensor:
        """Levels at grid time k as the network sees them: 0 where locked."""
        level = self._map(self.levels[k])
        if self.locked is not None:
            level = torch.where(self.locked, torch.zeros_like(level), level)
        return level if level.shape[0] == batch else level.expand(batch, *level.shape[1:])

    def moves(self, k: int) -> bool:
        return self.table.moves[k] and not self.static

    def combine(self, k: int, table: Tensor, predictions: list[Tensor]) -> Tensor:
        if len(predictions) == 1:
            return predictions[0]
        total = self._map(table[k, 0]) * predictions[0]
        for w, prediction in zip(table[k, 1:], predictions[1:], strict=False):
            total = total + self._map(w) * prediction
        return total

    def effective(self, k: int, x: Tensor, table: Tensor, cleans: list[Tensor], noises: list[Tensor]) -> Tensor:
        """The effective clean prediction of step k."""
        if self.solver.space == "x0" or len(cleans) == 1:
            return self.combine(k, table, cleans)
        alpha, sigma = self._map(self.table.alpha[k]), self._map(self.table.sigma[k])
        return (x - sigma * self.combine(k, table, noises)) / alpha

    def advance(self, k: int, x: Tensor, effective: Tensor, noise: Callable[[], Tensor]) -> Tensor:
        out = self._map(self.table.a[k]) * x + self._map(self.table.b[k]) * effective
        if self.table.noisy[k]:
            out = out + self._map(self.table.c[k]) * noise()
        return out if self.locked is None else torch.where(self.locked, x, out)

    def eps(self, k: int, x: Tensor, clean: Tensor) -> Tensor:
        alpha, sigma = self._map(self.table.alpha[k]), self._map(self.table.sigma[k])
        return (x - alpha * clean) / torch.where(sigma > 0, sigma, torch.ones_like(sigma))

    def step(self, k: int, x: Tensor, clean: Tensor, noise: Callable[[int], Tensor]) -> Tensor:
        order = self.solver.order
        if self.table.corrects[k - 1] and self.previous is not None and k > 0:
            before, used = self.previous
            nodes = [clean, *self.history[:order]]
            fixed = self.combine(k - 1, self.table.correct, nodes)
            redo = self._map((self.table.correct[k - 1] != 0).any(0))
            plain = self.effective(k - 1, before, self.table.weights, self.history[:used], [])
            x = self.advance(k - 1, before, torch.where(redo, fixed, plain), lambda: noise(k - 1))
        if self.solver.space == "eps":
            self.eps_history = [self.eps(k, x, clean), *self.eps_history][:order]
        self.history = [clean, *self.history][:order]
        used = min(self.table.count[k], len(self.history))
        effective = self.effective(k, x, self.table.weights, self.history[:used], self.eps_history[:used])
        self.previous = (x, used) if self.solver.corrector else None
        return self.advance(k, x, effective, lambda: noise(k))


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
    """Carry a task's entries to level 0 (or along its path), one event a network call.

    denoiser: `denoiser(x, levels, context, targets) -> clean`, guided or not. solver: a name of `SOLVERS` or a `Solver`.
    stochasticity: eta, for all fields or by field. adjust: called as adjust(x, levels, step) after each step, may return a
    changed x. state: initial noised values, instead of noising task.x. The last event holds the answer.
    """
    path, random = path or Clock(), random or Random(0)
    if isinstance(solver, str):
        if solver not in SOLVERS:
            raise ValueError(f"unknown solver '{solver}': choose one of {', '.join(SOLVERS)}")
        solver = SOLVERS[solver]
    batch = len(task)
    device = next(iter(task.x.values())).device
    index = torch.arange(batch) if task.index is None else task.index
    index = index.to(device)
    context = dict(task.context)
    context.update({f"exists:{name}": mask for name, mask in task.exists.items()})
    start = full_levels(joint, task.x, task.start.levels)

    locked: Fields = {}
    for name in joint:
        lock = task.given[name] if name in task.given else start[name] == 0
        for extra in (task.start.held.get(name), None if name not in task.exists else ~task.exists[name]):
            if extra is not None:
                lock = lock | extra
        locked[name] = lock

    def moving_top(name: str) -> float:
        level, lock = torch.broadcast_tensors(start[name], locked[name])
        free = level[~lock]
        return float(free.max()) ** (1 / joint[name].warp) if free.numel() else 0.0

    top = max(moving_top(name) for name in joint)
    lead = next((p for name, p in joint.items() if not p.categorical and moving_top(name) > 0), None)
    clock = path.clock(lead.schedule if lead is not None else Linear(), top if top > 0 else 1.0)
    steps = len(clock) - 1
    if not solver.fits(steps, top):
        solver = SOLVERS["dpmpp2m"]

    x = dict(state) if state is not None else {}
    for name, process in joint.items():
        if name not in x:
            if path.fresh:
                noise = process.noise(task.x[name], context, random, index, INITIAL_STEP, name)
                level = start[name].to(task.x[name].dtype) if not process.categorical else start[name]
                x[name] = process.corrupt(task.x[name], noise, level)
            else:
                level = start[name].to(task.x[name].dtype) if not process.categorical else start[name]
                x[name] = task.x[name] if process.categorical else process.schedule.alpha(level) * task.x[name]
            x[name] = torch.where(locked[name], task.x[name], x[name])
    x = joint.null(x, task.start.held)

    def shown(name: str, level: Tensor) -> Tensor:
        """Levels as the network sees them: held entries at 1."""
        held = task.start.held.get(name)
        return level if held is None else torch.where(held, torch.ones_like(level), level)

    gaussian = {
        name: _GaussianField(name, p, solver, task, start[name], locked[name], path, clock, _eta(stochasticity, name))
        for name, p in joint.items()
        if not p.categorical
    }
    tokens = {
        name: path.plan(clock, p, start[name].cpu()).to(device, torch.float32)
        for name, p in joint.items()
        if p.categorical
    }

    def levels_at(k: int) -> Fields:
        out = {}
        for name, process in joint.items():
            if name in gaussian:
                out[name] = shown(name, gaussian[name].level(k, batch))
            else:
                level = tokens[name][k]
                level = torch.where(locked[name], torch.zeros_like(level), level)
                out[name] = shown(name, level)
        return out

    levels = levels_at(0)
    for k in range(steps):
        free_tokens = {n: (x[n] == joint[n].classes) & ~locked[n] for n in tokens if joint[n].masked}
        if not any(g.moves(k) for g in gaussian.values()):
            waiting = any(bool(m.any()) for m in free_tokens.values()) or (
                bool(free_tokens) and not path.order.adaptive and top > 0
            )
            other = any(bool((tokens[n][k] != tokens[n][k + 1]).any()) for n in tokens if not joint[n].masked)
            if not (waiting or other):
                if path.order.adaptive or not tokens:
                    levels = levels_at(k + 1)
                    continue
        targets = levels_at(k + 1)
        clean = shape_logits(denoiser(x, levels, context, targets), joint, context)
        following = dict(x)
        for name, process in joint.items():
            if name in gaussian:
                field = gaussian[name]
                if field.moves(k):
                    draw = lambda step, name=name, process=process: process.noise(
                        x[name], context, random, index, step, name
                    )  # noqa: E731
                    following[name] = field.step(k, x[name], clean[name], draw)
                    if (
                        solver.heun
                        and bool(torch.isfinite(field.plan[k + 1]).all())
                        and float(field.plan[k + 1].max()) > 0
                    ):
                        following[name] = _heun(
                            denoiser, field, k, x, following[name], clean[name], targets, context, name
                        )
                continue
            draw = lambda kind, name=name, k=k: random.uniform(x[name].shape[1:], index, k, f"{name}/{kind}")  # noqa: E731
            if process.masked:
                free = ~locked[name].expand(x[name].shape)
                masked = (x[name] == process.classes) & free
                last = k == steps - 1
                stay = (
                    torch.zeros_like(masked)
                    if last
                    else path.order.next(masked, free, clean[name], process, tokens[name][k], tokens[name][k + 1], draw)
                )
                now, then = (
                    (x[name] == process.classes).float(),
                    torch.where(free, stay, x[name] == process.classes).float(),
                )
                following[name] = process.reverse(x[name], clean[name], now, then, draw("token"))
            else:
                stepped = process.reverse(
                    x[name], clean[name], tokens[name][k], tokens[name][k + 1], draw("token"), _eta(stochasticity, name)
                )
                following[name] = torch.where(locked[name], x[name], stepped)
        levels, x = targets, following
        if adjust is not None:
            x = adjust(x, levels, k)
        yield Event(k + 1, steps, levels, clean, x)


def _eta(stochasticity: float | dict[str, float], name: str) -> float:
    return stochasticity.get(name, 0.0) if isinstance(stochasticity, dict) else stochasticity


def _heun(
    denoiser: Any,
    field: _GaussianField,
    k: int,
    x: Fields,
    ahead: Tensor,
    clean: Tensor,
    targets: Fields,
    context: Fields,
    name: str,
) -> Tensor:
    """Average the noise predictions at both ends of the step (Heun's second-order correction)."""
    second = denoiser({**x, name: ahead}, targets, context, targets)[name]
    noises = [field.eps(k, x[name], clean), field.eps(k + 1, ahead, second)]
    alpha, sigma = field._map(field.table.alpha[k]), field._map(field.table.sigma[k])
    if bool((alpha == 0).any()):
        return ahead
    effective = (x[name] - sigma * (noises[0] + noises[1]) / 2) / alpha
    return field.advance(k, x[name], effective, lambda: torch.zeros_like(ahead))


def sample(*args: Any, **kwargs: Any) -> Fields:
    """Run `events` to the end and return the fields."""
    x: Fields | None = None
    for event in events(*args, **kwargs):
        x = event.x
    if x is None:
        task = args[2] if len(args) > 2 else kwargs["task"]
        return dict(task.x)
    return x
