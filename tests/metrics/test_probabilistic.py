"""Probabilistic scores against closed forms of the Gaussian."""

import math

import numpy as np
import pytest

from suffuse.metrics import probabilistic as p


def gaussian_crps(mean, sigma, y):
    """Closed form (Gneiting & Raftery 2007)."""
    z = (y - mean) / sigma
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + math.erf(z / math.sqrt(2)))
    return sigma * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(0).normal(1.0, 2.0, size=(40000, 1))


@pytest.mark.parametrize("y", [-2.0, 1.0, 4.5])
def test_crps_of_a_gaussian(normal, y):
    assert p.crps_samples(normal, np.array([y]))[0] == pytest.approx(gaussian_crps(1.0, 2.0, y), abs=0.02)


def test_crps_equals_its_double_sum():
    x = np.random.default_rng(1).normal(size=(7, 3))
    y = np.array([0.1, -1.0, 2.0])
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1))
    error = np.abs(x - y).mean(0)
    np.testing.assert_allclose(p.crps_samples(x, y), error - pairs / (2 * 49))
    np.testing.assert_allclose(p.crps_samples(x, y, fair=True), error - pairs / (2 * 42))


def test_fair_crps_does_not_depend_on_the_size_of_the_ensemble():
    rng = np.random.default_rng(2)
    y = rng.normal(size=20000)
    small, large = (p.crps_samples(rng.normal(size=(s, 20000)), y, fair=True).mean() for s in (3, 60))
    assert small == pytest.approx(large, abs=0.012)
    assert p.crps_samples(rng.normal(size=(3, 20000)), y).mean() > large + 0.1


def test_crps_from_quantiles_tends_to_crps(normal):
    levels = [(k + 0.5) / 200 for k in range(200)]
    q = np.quantile(normal, levels, axis=0)
    assert p.crps_quantiles(q, np.array([2.0]), levels)[0] == pytest.approx(gaussian_crps(1.0, 2.0, 2.0), abs=0.02)


def test_coverage_width_and_pit_of_a_calibrated_forecast():
    rng = np.random.default_rng(3)
    centre = rng.normal(size=4000)
    x = centre + rng.normal(size=(400, 4000))
    y = centre + rng.normal(size=4000)
    y[::10] = np.nan
    inside, width = p.coverage(x, y, 0.9)
    assert inside == pytest.approx(0.9, abs=0.02)
    assert width == pytest.approx(2 * 1.645, abs=0.05)
    np.testing.assert_allclose(p.pit(x, y), 0.1, atol=0.025)
    assert p.pit(0.3 * (x - centre) + centre, y)[[0, -1]].min() > 0.2


def test_variogram_score_sees_a_wrong_correlation():
    rng = np.random.default_rng(4)
    root = np.linalg.cholesky(0.9 * np.ones((5, 5)) + 0.1 * np.eye(5))
    truths = rng.normal(size=(60, 5)) @ root.T
    right, wrong = rng.normal(size=(400, 5)) @ root.T, rng.normal(size=(400, 5))
    assert np.mean([p.variogram_score(right, y) for y in truths]) < np.mean(
        [p.variogram_score(wrong, y) for y in truths]
    )
    assert np.mean([p.energy_score(right, y) for y in truths]) < np.mean([p.energy_score(wrong, y) for y in truths])


def test_energy_score_of_a_scalar_is_the_crps():
    x = np.random.default_rng(5).normal(size=(50, 1))
    assert p.energy_score(x, np.array([0.3])) == pytest.approx(p.crps_samples(x, np.array([0.3]))[0])


def test_mase_of_the_naive_forecast_is_about_one():
    walk = np.cumsum(np.random.default_rng(6).normal(size=5000))
    assert p.mase(walk[2999:-1], walk[3000:], walk[:3000]) == pytest.approx(1, abs=0.05)


def test_normalised_crps_of_a_point_forecast_is_the_normalised_error():
    y = np.array([1.0, 2.0, np.nan, 4.0])
    x = np.array([1.5, 2.0, 0.0, 3.0])[None]
    assert p.normalised_crps(x, y) == pytest.approx(1.5 / 7)


def test_spread_error_correlation():
    rng = np.random.default_rng(7)
    sigma = rng.uniform(0.1, 3, size=3000)
    x, y = rng.normal(size=(100, 3000)) * sigma, rng.normal(size=3000) * sigma
    assert p.spread_error_correlation(x, y) > 0.4
    assert abs(p.spread_error_correlation(x, rng.normal(size=3000))) < 0.1
