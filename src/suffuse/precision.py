"""Network calls in bf16 where that is faster on this machine: asked for, or measured."""

from __future__ import annotations

from typing import Any

import torch

from suffuse.diffusion.denoiser import Denoiser
from suffuse.diffusion.process import full_levels
from suffuse.diffusion.state import Fields, Task
from suffuse.errors import AskError
from suffuse.training.machine import Choice, choose
from suffuse.training.recipe import PRECISIONS


class InBf16:
    """A denoiser whose network runs under bf16 autocast; its predictions come out as float32."""

    pure = True

    def __init__(self, denoiser: Denoiser):
        self.denoiser = denoiser
        self.choice = Choice(bf16=True)

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        device = next(iter(x.values())).device
        with self.choice.autocast(device):
            clean = self.denoiser(x, levels, context, targets)
        return {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in clean.items()}


def in_precision(denoiser: Denoiser, precision: str, task: Task) -> Any:
    """The denoiser itself ('fp32'), in bf16, or ('auto') whichever of both is measured faster for a batch of this task; the
    answer is remembered for the machine and the network. Raises `AskError`."""
    if precision not in PRECISIONS:
        raise AskError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "auto":
        precision = "bf16" if faster_in_bf16(denoiser, task) else "fp32"
    return InBf16(denoiser) if precision == "bf16" else denoiser


def faster_in_bf16(denoiser: Denoiser, task: Task) -> bool:
    """Whether timed calls on this task's fields, at level one half, are faster in bf16 by a clear margin."""
    device = next(iter(task.x.values())).device
    levels = {k: v / 2 for k, v in full_levels(denoiser.joint, task.x, task.start.levels).items()}
    context = dict(task.context) | {f"exists:{n}": m for n, m in task.exists.items()}

    def timed(option: Choice) -> Any:
        candidate: Any = InBf16(denoiser) if option.bf16 else denoiser

        def call() -> None:
            with torch.inference_mode():
                candidate(task.x, levels, context)
            if device.type == "cuda":
                torch.cuda.synchronize()

        return call

    return choose(timed, denoiser.network, device, len(task), "sample", open_to=("bf16",)).bf16
