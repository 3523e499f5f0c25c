"""Video as a field with levels per frame: tasks, questions, long clips, figures against the generating rule."""

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("av")

from suffuse.diffusion.path import Staircase  # noqa: E402
from suffuse.diffusion.random import Random  # noqa: E402
from suffuse.errors import AskError, DataError  # noqa: E402
from suffuse.modalities.video import Clip, Video  # noqa: E402
from suffuse.modalities.video.digits import bounce, moving_digits  # noqa: E402
from suffuse.modalities.video.files import read_clip, write_clip  # noqa: E402
from suffuse.modalities.video.quality import bounces, centroids, path_residual, sharpness  # noqa: E402
from suffuse.model import Model  # noqa: E402

RNG = np.random.default_rng(0)
GLYPHS = RNG.integers(60, 255, (4, 8, 8), dtype=np.uint8)


def films(n=12, frames=6, size=16, seed=0):
    made = moving_digits(GLYPHS, np.arange(4), n, frames, size, seed)
    return [Clip(v, 10.0, {"digit": int(k)}) for v, k in zip(made["video"], made["label"][:, 0])]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    modality, data = Video.read(films(), frames=6, size=16, width=16)
    made = Model.new(modality)
    for parameter in made.denoiser.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    made.data = data
    return made


def test_data_is_standardised_and_turns_back(model):
    batch = model.data.batch(torch.arange(12))
    assert batch.x["clip"].shape == (12, 6, 1, 16, 16) and abs(float(batch.x["clip"].std()) - 1) < 0.02
    task = model.modality.request(3, films(3), index=torch.arange(3))
    again = model.modality.decode(task.x, task)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(again, films(3)))


def test_levels_of_the_tasks(model):
    batch = model.data.batch(torch.arange(12))
    for step in range(5):
        predict = model.modality.start("predict", batch, Random(0), step).levels["clip"][:, :, 0, 0, 0]
        assert (predict[:, 0] == 0).all() and (predict[:, -1] == 1).all() and (predict.diff(dim=1) >= 0).all()
        between = model.modality.start("interpolate", batch, Random(0), step).levels["clip"][:, :, 0, 0, 0]
        assert (between[:, [0, -1]] == 0).all() and (between.sum(1) >= 1).all()
        frames = model.modality.start("frames", batch, Random(0), step)
        level = frames.levels["clip"][:, :, 0, 0, 0]
        assert frames.exact.all() and (level >= 0).all() and (level <= 1).all() and len(level.unique()) > 12
        assert set(frames.levels["digit"].unique().tolist()) == {0.0, 1.0}


def test_given_frames_stay(model):
    clip = films(1)[0]
    ahead = model.sample(2, Clip(clip.frames[:3], 10.0), steps=2)
    assert all(len(c) == 6 and np.array_equal(c.frames[:3], clip.frames[:3]) and c.fps == 10 for c in ahead)
    between = model.interpolate(clip.frames[0], clip.frames[5], steps=2)[0]
    assert np.array_equal(between.frames[[0, 5]], clip.frames[[0, 5]])
    still = model.animate(clip.frames[2], given={"digit": 1}, steps=2)[0]
    assert np.array_equal(still.frames[0], clip.frames[2]) and still.labels == {"digit": "1"}
    holed = clip.frames.astype(np.float32)
    holed[:, 4:8] = np.nan
    filled = model.sample(1, holed, steps=2)[0].frames
    known = np.isfinite(holed)
    assert np.array_equal(filled[known], clip.frames[known]) and not np.array_equal(filled, clip.frames)
    pieces = model.sample(1, [[clip.frames[0], None, None, clip.frames[3], None, None]], steps=2)[0]
    assert np.array_equal(pieces.frames[[0, 3]], clip.frames[[0, 3]])


def test_long_clips(model):
    clip = films(1)[0]
    long = model.extend(Clip(clip.frames[:4], 10.0), frames=15, n=2, steps=2, keep=2)
    assert all(len(c) == 15 and np.array_equal(c.frames[:4], clip.frames[:4]) for c in long)
    stairs = model.extend(frames=9, steps=6, overlap=2.0, given={"digit": 2})[0]
    assert len(stairs) == 9 and stairs.labels == {"digit": "2"}
    with pytest.raises(AskError, match="keep"):
        model.extend(frames=9, keep=6)


@pytest.mark.parametrize("solver", ["deis2", "dpmpp2m", "ddim"])
def test_frames_that_wait_at_pure_noise_stay_finite(model, solver):
    task = model.modality.request(2, films(2), index=torch.arange(2))
    level = (torch.arange(6) >= 2).float().reshape(1, -1, 1, 1, 1).expand(2, -1, 1, 1, 1)
    task.start.levels["clip"], task.given["clip"] = level, level == 0
    made = model.run(task, path=Staircase(8, axis=1, overlap=2.0), solver=solver)["clip"]
    assert torch.isfinite(made).all() and torch.equal(made[:, :2], task.x["clip"][:, :2])


