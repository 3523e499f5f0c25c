"""Guidance against Gaussians whose posterior, or tilted law, is known in closed form."""

import pytest
import torch

from suffuse.diffusion.guidance import DDNM, DPS, Anchor, Autoguidance, ClassifierFree, DynamicThreshold, PiGDM
from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.sampling import sample
from suffuse.diffusion.schedule import Cosine
from suffuse.diffusion.state import Start, Task

SCHEDULE = Cosine()


class Isotropic:
    """N(mean, std^2) in each entry, independent; the label (0 or 1) shifts the mean to -1 or +1."""

    def __init__(self, std=0.5):
        self.std, self.sizes = std, []

    def __call__(self, x, levels, context, targets=None):
        value, t = x["x"], levels["x"]
        self.sizes.append(len(value))
        label = x["label"] if "label" in x else torch.full((len(value), 1), 2)
        mean = torch.where(label == 2, 0.0, label.double() * 2 - 1)
        alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return {"x": mean + gain * (value - alpha * mean), "label": torch.zeros(len(value), 1, 2, dtype=torch.float64)}


class Rows:
    """y = the mean of neighbouring pairs: (B, 4) to (B, 2)."""

    def apply(self, x):
        return (x[:, 0::2] + x[:, 1::2]) / 2

    def adjoint(self, y):
        return y.repeat_interleave(2, 1) / 2

    def inverse(self, y):
        return y.repeat_interleave(2, 1)


def labelled(n=4000, label=1):
    x = {"x": torch.zeros(n, 1, dtype=torch.float64), "label": torch.full((n, 1), label)}
    return Task(x, Start({"label": torch.zeros(n, 1)}))


def joint():
    return Joint({"x": Gaussian(SCHEDULE), "label": Categorical(2)})


def test_classifier_free_is_one_batched_call_and_extrapolates():
    oracle, both = Isotropic(), joint()
    guided = ClassifierFree(oracle, both, 2.0, ["label"])
    x = {
        "x": torch.randn(5, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
        "label": torch.ones(5, 1, dtype=torch.long),
    }
    levels = {"x": torch.full((5, 1), 0.4, dtype=torch.float64), "label": torch.zeros(5, 1)}
    out = guided(x, levels, {})["x"]
    assert oracle.sizes == [10]
    with_label = Isotropic()(x, levels, {})["x"]
    without = Isotropic()({**x, "label": torch.full((5, 1), 2)}, levels, {})["x"]
    assert torch.allclose(out, without + 2.0 * (with_label - without))


def test_weight_one_is_the_conditional_law_and_costs_one_call():
    oracle, both = Isotropic(), joint()
    out = sample(ClassifierFree(oracle, both, 1.0, ["label"]), both, labelled(), Clock(20), "exact2")["x"]
    assert abs(out.mean() - 1) < 0.03 and abs(out.std() - 0.5) < 0.03
    assert set(oracle.sizes) == {4000}


def test_limited_interval_guides_only_inside():
    oracle, both = Isotropic(), joint()
    sample(ClassifierFree(oracle, both, 3.0, ["label"], (0.2, 0.6)), both, labelled(10), Clock(10), "ddim")
    assert oracle.sizes.count(20) == 5 and oracle.sizes.count(10) == 5


def test_autoguidance_extrapolates_from_the_bad_model():
    both = Joint({"x": Gaussian(SCHEDULE)})
    x, levels = {"x": torch.ones(3, 1, dtype=torch.float64)}, {"x": torch.full((3, 1), 0.5, dtype=torch.float64)}
    good, bad = Isotropic(0.5), Isotropic(0.9)
    out = Autoguidance(good, bad, both, 1.5)(x, levels, {})["x"]
    a, b = good(x, levels, {})["x"], bad(x, levels, {})["x"]
    assert torch.allclose(out, b + 1.5 * (a - b))


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_pigdm_reaches_the_exact_posterior_of_a_gaussian(noise):
    """With std stated, x_0 given x_t is exactly N(D, r^2), so the guided law is the exact posterior."""
    std, n = 0.5, 4000
    both = Joint({"x": Gaussian(SCHEDULE, std=std)})
    y = torch.tensor([[0.8, -0.3]], dtype=torch.float64).expand(n, 2)
    task = Task({"x": torch.zeros(n, 4, dtype=torch.float64)}, Start({}))
    guided = PiGDM(Isotropic(std), both, "x", Rows(), y, noise)
    out = sample(guided, both, task, Clock(80), "exact2")["x"]
    matrix = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]], dtype=torch.float64)
    gain = (
        std**2 * matrix.T @ torch.linalg.inv(std**2 * matrix @ matrix.T + noise**2 * torch.eye(2, dtype=torch.float64))
    )
    mean, covariance = gain @ y[0], std**2 * (torch.eye(4, dtype=torch.float64) - gain @ matrix)
    assert (out.mean(0) - mean).abs().max() < 0.03
    assert (torch.cov(out.T) - covariance).abs().max() < 0.03


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_anchor_is_an_observation_of_the_answer(eta):
    """Gaussian data of deviation s near an anchor y with spread p: N(y s^2 / (s^2 + p^2), s^2 p^2 / (s^2 + p^2)), exactly."""
    std, spread, n = 0.5, 0.4, 10000
    both = Joint({"x": Gaussian(SCHEDULE, std=std)})
    y = torch.tensor([[0.9]], dtype=torch.float64)
    task = Task({"x": torch.zeros(n, 1, dtype=torch.float64)}, Start({}))
    out = sample(Anchor(Isotropic(std), both, "x", y, spread), both, task, Clock(200), "exact2", stochasticity=eta)["x"]
    total = std**2 + spread**2
    assert abs(out.mean() - y.item() * std**2 / total) < 0.01
    assert abs(out.std() - std * spread / total**0.5) < 0.01


