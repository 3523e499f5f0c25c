"""What is asked of pictures: level maps, holes, labels, strengths, refusals; decoding, writing, verbs on a tiny model."""

import numpy as np
import pytest
import torch
from PIL import Image

from suffuse.diffusion.random import Random
from suffuse.errors import AskError, DataError
from suffuse.modalities.grids import grid_start
from suffuse.modalities.images import Images
from suffuse.modalities.images.verbs import slerp
from suffuse.modalities.images.writing import grid
from suffuse.model import Model

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (12, 8, 8), dtype=np.uint8)
SMALL = {"widths": [8, 16], "patch": 1}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    modality, _ = Images.read((GREY, ["cat", "dog", "cow"] * 4), **SMALL)
    return Model.new(modality)


@pytest.fixture(scope="module")
def captioned():
    torch.manual_seed(0)
    colour = RANDOM.integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
    modality, _ = Images.read({"images": colour, "caption": ["red cat", "blue cat", "red dog"] * 2}, **SMALL)
    return Model.new(modality)


def ask(model, n=2, given=None, **asked):
    return model.modality.request(n, given, index=torch.arange(n), **asked)


# -- level maps -------------------------------------------------------------------------------------------------------
def test_generate_by_label_and_without(model):
    task = ask(model, 3, {"label": ["dog", 0, "COW"]})
    assert task.x["label"][:, 0].tolist() == [2, 0, 1]  # classes in order: cat, cow, dog
    assert not task.start.levels["label"].any() and bool(task.start.levels["image"].all())
    free = ask(model, 3)
    assert bool(free.start.held["label"].all())


def test_holes_from_transparency_nan_masked_array_and_mask(model):
    hole = np.zeros((8, 8), bool)
    hole[2:5, 3:] = True
    floats = GREY[0] / 255.0
    floats[hole] = np.nan
    clear = Image.fromarray(np.dstack([GREY[0], np.where(hole, 0, 255).astype(np.uint8)]))
    mask = Image.fromarray(hole.astype(np.uint8) * 255)
    for given in (
        floats, clear, np.ma.masked_array(GREY[0], hole), {"image": GREY[0], "mask": mask},
        {"image": Image.fromarray(GREY[0]), "mask": hole}, {"image": GREY[0], "mask": torch.tensor(hole)},
    ):  # fmt: skip
        task = ask(model, 2, given)
        assert torch.equal(task.start.levels["image"][1, 0] == 1, torch.tensor(hole))
        pictures = model.modality.decode(model.run(task, steps=2), task)
        assert np.array_equal(np.asarray(pictures[0])[~hole], GREY[0][~hole])


def test_strength_scales_the_holes_or_all(model):
    assert (ask(model, 1, GREY[0], strength=0.3).start.levels["image"] == 0.3).all()
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    levels = ask(model, 1, {"image": GREY[0], "mask": mask}, strength=0.3).start.levels["image"]
    assert levels[0, 0, :, :4].eq(0.3).all() and not levels[0, 0, :, 4:].any()


def test_other_sizes(model):
    assert ask(model, 1, size=12).x["image"].shape == (1, 1, 12, 12)
    assert ask(model, 1, {"image": np.zeros((16, 24), np.uint8)}, strength=0.5).x["image"].shape == (1, 1, 8, 8)
    assert [p.size for p in model.sample(2, size=(10, 13), steps=2)] == [(13, 10)] * 2


@pytest.mark.parametrize(
    "given, asked, match",
    [
        ({"label": "horse"}, {}, "'horse' is unknown; this model knows cat, cow, dog"),
        ({"label": "dgo"}, {}, "did you mean 'dog'"),
        ({"label": 3}, {}, "'3' is unknown"),
        ({"label": ["cat"] * 5}, {}, "5 labels"),
        ({"colour": "red"}, {}, "'colour' is nothing"),
        ({"caption": "a cat"}, {}, "without captions"),
        ({"image": GREY[0], "mask": np.ones((5, 8), bool)}, {}, "mask has 8 x 5 pixels and the picture 8 x 8"),
        ({"mask": np.ones((8, 8), bool)}, {}, "needs the picture"),
        ({"image": GREY[0]}, {"strength": 1.5}, "from 0 to 1"),
        ({"image": np.full((8, 8), np.inf)}, {}, "not finite"),
        ({"image": np.zeros((8, 8, 7))}, {}, "no picture"),
        ({"image": RANDOM.integers(0, 255, (8, 8, 3), dtype=np.uint8)}, {}, "in colour"),
        ({"image": "absent.png"}, {}, "no picture absent.png"),
        ({"image": 3}, {}, "not int"),
        (None, {"ask": "age"}, "'age'"),
        (None, {"size": 10**6}, "size"),
    ],
)
def test_refusals(model, given, asked, match):
    with pytest.raises(AskError, match=match):
        ask(model, 2, given, **asked)


