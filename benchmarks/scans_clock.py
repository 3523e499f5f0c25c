"""How much of its time a training has had: process time on a CPU, wall time on an accelerator."""

from __future__ import annotations

import time

import torch


class Clock:
    """clock(): share of `minutes` that has passed since it was made (1 and more: stop)."""

    def __init__(self, minutes: float, device: str = "cpu"):
        self.minutes, self.device, self.calls = minutes, device, 0
        self.begun = self._now()

    def _now(self) -> float:
        return time.process_time() if self.device == "cpu" else time.perf_counter()

    def __call__(self) -> float:
        self.calls += 1
        if self.device != "cpu" and self.calls % 8 == 0:  # keep the launches from running ahead of the device
            torch.cuda.synchronize()
        return (self._now() - self.begun) / 60 / self.minutes
