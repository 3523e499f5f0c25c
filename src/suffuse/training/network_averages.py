"""The averages of one network's weights: tracked as it trains, stored now and then, put into it for any length."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.training.averaging import Averages, rebuild, weights
from suffuse.training.checkpoint import Checkpoints


class NetworkAverages(Averages):
    """`Averages` of a network's floating-point parameters.

    widths: those that are tracked. checkpoints: where averages are stored; None keeps only the running ones. stored: entries
    of what was stored so far (file, step, width, updates).
    """

    def __init__(self, network: nn.Module, widths: Sequence[float], checkpoints: Checkpoints | None = None):
        super().__init__(network.named_parameters(), widths)
        self.network, self.checkpoints = network, checkpoints
        self.stored: list[dict[str, Any]] = []
        self._last: dict[str, Tensor] = {}

    def parameters(self) -> list[Tensor]:
        """The averaged parameters themselves."""
        return [p for _, p in self.network.named_parameters() if p.is_floating_point()]

    def follow(self) -> None:
        """One more step: the parameters as they are now."""
        self.update(self.parameters())

    def conclude(self) -> None:
        """Keep the last weights, as the average of width 0."""
        self._last = self._now()

    def store(self, step: int) -> None:
        """Store the running averages of this moment, for averages of other widths later."""
        for width in self.widths:
            half = {}
            for name, value in self.current(width).items():
                half[name] = value.half() if float(value.abs().max()) < 6e4 else value
            entry = self.checkpoints.write_average(step, width, half)
            self.stored.append({**entry, "updates": self.count})

    def average(self, width: float) -> dict[str, Tensor]:
        """Weights averaged with relative width sigma_rel `width`; 0 is the last weights."""
        if width == 0 or self.count == 0:
            return self._last or self._now()
        current = self.current(width)
        if current is not None:
            return current
        entries = [e for e in self.stored if 0 < e["updates"] < self.count]
        known = [(e["updates"], e["width"]) for e in entries] + [(self.count, w) for w in self.widths]
        factors = weights(known, self.count, width)

        def parts() -> Iterator[tuple[float, dict[str, Tensor]]]:
            for factor, entry in zip(factors, entries, strict=False):
                yield float(factor), self.checkpoints.read_average(entry)
            for factor, w in zip(factors[len(entries) :], self.widths, strict=True):
                yield float(factor), {name: value.cpu() for name, value in self.current(w).items()}

        return rebuild(parts())

    @torch.no_grad()
    def adopt(self, width: float) -> None:
        """Put averaged weights into the network."""
        average = self.average(width)
        for name, value in self.network.named_parameters():
            if name in average:
                value.copy_(average[name])

    @contextlib.contextmanager
    def adopted(self, width: float) -> Iterator[None]:
        """The network with averaged weights inside the block, and with its own after it."""
        own = [value.detach().clone() for value in self.network.parameters()]
        self.adopt(width)
        try:
            yield
        finally:
            with torch.no_grad():
                for value, mine in zip(self.network.parameters(), own, strict=True):
                    value.copy_(mine)

    def _now(self) -> dict[str, Tensor]:
        named = self.network.named_parameters()
        return {name: value.detach().clone() for name, value in named if value.is_floating_point()}