def test_an_attribute_is_changed(model):
    clips = films(3)
    same = model.change(clips, {"digit": [c.labels["digit"] for c in clips]}, steps=2)
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(same, clips))
    other = model.change(clips, {"digit": 1}, was={"digit": 0}, steps=2)
    assert [c.labels for c in other] == [{"digit": "1"}] * 3
    assert not np.array_equal(other[0].frames, clips[0].frames)
    alone = model.change(Clip(clips[0].frames, 10.0), {"digit": 1}, steps=2)
    assert len(alone) == 1 and alone[0].fps == 10
    with pytest.raises(AskError, match="attributes"):
        model.change(clips, steps=2)
    with pytest.raises(AskError, match="no field 'hat'"):
        model.change(clips, {"hat": 1}, steps=2)


def test_a_longer_answer_than_in_training_and_seeds(model):
    assert len(model.sample(1, frames=9, steps=1)[0]) == 9
    a, b = model.sample(3, steps=2, seed=4), model.sample(1, steps=2, seed=4, start=2)
    assert np.abs(a[2].frames.astype(int) - b[0].frames).max() <= 1


def test_refusals(model):
    for given, message in (
        (np.zeros((9, 16, 16, 1)), "9 frames and the answer 6"),
        ({"digit": 9}, "knows 0, 1, 2, 3"),
        (np.zeros((3, 16, 16, 3)) + 0.5, "grey clips only"),
        (np.zeros((2, 2, 2, 2, 2)), "no clip"),
    ):
        with pytest.raises(AskError, match=message):
            model.sample(1, given, steps=1)
    with pytest.raises(DataError, match="single frames are images"):
        Video.read([Clip(np.zeros((1, 16, 16, 1), np.uint8))], frames=6)
    with pytest.raises(DataError, match="frames=4 or fewer"):
        Video.read([Clip(np.zeros((4, 16, 16, 1), np.uint8))], frames=6)


def test_folders_of_films_with_labels(tmp_path):
    for k, clip in enumerate(films(4, frames=12)):
        write_clip(clip, tmp_path / "plain" / f"{k}.gif")
        write_clip(clip, tmp_path / "classes" / ("even" if k % 2 == 0 else "odd") / f"{k}.mp4")
        write_clip(clip, tmp_path / "frames" / f"{k}")
    (tmp_path / "plain" / "labels.csv").write_text("file,kind,speed\n0.gif,a,1\n1.gif,b,2\n2.gif,a,\n")
    modality, data = Video.read(tmp_path / "plain", frames=6, size=16)
    assert (
        len(data) == 8 and modality.labels == {"kind": ["a", "b"], "speed": ["1", "2"]} and modality.config["fps"] == 10
    )
    assert data.labels["speed"].tolist() == [0, 0, 1, 1, -1, -1, -1, -1]
    modality, data = Video.read(tmp_path / "classes", frames=12, size=16)
    assert modality.labels == {"label": ["even", "odd"]} and len(data) == 4
    assert len(Video.read(tmp_path / "frames", frames=4, size=16, every=3)[1]) == 4
    assert Video.recognises(tmp_path / "plain") > 0.9 and Video.recognises(tmp_path / "classes") > 0.9


def test_writing_and_showing(model, tmp_path):
    clips = films(3)
    assert len(model.modality.write(clips, tmp_path / "many")) == 3
    again = read_clip(model.modality.write(clips[:1], tmp_path / "one.gif")[0])
    assert np.array_equal(again.frames, clips[0].frames)
    assert read_clip(model.modality.show(clips, tmp_path / "all.gif")).frames.shape[0] == 6
    model.modality.show(clips, tmp_path / "strip.png")
    with pytest.raises(AskError, match="3 clips"):
        model.modality.write(clips, tmp_path / "a.mp4")


def test_figures_follow_the_rule():
    path = bounce(8, 16, np.random.default_rng(3))
    shown = bounces(path[:, 0, 0], np.zeros(8), 3)
    assert np.allclose(shown, path[:, :1, 0])
    real = [path_residual(p * 16 + 5, 16) for p in path]
    wander = [path_residual(np.cumsum(RNG.normal(size=(16, 2)), axis=0) * 1.6, 16) for _ in range(8)]
    assert max(real) < 0.25 and min(wander) > 1
    frame = np.zeros((2, 9, 9))
    frame[0, 2, 3], frame[1, 4:6, 6] = 7, 1
    assert centroids(frame).tolist() == [[2, 3], [4.5, 6]]
    blurred = np.repeat(np.repeat(np.eye(8), 2, 0), 2, 1)
    assert sharpness(np.kron(np.eye(4), np.ones((4, 4)))) < sharpness(blurred)


def test_models_of_before_keep_their_network_and_levels(model):
    assert model.modality.config["mixing"] == {"far": [True, True], "whole": [0, 1]} and model.joint["clip"].warp == 0.4
    old = {k: v for k, v in model.modality.config.items() if k not in ("mixing", "warp")}
    before = Model.new(Video(**old))
    names = [n for n, _ in before.denoiser.named_parameters()]
    assert before.joint["clip"].warp == 2.0 and not any("whole" in n for n in names)
    assert {n for n in names if "qkv" in n and "mix" in n} and before.sample(1, steps=1)[0].frames.shape == (
        6,
        16,
        16,
        1,
    )
    large, _ = Video.read(films(2, size=16), frames=6, size=128, width=16, patch=4)
    assert large.config["mixing"] == {"far": [False, True], "whole": [0, 0]}
