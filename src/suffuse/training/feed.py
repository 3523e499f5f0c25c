"""Which examples make up each step, and having them ready in time."""

from __future__ import annotations

import inspect
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch
from suffuse.modalities.contract import Dataset, Modality


class Order:
    """An endless stream of dataset positions: epoch after epoch, each a permutation drawn from (seed, epoch)."""

    def __init__(self, length: int, seed: int):
        self.length, self.random = length, Random(seed)
        self._epochs: dict[int, Tensor] = {}

    def epoch(self, number: int) -> Tensor:
        """The permutation of one epoch: (length,) int64."""
        if number not in self._epochs:
            words = self.random.bits(2, torch.arange(self.length), number, "order")
            key = (words[:, 0] << 31) | (words[:, 1] >> 1)
            self._epochs = {k: v for k, v in self._epochs.items() if k == number - 1}
            self._epochs[number] = torch.argsort(key, stable=True)
        return self._epochs[number]

    def at(self, stream: Tensor) -> Tensor:
        """The dataset positions (B,) of places in the stream (B,), both int64."""
        out = torch.empty_like(stream)
        epochs = stream // self.length
        for number in epochs.unique().tolist():
            mine = epochs == number
            out[mine] = self.epoch(number)[stream[mine] % self.length]
        return out


class Feed:
    """The examples of each step that belong to this process; reads one step ahead where reading takes time.

    The global batch of step s is places s * batch ... (s + 1) * batch - 1 of the stream; process `rank` of `world`
    takes a contiguous part of it. `Batch.index` is set to the place in the stream: all randomness is drawn from it.
    """

    ALLOWED = 0.01
    """Share of a step that reading may take before it moves to a thread of its own."""

    def __init__(self, dataset: Dataset, batch: int, seed: int, rank: int = 0, world: int = 1):
        self.dataset, self.batch = dataset, batch
        self.order = Order(len(dataset), seed)
        self.rank, self.world = rank, world
        self.waited, self._reading, self._since = 0.0, 0.0, time.perf_counter()
        self._thread: ThreadPoolExecutor | None = None
        self._ahead: tuple[int, Future[Batch]] | None = None
        self._count = 0

    def read(self, step: int) -> Batch:
        """Read the examples of a step, here and now."""
        stream = torch.arange(step * self.batch, (step + 1) * self.batch)
        stream = torch.tensor_split(stream, self.world)[self.rank]
        examples = self.dataset.batch(self.order.at(stream))
        return Batch(examples.x, examples.observed, examples.exists, examples.context, stream)

    def get(self, step: int) -> Batch:
        """The examples of a step; the time the caller had to wait for them is added to `waited`."""
        begun = time.perf_counter()
        if self._ahead is not None and self._ahead[0] == step:
            batch = self._ahead[1].result()
        else:
            batch = self.read(step)
            self._reading += time.perf_counter() - begun
        now = time.perf_counter()
        self.waited += now - begun
        self._count += 1
        if self._thread is None and self._count == 5:
            if self._reading > self.ALLOWED * (now - self._since):
                self._thread = ThreadPoolExecutor(1, "suffuse-feed")
        if self._thread is not None:
            self._ahead = (step + 1, self._thread.submit(self.read, step + 1))
        return batch

    def close(self) -> None:
        """Stop reading ahead."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        self._thread = self._ahead = None


def training_data(modality: Modality, source: Any, read: dict[str, Any] | None = None) -> Dataset:
    """More data for a model that exists: the training part of `source`, where the modality tells parts apart."""
    options = dict(read or {})
    if "split" in inspect.signature(modality.dataset).parameters:
        options.setdefault("split", "train")
    return modality.dataset(source, **options)
