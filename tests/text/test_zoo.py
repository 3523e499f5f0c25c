"""The text models that ship, and the demo's pieces."""

import json
import re

import pytest
import torch

import suffuse
from suffuse.demo.text import _between, appearing, opened
from suffuse.storage import ZOO

SHIPPED = [name for name in ("tang", "shakespeare") if (ZOO / name).is_dir()]


@pytest.mark.parametrize("name", SHIPPED)
def test_small_with_card_recipe_and_samples(name):
    folder = ZOO / name
    assert (folder / "model.safetensors").stat().st_size <= 3 * 2**20
    assert "licence of the data" in (folder / "README.md").read_text(encoding="utf-8")
    assert json.loads((folder / "recipe.json").read_text(encoding="utf-8"))["modality"] == "text"
    assert any((folder / "samples").iterdir())


@pytest.mark.skipif("tang" not in SHIPPED, reason="the model is not part of this checkout")
def test_tang_writes_poems_and_keeps_what_is_given():
    model = suffuse.load("tang")
    poems = model.sample(6, {"label": "five"}, steps=8)
    right = re.compile("[^，。]{5}，[^，。]{5}。[^，。]{5}，[^，。]{5}。")
    assert sum(bool(right.fullmatch(p)) for p in poems) >= 5
    template = "春____，江____。花____，月____。"
    for poem in model.sample(3, template, steps=4):
        assert all(a == b or b == "_" for a, b in zip(poem, template, strict=True))
    real = [json.loads(line)["text"] for line in (model.folder / "samples" / "poems.jsonl").read_text("utf-8").splitlines()]
    shuffled = "".join(sorted(real[0][:5])) + real[0][5:]
    assert model.score(real[0], draws=16)["bits"] < model.score(shuffled, draws=16)["bits"]


def test_a_text_appears_in_the_order_it_was_written():
    model = suffuse.train(["abcd"] * 40, "text", steps=2, batch=4, read={"dim": 16, "depth": 1, "heads": 2}, threads=1)
    task = model.modality.request(1, "a___", index=torch.arange(1))
    text, came, calls = opened(model, task, steps=3)
    assert len(text) == 4 and text[0] == "a" and came[0] == 0
    assert sorted(came[1:]) == [1, 2, 3] and calls == 3
    page = appearing("a<b。", [0, 1, 2, 3], 3)
    assert "&lt;" in page and "animation-delay:0.75s" in page and page.count("<br>") == 1


def test_filled_stretches_are_told_from_given_ones():
    assert _between("the old king of me", "the ___ king of __") == [
        ("the ", False),
        ("old", True),
        (" king of ", False),
        ("me", True),
        ("", False),
    ]
