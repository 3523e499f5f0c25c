"""What the sampling loop costs beyond its network calls: 50 deterministic unguided steps over 50 bare calls, side by side.

    python benchmarks/overhead.py                                     # this project's rows
    peers/bin/python benchmarks/overhead.py --diffusers               # diffusers 0.42's rows, in its own environment

Ratios are medians of interleaved pairs in one process; one thread. Bars: at most 1.05 for a network of 5 ms or more, at most 1.5
for a 2-256-256-2 MLP on 256 points.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

STEPS, PAIRS = 50, 15


class Points(nn.Module):
    """The 2-256-256-2 MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, 2))

    def forward(self, x, levels=None, context=None, targets=None):
        return {"x": self.layers(x["x"])}


class Convolutions(nn.Module):
    """A network of some 10 ms a call on one core."""

    def __init__(self, channels: int = 48) -> None:
        super().__init__()
        sizes = [1, channels, channels, channels, 1]
        layers: list[nn.Module] = []
        for a, b in zip(sizes[:-1], sizes[1:], strict=True):
            layers += [nn.Conv2d(a, b, 3, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x, levels=None, context=None, targets=None):
        return {"x": self.layers(x["x"])}


def timed(call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def compare(loop, bare) -> tuple[float, float]:
    """(median ratio, median milliseconds of a bare call)."""
    loop(), bare()
    pairs = [(timed(loop), timed(bare)) for _ in range(PAIRS)]
    return statistics.median(a / b for a, b in pairs), statistics.median(b for _, b in pairs) / STEPS * 1e3


def ours(network: nn.Module, shape: tuple[int, ...], solver: str) -> tuple[float, float]:
    from suffuse.diffusion.denoiser import Denoiser
    from suffuse.diffusion.path import Clock
    from suffuse.diffusion.process import Gaussian, Joint
    from suffuse.diffusion.random import Random
    from suffuse.diffusion.sampling import sample
    from suffuse.diffusion.state import Start, Task

    joint = Joint({"x": Gaussian()})
    denoiser = Denoiser(network, joint)
    x = Random(0).normal(shape[1:], torch.arange(shape[0]), 0, "x")
    level = torch.full((shape[0],) + (1,) * (len(shape) - 1), 0.5)
    task = Task({"x": x}, Start({}))

    def bare() -> None:
        for _ in range(STEPS):
            network({"x": x}, {"x": level}, {})

    return compare(lambda: sample(denoiser, joint, task, Clock(STEPS), solver), bare)


def theirs(network: nn.Module, shape: tuple[int, ...], name: str) -> tuple[float, float]:
    import diffusers

    scheduler = getattr(diffusers, name)(num_train_timesteps=1000)
    x = torch.randn(shape)

    def loop() -> None:
        scheduler.set_timesteps(STEPS)
        value = x
        for t in scheduler.timesteps:
            value = scheduler.step(network({"x": value})["x"], t, value).prev_sample

    def bare() -> None:
        for _ in range(STEPS):
            network({"x": x})

    return compare(loop, bare)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--diffusers", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| loop | network | ms a call | 50 steps / 50 bare calls |\n| --- | --- | --- | --- |")
    with torch.inference_mode():
        for label, network, shape in (
            ("2-256-256-2 MLP, 256 points", Points(), (256, 2)),
            ("4 convolutions, 8 x 32 x 32", Convolutions(), (8, 1, 32, 32)),
        ):
            if arguments.diffusers:
                for name in ("DDIMScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"):
                    ratio, call = theirs(network, shape, name)
                    print(f"| diffusers {name} | {label} | {call:.2f} | {ratio:.2f} |")
            else:
                for solver in ("ddim", "dpmpp2m", "unipc2", "exact3"):
                    ratio, call = ours(network, shape, solver)
                    print(f"| suffuse {solver} | {label} | {call:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
