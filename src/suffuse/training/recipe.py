"""What a training run was told: every number that shapes the weights, in one JSON-able place."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from suffuse.errors import AskError

OPTIMISERS = ("adamw", "muon")
PRECISIONS = ("auto", "fp32", "bf16")
SHAPES = ("linear", "cosine", "sqrt")


@dataclass(frozen=True)
class Recipe:
    """Settings of one run. Length is given by `steps` (exactly reproducible) or `minutes` (planned by the clock).

    learning_rate: peak rate of AdamW; Muon's updates are scaled to AdamW's size, so the same number serves both.
    warm_up, decay: shares of the run (0..1) spent rising to the peak and falling to zero; flat in between.
    weight_decay: decoupled; each step shrinks matrices by rate * weight_decay. Vectors (biases, gains) are spared.
    clip: largest global gradient norm; 0 turns clipping off.
    average: width sigma_rel of the final average of weights (EDM2); 0 takes the last weights.
    tracked: the widths that are tracked during the run; any other is rebuilt from them afterwards.
    snapshots: how many stored averages a run leaves behind for that.
    compile: None lets the machine decide.
    """

    minutes: float | None = None
    steps: int | None = None
    batch: int = 64
    learning_rate: float = 2e-3
    warm_up: float = 0.03
    decay: float = 0.7
    shape: str = "linear"
    optimiser: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.99)
    momentum: float = 0.95
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.05
    tracked: tuple[float, float] = (0.05, 0.10)
    snapshots: int = 16
    seed: int = 0
    tasks: dict[str, float] | None = None
    device: str | None = None
    precision: str = "auto"
    compile: bool | None = None
    channels_last: bool | None = None
    threads: int | None = None
    preview_every: float = 0.1
    checkpoint_every: float = 120.0
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("betas", "tracked"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if isinstance(self.tasks, (list, tuple)):
            object.__setattr__(self, "tasks", {name: 1.0 for name in self.tasks})
        self._check()

    def _check(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise AskError("A training run needs its length as either minutes or steps; give exactly one of them.")
        if self.minutes is not None:
            self._number("minutes", 0, 1e7, open_low=True)
        else:
            self._whole("steps", 1)
        self._whole("batch", 1)
        self._whole("snapshots", 1)
        self._whole("log_every", 1)
        self._whole("seed", 0, 2**64 - 1)
        if self.threads is not None:
            self._whole("threads", 1, 4096)
        self._number("learning_rate", 0, 10, open_low=True)
        for name in ("warm_up", "decay"):
            self._number(name, 0, 1)
        if self.warm_up + self.decay > 1 + 1e-9:
            raise AskError(f"warm_up {self.warm_up} and decay {self.decay} are shares of one run; together at most 1.")
        self._number("momentum", 0, 1, open_high=True)
        for name in ("weight_decay", "clip", "checkpoint_every"):
            self._number(name, 0, math.inf)
        self._number("average", 0, 0.27)
        self._number("preview_every", 0, 1)
        if len(self.betas) != 2 or not all(_is_number(b) and 0 <= b < 1 for b in self.betas):
            raise AskError(f"betas must be two numbers in [0, 1), not {self.betas!r}.")
        if (
            len(self.tracked) != 2
            or not all(_is_number(s) and 0 < s < 0.28 for s in self.tracked)
            or self.tracked[0] >= self.tracked[1]
        ):
            raise AskError(f"tracked must be two rising widths between 0 and 0.28, not {self.tracked!r}.")
        for name, allowed in (("optimiser", OPTIMISERS), ("precision", PRECISIONS), ("shape", SHAPES)):
            if getattr(self, name) not in allowed:
                raise AskError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}.")
        for name in ("compile", "channels_last"):
            if getattr(self, name) not in (None, True, False):
                raise AskError(f"{name} must be true, false or left out, not {getattr(self, name)!r}.")
        if self.tasks is not None:
            if (
                not self.tasks
                or not all(_is_number(w) and w >= 0 for w in self.tasks.values())
                or sum(self.tasks.values()) <= 0
            ):
                raise AskError(f"tasks must map task names to weights that are not all zero, not {self.tasks!r}.")

    def _number(self, name: str, low: float, high: float, open_low: bool = False, open_high: bool = False) -> None:
        value = getattr(self, name)
        good = _is_number(value) and low <= value <= high
        if not good or (open_low and value == low) or (open_high and value == high):
            where = f"above {low}" if open_low else f"at least {low}"
            if high < math.inf:
                where += f" and {'below' if open_high else 'at most'} {high:g}"
            raise AskError(f"{name} must be a number {where}, not {value!r}.")

    def _whole(self, name: str, low: int, high: float = math.inf) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            limit = "" if high == math.inf else f" and at most {high}"
            raise AskError(f"{name} must be a whole number of at least {low}{limit}, not {value!r}.")

    @classmethod
    def make(cls, **settings: Any) -> Recipe:
        """A recipe from named settings; a name that is none of its fields is refused with the nearest right one."""
        known = [f.name for f in fields(cls)]
        for name in settings:
            if name not in known:
                import difflib

                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}."
                raise AskError(f"{name!r} is no training setting{hint}")
        return cls(**settings)

    def but(self, **changes: Any) -> Recipe:
        """A copy with some settings changed."""
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `Recipe.make(**value)` rebuilds the recipe."""
        return json.loads(json.dumps(asdict(self)))

    def write(self, path: Path) -> None:
        """Write as JSON to a file."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a JSON file written by `write` (or by hand). Raises `AskError` in one sentence."""
        try:
            value = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise AskError(f"The recipe {path} cannot be read as JSON: {error}.") from None
        if not isinstance(value, dict):
            raise AskError(f"The recipe {path} must be a JSON object of training settings.")
        return cls.make(**value)

    def rate(self, progress: float) -> float:
        """Learning rate at a share of the run in [0, 1]: rise, plateau, fall to zero."""
        progress = min(max(progress, 0.0), 1.0)
        if self.warm_up > 0 and progress < self.warm_up:
            return self.learning_rate * max(progress / self.warm_up, 1e-3)
        left = (1 - progress) / self.decay if self.decay > 0 else 1.0
        if left >= 1:
            return self.learning_rate
        if self.shape == "cosine":
            return self.learning_rate * 0.5 * (1 - math.cos(math.pi * left))
        if self.shape == "sqrt":
            return self.learning_rate * (1 - math.sqrt(1 - left))
        return self.learning_rate * left


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
