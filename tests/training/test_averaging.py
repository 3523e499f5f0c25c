"""Averages against their closed forms and against averages tracked directly."""

import numpy as np
import pytest
import torch

from suffuse.errors import AskError
from suffuse.training.averaging import Averages, exponent, keep, profile, rebuild, weights


@pytest.mark.parametrize("width", [0.01, 0.05, 0.10, 0.15, 0.25])
def test_exponent_inverts_the_width(width):
    gamma = exponent(width)
    assert np.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) == pytest.approx(width, rel=1e-10)
    t = np.linspace(0, 1, 200001)
    p = t**gamma
    mean = (p * t).sum() / p.sum()
    assert np.sqrt((p * (t - mean) ** 2).sum() / p.sum()) == pytest.approx(width, rel=1e-3)


def test_published_exponents():
    assert exponent(0.05) == pytest.approx(16.97, abs=0.01)  # EDM2, section 3.1
    assert exponent(0.10) == pytest.approx(6.94, abs=0.01)


@pytest.mark.parametrize("width", [0.0, 0.3, -1])
def test_impossible_widths_are_refused(width):
    with pytest.raises(AskError):
        exponent(width)


def walk(steps: int, widths, seed=0):
    """A random walk with drift, its tracked averages and its path."""
    value = torch.nn.Parameter(torch.zeros(50))
    averages = Averages([("w", value)], widths)
    generator = torch.Generator().manual_seed(seed)
    path, stored = [], []
    for step in range(steps):
        with torch.no_grad():
            value += 0.02 + 0.1 * torch.randn(50, generator=generator)
        averages.update([value])
        path.append(value.detach().clone())
        if (step + 1) % (steps // 16) == 0:
            stored += [(averages.count, w, {"w": averages.current(w)["w"].clone()}) for w in widths]
    return averages, torch.stack(path), stored


def test_running_average_is_the_weighted_sum_of_its_profile():
    averages, path, _ = walk(200, (0.05, 0.10))
    for width in (0.05, 0.10):
        share = torch.tensor(profile(exponent(width), 200))
        exact = (share[:, None] * path.double()).sum(0)
        assert share.sum() == pytest.approx(1)
        assert torch.allclose(averages.current(width)["w"].double(), exact, atol=1e-5)
    assert keep(exponent(0.1), 1) == 0.0


@pytest.mark.parametrize("width", [0.02, 0.03, 0.07, 0.12, 0.15, 0.2])
def test_any_width_is_rebuilt_from_two_tracked_ones(width):
    """Against a directly tracked average of the wanted width, relative to how far the last weights are from it."""
    _, path, stored = walk(1600, (0.05, 0.10))
    direct, _, _ = walk(1600, (width,))
    wanted = direct.current(width)["w"].double()
    factors = weights([(t, w) for t, w, _ in stored], 1600, width)
    built = rebuild((f, tensors) for f, (_, _, tensors) in zip(factors, stored))["w"].double()
    error = (built - wanted).norm() / (path[-1].double() - wanted).norm()
    nearest = min((s[2]["w"].double() - wanted).norm() for s in stored[-2:]) / (path[-1].double() - wanted).norm()
    assert factors.sum() == pytest.approx(1)
    assert error < (0.12 if width < 0.05 else 0.03), error
    assert error < nearest


def test_tracked_width_needs_one_stored_average():
    factors = weights([(100, 0.05), (100, 0.10), (50, 0.05), (50, 0.10)], 100, 0.10)
    assert factors == pytest.approx([0, 1, 0, 0], abs=1e-6)


def test_state_goes_out_and_in():
    one, _, _ = walk(40, (0.05, 0.10))
    two = Averages([("w", torch.zeros(50))], (0.05, 0.10))
    two.load({k: v.clone() for k, v in one.tensors().items()}, one.count)
    for averages in (one, two):
        averages.update([torch.ones(50)])
    assert torch.equal(one.current(0.05)["w"], two.current(0.05)["w"]) and one.count == two.count
