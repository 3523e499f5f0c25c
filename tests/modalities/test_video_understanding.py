"""Features frame by frame, points followed, frames that do not belong."""

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("av")

from suffuse.errors import AskError  # noqa: E402
from suffuse.modalities.video import Video  # noqa: E402
from suffuse.modalities.video.understanding import (  # noqa: E402
    dense_features,
    frame_features,
    known_level,
    odd_frames,
    track,
)
from suffuse.model import Model  # noqa: E402

FILMS = np.random.default_rng(0).integers(0, 255, (3, 4, 16, 16, 1), np.uint8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = Model.new(Video.read(FILMS, frames=4, size=16, width=16, patch=2)[0])
    for weight in made.denoiser.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    made.denoiser.eval()
    return made


def test_features_of_each_frame(model):
    fine, coarse = frame_features(model, FILMS, 0.1, stage=0), frame_features(model, FILMS, 0.1)
    assert fine.shape == (3, 4, 16, 8, 8) and coarse.shape == (3, 4, 32, 4, 4)
    assert torch.allclose(frame_features(model, FILMS, 0.1, stage=0, batch=2), fine, atol=1e-5)
    with pytest.raises(AskError, match="level"):
        frame_features(model, FILMS, 1.0)


def test_noise_that_is_there_sets_the_level(model):
    level = torch.tensor(known_level(model, 30.0))
    schedule = model.joint["clip"].schedule
    assert torch.isclose(schedule.sigma(level) / schedule.alpha(level), torch.tensor(30 / model.modality.config["std"]))
    a, b = (frame_features(model, FILMS, noise=30.0, seed=k) for k in (0, 1))
    assert torch.equal(a, b)


def test_dense_features_agree_with_the_grid(model):
    x = model.modality.dataset(FILMS).batch(torch.arange(3)).x["clip"]
    dense = dense_features(model, x, noise=1.0)
    assert dense.shape == (3, 4, 16, 16, 16)
    plain = frame_features(model, x, stage=0, noise=1.0)
    assert torch.allclose(dense[..., 1::2, 1::2], plain, atol=1e-5)


def test_a_moved_feature_is_followed():
    f = torch.randn(2, 1, 8, 10, 10, generator=torch.Generator().manual_seed(0))
    films = torch.cat([f, f.roll((1, 2), (3, 4)), f.roll((3, 0), (3, 4))], dim=1)
    found = track(films, torch.tensor([[2, 3], [5, 5]]))
    assert found.tolist() == [[[2, 3], [3, 5], [5, 3]], [[5, 5], [6, 7], [8, 5]]]


def test_one_score_a_frame(model):
    score = odd_frames(model, FILMS, 0.8)
    assert score.shape == (3, 4) and (score > 0).all()
    other = FILMS.copy()
    other[:, 2] = 0
    changed = odd_frames(model, other, 0.8)
    assert not torch.allclose(changed[:, 2], score[:, 2])
    with pytest.raises(AskError, match="level"):
        odd_frames(model, FILMS, 0.0)
