"""Lifting against shapes whose pictures are known, with a view model that knows them exactly."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.errors import AskError
from suffuse.modalities.shapes.lifting import hull, lift, read_views
from suffuse.modalities.shapes.rays import Cameras
from suffuse.modalities.shapes.solids import box, lattice
from suffuse.modalities.shapes.views import ANGLES, solid_views

CELLS, PIXELS = 16, 24
BINS = [float(a) for a in ANGLES]
GRID = torch.from_numpy(box(lattice(CELLS), (0.1, 0, -0.1), (0.35, 0.7, 0.5))).float().mul(CELLS / 2).clamp(-3, 3)
SILHOUETTES, PICTURES = Cameras(BINS, size=PIXELS).render(GRID)


def overlap(grid, rows):
    seen = Cameras([BINS[k] for k in rows], size=PIXELS).render(torch.as_tensor(grid))[0] > 0.5
    real = SILHOUETTES[rows] > 0.5
    return float(((seen & real).flatten(1).sum(1) / (seen | real).flatten(1).sum(1)).mean())


def oracle():
    """A view model of data that are one shape: whatever the noise, the clean picture of an angle is that shape's."""
    config = {"classes": list(ANGLES), "channels": 1, "size": [PIXELS, PIXELS], "mean": -0.5, "deviation": 0.6}
    clean = (PICTURES[:, None] * 2 - 1 + 0.5) / 0.6
    return SimpleNamespace(
        modality=SimpleNamespace(config=config),
        joint=Joint({"image": Gaussian(warp=2.0), "label": Categorical(len(ANGLES))}),
        denoiser=lambda x, levels, context, targets=None: {"image": clean[x["label"][:, 0]]},
    )


def test_four_views_fix_a_box():
    given = [0, 4, 8, 12]
    seen = []
    shape = lift(
        None,
        PICTURES[given].numpy(),
        [BINS[k] for k in given],
        steps=30,
        cells=CELLS,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert shape.mesh().is_watertight and np.abs(shape.vertices).max() < 1.1
    assert overlap(shape.grid, [2, 5, 11]) > 0.9
    assert seen[-1] == (30, 30) and " s, 0 network calls" in shape.notes[0]


def test_score_distillation_fills_in_what_one_view_does_not_show():
    rest = [3, 4, 5, 9]
    alone = lift(None, PICTURES[:1].numpy(), [0], steps=100, cells=CELLS)
    lifted = lift(oracle(), PICTURES[:1].numpy(), [0], steps=100, cells=CELLS, prior_views=3)
    assert overlap(lifted.grid, rest) > max(0.75, overlap(alone.grid, rest) + 0.1)
    again = lift(oracle(), PICTURES[:1].numpy(), [0], steps=3, cells=CELLS, antithetic=False, seed=2)
    same = lift(oracle(), PICTURES[:1].numpy(), [0], steps=3, cells=CELLS, antithetic=False, seed=2)
    assert np.array_equal(again.grid, same.grid)


def test_hull_of_two_views_is_the_block_that_they_cut_out():
    tall = torch.zeros(2, PIXELS, PIXELS)
    tall[:, 6:18, 9:15] = 1  # 12 x 6 pixels of 2.6 / 24
    filled = float((hull(Cameras([0, 90], 0.0, PIXELS), tall, 32) < 0).float().mean()) * 8
    side = 2.6 / PIXELS
    assert filled == pytest.approx(12 * side * (6 * side) ** 2, rel=0.15)


@pytest.mark.parametrize(
    "views, angles, told",
    [
        (np.zeros((2, 24, 24)), [0, 90], "black"),
        (np.ones((2, 24, 24)), [0], "2 views and 1 angles"),
        (np.ones((2, 24, 20)), [0, 90], "square"),
        (np.ones((2, 24, 24, 2)), [0, 90], "square"),
        (np.full((1, 24, 24), np.nan), [0], "NaN"),
        (np.ones((1, 24, 24)), "front", "degrees"),
        (np.ones((17, 24, 24)), list(range(17)), "1 to 16"),
        ([np.ones((24, 24)), np.ones((20, 20))], [0, 90], "differ in size"),
    ],
)
def test_bad_views(views, angles, told):
    with pytest.raises(AskError, match=told):
        lift(None, views, angles)


def test_bad_models():
    one = np.ones((1, 32, 32))
    with pytest.raises(AskError, match="24"):
        lift(oracle(), one, [0])
    other = oracle()
    other.modality.config["classes"] = ["cat", "dog"]
    with pytest.raises(AskError, match="view angles"):
        lift(other, one, [0])


def test_views_are_read_from_files(tmp_path):
    from PIL import Image

    picture = (PICTURES[0].numpy() * 255).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    found, angles = read_views([tmp_path / "a.png", Image.fromarray(picture).convert("RGB")], "0,-90")
    assert found.shape == (2, PIXELS, PIXELS) and angles == [0, 270]
    assert (found - PICTURES[0]).abs().max() < 0.006


def test_pictures_of_solids():
    made = solid_views(4, first=8, each=3, size=16, cells=12)
    assert made["images"].shape == (12, 16, 16) and made["images"].dtype == np.uint8
    assert made["labels"].min() >= 0 and made["labels"].max() < len(ANGLES)
    assert (made["images"].reshape(12, -1).max(1) > 120).all() and (made["images"][:, 0] == 0).all()
    assert np.array_equal(made["images"], solid_views(4, first=8, each=3, size=16, cells=12)["images"])
