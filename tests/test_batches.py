"""Many samples in flat memory, and the precision of network calls."""

import csv

import numpy as np
import pytest
import torch

import suffuse
from suffuse.cli import main
from suffuse.errors import AskError


@pytest.fixture(scope="module")
def digits():
    return suffuse.load("digits")


def arrays(pictures):
    return np.stack([np.asarray(p) for p in pictures]).astype(float)


@pytest.mark.parametrize("given", [None, {"label": 3}, {"label": [0, 1, 2, 3, 4]}])
def test_batches_bring_what_sample_brings(digits, given):
    seen = []
    parts = list(digits.batches(5, given, batch=2, steps=2, progress=lambda done, total: seen.append((done, total))))
    assert [len(p) for p in parts] == [2, 2, 1] and seen[-1] == (6, 6)
    whole = digits.sample(5, given, batch=2, steps=2)
    assert np.array_equal(arrays(p for part in parts for p in part), arrays(whole))


def test_memory_holds_one_batch_at_a_time(digits, monkeypatch):
    sizes = []
    run = digits.modality.request
    monkeypatch.setattr(digits.modality, "request", lambda n, *a, **k: sizes.append(n) or run(n, *a, **k))
    for _ in digits.batches(6, {"label": 3}, batch=2, steps=1):
        pass
    assert sizes == [2, 2, 2]


def test_a_folder_is_written_as_it_is_made_and_continued(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["sample", "digits", "--given", "label=7", "--steps", "1", "--batch", "2", "-o", str(out)]
    assert main([*words, "-n", "3"]) == 0
    assert main([*words, "-n", "2", "--start", "3"]) == 0
    names = [f"{k:06d}.png" for k in range(5)]
    assert sorted(p.name for p in out.glob("*.png")) == names
    with open(out / "metadata.csv", newline="") as file:
        assert [(row["file"], row["label"]) for row in csv.DictReader(file)] == [(name, "7") for name in names]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["digits", "tang"])
def test_bf16_comes_near_and_auto_is_one_of_both(name, monkeypatch, tmp_path):
    monkeypatch.setenv("SUFFUSE_CACHE", str(tmp_path))
    model = suffuse.load(name)
    task = model.modality.request(4, None, index=torch.arange(4))
    main_field = model.modality.main

    def first(precision):
        event = next(model.events(task, steps=4, precision=precision))
        return event.clean[main_field].float()

    plain, half, chosen = first("fp32"), first("bf16"), first("auto")
    assert half.dtype == torch.float32
    finite = plain.isfinite()
    error = (half - plain)[finite].square().mean().sqrt()
    assert torch.equal(finite, half.isfinite()) and 0 < error < 0.05 * plain[finite].std()
    assert torch.equal(chosen, plain) or torch.equal(chosen, half)
    assert torch.equal(chosen, first("auto"))
    with pytest.raises(AskError, match="precision"):
        model.sample(1, steps=1, precision="fp64")
