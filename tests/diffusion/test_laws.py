"""Laws that levels, masks and paths must keep, against correlated Gaussians known in closed form."""

import math

import torch

from suffuse.diffusion.likelihood import bits, ode_bits
from suffuse.diffusion.noise import RBF, OrnsteinUhlenbeck
from suffuse.diffusion.path import Clock, Staircase
from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import sample
from suffuse.diffusion.schedule import VE, Cosine, Linear
from suffuse.diffusion.state import Batch, Start, Task
from tests.diffusion.oracles import GaussianOracle


def correlated(size=6):
    place = torch.arange(size, dtype=torch.float64)
    covariance = 0.8 * torch.exp(-((place[:, None] - place) ** 2) / 8) + 0.2 * torch.eye(size, dtype=torch.float64)
    return torch.sin(place), covariance


def test_inpainting_intervals_cover():
    """2,000 problems, two of six entries known: 90 % intervals of the answer cover the truth 88-92 % of the time."""
    mean, covariance = correlated()
    problems, draws = 2000, 40
    root = torch.linalg.cholesky(covariance)
    truth = mean + Random(1).normal((6,), torch.arange(problems), 0, "truth", torch.float64) @ root.T
    known = torch.tensor([True, False, False, True, False, False])
    x = truth.repeat_interleave(draws, 0)
    start = torch.where(known, 0.0, 1.0).double().expand(1, 6)
    out = sample(
        GaussianOracle(Cosine(), mean, covariance),
        Joint({"x": Gaussian(Cosine())}),
        Task({"x": x}, Start({"x": start})),
        Clock(25),
        "exact2",
        Random(5),
    )["x"].reshape(problems, draws, 6)
    assert torch.equal(out[:, 0, known], truth[:, known])
    # the rank of the truth among n draws: a 90 % interval between order statistics
    rank = (out[:, :, ~known] < truth[:, None, ~known]).double().mean(1)
    inside = ((rank > 0.05) & (rank < 0.95)).double()
    exact = torch.tensor([k / draws for k in range(draws + 1)])
    expected = ((exact > 0.05) & (exact < 0.95)).double().mean()
    assert abs(inside.mean() - expected) < 0.02
    a, b = known.nonzero()[:, 0], (~known).nonzero()[:, 0]
    gain = covariance[b][:, a] @ torch.linalg.inv(covariance[a][:, a])
    exact_mean = mean[b] + (truth[:, a] - mean[a]) @ gain.T
    exact_std = torch.sqrt(torch.diag(covariance[b][:, b] - gain @ covariance[a][:, b]))
    half = 1.6449 * exact_std
    drawn = ((out[:, :, b] - exact_mean[:, None]).abs() < half).double().mean()
    assert 0.88 < drawn < 0.92


def law(path, noise=None, eta=0.0, count=8000):
    mean, covariance = correlated(5)
    times = torch.linspace(0, 2, 5, dtype=torch.float64)
    process = Gaussian(Linear(), noise) if noise else Gaussian(Linear())
    prior = None
    if isinstance(noise, OrnsteinUhlenbeck):
        prior = torch.exp(-(times[:, None] - times).abs() / noise.scale)
    context = {"times": times.expand(count, 5)}
    task = Task(
        {"x": torch.zeros(count, 5, dtype=torch.float64)},
        Start({"x": torch.ones(1, 5, dtype=torch.float64)}),
        context=context,
    )
    out = sample(
        GaussianOracle(Linear(), mean, covariance, prior), Joint({"x": process}), task, path, "ddim", Random(2), eta
    )["x"]
    return (out.mean(0) - mean).abs().max().item(), (torch.cov(out.T) - covariance).abs().max().item()


def test_diagonal_and_staircase_give_one_law():
    for path in (Clock(120), Staircase(480, axis=1, overlap=2.0)):
        for eta in (0.0, 1.0):
            off_mean, off_covariance = law(path, eta=eta)
            assert off_mean < 0.04 and off_covariance < 0.06, (path, eta, off_mean, off_covariance)


def test_correlated_noise_on_a_staircase_needs_no_stochasticity():
    noise = OrnsteinUhlenbeck(1.0)
    assert law(Clock(120), noise)[1] < 0.06
    assert law(Staircase(240, axis=1, overlap=2.0), noise)[1] < 0.06
    assert law(Staircase(240, axis=1, overlap=2.0), noise, eta=1.0)[1] > 0.2


def test_noises_have_the_stated_covariance():
    times = torch.tensor([0.0, 0.3, 1.0, 2.5])
    like = torch.zeros(40000, 2, 4)
    context = {"times": times.expand(40000, 4)}
    gap = (times[:, None] - times).abs()
    for noise, wanted in (
        (OrnsteinUhlenbeck(0.8), torch.exp(-gap / 0.8)),
        (RBF(0.8), torch.exp(-0.5 * (gap / 0.8) ** 2) * 0.999 + 0.001 * torch.eye(4)),
    ):
        z = noise.sample(like, context, Random(0), torch.arange(40000), 0, "x")
        assert (torch.cov(z[:, 1].T) - wanted).abs().max() < 0.03
        assert torch.corrcoef(torch.stack([z[:, 0, 0], z[:, 1, 0]]))[0, 1].abs() < 0.02


def test_likelihood_of_a_correlated_gaussian_is_exact_to_one_percent():
    mean, covariance = correlated(4)
    root = torch.linalg.cholesky(covariance)
    x = mean + Random(9).normal((4,), torch.arange(200), 0, "x", torch.float64) @ root.T
    exact = -torch.distributions.MultivariateNormal(mean, covariance).log_prob(x) / (4 * math.log(2))
    for schedule in (Cosine(), Linear(), VE()):
        joint = Joint({"x": Gaussian(schedule)})
        level = {"x": torch.zeros(200, 1, dtype=torch.float64)}
        floor = 0.002 if not isinstance(schedule, VE) else 0.2
        got = ode_bits(
            GaussianOracle(schedule, mean, covariance),
            joint,
            {"x": x},
            level,
            {},
            "x",
            torch.arange(200),
            96,
            1,
            floor,
            0.9999,
            exact_trace=True,
        )
        assert abs(got.mean() / exact.mean() - 1) < 0.01, schedule
        hutchinson = bits(
            GaussianOracle(schedule, mean, covariance), joint, Batch({"x": x}), "x", steps=96, floor=floor, probes=4
        )
        assert abs(hutchinson.mean() / exact.mean() - 1) < 0.03
