"""How far a run is: by steps, or by a budget of minutes on a clock that other programs cannot disturb."""

from __future__ import annotations

import time

from suffuse.training.recipe import Recipe


class Clock:
    """Seconds of work, as if this process had the machine to itself.

    On a CPU: the larger of the main thread's processor time and the whole process's divided by its threads, since
    cores may be shared with other programs and plans for the learning rate should not depend on them. On an
    accelerator: wall clock.
    """

    def __init__(self, threads: int = 1, wall: bool = False):
        self.threads, self.wall = max(threads, 1), wall
        self._start = self._read()

    def _read(self) -> tuple[float, float]:
        if self.wall:
            return time.perf_counter(), 0.0
        return time.thread_time(), time.process_time()

    def seconds(self) -> float:
        """Seconds of work since the clock was made. Call it from the thread that made it."""
        own, process = self._read()
        return max(own - self._start[0], (process - self._start[1]) / self.threads)


class Budget:
    """The share of the run that is done. `used` seconds of earlier, interrupted runs count."""

    def __init__(self, recipe: Recipe, clock: Clock, used: float = 0.0):
        self.recipe, self.clock, self.before = recipe, clock, used

    @property
    def used(self) -> float:
        """Seconds of work so far, those of interrupted runs included."""
        return self.before + self.clock.seconds()

    def progress(self, step: int) -> float:
        """Share in [0, 1] that is done before `step` (counted from 0) begins."""
        if self.recipe.steps is not None:
            return step / self.recipe.steps
        return min(self.used / (60 * self.recipe.minutes), 1.0)
