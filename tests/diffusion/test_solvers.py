"""The kernel against closed forms: convergence orders, exactness, one law for two paths."""

import functools
import math

import pytest
import torch

from suffuse.diffusion.grids import rho3
from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import sample
from suffuse.diffusion.schedule import VE, Cosine, Linear
from suffuse.diffusion.solver import SOLVERS, coefficients
from suffuse.diffusion.state import Start, Task
from tests.diffusion.oracles import MixtureOracle


def mixture(schedule):
    means = torch.tensor([[1.0, 0.5], [-0.8, 1.1], [0.2, -1.3]], dtype=torch.float64)
    return MixtureOracle(schedule, means, 0.3)


def solve(schedule, solver, steps, x, low=-3.5, high=2.0, eta=0.0):
    """From log-SNR `low` to `high` in equal steps."""
    grid = schedule.time(torch.linspace(low, high, steps + 1, dtype=torch.float64))
    joint = Joint({"x": Gaussian(schedule)})
    task = Task({"x": x}, Start({"x": torch.full((len(x), 1), float(grid[0]), dtype=torch.float64)}))
    return sample(mixture(schedule), joint, task, Clock(steps, grid), solver, state={"x": x}, stochasticity=eta)["x"]


@functools.cache
def truth_of(schedule):
    """Starting noise and where the ODE carries it, by very many steps of the exact third order."""
    x = Random(3).normal((2,), torch.arange(64), 0, "x", torch.float64)
    x = x * math.exp(3.5) if isinstance(schedule, VE) else x
    return x, solve(schedule, "exact3", 640, x)


@pytest.mark.parametrize("schedule", [Cosine(), Linear(), VE()], ids=["cosine", "linear", "ve"])
@pytest.mark.parametrize(
    ("solver", "least"),
    [
        ("ddim", 0.9),
        ("exact2", 1.8),
        ("dpmpp2m", 1.8),
        ("deis2", 1.8),
        ("exact3", 2.7),
        ("deis3", 2.7),
        ("unipc2", 1.8),
        ("unipc3", 2.7),
    ],
)
def test_order_of_convergence(schedule, solver, least):
    x, truth = truth_of(schedule)
    errors = [(solve(schedule, solver, n, x) - truth).pow(2).mean().sqrt().item() for n in (40, 80)]
    slope = math.log2(errors[0] / errors[1])
    assert slope >= least, (slope, errors)


@pytest.mark.parametrize("solver", sorted(set(SOLVERS) - {"heun"}))
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_one_point_is_exact_in_any_number_of_steps(solver, eta):
    point = torch.tensor([[0.7, -1.2]], dtype=torch.float64)
    for schedule in (Cosine(), Linear(), VE()):
        for steps in (1, 3, 7):
            task = Task({"x": torch.zeros(4, 2, dtype=torch.float64)}, Start({}))
            out = sample(
                lambda x, levels, context, targets: {"x": point.expand(4, 2)},
                Joint({"x": Gaussian(schedule)}),
                task,
                Clock(steps),
                solver,
                stochasticity=eta,
            )
            assert torch.allclose(out["x"], point.expand(4, 2), atol=1e-12)


def spread(solver, path, eta, std=0.6):
    """Standard deviation, as a share of the true one, of samples of a Gaussian with its exact denoiser."""

    def denoiser(x, levels, context, targets=None):
        schedule = Cosine()
        a, s = schedule.alpha(levels["x"]), schedule.sigma(levels["x"])
        return {"x": a * std**2 / (a**2 * std**2 + s**2) * x["x"]}

    task = Task({"x": torch.zeros(20000, 1, dtype=torch.float64)}, Start({}))
    return sample(denoiser, Joint({"x": Gaussian()}), task, path, solver, stochasticity=eta)["x"].std().item() / std


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_stochastic_steps_keep_the_marginal(eta):
    """Gaussian data with the exact denoiser: every eta gives the same law."""
    assert abs(spread("exact2", Clock(150), eta) - 1) < 0.02


@pytest.mark.parametrize("solver", ["deis2", "deis3", "ipndm2"])
def test_noise_space_forgets_what_fresh_noise_has_replaced(solver):
    """Ten unequal steps: old noise predictions, carried on under fresh noise, made the spread up to 17 times too wide."""
    few, many = (Clock(n, rho3(Cosine(), n)) for n in (10, 160))
    assert spread(solver, few, 1.0) < 1.1 and spread(solver, few, 2.0) < 1.1
    assert abs(spread(solver, many, 1.0) - 1) < 0.1


def test_weights_add_up_to_one():
    grid = torch.linspace(1, 0, 9, dtype=torch.float64).reshape(-1, 1)
    for solver in SOLVERS.values():
        table = coefficients(solver, Cosine(), grid, 0.4)
        assert all(abs(float(sum(row)) - 1) < 1e-5 for row in table.weights)


def test_published_3m_is_not_of_third_order():
    x, truth = truth_of(Cosine())
    errors = [(solve(Cosine(), "dpmpp3m", n, x) - truth).pow(2).mean().sqrt().item() for n in (40, 160)]
    assert math.log2(errors[0] / errors[1]) / 2 < 2.6


def test_sample_seven_is_the_same_alone_and_in_a_batch():
    schedule = Cosine()
    joint = Joint({"x": Gaussian(schedule)})
    oracle = MixtureOracle(schedule, torch.tensor([[1.0, 0.5], [-0.8, 1.1]]), 0.3)
    many = sample(oracle, joint, Task({"x": torch.zeros(64, 2)}, Start({})), Clock(10), "dpmpp2m", Random(0))
    one = sample(
        oracle,
        joint,
        Task({"x": torch.zeros(1, 2)}, Start({}), index=torch.tensor([7])),
        Clock(10),
        "dpmpp2m",
        Random(0),
    )
    assert torch.allclose(many["x"][7], one["x"][0], atol=1e-5)
