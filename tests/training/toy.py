"""A small kind of data for the trainer's tests: points on two moons (2 numbers) with their moon (a class)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from suffuse.diffusion.denoiser import Denoiser
from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.state import Batch, Start
from suffuse.modalities.contract import Modality
from suffuse.training.recipe import Recipe
from suffuse.training.trainer import Trainer


class Moons:
    """A data set of `count` fixed points."""

    def __init__(self, count: int = 200, bad: tuple[int, ...] = ()):
        t = torch.linspace(0, torch.pi, count)
        label = torch.arange(count) % 2
        x = torch.where(label == 0, torch.cos(t), 1 - torch.cos(t)) - 0.5
        y = torch.where(label == 0, torch.sin(t), 0.5 - torch.sin(t)) - 0.25
        self.points, self.labels = torch.stack([x, y], 1) * 1.5, label[:, None]
        for k in bad:
            self.points[k] = float("nan")

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, indices: torch.Tensor) -> Batch:
        return Batch({"point": self.points[indices], "label": self.labels[indices]}, index=indices)


class Toy(Modality):
    name, summary, extra = "toy", "points", ""

    @classmethod
    def recognises(cls, source):
        return 0.0

    @classmethod
    def read(cls, source, **options):
        return cls(), Moons()

    def dataset(self, source, **options):
        return Moons()

    def joint(self):
        return Joint({"point": Gaussian(), "label": Categorical(2)})

    def network(self):
        torch.manual_seed(0)
        return Net()

    @property
    def tasks(self):
        return {"generate": 2.0, "by_label": 1.0, "classify": 1.0}

    def start(self, task, batch, random, step):
        n = len(batch)
        if task == "generate":
            return Start({}, {"label": random.uniform((1,), batch.index, step, "hold") < 0.5})
        if task == "by_label":
            return Start({"label": torch.zeros(n, 1)})
        return Start({"point": torch.zeros(1, 1)})

    def request(self, n, given=None, *, index, **asked):
        raise NotImplementedError

    def decode(self, fields, task):
        raise NotImplementedError

    def write(self, samples, path):
        raise NotImplementedError


class Net(nn.Module):
    """Raw outputs for both fields; one parameter is never used, as the embedding of targets is in real networks."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.into = nn.Linear(2 + 3 + 2, width)
        self.middle = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.out = nn.Linear(width, 4)
        self.unused = nn.Linear(1, width)

    def forward(self, x, levels, context, targets=None):
        label = nn.functional.one_hot(x["label"][:, 0], 3).float()
        level = [v.expand(len(label), 1) for v in (levels["point"][:, :1], levels["label"])]
        out = self.out(self.middle(self.into(torch.cat([x["point"], label, *level], 1))))
        return {"point": out[:, :2], "label": out[:, None, 2:]}


def trainer(recipe: Recipe, folder: Path | None = None, count: int = 200, bad=(), **options) -> Trainer:
    """A trainer of the toy, ready to run."""
    modality = Toy()
    denoiser = Denoiser(modality.network(), modality.joint())
    return Trainer(modality, Moons(count, bad), denoiser, recipe, folder, **options)
