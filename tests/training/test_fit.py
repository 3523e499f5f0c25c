"""The training entry: previews that cost little, fine-tuning on the training part of the data."""

import numpy as np
import pytest
import torch

import suffuse
from suffuse.fit import Preview


@pytest.fixture
def pictures(tmp_path):
    generator = np.random.default_rng(0)
    made = generator.integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.savez(
        tmp_path / "pictures.npz",
        train_images=made[:32],
        train_labels=np.arange(32) % 2,
        test_images=made[32:],
        test_labels=np.arange(8) % 2,
    )
    return tmp_path / "pictures.npz"


def test_previews_are_drawn_and_fine_tuning_reads_the_training_part(pictures, tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(Preview, "first", 0.0)
    monkeypatch.setattr(Preview, "share", 1.0)
    settings = {"batch": 4, "read": {"widths": [16, 16]}}
    model = suffuse.train(pictures, "images", steps=4, output=tmp_path / "model", **settings)
    assert model.notes["examples"] == 32
    assert (tmp_path / "model" / "training" / "preview.png").stat().st_size > 100
    again = suffuse.train(pictures, steps=2, batch=4, start_from=tmp_path / "model")
    assert again.notes["examples"] == 32
    before = {k: v.clone() for k, v in model.denoiser.state_dict().items()}
    other = suffuse.train(pictures, steps=2, batch=4, start_from=model)
    after = model.denoiser.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items()) and model.notes["steps"] == 4
    assert any(not torch.equal(v, before[k]) for k, v in other.denoiser.state_dict().items())


def test_previews_wait_and_keep_to_their_share():
    drawn = []

    class Holder:
        class modality:  # noqa: N801
            @staticmethod
            def show(samples, path):
                drawn.append(path)

        @staticmethod
        def sample(count):
            return [None] * count

    preview = Preview(Holder(), None)
    preview(1)
    assert not drawn
    preview.folder, preview.begun = __import__("pathlib").Path("x"), preview.begun - 100
    preview(2)
    assert len(drawn) == 1
    preview.spent = 50.0
    preview(3)
    assert len(drawn) == 1
