"""Score distillation against Gaussian data, where the denoiser and the optimum are known."""

import pytest
import torch

from suffuse.diffusion.objectives.distillation import annealed_levels, score_distillation_loss
from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.schedule import Cosine
from suffuse.diffusion.state import Start
from tests.diffusion.oracles import GaussianOracle, MixtureOracle

MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
ROOT = torch.tensor([[1.0, 0, 0], [0.4, 0.8, 0], [-0.3, 0.2, 0.5]], dtype=torch.float64)
COVARIANCE = ROOT @ ROOT.T
JOINT = Joint({"x": Gaussian(Cosine())})
ORACLE = GaussianOracle(Cosine(), MEAN, COVARIANCE)


def pull(x, level, seed, **options):
    x = x.clone().requires_grad_()
    loss = score_distillation_loss(
        ORACLE, JOINT, {"x": x}, Start({}), "x", torch.full((len(x),), level), Random(seed), 0, **options
    )
    loss.sum().backward()
    return x.grad * x.shape[1]


def expected(x, level):
    """x0 minus the mean clean prediction, in closed form: (I - alpha K)(x0 - mean)."""
    alpha, sigma = (float(f(torch.tensor(level, dtype=torch.float64))) for f in (Cosine().alpha, Cosine().sigma))
    gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(3, dtype=torch.float64))
    return (x - MEAN) @ (torch.eye(3, dtype=torch.float64) - alpha * gain).T


@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_antithetic_gradient_is_the_expectation(level):
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(pull(x, level, 0), expected(x, level), atol=1e-6)


def test_plain_gradient_has_that_mean_and_more_variance():
    x = torch.tensor([[0.3, 0.1, -1.0]], dtype=torch.float64).expand(4000, 3)
    plain = pull(x, 0.5, 3, antithetic=False)
    assert (plain.mean(0) - expected(x[:1], 0.5)[0]).abs().max() < 4 * plain.std(0).max() / 4000**0.5
    assert plain.std(0).min() > 0.1 and pull(x[:100], 0.5, 3).std(0).max() < 1e-6


def test_sds_weight_is_sigma_squared_times_the_noise_error():
    x, level = torch.tensor([[0.2, -1.0, 2.0]], dtype=torch.float64), torch.tensor([[0.37]], dtype=torch.float64)
    noise = JOINT["x"].noise(x, {}, Random(5), torch.arange(1), 0, "x")
    alpha, sigma = Cosine().alpha(level), Cosine().sigma(level)
    noisy = alpha * x + sigma * noise
    error = (noisy - alpha * ORACLE({"x": noisy}, {"x": level}, {})["x"]) / sigma - noise
    assert torch.allclose(pull(x, 0.37, 5, weighting="sds", antithetic=False), sigma**2 * error, atol=1e-6)


@pytest.mark.parametrize("weighting", ["sds", "x0"])
def test_descent_ends_at_the_mode(weighting):
    x = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=0.05)
    for step in range(300):
        level = annealed_levels(step / 300, 1)
        loss = score_distillation_loss(
            ORACLE, JOINT, {"x": x}, Start({}), "x", level, Random(0), step, weighting=weighting
        )
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
    assert torch.allclose(x.detach(), MEAN, atol=0.02)


def test_descent_finds_the_nearer_of_two_modes():
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]])
    oracle = MixtureOracle(Cosine(), means, 0.2)
    x = torch.tensor([[1.0, 1.0], [-1.5, 0.0]], requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=0.05)
    for step in range(300):
        level = annealed_levels(step / 300, 2, high=0.3)
        loss = score_distillation_loss(oracle, JOINT, {"x": x}, Start({}), "x", level, Random(0), step)
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
    assert torch.allclose(x.detach(), means, atol=0.1)


def test_conditions_reach_the_denoiser_and_held_ones_do_not():
    joint = Joint({"x": Gaussian(Cosine()), "label": Categorical(3)})
    seen = []

    def denoiser(x, levels, context, targets=None):
        seen.append((x["label"][:, 0].tolist(), levels["label"][:, 0].tolist()))
        return {"x": x["x"], "label": torch.zeros(len(x["label"]), 1, 3)}

    x = {"x": torch.zeros(2, 4), "label": torch.tensor([[2], [1]])}
    given, held = torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool)
    rest = ("x", torch.full((2,), 0.5), Random(0), 0)
    score_distillation_loss(denoiser, joint, x, Start({"label": given}), *rest)
    score_distillation_loss(denoiser, joint, x, Start({}, {"label": held}), *rest)
    assert seen == [([2, 1, 2, 1], [0.0] * 4), ([3, 3, 3, 3], [1.0] * 4)]
    with pytest.raises(ValueError, match="Gaussian"):
        score_distillation_loss(denoiser, joint, x, Start({}), "label", torch.ones(2), Random(0), 0)


def test_levels_only_fall():
    means = [float(annealed_levels(p / 10, 4).mean()) for p in range(11)]
    assert means == sorted(means, reverse=True) and means[0] == pytest.approx(0.7) and means[-1] == pytest.approx(0.1)
