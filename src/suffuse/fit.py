"""Training as a person asks for it: data in, model out."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from suffuse.errors import AskError
from suffuse.modalities import registry
from suffuse.modalities.contract import Modality
from suffuse.model import Model, load


def train(
    source: Any,
    modality: str | None = None,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    tasks: Iterable[str] | dict[str, float] | None = None,
    start_from: Model | str | Path | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
    device: str | None = None,
    progress: bool = False,
    tell: Callable[[str], None] = lambda line: None,
    read: dict[str, Any] | None = None,
    **recipe: Any,
) -> Model:
    """Train a model on data. The kind of data is recognised from `source`, or named.

    minutes | steps: how long (default 5 minutes). tasks: a subset of the modality's training tasks, or weights (a specialist).
    start_from: fine-tune a copy of this model. output: the model's folder; with it a killed run resumes (`resume=True`). read:
    options of the modality's reader. recipe: further settings of `suffuse.training.recipe.Recipe`. Raises `DataError`,
    `AskError`.
    """
    import torch

    from suffuse.training.feed import training_data
    from suffuse.training.recipe import Recipe
    from suffuse.training.trainer import Trainer

    kind = registry.find(modality) if modality else registry.recognise(source)
    if start_from is not None:
        model = start_from if isinstance(start_from, Model) else load(start_from)
        if modality and model.modality.name != modality:
            made, data = kind.adopt(model.modality, source, **(read or {}))
            torch.manual_seed(seed)
            fresh = Model.new(made)
            made.inherit(fresh.denoiser.network, model.denoiser.network)
            model = fresh
        else:
            model = copy.deepcopy(model) if model is start_from else model
            data = training_data(model.modality, source, read)
    else:
        made, data = kind.read(source, **(read or {}))
        torch.manual_seed(seed)
        model = Model.new(made)
    if minutes is None and steps is None:
        minutes = 5.0
    chosen = None if tasks is None else _task_weights(model.modality, tasks)
    defaults = {k: v for k, v in model.modality.defaults().items() if k != "sampling"}
    settings = Recipe.make(
        **{**defaults, **recipe, "minutes": minutes, "steps": steps, "seed": seed, "tasks": chosen, "device": device}
    )
    folder = None if output is None else Path(output)
    trainer = Trainer(
        model.modality,
        data,
        model.denoiser,
        settings,
        None if folder is None else folder / "training",
        preview=None if folder is None else Preview(model, folder / "training"),
        resume=resume,
        progress=progress,
        tell=tell,
    )
    outcome = trainer.run()
    model.denoiser.eval()
    where = source if isinstance(source, (str, Path)) else type(source).__name__
    model.notes = {
        **model.notes,
        "recipe": settings.to_json(),
        "examples": len(data),
        "data": Path(str(where)).name,
        "steps": outcome.steps,
        "seconds": round(outcome.seconds, 1),
    }
    if trainer.device.type == "cuda":
        model.notes["accelerator"] = torch.cuda.get_device_name(trainer.device)
    if folder is not None and trainer.main:
        model.save(folder)
    return model


class Preview:
    """What the model makes so far, as a picture `preview.png`, as long as that takes little of the run.

    Called with the step while the model holds its averaged weights.
    """

    first = 20.0
    """Seconds before the first picture."""
    share = 0.03
    """Share of the time so far that pictures may have taken."""

    def __init__(self, model: Model, folder: Path, count: int = 16):
        self.model, self.folder, self.count = model, folder, count
        self.begun, self.spent = time.perf_counter(), 0.0

    def __call__(self, step: int) -> None:
        start = time.perf_counter()
        if start - self.begun < self.first or self.spent > self.share * (start - self.begun):
            return
        with contextlib.suppress(NotImplementedError):
            self.model.modality.show(self.model.sample(self.count), self.folder / "preview.png")
        self.spent += time.perf_counter() - start


def _task_weights(modality: Modality, tasks: Iterable[str] | dict[str, float]) -> dict[str, float]:
    known = modality.tasks
    weights = dict(tasks) if isinstance(tasks, dict) else {t: known.get(t, 1.0) for t in tasks}
    for name in weights:
        if name not in known:
            raise AskError(
                f"{modality.name} has no training task '{name}'{registry.nearest(name, known)}; it has {', '.join(known)}"
            )
    return weights
