"""Large volumes by windows: weights, exactness where windows agree, and the same answer as one grid."""

import numpy as np
import pytest
import torch

pytest.importorskip("nibabel")

from suffuse.modalities.scans import Scans, Volume  # noqa: E402
from suffuse.modalities.scans.patches import Windows, ramp, starts  # noqa: E402
from suffuse.model import Model  # noqa: E402


def test_windows_cover_everything_and_overlap():
    for size in (8, 9, 12, 31, 32, 100):
        places = starts(size, 8, 3)
        assert places[0] == 0 and places[-1] == max(0, size - 8)
        assert all(0 < b - a <= 5 for a, b in zip(places, places[1:]))
    assert ramp(8, 4).tolist() == [0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125]


def test_a_denoiser_that_looks_at_single_voxels_is_blended_exactly():
    def pointwise(x, levels, context, targets=None):
        mask = torch.nn.functional.one_hot(x["mask"], 3).float() * (1 + levels["mask"][..., None])
        return {
            "image": x["image"] * 2 + levels["image"],
            "mask": mask,
            "label": x["image"].mean((1, 2, 3))[:, None, None],
        }

    x = {"image": torch.randn(2, 1, 19, 13), "mask": torch.randint(0, 3, (2, 19, 13)), "label": torch.zeros(2, 1)}
    levels = {"image": torch.rand(2, 1, 1, 13), "mask": torch.rand(2, 19, 13), "label": torch.ones(2, 1)}
    wide = Windows(pointwise, (8, 8), {"image": 2, "mask": 1}, overlap=3, batch=4)(x, levels, {})
    whole = pointwise(x, levels, {})
    assert torch.allclose(wide["image"], whole["image"], atol=1e-5) and torch.allclose(
        wide["mask"], whole["mask"], atol=1e-5
    )
    assert wide["label"].shape == (2, 1, 1)


def test_large_answers_and_large_scans():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    found = [Volume(rng.normal(size=(8, 8, 8)).astype(np.float32), np.eye(4)) for _ in range(3)]
    modality, _ = Scans.read(found, width=8)
    model = Model.new(modality)
    made = model.sample(1, size="20,8,13", steps=2)[0].reference
    assert made.shape == (20, 8, 13) and np.isfinite(made.values).all()
    holed = rng.normal(size=(21, 10, 9)).astype(np.float32)
    holed[5:8] = np.nan
    filled = model.sample(1, Volume(holed, np.eye(4)), steps=2)[0].reference
    known = np.isfinite(holed)
    assert filled.shape == holed.shape and np.allclose(filled.values[known], holed[known], atol=5e-3)
    assert np.isfinite(filled.values).all()
    from suffuse.errors import AskError

    with pytest.raises(AskError, match="at least 8, 8, 8"):
        model.sample(1, size="4,8,8")
