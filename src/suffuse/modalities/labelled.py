"""What video, shapes and scans share: one main field on a grid, and class labels that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.modalities.contract import Modality
from suffuse.modalities.grids import grid_start


class LabelledGrid(Modality):
    """A modality whose main field is Gaussian on a grid, with any number of (B, 1) categorical labels.

    config["labels"]: label field -> names of its classes. config["mean"], config["std"]: of the main field as stored.
    Sub-classes name the field and the axis of its channels, and turn objects into tensors and back.
    """

    field: ClassVar[str]
    channel_axis: ClassVar[int] = 1

    @property
    def labels(self) -> dict[str, list[str]]:
        return self.config.get("labels", {})

    @property
    def main(self) -> str:
        return self.field

    def joint(self) -> Joint:
        fields: dict[str, Any] = {self.field: Gaussian(warp=self.config.get("warp", 2.0))}
        fields |= {name: Categorical(len(classes)) for name, classes in self.labels.items()}
        return Joint(fields, {name: 0.05 for name in self.labels})

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        return grid_start(
            task, batch, random, step, grids=[self.field], conditions=list(self.labels), channel_axis=self.channel_axis
        )

    # -- values as stored and as the engine sees them ----------------------------------------------------------------
    def scale(self, stored: Tensor) -> Tensor:
        """Stored values as float32 of about zero mean and unit deviation."""
        return (stored.float() - self.config["mean"]) / self.config["std"]

    def unscale(self, value: Tensor) -> Tensor:
        """The inverse of `scale`."""
        return value.float() * self.config["std"] + self.config["mean"]

    # -- asking --------------------------------------------------------------------------------------------------
    def split_given(self, given: Any) -> tuple[Any, dict[str, Any]]:
        """What is given, as (the object of the main field or None, the rest by name). Raises AskError on unknown names."""
        if given is None:
            return None, {}
        if not isinstance(given, dict):
            return given, {}
        rest = dict(given)
        thing = rest.pop("file", None)
        thing = rest.pop(self.field, thing)
        for name in rest:
            if name not in self.labels and name not in self.extra_fields():
                known = ", ".join([self.field, *self.labels, *self.extra_fields()])
                raise AskError(f"this model has no field {name!r}; what can be given: {known}.")
        return thing, rest

    def extra_fields(self) -> tuple[str, ...]:
        """Names that may be given besides the main field and the labels."""
        return ()

    def pose(
        self,
        n: int,
        index: Tensor,
        value: Tensor | None,
        known: Tensor | None,
        labels: dict[str, Any],
        ask: Sequence[str] | str = (),
        shape: Sequence[int] = (),
    ) -> Task:
        """A task of n samples.

        value: (n or 1, *entries) of the main field in model units, or None with `shape`, the shape of one sample. known:
        bool, broadcastable to it: where the value holds. labels: field -> class name, number, or one of these a sample.
        ask: label fields to be answered too; labels neither given nor asked are held back.
        """
        ask = [ask] if isinstance(ask, str) else list(ask)
        for name in ask:
            if name not in self.labels:
                raise AskError(
                    f"this model has no label {name!r} to answer; it has {', '.join(self.labels) or 'none'}."
                )
        if value is None:
            value, known = torch.zeros(1, *shape), torch.zeros((1,) * (len(shape) + 1), dtype=torch.bool)
        assert known is not None
        if value.shape[0] not in (1, n):
            raise AskError(f"{value.shape[0]} objects are given for {n} samples; give one, or one for each sample.")
        x = {self.field: value.expand(n, *value.shape[1:])}
        start = Start({self.field: torch.where(known, 0.0, 1.0)}, {})
        lock = {self.field: known}
        for name, classes in self.labels.items():
            if name in labels:
                x[name] = torch.tensor(class_numbers(labels[name], classes, name, n))[:, None]
                start.levels[name], lock[name] = torch.zeros(n, 1), torch.ones(n, 1, dtype=torch.bool)
            else:
                x[name] = torch.full((n, 1), len(classes), dtype=torch.int64)
                start.levels[name], lock[name] = torch.ones(n, 1), torch.zeros(n, 1, dtype=torch.bool)
                if name not in ask:
                    start.held[name] = torch.ones(n, 1, dtype=torch.bool)
        return Task(x, start, lock, index=index)

    def decoded_labels(self, fields: dict[str, Tensor], row: int) -> dict[str, str]:
        """The labels of one sample by name; those that were held back are left out."""
        out = {}
        for name, classes in self.labels.items():
            number = int(fields[name][row, 0])
            if number < len(classes):
                out[name] = classes[number]
        return out


def class_numbers(value: Any, classes: Sequence[str], field: str, n: int) -> list[int]:
    """n class numbers from a name, a number, or a list of n of these. Raises AskError."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    values = value if isinstance(value, (list, tuple)) else [value] * n
    if len(values) != n:
        raise AskError(f"{len(values)} values of {field} are given for {n} samples; give one, or one for each sample.")
    out = []
    for one in values:
        text = str(one)
        if text in classes:
            out.append(classes.index(text))
        elif text.isdigit() and int(text) < len(classes):
            out.append(int(text))
        else:
            shown = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
            raise AskError(f"{field} {one!r} is unknown; this model knows {shown}.")
    return out


class Rows:
    """A data set in memory: tensors by field, as stored, turned into model units batch by batch.

    stored: (N, *entries) of the main field. labels: field -> (N,) class numbers, -1 where unknown.
    observed: (N, *entries) bool or None, False where the truth of the main field is unknown.
    """

    def __init__(
        self, modality: LabelledGrid, stored: Tensor, labels: dict[str, Tensor], observed: Tensor | None = None
    ):
        for name, classes in modality.labels.items():
            if name in labels and int(labels[name].max()) >= len(classes):
                raise DataError(
                    f"{name} {int(labels[name].max())} is unknown; this model knows {len(classes)} classes."
                )
        self.modality, self.stored, self.observed = modality, stored, observed
        unknown = torch.full((len(stored),), -1)
        self.labels = {name: labels.get(name, unknown) for name in modality.labels}

    def __len__(self) -> int:
        return len(self.stored)

    def batch(self, indices: Tensor) -> Batch:
        x = {self.modality.field: self.modality.scale(self.stored[indices])}
        seen = {} if self.observed is None else {self.modality.field: self.observed[indices]}
        for name, values in self.labels.items():
            value = values[indices][:, None]
            x[name] = value.clamp(min=0)
            if (values < 0).any():
                seen[name] = value >= 0
        return Batch(x, seen, index=indices)


def learn_scale(stored: Tensor, sample: int = 2_000_000) -> dict[str, float]:
    """{"mean", "std"} of stored values (of an even sample of them), std at least 1e-3, as plain numbers."""
    flat = stored.reshape(-1)
    flat = flat[:: max(1, len(flat) // sample)].double()
    return {"mean": round(float(flat.mean()), 6), "std": round(max(float(flat.std()), 1e-3), 6)}