@pytest.mark.parametrize("task, image, label", [("generate", 1, "held"), ("label", 1, 0), ("classify", 0, "asked")])
def test_training_levels(model, task, image, label):
    data = model.modality.dataset((GREY, ["cat", "dog", ""] * 4))
    batch = data.batch(torch.arange(12))
    start = model.modality.start(task, batch, Random(0), 0)
    seen = batch.observed["label"][:, 0]
    held, level = start.held["label"][:, 0], start.levels["label"][:, 0]
    assert bool(held[~seen].all()) and held[seen].eq(label == "held").all()
    assert label == "held" or level[seen].eq(0.0 if label == 0 else 1.0).all()
    assert start.levels["image"].flatten()[seen].eq(image).all()
    assert start.levels["image"].flatten()[~seen].eq(1).all()  # nothing to classify: these generate


def test_inpainting_levels_depend_on_the_example_alone(model):
    data = model.modality.dataset((GREY, ["cat", "dog", "cow"] * 4))
    whole = grid_start("inpaint", data.batch(torch.arange(12)), Random(1), 5, grids=["image"], conditions=["label"])
    part = grid_start("inpaint", data.batch(torch.tensor([4, 9])), Random(1), 5, grids=["image"], conditions=["label"])
    assert torch.equal(part.levels["image"], whole.levels["image"][[4, 9]])
    assert torch.equal(part.held["label"], whole.held["label"][[4, 9]])
    assert set(whole.levels["image"].unique().tolist()) == {0, 1} and 0 < whole.held["label"].float().mean() < 1


def test_what_guidance_holds_back(model):
    """The label where it is given as a whole, nothing where it is held."""
    assert model._conditions(ask(model, 2, {"label": "cat"})) == ["label"]
    assert model._conditions(ask(model, 2)) == []


def test_labels_to_classify_are_wholly_masked(model):
    data = model.modality.dataset((GREY, ["cat", "dog", ""] * 4))
    start = model.modality.start("classify", data.batch(torch.arange(12)), Random(0), 0)
    assert start.exact.tolist() == [True, True, False] * 4


# -- answers ----------------------------------------------------------------------------------------------------------
def test_sample_seven_is_the_same_alone(model):
    together = model.sample(9, given={"label": "dog"}, steps=3, guidance=2.0)
    alone = model.sample(1, given={"label": "dog"}, steps=3, guidance=2.0, start=7)
    assert np.abs(np.asarray(alone[0]).astype(int) - np.asarray(together[7])).max() <= 1
    assert together[7].mode == "L" and together[7].info == {"index": 7, "label": "dog"}


def test_ask_for_the_label(model):
    answers = model.sample(2, given=GREY[0], ask="label", steps=1)
    assert set(answers) <= {"cat", "dog", "cow"}
    assert set(model.classify([Image.fromarray(GREY[0])])) <= {"cat", "dog", "cow"}
    assert model.predict(GREY, "label").shape == (12, 1, 3)


def test_caption_in_and_out(captioned):
    pictures = captioned.sample(2, given={"caption": "blue dog"}, steps=2, guidance=2.0)
    assert pictures[0].mode == "RGB" and pictures[0].info["caption"] == "blue dog"
    assert isinstance(captioned.sample(1, given=pictures[0], ask="caption", steps=2)[0], str)
    with pytest.raises(AskError, match="a caption is a text"):
        captioned.sample(1, given={"caption": 3})


def test_verbs(model):
    image = Image.fromarray(GREY[0])
    assert len(model.variations(image, n=3, strength=0.4, steps=2)) == 3
    assert np.array_equal(np.asarray(model.variations(image, n=1, strength=0.0, steps=2)[0]), GREY[0])
    assert model.outpaint(image, left=2, bottom=3, steps=2)[0].size == (10, 11)
    grown = np.asarray(model.outpaint(image, left=2, bottom=3, steps=2)[0])
    assert np.array_equal(grown[:8, 2:], GREY[0])
    assert len(model.blend(image, Image.fromarray(GREY[1]), steps=2)) == 1
    assert model.change(image, label="cow", steps=2)[0].info["label"] == "cow"
    for call in (
        lambda: model.inpaint(image), lambda: model.outpaint(image), lambda: model.blend(image, image, weight=2),
        lambda: model.change(image), lambda: model.change(image, caption="x"), lambda: model.change(image, "cow", strength=0),
        lambda: model.change(image, "cow", steps=0), lambda: model.change(image, "cow", grid="even"),
        lambda: model.restore(image, "blur:1", noise=0.1, steps=0),
    ):  # fmt: skip
        with pytest.raises(AskError):
            call()


