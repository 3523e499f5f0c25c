"""Solvers against diffusers 0.42: the same network, noise and grid (made by benchmarks/against_diffusers.py)."""

import json
from pathlib import Path

import pytest
import torch

from suffuse.diffusion import sampling
from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.schedule import Cosine
from suffuse.diffusion.state import Start, Task

REFERENCE = json.loads((Path(__file__).parent / "diffusers_reference.json").read_text())


def denoiser(x, levels, context, targets=None):
    alpha, sigma = Cosine().alpha(levels["x"]), Cosine().sigma(levels["x"])
    value = x["x"]
    return {"x": torch.tanh(1.5 * value / (alpha**2 + 0.5 * sigma**2)) * 0.8 + 0.1 * torch.sin(3 * value + alpha)}


class Replay:
    """A Gaussian process's noise that replays recorded draws."""

    white = True

    def __init__(self, noises):
        self.noises = noises

    def sample(self, like, context, random, index, step, field):
        return torch.tensor(self.noises[step], dtype=like.dtype) if step < len(self.noises) else torch.zeros_like(like)

    def project(self, x, context):
        return x


@pytest.mark.parametrize("name", ["ddim", "dpmpp2m", "dpmpp3m", "sde-dpmpp2m", "deis2", "deis3", "unipc2", "unipc3"])
def test_solver_equals_diffusers(name):
    record = REFERENCE[name]
    ratios = torch.tensor(record["ratios"], dtype=torch.float64)
    grid = Cosine().time(-torch.log(ratios))
    start = torch.tensor(record["start"], dtype=torch.float64)
    joint = Joint({"x": Gaussian(Cosine(), Replay(record["noises"]))})
    task = Task({"x": start}, Start({"x": grid[:1].reshape(1, 1)}))
    stochastic = name.startswith("sde-")
    out = sampling.sample(
        denoiser,
        joint,
        task,
        Clock(len(grid) - 1, grid),
        name.removeprefix("sde-"),
        state={"x": start},
        stochasticity=float(stochastic),
    )["x"]
    assert torch.allclose(out, torch.tensor(record["end"], dtype=torch.float64), atol=1e-4), (out, record["end"])
