"""Frechet distance, precision and recall, memorisation, two-sample test: closed forms and cases with known answers."""

import pytest
import torch

from suffuse.errors import ModelError
from suffuse.metrics import features
from suffuse.metrics.frechet import frechet, real_against_real
from suffuse.metrics.memorisation import memorisation, nearest_distances
from suffuse.metrics.precision_recall import precision_recall
from suffuse.metrics.two_sample import two_sample_accuracy


def normal(rows, columns, seed):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_frechet_closed_form():
    """Whitened samples have exact moments, so the distance of two diagonal Gaussians is known exactly."""
    x = normal(500, 6, 0)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    scale, shift = torch.linspace(0.5, 2, 6, dtype=torch.float64), torch.arange(6, dtype=torch.float64)
    expected = (shift**2).sum() + ((1 - scale) ** 2).sum()
    assert frechet(x, x * scale + shift) == pytest.approx(expected.item(), rel=1e-9)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_frechet_agrees_with_matrix_square_root():
    scipy_linalg = pytest.importorskip("scipy.linalg")
    a, b = normal(300, 5, 1) @ normal(5, 5, 2), normal(200, 5, 3) @ normal(5, 5, 4) + 1
    cov_a, cov_b = torch.cov(a.T).numpy(), torch.cov(b.T).numpy()
    root = scipy_linalg.sqrtm(cov_a @ cov_b).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum().item() + (cov_a + cov_b - 2 * root).trace()
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_floor_shrinks_with_count_and_refuses_nan():
    a, b = normal(4000, 8, 5), normal(4000, 8, 6)
    assert real_against_real(a, b, 2000) < real_against_real(a, b, 100)
    with pytest.raises(ValueError, match="finite"):
        frechet(a, torch.full_like(b, torch.nan))


def test_precision_recall_knows_narrow_and_wrong():
    real, other = normal(800, 4, 0), normal(800, 4, 1)
    same = precision_recall(real, other)
    narrow = precision_recall(real, 0.2 * other)
    apart = precision_recall(real, other + 20)
    assert min(same) > 0.7
    assert narrow[0] > 0.85 and narrow[1] < 0.3
    assert apart == (0, 0)


def test_memorisation_sees_copies():
    train, held_out, fresh = normal(600, 10, 0), normal(300, 10, 1), normal(300, 10, 2)
    distances, where = nearest_distances(train[5:7] + 1e-6, train)
    assert where.tolist() == [5, 6] and distances.max() < 1e-2
    assert memorisation(fresh, train, held_out)["closest_share"] < 0.05
    copies = memorisation(train[:300] + 1e-3, train, held_out)
    assert copies["closest_share"] == 1 and copies["closest_share_real"] <= 0.02


def test_two_sample_accuracy():
    a, b = normal(400, 6, 0), normal(400, 6, 1)
    assert abs(two_sample_accuracy(a, b) - 0.5) < 0.08
    assert two_sample_accuracy(a, b + 1.5) > 0.9
    assert two_sample_accuracy(a, b * 2) > 0.7  # equal means: only second moments tell them apart


@pytest.mark.parametrize("name", ["fashion", "digits"])
def test_feature_networks_ship(name):
    network = features.load(name)
    out = features.features_of(network, torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
    assert out.shape == (3, 64) and bool(torch.isfinite(out).all())


def test_altered_feature_network_is_refused(tmp_path, monkeypatch):
    path = features.save(features.FeatureNetwork(), "mine", tmp_path)
    monkeypatch.setattr(features, "HERE", tmp_path)
    assert features.load("mine").classes == 10
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ModelError, match="altered"):
        features.load("mine")
    with pytest.raises(ModelError, match="no feature network"):
        features.load("absent")
