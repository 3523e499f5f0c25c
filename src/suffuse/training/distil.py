"""Few-step models from a trained one: the same network, told also where the step ends."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suffuse.diffusion.guidance import ClassifierFree
from suffuse.diffusion.objectives.few_step import flow_map_loss, follow, question, segments
from suffuse.diffusion.process import Joint, full_levels
from suffuse.diffusion.random import Random
from suffuse.diffusion.schedule import Linear
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError
from suffuse.modalities.contract import is_dataset
from suffuse.training.feed import training_data
from suffuse.training.recipe import Recipe
from suffuse.training.trainer import Trainer

CALLS = (1, 2, 4, 8)
"""Numbers of network calls that a distilled model is made for."""


class FlowMapObjective:
    """The loss of a student on a frozen teacher's trajectories, in the form the trainer takes.

    teacher: the model's denoiser. calls: for each of these, two segments of each trajectory are learnt a step. points: the
    teacher's calls a trajectory, on the model's own grid and with its own solver. guidance: folded into the student where it
    is not 1.
    """

    def __init__(self, model: Any, calls: tuple[int, ...], points: int, guidance: float):
        self.modality, self.joint = model.modality, model.joint
        self.teacher = copy.deepcopy(model.denoiser).eval().requires_grad_(False)
        self.calls, self.points, self.guidance, self.solver = (
            calls,
            points,
            guidance,
            model.settings.get("solver", "dpmpp2m"),
        )
        self.grid, self.interval = model.settings["grid"], tuple(model.settings.get("interval", (0.0, 1.0)))

    def __call__(
        self,
        student: Callable[..., Any],
        joint: Joint,
        batch: Batch,
        start: Start,
        random: Random,
        step: int,
        index: Any,
    ) -> Any:
        task = question(joint, batch, start)
        teacher: Any = self.teacher.to(next(iter(batch.x.values())).device)
        if self.guidance != 1.0:
            hold = conditions(joint, self.modality.main, task)
            teacher = ClassifierFree(teacher, joint, self.guidance, hold, self.interval)
        teacher = self.modality.wrap(teacher, task)
        draws = Random((random.seed + 0x5DEECE66D * (step + 1)) % 2**64)
        path = follow(teacher, joint, task, self.modality.path(self.points, self.grid), self.solver, draws)
        return flow_map_loss(student, joint, task, path, segments(self.calls, len(path), step))


def visited(model: Any, calls: tuple[int, ...], points: int) -> dict[str, dict[str, list[float]]]:
    """The clock times that each number of calls was taught to stop at: every few of the teacher's."""
    lead = next((p.schedule for _, p in model.joint.items() if not p.categorical), Linear())
    times = model.modality.path(points, model.settings["grid"]).clock(lead, 1.0).tolist()
    return {str(count): {"grid": times[:: points // count], "solver": "ddim"} for count in calls}


def conditions(joint: Joint, main: str, task: Task) -> list[str]:
    """Fields given as a whole in some example whose main field is asked: what guidance holds back."""
    levels = full_levels(joint, task.x, task.start.levels)
    size = len(task)

    def each(name: str) -> Any:
        return levels[name].expand(size, *levels[name].shape[1:]).flatten(1)

    asked = (each(main) > 0).any(1)
    found = []
    for name in joint:
        given = (each(name) == 0).all(1)
        if name != main and bool((given & asked).any()):
            found.append(name)
    return found


def distill(
    model: Any,
    source: Any,
    minutes: float | None = 5.0,
    *,
    steps: int | None = None,
    calls: tuple[int, ...] = CALLS,
    points: int = 16,
    guidance: float | None = None,
    tasks: dict[str, float] | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    device: str | None = None,
    read: dict[str, Any] | None = None,
    progress: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    **recipe: Any,
) -> Any:
    """A model that answers in 1, 2, 4 or 8 network calls what `model` answers in many.

    source: training data of the model's kind (read with `read`, or an open data set). minutes | steps: how long. calls: the
    numbers of calls to learn. points: the teacher's calls a trajectory, a multiple of the largest of `calls`. guidance: weight
    that is folded in (default: the model's own). recipe: further settings of `Recipe`. Raises `AskError`, `DataError`.
    """
    if model.denoiser.flow_map:
        raise AskError("This model is distilled already; distil the model that it was made from.")
    if not calls or any(isinstance(c, bool) or not isinstance(c, int) or c < 1 or points % c for c in calls):
        raise AskError(f"points {points} must be a whole multiple of each number of calls, which are {calls}.")
    data = source if is_dataset(source) else training_data(model.modality, source, read)
    weight = model.settings["guidance"] if guidance is None else guidance
    student = copy.deepcopy(model.denoiser)
    student.flow_map = True
    student.requires_grad_(True)
    if hasattr(student.network, "prepare_flow_map"):
        student.network.prepare_flow_map()
    defaults: dict[str, Any] = {"batch": 16, "optimiser": "muon", "learning_rate": 2e-3, "decay": 0.9, "average": 0.10}
    settings = {**defaults, **recipe, "minutes": None if steps else minutes, "steps": steps, "seed": seed}
    plan = Recipe.make(**settings, tasks=tasks, device=device)
    folder = None if output is None else Path(output)
    objective = FlowMapObjective(model, tuple(calls), points, float(weight))
    place = None if folder is None else folder / "training"
    trainer = Trainer(
        model.modality, data, student, plan, place, objective=objective, resume=resume, progress=progress, tell=tell
    )
    outcome = trainer.run()
    default = 2 if 2 in calls else min(calls)
    made = type(model)(
        model.modality,
        student,
        {
            **model.settings,
            "steps": default,
            "guidance": 1.0,
            "stochasticity": 0.0,
            "solver": "ddim",
            "tuned": visited(model, calls, points),
        },
        {
            **model.notes,
            "distilled": {
                "recipe": plan.to_json(),
                "calls": list(calls),
                "points": points,
                "guidance": weight,
                "steps": outcome.steps,
                "seconds": round(outcome.seconds, 1),
            },
        },
    )
    if folder is not None and trainer.main:
        made.save(folder)
    return made
