"""One field in the sampling loop: its levels over the path, and how it steps. One class a kind of process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from suffuse.diffusion.path import Path
from suffuse.diffusion.process import Categorical, Gaussian
from suffuse.diffusion.solver import Solver, coefficients

Noise = Callable[[int], Tensor]
"""Noise of the field's shape for a step number."""
Draw = Callable[[str, int], Tensor]
"""Uniforms of the field's shape for a purpose and a step number."""


class Stepper(Protocol):
    """What the loop needs of a field."""

    def level(self, k: int, batch: int) -> Tensor:
        """Levels at grid time k, 0 where locked."""
        ...

    def moves(self, k: int, x: Tensor) -> bool:
        """Whether step k changes anything."""
        ...

    def step(self, k: int, x: Tensor, clean: Tensor) -> Tensor:
        """x after step k, from the clean prediction at its start."""
        ...


def shared_starts(start: Tensor, locked: Tensor, elementwise: bool) -> tuple[Tensor, Tensor | None]:
    """The distinct starting levels of the entries that move, and where each is used (None when all are the same)."""
    start, locked = start.double().cpu(), locked.cpu()
    if not elementwise:
        return start, None
    level, lock = torch.broadcast_tensors(start, locked)
    values = level[~lock].unique()
    if len(values) <= 1:
        top = values if len(values) else torch.ones(1, dtype=torch.float64)
        return top.reshape((1,) * start.ndim), None
    return values, torch.searchsorted(values, start.clamp(values[0], values[-1]))


class GaussianStepper:
    """The multistep kernel on one continuous field. All coefficients are computed here, before the loop."""

    def __init__(
        self,
        process: Gaussian,
        solver: Solver,
        like: Tensor,
        start: Tensor,
        locked: Tensor,
        path: Path,
        clock: Tensor,
        eta: float,
        noise: Noise,
    ):
        solver = solver.with_noise(eta)
        self.process, self.solver, self.noise = process, solver, noise
        values, where = shared_starts(start, locked, path.elementwise)
        self.plan = path.plan(clock, process, values)
        self.table = coefficients(solver, process.schedule, self.plan, eta, path.renoise, like.dtype)
        self.where = None if where is None else where.to(like.device)
        self.device = like.device
        self.static = bool(locked.all())
        self.locked = locked if bool(locked.any()) else None
        self.shown = self.plan.to(like.dtype).unbind(0)
        self.cleans: list[Tensor] = []
        self.noises: list[Tensor] = []
        self.before: tuple[Tensor, int] | None = None

    def _map(self, value: Tensor) -> Tensor:
        """A value per distinct start, as a map over entries."""
        if value.device != self.device:
            value = value.to(self.device)
        return value if self.where is None else value[self.where]

    def level(self, k: int, batch: int) -> Tensor:
        level = self._map(self.shown[k])
        if self.locked is not None:
            level = torch.where(self.locked, torch.zeros_like(level), level)
        return level if level.shape[0] == batch else level.expand(batch, *level.shape[1:])

    def moves(self, k: int, x: Tensor) -> bool:
        return self.table.moves[k] and not self.static

    def _combine(self, weights: Sequence[Tensor], predictions: list[Tensor]) -> Tensor:
        total = self._map(weights[0]) * predictions[0]
        for w, prediction in zip(weights[1:], predictions[1:], strict=False):
            total = torch.addcmul(total, self._map(w), prediction)
        return total

    def _effective(self, k: int, x: Tensor, used: int, cleans: list[Tensor], noises: list[Tensor]) -> Tensor:
        """The effective clean prediction of step k from its `used` newest predictions."""
        if used == 1 and not self.solver.table:
            return cleans[0]
        if self.solver.space == "x0" or used == 1:
            return self._combine(self.table.weights[k], cleans[:used])
        alpha, sigma = self._map(self.table.alpha[k]), self._map(self.table.sigma[k])
        effective = (x - sigma * self._combine(self.table.weights[k], noises[:used])) / alpha
        return torch.where(alpha > 0, effective, cleans[0])  # entries that wait at pure noise have no history

    def _advance(self, k: int, x: Tensor, effective: Tensor) -> Tensor:
        out = torch.addcmul(self._map(self.table.a[k]) * x, self._map(self.table.b[k]), effective)
        if self.table.noisy[k]:
            out = torch.addcmul(out, self._map(self.table.c[k]), self.noise(k))
        return out if self.locked is None else torch.where(self.locked, x, out)

    def _eps(self, k: int, x: Tensor, clean: Tensor) -> Tensor:
        alpha, sigma = self._map(self.table.alpha[k]), self._map(self.table.sigma[k])
        return (x - alpha * clean) / torch.where(sigma > 0, sigma, torch.ones_like(sigma))

    def _corrected(self, k: int, x: Tensor, clean: Tensor) -> Tensor:
        """x of step k after redoing step k - 1 with the new prediction as one more node (UniPC)."""
        if self.before is None or not self.table.correct[k - 1]:
            return x
        before, used = self.before
        fixed = self._combine(self.table.correct[k - 1], [clean, *self.cleans])
        redo = self.table.redo[k - 1]
        if not bool(redo.all()):
            plain = self._effective(k - 1, before, used, self.cleans, self.noises)
            fixed = torch.where(self._map(redo), fixed, plain)
        return self._advance(k - 1, before, fixed)

    def step(self, k: int, x: Tensor, clean: Tensor) -> Tensor:
        order = self.solver.order
        if self.solver.corrector:
            x = self._corrected(k, x, clean)
        self.cleans = [clean, *self.cleans][:order]
        if self.solver.space == "eps" and order > 1:
            self.noises = [self._eps(k, x, clean), *self.noises][:order]
        used = min(self.table.count[k], len(self.cleans))
        if self.solver.corrector:
            self.before = (x, used)
        return self._advance(k, x, self._effective(k, x, used, self.cleans, self.noises))

    def heun(self, k: int, x: Tensor, ahead: Tensor, clean: Tensor, second: Tensor) -> Tensor:
        """Step k again with the mean of the noise predictions at both of its ends (EDM 2022, algorithm 1)."""
        alpha, sigma = self._map(self.table.alpha[k]), self._map(self.table.sigma[k])
        middle = (self._eps(k, x, clean) + self._eps(k + 1, ahead, second)) / 2
        return self._advance(k, x, (x - sigma * middle) / alpha)

    def can_correct(self, k: int) -> bool:
        """Whether Heun's second call makes sense: both ends of the step have a finite log-SNR."""
        return k + 1 < len(self.table.moves) and bool(
            (self.table.alpha[k] > 0).all() and (self.table.sigma[k + 1] > 0).all()
        )


