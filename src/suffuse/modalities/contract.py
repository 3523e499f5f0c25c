"""The contract every kind of data meets. Adding a kind of data means one subclass of `Modality` and one registry line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from suffuse.diffusion.process import Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError

SAMPLING = {"steps": 10, "grid": "rho3", "solver": "deis2", "stochasticity": 0.0}
"""How pictures, clips, shapes, scans and spoken words are drawn: measured room by room (docs/sampling.md)."""


class Dataset(Protocol):
    """Clean examples at random access. `batch` collates and may pad."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """indices: (B,) int64 positions. Returns the examples, with `index` set to `indices`."""
        ...


def is_dataset(x: Any) -> bool:
    """Whether x is an open `Dataset` already, and not something a modality has yet to read (Hugging Face's tables have `batch`
    and a length too, and columns besides)."""
    return hasattr(x, "batch") and hasattr(x, "__len__") and not hasattr(x, "column_names")


class Modality(ABC):
    """One kind of data: its files, fields, processes, network, training tasks, quality and sugar verbs.

    An instance holds what was learnt from the data (shapes, classes, scaling) as plain JSON values in `self.config`;
    `type(self)(**config)` rebuilds it. It holds no tensors and no network.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for `suffuse modalities`."""
    extra: ClassVar[str]
    """The pip extra that brings its libraries."""
    spelt: ClassVar[bool] = False
    """Whether samples read well as lines on a terminal (text, SMILES): `spell` writes them."""
    numbered: ClassVar[bool] = False
    """Whether `write` puts each sample into a numbered file of a folder, so that a long run can be written as it goes."""
    unguided: ClassVar[tuple[str, ...]] = ()
    """Fields that classifier-free guidance never holds back."""
    verbs: ClassVar[dict[str, Callable[..., Any]]] = {}
    """Sugar: name -> function(model, ...); reachable as model.NAME(...) and `suffuse NAME MODEL ...`."""

    def __init__(self, **config: Any):
        self.config = config

    # -- reading ------------------------------------------------------------------------------------------------
    @classmethod
    @abstractmethod
    def recognises(cls, source: Any) -> float:
        """How sure (0..1) this modality is that `source` (a path or an object) is its kind of data. Reads little."""

    @classmethod
    @abstractmethod
    def read(cls, source: Any, **options: Any) -> tuple[Modality, Dataset]:
        """Infer the modality's config from training data and return it with the data set.

        Raises `suffuse.errors.DataError` with one clear sentence on bad input.
        """

    @abstractmethod
    def dataset(self, source: Any, **options: Any) -> Dataset:
        """Read more data of the kind this instance was made for (same shapes, classes, scaling)."""

    @classmethod
    def adopt(cls, other: Modality, source: Any, **options: Any) -> tuple[Modality, Dataset]:
        """Read training data for a model that starts from the weights of a model of another modality, `other`."""
        raise AskError(f"cannot go on from a {other.name} model with {cls.name} data")

    def inherit(self, network: nn.Module, other: nn.Module) -> None:
        """Put the weights of another modality's network into a new one (after `adopt`)."""
        raise NotImplementedError(f"{self.name} takes over no weights")

    # -- the model's parts --------------------------------------------------------------------------------------
    @abstractmethod
    def joint(self) -> Joint:
        """The process of each field."""

    @abstractmethod
    def network(self) -> nn.Module:
        """The default network, seen by the engine as raw = network(x, levels, context, targets)."""

    def parametrisation(self) -> dict[str, str]:
        """Per Gaussian field what the network predicts: 'edm' (default), 'x0', 'eps', 'v' or 'velocity'."""
        return {}

    @property
    def main(self) -> str:
        """The field that edits, restorations, likelihoods and features are about; the first one by default."""
        return next(iter(self.joint()))

    def path(self, steps: int, grid: Any) -> Any:
        """The default path of `steps` network calls on a time grid (a name or clock times)."""
        from suffuse.diffusion.path import Clock

        return Clock(steps, grid)

    def wrap(self, denoiser: Callable[..., Any], task: Task) -> Callable[..., Any]:
        """A wrapper that every question to this kind of model goes through, denoiser -> denoiser; by default none."""
        return denoiser

    def adjust(self, task: Task) -> Callable[..., Any] | None:
        """What is called as adjust(x, levels, step) after every step of a task and may return a changed x; by default nothing."""
        return None

    def drawn_first(self, model: Any, task: Task, seed: int, free: bool) -> Task:
        """The task when fields that are drawn before all others have been drawn; by default nothing is. free: nothing but what
        the task gives restricts the answer."""
        return task

    def batching(self, task: Task) -> Tensor | None:
        """In which order samples go into batches, (n,) positions, so that those of one size meet; None: as they come."""
        return None

    def trimmed(self, task: Task) -> Task:
        """A batch of a task without the padding that none of its samples needs: fields may be shorter along their last axes."""
        return task

    def objects(self, x: Any) -> list[Any]:
        """What a person hands in as one or several objects, as a list."""
        return list(x) if isinstance(x, (list, tuple)) else [x]

    # -- training -----------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def tasks(self) -> dict[str, float]:
        """The training mixture: task name -> weight."""

    @abstractmethod
    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        """Starting levels of one training task for a whole batch (B examples, each drawn by its own index)."""

    def defaults(self) -> dict[str, Any]:
        """Training defaults as `suffuse.training.recipe.Recipe` names them, and under "sampling" a dict of the model's sampling
        settings (`suffuse.model.SETTINGS`: steps, guidance, interval, solver, grid, stochasticity)."""
        return {}

    # -- asking -------------------------------------------------------------------------------------------------
    @abstractmethod
    def request(self, n: int, given: Any = None, *, index: Tensor, **asked: Any) -> Task:
        """Turn what a person asks into a task of n samples. Raises `AskError` with one clear sentence."""

    @abstractmethod
    def decode(self, fields: dict[str, Tensor], task: Task) -> list[Any]:
        """Sampled fields as the ecosystem's own objects, one a sample."""

    @abstractmethod
    def write(self, samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
        """Write samples to a file or folder (whole or not at all); returns what was written. first: number of the first
        sample in the names of a folder's files, where `numbered`."""

    def spell(self, sample: Any) -> str:
        """One sample as text for a terminal, where `spelt`."""
        return str(sample)

    def mask(self, mask: Any, task: Task) -> Tensor:
        """A person's mask of the main field (True: to be changed) as bool, broadcastable to the field. Raises `AskError`."""
        value = torch.as_tensor(mask, dtype=torch.bool)
        like = task.x[self.main]
        while value.ndim < like.ndim:
            value = value.unsqueeze(0)
        try:
            torch.broadcast_shapes(value.shape, like.shape)
        except RuntimeError:
            raise AskError(f"the mask has shape {tuple(value.shape)}, which does not fit {tuple(like.shape)}") from None
        return value

    def measured(self, measurement: Any, operator: Any, noise: float) -> tuple[Tensor, Any, float, dict[str, Any]]:
        """What `Model.restore` was given, as (measurement in model units, operator, noise in model units, further keywords
        of `request`). Files, pictures and operator names are the modality's to read. Raises `AskError`."""
        if not isinstance(measurement, Tensor) or isinstance(operator, str):
            raise AskError(f"{self.name} are restored from tensors in model units with an operator object")
        return measurement, operator, noise, {}

    def show(self, samples: Sequence[Any], path: Path) -> Path:
        """A picture (or page fragment) of the samples, for the demo and previews during training."""
        raise NotImplementedError(f"{self.name} has no picture")

    # -- quality ------------------------------------------------------------------------------------------------
    def evaluate(self, model: Any, data: Dataset, **options: Any) -> dict[str, float]:
        """Named figures of quality, each beside the same figure for real data against real data (key ending '_real')."""
        return {}


def choose_tasks(weights: dict[str, float], random: Random, step: int, index: Tensor) -> Tensor:
    """Which task each example trains on: (B,) int64 positions in `weights`, in proportion to them."""
    share = torch.tensor(list(weights.values()), dtype=torch.float64)
    edges = (share / share.sum()).cumsum(0).to(index.device)
    u = random.uniform((), index, step, "task").double()
    return torch.searchsorted(edges, u.clamp(max=1 - 1e-12), right=True).clamp(max=len(weights) - 1)
