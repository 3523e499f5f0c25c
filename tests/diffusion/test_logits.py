"""Forbidden classes, temperature and nucleus reach the sampler, after guidance."""

import pytest
import torch

from suffuse.diffusion.logits import nucleus, shape_logits
from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Categorical, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import sample
from suffuse.diffusion.state import Start, Task

LOGITS = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
JOINT = Joint({"text": Categorical(4)})


def shares(**context):
    task = Task({"text": torch.zeros(20000, 1, dtype=torch.int64)}, Start({}), context=context)

    def denoiser(x, levels, context, targets=None):
        return {"text": LOGITS.expand(*x["text"].shape, 4)}

    out = sample(denoiser, JOINT, task, Clock(1), random=Random(0))["text"]
    return torch.bincount(out[:, 0], minlength=4) / 20000


@pytest.mark.parametrize(
    "context, expected",
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"forbidden:text": torch.tensor([[[False, True, False, False]]])}, [0.5 / 0.7, 0, 0.15 / 0.7, 0.05 / 0.7]),
        ({"temperature:text": torch.full((1, 1), 0.5)}, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        ({"top_p:text": torch.full((1, 1), 0.6)}, [0.625, 0.375, 0, 0]),
    ],
)
def test_the_sampler_draws_from_the_shaped_law(context, expected):
    assert (shares(**context) - torch.tensor(expected)).abs().max() < 0.01


def test_nucleus_keeps_at_least_the_share():
    kept = nucleus(LOGITS, torch.tensor([0.5])).isfinite()
    assert kept.tolist() == [True, False, False, False]
    assert nucleus(LOGITS, torch.tensor([1.0])).isfinite().all()


def test_nothing_asked_changes_nothing():
    clean = {"text": LOGITS}
    assert shape_logits(clean, JOINT, {"times": torch.ones(1)}) is clean
