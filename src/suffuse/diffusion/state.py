"""What the engine is handed: named fields, noise levels and masks.

A *field* is a tensor of shape (batch, *entry axes) such as an image (B, C, H, W), a label (B, 1) or a text (B, L).
Continuous fields are floating point, categorical fields are int64. *Levels* of a field are float tensors with the same
number of axes that broadcast against it: 0 is data, 1 is prior. Masks are bool tensors that broadcast likewise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

Fields = dict[str, Tensor]


def _move(tensors: Fields, device: torch.device | str) -> Fields:
    return {name: value.to(device) for name, value in tensors.items()}


@dataclass
class Batch:
    """Clean samples as a data set hands them out.

    x: clean values per field; unobserved or padded entries hold any finite (or valid) value.
    observed: True where the truth exists (may carry loss). A missing key means True everywhere.
    exists: True where the entry is not padding (may be attended to). A missing key means True everywhere.
    context: structure that is never diffused (times, adjacency, sizes), seen by the network as it is.
    index: (B,) int64, the position of each example in its data set; randomness is drawn from it.
    """

    x: Fields
    observed: Fields = field(default_factory=dict)
    exists: Fields = field(default_factory=dict)
    context: Fields = field(default_factory=dict)
    index: Tensor | None = None

    def __len__(self) -> int:
        return next(iter(self.x.values())).shape[0]

    def to(self, device: torch.device | str) -> Batch:
        index = None if self.index is None else self.index.to(device)
        return Batch(*(_move(d, device) for d in (self.x, self.observed, self.exists, self.context)), index)


@dataclass
class Start:
    """Where a task starts: the one thing that tells generate, inpaint, forecast and classify apart.

    levels: starting level per field, broadcastable to the field; a missing key means 1 everywhere.
    held: True where the entry stays at level 1 and is marginalised (its value is replaced by zero or the mask token).
    exact: (B,) bool, training only: the levels are final training levels, not to be combined with a random clock.
    """

    levels: Fields
    held: Fields = field(default_factory=dict)
    exact: Tensor | None = None

    def to(self, device: torch.device | str) -> Start:
        exact = None if self.exact is None else self.exact.to(device)
        return Start(_move(self.levels, device), _move(self.held, device), exact)


@dataclass
class Task:
    """A question put to a trained model: known values, starting levels, masks and context.

    x: values per field: clean where known, anything valid elsewhere. Shapes are those of the answer.
    start: starting levels and held entries.
    given: True where the entry is locked to its value. A missing key means `levels == 0`.
    exists, context: as in `Batch`. index: (B,) int64, the sample numbers that randomness is drawn from.
    """

    x: Fields
    start: Start
    given: Fields = field(default_factory=dict)
    exists: Fields = field(default_factory=dict)
    context: Fields = field(default_factory=dict)
    index: Tensor | None = None

    def __len__(self) -> int:
        return next(iter(self.x.values())).shape[0]

    def rows(self, rows: slice | Tensor) -> Task:
        """The sub-task of some samples; tensors whose first axis is 1 are shared by all samples and kept whole."""
        n = len(self)

        def cut(tensors: Fields) -> Fields:
            return {k: v[rows] if v.shape[0] == n else v for k, v in tensors.items()}

        start = Start(cut(self.start.levels), cut(self.start.held))
        index = torch.arange(n)[rows] if self.index is None else self.index[rows]
        return Task(cut(self.x), start, cut(self.given), cut(self.exists), cut(self.context), index)

    def to(self, device: torch.device | str) -> Task:
        start = self.start.to(device)
        index = None if self.index is None else self.index.to(device)
        x, given, exists, context = (_move(d, device) for d in (self.x, self.given, self.exists, self.context))
        return replace(self, x=x, start=start, given=given, exists=exists, context=context, index=index)