def test_inversion_comes_back(model):
    """The probability-flow ODE up and down again returns the picture, for any network that is smooth enough."""
    from suffuse.modalities.images.verbs import from_latents, invert

    latents = invert(model, [Image.fromarray(GREY[0])], steps=50)
    back = from_latents(model, latents, steps=50)
    error = np.asarray(back[0]).astype(float) - GREY[0]
    assert 20 * np.log10(255 / np.sqrt((error**2).mean())) > 25


def test_restore_by_name(model, tmp_path):
    """Super-resolution, deblurring, denoising from a file or a picture: what comes back fits the measurement."""
    Image.fromarray(GREY[0]).save(tmp_path / "small.png")
    (large,) = model.restore(tmp_path / "small.png", "downsample:2", steps=4, method="ddnm")
    means = np.asarray(large).reshape(8, 2, 8, 2).mean((1, 3))
    assert large.size == (16, 16) and np.abs(means - GREY[0]).mean() < 40  # clipping to 0..255 keeps it from being exact
    for name in ("blur:0.7", "noise"):
        assert model.restore(Image.fromarray(GREY[0]), name, noise=0.05, n=2, steps=2)[1].size == (8, 8)
    for name in ("downsample:1", "blur:x", "sharpen"):
        with pytest.raises(AskError, match="is no operator"):
            model.restore(Image.fromarray(GREY[0]), name)


def test_slerp_keeps_the_sphere():
    a, b = torch.randn(2, 1, 1, 8, 8).unbind(0)
    a, b = (v[None] / v.norm() for v in (a, b))
    assert torch.allclose(slerp(a, b, 0.0), a, atol=1e-5) and torch.allclose(slerp(a, b, 1.0), b, atol=1e-5)
    assert slerp(a, b, 0.3).norm() == pytest.approx(1, abs=1e-5)


def test_edit_within_a_mask(model):
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    edited = np.asarray(model.edit(Image.fromarray(GREY[0]), 0.5, {"label": "cow"}, mask=mask, steps=2)[0])
    assert np.array_equal(edited[4:], GREY[0][4:])
    with pytest.raises(AskError, match="mask has 3 x 3"):
        model.edit(Image.fromarray(GREY[0]), 0.5, mask=np.ones((3, 3), bool))


# -- files --------------------------------------------------------------------------------------------------------------
def test_write_and_read_back(model, tmp_path):
    samples = model.sample(4, given={"label": ["cat", "dog", "cow", "cat"]}, steps=2)
    folder = model.modality.write(samples, tmp_path / "out")
    assert [p.name for p in folder] == [f"{k:06d}.png" for k in range(4)]
    again, data = Images.read(tmp_path / "out")
    assert again.config["classes"] == ["cat", "cow", "dog"] and data.labels.tolist() == [0, 2, 1, 0]
    assert np.array_equal(data.pixels[2, 0], np.asarray(samples[2]))
    model.modality.write(samples, tmp_path / "out.npz")
    assert np.array_equal(Images.read(tmp_path / "out.npz")[1].pixels, data.pixels)
    (sheet,) = model.modality.write(samples, tmp_path / "sheet.png")
    assert Image.open(sheet).width > 8
    (one,) = model.modality.write(samples[:1], tmp_path / "one.png")
    assert np.array_equal(np.asarray(Image.open(one)), np.asarray(samples[0]))
    with pytest.raises(AskError, match="not as .xyz"):
        model.modality.write(samples, tmp_path / "out.xyz")
    (text,) = model.modality.write(["cat", "dog"], tmp_path / "labels.txt")
    assert text.read_text() == "cat\ndog\n"


def test_nothing_half_written(model, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DataError):
        model.modality.write(model.sample(1, steps=1), tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "a file" and len(list(tmp_path.iterdir())) == 1


def test_grid_shape():
    sheet = grid([Image.fromarray(GREY[0])] * 6, columns=3, gap=1, scale=2)
    assert sheet.size == (3 * 17 - 1, 2 * 17 - 1)


def test_save_and_load(model, tmp_path):
    from suffuse.model import load

    model.save(tmp_path / "m")
    pictures = [m.sample(1, given={"label": 1}, steps=2)[0] for m in (model, load(tmp_path / "m"))]
    assert np.array_equal(*map(np.asarray, pictures))


def test_evaluate_gives_each_figure_beside_its_floor(model):
    pictures = RANDOM.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    figures = model.evaluate((pictures, ["cat", "dog", "cow"] * 20), samples=30, steps=1)
    assert {"frechet_pixels", "precision", "recall", "two_sample_accuracy", "accuracy"} <= set(figures)
    assert figures["frechet_pixels"] > figures["frechet_pixels_real"] > 0