class MaskedStepper:
    """Masked tokens: the path is only the clock, its order chooses which tokens open, from the logits."""

    def __init__(self, process: Categorical, start: Tensor, locked: Tensor, path: Path, clock: Tensor, draw: Draw):
        self.process, self.order, self.draw, self.locked = process, path.order, draw, locked
        self.levels = path.plan(clock, process, start.cpu()).to(start.device, torch.float32)
        self.static = bool(locked.all())

    def level(self, k: int, batch: int) -> Tensor:
        return torch.where(self.locked, torch.zeros_like(self.levels[k]), self.levels[k])

    def waiting(self, x: Tensor) -> bool:
        """Whether any token that may open is still masked."""
        return not self.static and bool(((x == self.process.classes) & ~self.locked).any())

    def moves(self, k: int, x: Tensor) -> bool:
        if self.static:
            return False
        if getattr(self.order, "remasks", False):  # works on what is visible, and while the clock stands still
            return self.waiting(x) or bool((self.levels[k + 1] > 0).any())
        return self.waiting(x) and (self.order.adaptive or bool((self.levels[k] != self.levels[k + 1]).any()))

    def step(self, k: int, x: Tensor, clean: Tensor) -> Tensor:
        free = ~self.locked.expand(x.shape)
        now = x == self.process.classes
        if k == len(self.levels) - 2:
            stay = torch.zeros_like(now)
        else:
            draw = lambda kind: self.draw(kind, k)  # noqa: E731
            stay = self.order.next(now & free, free, clean, self.process, self.levels[k], self.levels[k + 1], draw)
        then = torch.where(free, stay, now)
        return self.process.reverse(x, clean, now.float(), then.float(), self.draw("token", k))


class JumpStepper:
    """Uniform and marginal categorical fields: every entry may jump at every step."""

    def __init__(
        self, process: Categorical, start: Tensor, locked: Tensor, path: Path, clock: Tensor, eta: float, draw: Draw
    ):
        self.process, self.eta, self.draw, self.locked = process, eta, draw, locked
        self.levels = path.plan(clock, process, start.cpu()).to(start.device, torch.float32)
        self.static = bool(locked.all())
        self.waiting: Tensor | None = None
        """Entries whose last change was taken back: they count as lost, at level 1, in the next step."""

    def level(self, k: int, batch: int) -> Tensor:
        return torch.where(self.locked, torch.zeros_like(self.levels[k]), self.levels[k])

    def moves(self, k: int, x: Tensor) -> bool:
        return not self.static and bool((self.levels[k] != self.levels[k + 1]).any())

    def step(self, k: int, x: Tensor, clean: Tensor) -> Tensor:
        now = self.levels[k]
        if self.waiting is not None:
            now = torch.where(self.waiting, torch.ones_like(now), now)
        stepped = self.process.reverse(x, clean, now, self.levels[k + 1], self.draw("token", k), self.eta)
        return torch.where(self.locked, x, stepped)
