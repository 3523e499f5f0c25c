"""A video model that starts from an image model answers at first as the image model does, frame by frame."""

import numpy as np
import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("av")

import suffuse  # noqa: E402
from suffuse.errors import AskError  # noqa: E402
from suffuse.modalities.images import Images  # noqa: E402
from suffuse.modalities.video import Video  # noqa: E402
from suffuse.modalities.video.files import Clip  # noqa: E402
from suffuse.model import Model  # noqa: E402

RNG = np.random.default_rng(0)


def test_weights_are_taken_over():
    torch.manual_seed(0)
    pictures = RNG.integers(0, 255, (8, 16, 16), np.uint8)
    image = Model.new(Images.read(pictures, widths=[16, 24], patch=2)[0])
    for parameter in image.denoiser.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    films = RNG.integers(0, 255, (3, 4, 16, 16, 1), np.uint8)
    made, data = Video.adopt(image.modality, films, frames=4)
    video = Model.new(made)
    made.inherit(video.denoiser.network, image.denoiser.network)
    x, level = torch.randn(2, 1, 16, 16), torch.rand(2, 1, 1, 1)
    still = image.denoiser({"image": x}, {"image": level}, {})["image"]
    moving = video.denoiser({"clip": x[:, None].expand(2, 4, 1, 16, 16)}, {"clip": level[:, None]}, {})["clip"]
    assert torch.allclose(moving, still[:, None].expand_as(moving), atol=1e-4)
    batch, same = data.batch(torch.arange(3)), image.modality.dataset(films[:, 0]).batch(torch.arange(3))
    assert torch.allclose(batch.x["clip"][:, 0], same.x["image"], atol=1e-3)


def test_the_label_of_pictures_becomes_the_only_attribute_of_films():
    torch.manual_seed(0)
    pictures = RNG.integers(0, 255, (8, 16, 16), np.uint8)
    plain = Images.read(pictures, widths=[16, 24], patch=2)[0]
    labelled = Images(**{**plain.config, "classes": ["cat", "dog"]})
    image = Model.new(labelled)
    films = [Clip(f, 8.0, {"animal": k}, "") for f, k in zip(RNG.integers(0, 255, (4, 4, 16, 16, 1), np.uint8), "cdcd")]
    made, _ = Video.adopt(labelled, films, frames=4, network={"code": True})
    video = Model.new(made)
    made.inherit(video.denoiser.network, image.denoiser.network)
    assert video.denoiser.network.backbone.code is not None
    for part in ("label_in", "answer", "level"):
        ours, theirs = getattr(video.denoiser.network, part)["animal"], getattr(image.denoiser.network, part)["label"]
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_training_goes_on_from_an_image_model(tmp_path):
    pictures = RNG.integers(0, 255, (8, 16, 16), np.uint8)
    image = suffuse.train(pictures, "images", steps=1, batch=2, read={"widths": [16, 16], "patch": 2})
    films = RNG.integers(0, 255, (4, 4, 16, 16, 1), np.uint8)
    video = suffuse.train(films, "video", steps=1, batch=2, start_from=image, read={"frames": 4})
    assert video.modality.name == "video" and video.sample(1, steps=1)[0].frames.shape == (4, 16, 16, 1)
    with pytest.raises(AskError, match="cannot go on from a video model"):
        suffuse.train(pictures, "images", steps=1, start_from=video)
