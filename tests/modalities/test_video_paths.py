"""The path of a clip as a field: read off frames, drawn first, given by hand."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("av")

from suffuse.diffusion.random import Random  # noqa: E402
from suffuse.errors import AskError  # noqa: E402
from suffuse.modalities.video import Clip, Video  # noqa: E402
from suffuse.modalities.video.digits import moving_digits  # noqa: E402
from suffuse.modalities.video.paths import centres  # noqa: E402
from suffuse.model import Model  # noqa: E402

GLYPHS = np.random.default_rng(0).integers(60, 255, (4, 8, 8), dtype=np.uint8)


def films(n=12, seed=0):
    made = moving_digits(GLYPHS, np.arange(4), n, 6, 16, seed)
    return [Clip(v, 10.0, {"digit": int(k)}) for v, k in zip(made["video"], made["label"][:, 0])]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    modality, data = Video.read(films(), frames=6, size=16, width=16, path=True)
    made = Model.new(modality)
    for parameter in made.denoiser.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    made.data = data
    return made


@contextmanager
def seen_by(model):
    """What the network was asked: (x, levels) of each call."""
    seen = []
    hook = model.denoiser.network.register_forward_hook(lambda m, i, o: seen.append((i[0], i[1])))
    try:
        yield seen
    finally:
        hook.remove()


def test_centres_of_squares_and_of_what_is_not_there():
    clip = torch.full((1, 3, 3, 8, 16), 200, dtype=torch.uint8)
    clip[0, 0, :, 2:4, 10:12] = 0  # rows 2 and 3, columns 10 and 11
    clip[0, 1, 1, 7, 0] = 90
    found = centres(clip)[0]
    assert torch.allclose(found[0], torch.tensor([11 / 8 - 1, 3 / 4 - 1]), atol=1e-6)
    assert torch.allclose(found[1], torch.tensor([1 / 16 - 1, 15 / 8 - 1]), atol=1e-6)
    assert torch.equal(found[2], torch.zeros(2))


def test_levels_of_the_path(model):
    batch = model.data.batch(torch.arange(12))
    assert batch.x["path"].shape == (12, 6, 2)
    for task in model.modality.tasks:
        start = model.modality.start(task, batch, Random(0), 1)
        if task == "path":
            assert (
                start.held["clip"].all()
                and set(start.levels["path"].unique().tolist()) <= {0.0, 1.0}
                or start.exact.all()
            )
        else:
            held = start.held["path"][:, 0, 0]
            assert torch.equal(start.levels["path"][:, 0, 0] == 1, held) and held.float().mean() < 0.9


def test_the_path_is_drawn_first_and_kept_of_given_frames(model):
    clip = films(2)[0]
    with seen_by(model) as seen:
        made = model.sample(2, clip.frames[:3], steps=2, seed=1)
    x, levels = seen[-1]
    scale = model.modality.config["path"]
    real = centres(torch.from_numpy(clip.frames[None, :3]).permute(0, 1, 4, 2, 3))[0]
    assert torch.allclose(x["path"][0, :3] * scale["std"] + scale["mean"], real, atol=1e-4)
    assert (levels["path"] == 0).all() and not seen[0][0]["clip"].any() and x["clip"].any()
    assert all(np.array_equal(c.frames[:3], clip.frames[:3]) for c in made)
    assert not torch.equal(x["path"][0, 3:], x["path"][1, 3:])


@pytest.mark.parametrize("kind", ["list", "csv"])
def test_a_path_by_hand_reaches_the_network(model, tmp_path, kind):
    path = [[0.25, 0.75]] * 6
    if kind == "csv":
        np.savetxt(tmp_path / "path.csv", path, delimiter=",")
    with seen_by(model) as seen:
        model.sample(1, {"path": path if kind == "list" else tmp_path / "path.csv", "digit": "1"}, steps=2)
    scale, path = model.modality.config["path"], seen[-1][0]["path"][0]
    assert torch.allclose(path * scale["std"] + scale["mean"], torch.tensor([-0.5, 0.5]).expand(6, 2), atol=1e-5)
    assert len(seen) == 2  # nothing was left to draw first


def test_edits_keep_the_path_and_holes_hold_it_back(model):
    clip = films(1)[0]
    with seen_by(model) as seen:
        model.edit([clip], 0.5, steps=2)
        model.edit([clip], 1.0, mask=np.pad(np.ones((8, 8), bool), 4), steps=2)
    assert all((levels["path"] == 0).all() for _, levels in seen)
    holes = clip.frames.astype(np.float32)
    holes[:, :5] = np.nan
    with seen_by(model) as seen:
        model.sample(1, holes, steps=2)
    assert len(seen) == 2 and (seen[-1][1]["path"] == 1).all() and not seen[-1][0]["path"].any()


def test_long_clips_keep_sight_of_their_beginning(model):
    clip = films(1)[0]
    with seen_by(model) as seen:
        made = model.extend(clip, frames=10, keep=4, anchors=3, steps=2)[0]
    first = model.modality.request(1, clip, index=torch.arange(1)).x
    asked = [x for x, _ in seen if x["clip"].any()]
    for x in asked:
        assert torch.equal(x["clip"][:, :3], first["clip"][:, :3])
        assert torch.allclose(x["path"][:, :3], first["path"][:, :3], atol=1e-5)
    assert torch.equal(asked[0]["clip"][:, 3], first["clip"][:, 5]) and np.array_equal(made.frames[:6], clip.frames)
    with pytest.raises(AskError, match="anchors"):
        model.extend(clip, frames=10, keep=4, anchors=4)


@pytest.mark.parametrize("path", [[[0.5, 0.5]] * 5, [[0.5, 1.5]] * 6, [[0.5]] * 6, "left", [[0.5, 0.5], [0.5]]])
def test_paths_that_are_none(model, path):
    with pytest.raises(AskError, match="path"):
        model.sample(1, {"path": path}, steps=1)


def test_models_without_a_path_refuse_one():
    modality, _ = Video.read(films(), frames=6, size=16, width=16)
    with pytest.raises(AskError, match="no field 'path'"):
        Model.new(modality).sample(1, {"path": [[0.5, 0.5]] * 6}, steps=1)
    with pytest.raises(AskError, match="anchors"):
        Model.new(modality).extend(films(1)[0], frames=10, anchors=1)


def test_answers_do_not_depend_on_how_large_pooled_features_have_grown(model):
    network, batch = model.denoiser.network, model.data.batch(torch.arange(4))
    levels = {"clip": torch.zeros(4, 1, 1, 1, 1), "path": torch.zeros(4, 1, 1), "digit": torch.ones(4, 1)}
    grown = []
    hook = network.backbone.register_forward_hook(lambda m, i, o: (o[0], o[1] * (grown[0] if grown else 1)))
    try:
        small = network(batch.x, levels, {})["digit"]
        grown.append(300.0)
        large = network(batch.x, levels, {})["digit"]
    finally:
        hook.remove()
    assert small.std(0).max() > 0 and torch.allclose(small, large, atol=1e-3)
