"""Tuning a model that ships: nearer to its own many-step answer than the worst rival, and used by default afterwards."""

import pytest
import torch

import suffuse
from suffuse.diffusion.path import Clock
from suffuse.diffusion.solver import SOLVERS
from suffuse.errors import AskError


def test_tuned_sampler_is_kept_and_comes_nearer_on_fresh_noise():
    model = suffuse.load("digits")
    model.tune(4, n=16, teacher_steps=16, guidance=1.0)
    kept = model.settings["tuned"]["4"]
    assert len(kept["grid"]) == 5 and kept["grid"][0] == 1.0 and kept["grid"][-1] == 0.0
    assert abs(kept["distance"] - min(kept["table"].values())) < 1e-4
    task = model.modality.request(16, None, index=torch.arange(500, 516))
    settings = {"seed": 5, "guidance": 1.0}

    def run(**more):
        return model.run(task, **settings, **more)["image"]

    aim = run(path=Clock(32, "rho3"), solver=SOLVERS["dpmpp2m"], stochasticity=0.0)
    tuned = (run(steps=4) - aim).square().mean()
    plain = (run(path=Clock(4, "uniform"), solver=SOLVERS["dpmpp2m"], stochasticity=0.0) - aim).square().mean()
    assert tuned < plain


def test_says_that_a_tuned_sampler_uses_no_noise():
    told = []
    for name in ("digits", "fashion"):  # digits are drawn with fresh noise, fashion without
        suffuse.load(name).tune(2, n=4, teacher_steps=4, guidance=1.0, tell=told.append)
    assert sum("fresh noise" in line for line in told) == 1 and "fresh noise" in told[0]


def test_the_cheapest_way_is_the_one_that_enumeration_finds():
    from itertools import combinations

    from suffuse.tuning import cheapest

    cost = torch.rand(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cost[torch.ones(7, 7).tril().bool()] = float("inf")
    for calls in (1, 2, 3, 6):
        ways = [(0, *middle, 6) for middle in combinations(range(1, 6), calls - 1)]
        best = min(ways, key=lambda way: sum(float(cost[a, b]) for a, b in zip(way[:-1], way[1:])))
        assert cheapest(cost, calls) == list(best)


def test_categorical_data_are_not_tuned():
    for name in ("tang", "qm9"):
        with pytest.raises(AskError, match="measured best"):
            suffuse.load(name).tune(6, n=4)
