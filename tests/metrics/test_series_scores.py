"""Scores of generated series: near the real-against-real floor on equal laws, well above it on others."""

import numpy as np
import pytest

from suffuse.metrics import series


def walks(count, scale=1.0, seed=0, length=16, link=0.8):
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(count, length, 2))
    steps[..., 1] = link * steps[..., 0] + np.sqrt(1 - link**2) * steps[..., 1]
    return scale * np.cumsum(steps, 1)


def noise(count, seed=0, length=16):
    return np.random.default_rng(seed).normal(size=(count, length, 2)) * 3


@pytest.mark.parametrize(
    "score", [series.power_spectrum_distance, series.autocorrelation_distance, series.correlational_score]
)
def test_closed_form_scores(score):
    real, same, other = walks(1500), walks(1500, seed=1), noise(1500)
    assert score(real, real) == 0
    assert score(real, other) > 4 * score(real, same) > 0


def test_power_spectrum_distance_of_scaled_series_is_the_log_of_the_power():
    real = walks(300)
    assert series.power_spectrum_distance(real, 2 * real) == pytest.approx(np.log(4), abs=1e-6)


@pytest.mark.parametrize("score", [series.discriminative_score, series.context_fid])
def test_learnt_scores_tell_noise_from_walks(score):
    real, same, other = walks(200), walks(200, seed=1), noise(200)
    far, near = score(real, other, steps=60), score(real, same, steps=60)
    assert far > 2 * near and near >= 0


def test_predictive_score_prefers_the_real_law():
    real = walks(300)
    assert series.predictive_score(real, walks(300, seed=1), steps=150) < series.predictive_score(
        real, noise(300), steps=150
    )


def test_against_real_gives_the_floor_beside():
    row = series.against_real(series.power_spectrum_distance, walks(400), noise(300), repeats=3)
    assert set(row) == {"score", "std", "real", "real_std"} and row["score"] > 3 * row["real"]
