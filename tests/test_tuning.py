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


def test_the_cheapest_way_is_the_one_that_enumeration_finds():
    from itertools import combinations

    from suffuse.tuning_categories import cheapest, step_costs

    left = torch.tensor([1.0, 0.9, 0.7, 0.4, 0.2, 0.05, 0.0], dtype=torch.float64)
    loss = torch.tensor([9.0, 8.5, 5.0, 2.0, 1.0, 0.2, 0.0], dtype=torch.float64)
    cost = step_costs(left, loss)
    assert abs(float(cost[1, 3]) - (1 - 0.4 / 0.9) * 8.5) < 1e-9
    for calls in (1, 2, 3, 6):
        ways = [(0, *middle, 6) for middle in combinations(range(1, 6), calls - 1)]
        best = min(ways, key=lambda way: sum(float(cost[a, b]) for a, b in zip(way[:-1], way[1:])))
        assert cheapest(cost, calls) == list(best)


def test_masked_tokens_get_a_grid_and_marginal_ones_a_sentence():
    model = suffuse.load("tang")
    model.tune(6, n=4)
    grid = model.settings["tuned"]["6"]["grid"]
    assert len(grid) == 7 and grid[0] == 1.0 and grid[-1] == 0.0 and sorted(grid, reverse=True) == grid
    made = model.sample(2)
    assert made == model.sample(2, path=model.modality.path(6, torch.tensor(grid, dtype=torch.float64)))
    with pytest.raises(AskError, match="measured best"):
        suffuse.load("qm9").tune(6, n=4)