def test_guidance_against_a_value_moves_away_from_it():
    """D_u sees the other label as given: D = D_other + w (D_label - D_other)."""
    oracle, both = Isotropic(), joint()
    x = {"x": torch.zeros(5, 1, dtype=torch.float64), "label": torch.ones(5, 1, dtype=torch.long)}
    levels = {"x": torch.full((5, 1), 0.4, dtype=torch.float64), "label": torch.zeros(5, 1)}
    other = torch.zeros(5, 1, dtype=torch.long)
    out = ClassifierFree(oracle, both, 3.0, ["label"], against={"label": other})(x, levels, {})["x"]
    with_label, with_other = (Isotropic()({**x, "label": v}, levels, {})["x"] for v in (x["label"], other))
    assert not torch.allclose(with_label, with_other)
    assert torch.allclose(out, with_other + 3.0 * (with_label - with_other))


def test_ddnm_keeps_a_noiseless_measurement_exactly():
    both, n = Joint({"x": Gaussian(SCHEDULE)}), 50
    y = torch.tensor([[0.8, -0.3]], dtype=torch.float64).expand(n, 2)
    task = Task({"x": torch.zeros(n, 4, dtype=torch.float64)}, Start({}))
    out = sample(DDNM(Isotropic(), both, "x", Rows(), y), both, task, Clock(10), "ddim")["x"]
    assert torch.allclose(Rows().apply(out), y, atol=1e-10)


def test_dps_brings_a_nonlinear_measurement_nearer():
    both, n = Joint({"x": Gaussian(SCHEDULE)}), 500
    y = torch.full((n, 1), 1.5, dtype=torch.float64)
    task = Task({"x": torch.zeros(n, 4, dtype=torch.float64)}, Start({}))

    def energy(x):
        return (x**2).sum(1, keepdim=True)

    plain = sample(Isotropic(), both, task, Clock(100), "ddim")["x"]
    guided = sample(DPS(Isotropic(), both, "x", energy, y, 0.03), both, task, Clock(100), "ddim")["x"]
    assert (energy(guided) - y).abs().mean() < 0.5 * (energy(plain) - y).abs().mean()


def test_dynamic_threshold_bounds_the_quantile():
    def wild(x, levels, context, targets=None):
        return {"x": torch.linspace(-3, 3, 100, dtype=torch.float64).expand(2, 100)}

    out = DynamicThreshold(wild, "x", 0.9)({"x": torch.zeros(2, 100)}, {}, {})["x"]
    assert out.abs().max() <= 1.0 and torch.allclose(
        out[0, 50] / out[0, 51], torch.tensor(3 / 99 / (9 / 99), dtype=torch.float64)
    )
