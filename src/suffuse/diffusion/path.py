"""Paths: in which order entries move to which level. Levels say what is asked, a path says how they get to 0.

For continuous and uniform or marginal fields a path is a table of levels, known before the loop. For masked tokens the table
is only the clock: an `Order` (see orders.py) looks at the logits and chooses, sample by sample, which tokens open next.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from suffuse.diffusion.grids import GRIDS
from suffuse.diffusion.orders import Ancestral, Order
from suffuse.diffusion.process import Process
from suffuse.diffusion.schedule import Schedule


class Path(Protocol):
    """order: how masked tokens open. renoise: upward moves add fresh noise (else they follow the ODE back).
    fresh: entries start from the given values noised to their level (else from the values as they are).
    elementwise: the plan of an entry depends on its own start alone, so equal starts share one plan."""

    order: Order
    renoise: bool
    fresh: bool
    elementwise: bool

    def clock(self, schedule: Schedule, top: float) -> Tensor:
        """(steps + 1,) float64 shared clock."""
        ...

    def plan(self, clock: Tensor, process: Process, start: Tensor) -> Tensor:
        """(steps + 1, *start.shape) float64 levels of a field whose entries start at `start`."""
        ...


@dataclass
class Clock:
    """The default path: level = min(clock, start), on a time grid.

    grid: a name in `suffuse.diffusion.grids`, or explicit descending clock times that end in 0.
    """

    steps: int = 10
    grid: str | Tensor = "uniform"
    order: Order = field(default_factory=Ancestral)
    renoise: bool = False
    fresh: bool = True
    elementwise: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.grid, str) and self.grid not in GRIDS:
            raise ValueError(f"unknown time grid '{self.grid}': choose one of {', '.join(GRIDS)}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")

    def clock(self, schedule: Schedule, top: float) -> Tensor:
        if isinstance(self.grid, str):
            return GRIDS[self.grid](schedule, self.steps, top)
        grid = torch.as_tensor(self.grid, dtype=torch.float64)
        return grid * (top / grid[0]) if grid[0] > top else grid

    def plan(self, clock: Tensor, process: Process, start: Tensor) -> Tensor:
        level = process.level(clock).reshape(-1, *(1,) * start.ndim)
        return torch.minimum(level, start.double().unsqueeze(0))


@dataclass
class RePaint(Clock):
    """Down and up again (Lugmayr et al. 2022): every `jump` steps the clock climbs back `jump` steps with fresh noise,
    `repeats` - 1 times."""

    jump: int = 2
    repeats: int = 2
    renoise: bool = True

    def clock(self, schedule: Schedule, top: float) -> Tensor:
        grid = super().clock(schedule, top)
        times, k = [grid[0]], 0
        while k < len(grid) - 1:
            end = min(k + self.jump, len(grid) - 1)
            for repeat in range(self.repeats if end < len(grid) - 1 else 1):
                times += list(grid[k + 1 : end + 1])
                if repeat < self.repeats - 1 and end < len(grid) - 1:
                    times.append(grid[k])
            k = end
        return torch.stack(times)


@dataclass
class Staircase(Clock):
    """Entries along one axis come down one after another, `overlap` of them on the way at a time (rolling out long clips or
    texts). overlap 1 is strictly one at a time; a large overlap approaches the plain clock. axis counts the batch as axis 0.

    The level map given as `start` must have its full size on `axis`.
    """

    axis: int = 1
    overlap: float = 2.0
    elementwise: bool = False

    def clock(self, schedule: Schedule, top: float) -> Tensor:
        return torch.linspace(1.0, 0.0, self.steps + 1, dtype=torch.float64)

    def plan(self, clock: Tensor, process: Process, start: Tensor) -> Tensor:
        axis = self.axis if self.axis < start.ndim else start.ndim - 1
        size = start.shape[axis]
        shape = [1] * (start.ndim + 1)
        shape[axis + 1] = size
        position = torch.arange(size, dtype=torch.float64).reshape(shape)
        total = (size - 1) / self.overlap + 1
        progress = (1 - clock).reshape(-1, *(1,) * start.ndim) * total
        level = process.level((1 - (progress - position / self.overlap)).clamp(0, 1))
        level[-1] = 0
        return torch.minimum(level, start.double().unsqueeze(0))


@dataclass
class Inversion(Clock):
    """Up instead of down: carries data at level `floor` along the probability-flow ODE to level `top` (DDIM inversion,
    Song et al. 2021). Start the task at levels of `floor` for the entries to invert."""

    floor: float = 0.01
    top: float = 1.0
    fresh: bool = False

    def clock(self, schedule: Schedule, top: float) -> Tensor:
        down = Clock(self.steps, self.grid).clock(schedule, self.top)[:-1]
        return torch.cat([torch.tensor([self.floor], dtype=torch.float64), down.flip(0)])

    def plan(self, clock: Tensor, process: Process, start: Tensor) -> Tensor:
        level = process.level(clock).reshape(-1, *(1,) * start.ndim)
        return torch.where(start > 0, level, torch.zeros_like(level))
