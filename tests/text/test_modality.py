"""The text modality: training maps, requests, hard limits, verbs and likelihoods, on tiny models."""

import math

import pytest
import torch

import suffuse
from suffuse.diffusion.random import Random
from suffuse.errors import AskError, DataError
from suffuse.modalities.text import Text
from suffuse.modalities.text.scoring import chain_score, exact_count_bound, monte_carlo_bound
from suffuse.training.tasks import mixed_start

TINY = {"dim": 32, "depth": 2, "heads": 4}
LINES = [
    f"{a} {b} {c}"
    for a in ("the cat", "a dog", "my hen")
    for b in ("sees", "likes")
    for c in ("you", "him", "fish", "me")
] * 2


@pytest.fixture(scope="module")
def lines():
    rows = [{"text": t, "label": t.split()[1]} for t in LINES]
    return suffuse.train(rows, "text", steps=300, batch=12, read=TINY, threads=1, learning_rate=5e-3)


@pytest.fixture(scope="module")
def packed():
    text = "the king of the hill saw the crown of the king. " * 40
    return suffuse.train([text], "text", steps=60, batch=8, read={**TINY, "length": 48}, threads=1, learning_rate=5e-3)


def test_training_maps_mask_what_they_say():
    made, data = Text.read([{"text": t, "label": "x"} for t in LINES])
    batch = data.batch(torch.arange(16))
    real = batch.exists["text"]
    for task in made.tasks:
        start = made.start(task, batch, Random(0), 3)
        level = start.levels["text"].expand(real.shape)
        assert ((level == 0) | (level == 1)).all() and start.exact.all()
        if task in ("generate", "unlabelled", "classify"):
            count = (level.bool() & real).sum(1)
            assert (count >= 1).all() and (count <= real.sum(1)).all() and not (level.bool() & ~real).any()
        again = made.start(task, data.batch(torch.arange(8, 12)), Random(0), 3)
        width = again.levels["text"].shape[1]
        assert torch.equal(
            again.levels["text"].bool() & real[8:12, :width], level.bool()[8:12, :width] & real[8:12, :width]
        )
    assert made.start("unlabelled", batch, Random(0), 3).held["label"].all()
    assert mixed_start(made, made.tasks, batch, Random(0), 0).levels["text"].shape == real.shape


def test_the_number_masked_is_uniform():
    made, data = Text.read(["abcdefgh"] * 4000)
    start = made.start("generate", data.batch(torch.arange(4000)), Random(1), 0)
    share = torch.bincount(start.levels["text"].sum(1).long(), minlength=9)[1:] / 4000
    assert (share - 1 / 8).abs().max() < 0.02


def test_it_learns_and_obeys(lines):
    samples = lines.sample(12, steps=16, temperature=0.5)
    assert sum(s in LINES for s in samples) >= 3
    assert all(s.startswith("my hen") and len(s) > 6 for s in lines.sample(4, prefix="my hen", steps=8))
    assert all(s[1:4] == " do" and len(s) == 15 for s in lines.sample(4, "_ do__ sees ___", steps=8))
    by_label = lines.sample(8, {"label": "cat"}, steps=12)
    assert sum("cat" in s for s in by_label) >= 6
    assert lines.predict([{"text": "my hen sees me", "label": "cat"}], "label")[
        0, 0
    ].argmax() == lines.modality.labels.index("hen")


def test_sample_seven_is_sample_seven(lines):
    assert lines.sample(8, steps=5)[7] == lines.sample(1, start=7, steps=5)[0]


def test_forced_and_forbidden(lines):
    out = lines.sample(16, steps=6, length=14, force={0: "t", -1: "h"}, forbid="ei")
    assert all(s[0] == "t" and s[-1] == "h" and not set(s) & set("ei") and len(s) == 14 for s in out)
    only = lines.sample(4, steps=3, length=3, forbid={1: [c for c in lines.modality.vocabulary.symbols if c != "y"]})
    assert all(s[1] == "y" for s in only)
    cold = lines.sample(6, steps=20, length=15, temperature=0.01, label="cat")
    assert sum(s in LINES for s in cold) >= 5


@pytest.mark.parametrize(
    "given, asked, sentence",
    [
        ("the c_t Q", {}, "does not know the character 'Q'"),
        ("the " * 20, {}, "has 80 tokens, and the model takes at most"),
        ("the ___ of ___", {"blank": [3]}, "2 blanks in the template and 1 lengths"),
        (None, {"prefix": "the cat", "length": 3}, "cannot fit into a length of 3"),
        (None, {"force": {0: "t"}, "forbid": "t", "length": 5}, "both forced and forbidden at position 0"),
        ("the cat", {"force": {0: "m"}}, "'m' is forced at position 0, where 't' is given"),
        (None, {"force": {40: "t"}, "length": 5}, "positions 0 to 4"),
        (None, {"forbid": "abcdefghijklmnopqrstuvwxyz "}, "every token is forbidden"),
        (None, {"label": "cow"}, "the model knows cat, dog, hen"),
        ({"text": "the", "colour": "red"}, {}, "'colour' is no field"),
        ("the", {"prefix": "the"}, "not both"),
        (3, {}, "cannot be given as int"),
        (None, {"temperature": 0}, "temperature must be"),
        (None, {"top_p": 1.5}, "top_p must be"),
        (None, {"length": 0}, "length must be from 1"),
        (["a", "b"], {}, "2 texts are given for 3 samples"),
    ],
)
def test_bad_requests_get_one_sentence(lines, given, asked, sentence):
    with pytest.raises(AskError, match=sentence):
        lines.sample(3, given, **asked)


def test_data_of_other_letters_is_refused(lines):
    with pytest.raises(DataError, match=r"item 1: the model does not know the characters 'q' .*, 'x'"):
        lines.modality.dataset([{"text": "the xq", "label": "cat"}])
    with pytest.raises(DataError, match="label 'cow'; the model knows"):
        lines.modality.dataset([{"text": "the", "label": "cow"}])


def test_likelihoods_agree_and_match_the_chain_rule(lines):
    """Both bounds are means over orders of the exact chain rule (any-order identity)."""
    data = lines.modality.dataset([{"text": t, "label": t.split()[1]} for t in LINES[:24]])
    batch = data.batch(torch.arange(24))
    exact = exact_count_bound(lines.denoiser, batch, 64).sum()
    loose = monte_carlo_bound(lines.denoiser, batch, 160).sum()
    assert loose.item() == pytest.approx(exact.item(), rel=0.05)
    one = data.batch(torch.zeros(48, dtype=torch.int64))
    orders = torch.rand(48, one.x["text"].shape[1], generator=torch.Generator().manual_seed(0)).argsort(1)
    chains = -chain_score(lines.denoiser, one, orders).sum(1)
    counted = exact_count_bound(lines.denoiser, data.batch(torch.tensor([0])), 256)
    assert counted.item() == pytest.approx(chains.mean().item(), abs=4 * chains.std().item() / math.sqrt(48) + 0.05)


def test_score_verb(lines):
    likely, odd = lines.score("the cat sees me"), lines.score("eht tac sees me")
    assert likely["tokens"] == 15 and likely["bits"] < odd["bits"] - 5
    assert lines.score("the cat sees me", order="left")["bits"] < odd["bits"]
    with pytest.raises(AskError, match="'any', 'left' or 'right'"):
        lines.score("the cat", order="up")


def test_blanks_of_free_length(lines):
    """After "the c", the only text that goes on with " sees me" is "at": the length finds itself."""
    filled = lines.fill("the c_ sees me", blank="1-6", n=8, steps=8, label="cat")
    assert sum(s == "the cat sees me" for s in filled) >= 6
    assert all(len(s) == 15 for s in lines.fill("the c_ sees me", blank="2", n=2, steps=3))
    with pytest.raises(AskError, match="do not fit"):
        lines.fill("the c_ sees me", blank="40-50")
    with pytest.raises(AskError, match="no blank in the text"):
        lines.fill("the cat", blank="1-3")
    with pytest.raises(AskError, match="neither a number"):
        lines.fill("the _", blank="few")


def test_rewriting_keeps_what_is_not_masked(lines):
    assert lines.rewrite("the cat sees me", 0.0) == ["the cat sees me"]
    out = lines.rewrite("the cat sees me", 0.5, n=8)
    same = sum(a == b for s in out for a, b in zip(s, "the cat sees me", strict=True)) / (8 * 15)
    assert 0.4 < same < 1.0


def test_windows_extend_and_stream(packed):
    text = packed.extend("the king", length=120, steps=12)[0]
    assert len(text) == 120 and text.startswith("the king")
    pieces = list(packed.stream("the king", length=100, block=8))
    assert len("".join(pieces)) == 100 and len(pieces) > 8
    stopped = "".join(packed.stream("the ", length=200, block=8, stop="of"))
    assert "of" not in stopped and stopped.startswith("the ")
    inside = packed.sample(1, "the ____ of the", steps=4)[0]
    assert len(inside) == 15 and inside.endswith(" of the")
    assert all("of" not in s for s in packed.sample(2, stop="of", steps=6))


def test_saved_and_loaded(lines, tmp_path):
    lines.save(tmp_path / "m")
    assert suffuse.load(tmp_path / "m").sample(3, steps=4) == lines.sample(3, steps=4)


def test_samples_are_written_whole(lines, tmp_path):
    made = lines.modality
    assert made.write(["a", "b"], tmp_path / "x.txt")[0].read_text() == "a\nb\n"
    assert made.write(["a\nb", "c"], tmp_path / "y.txt")[0].read_text() == "a\nb\n\nc\n"
    assert made.write(["é"], tmp_path / "x.jsonl")[0].read_text(encoding="utf-8") == '{"text": "é"}\n'
    with pytest.raises(AskError, match="choose .txt"):
        made.write(["a"], tmp_path / "x.png")


def test_end_tokens_and_uniform_noise():
    rows = LINES
    model = suffuse.train(rows, "text", steps=30, batch=8, read={**TINY, "ending": "token", "length": 24}, threads=1)
    assert all(len(s) <= 24 for s in model.sample(4, steps=4))
    fixed = model.sample(2, prefix="the", length=9, steps=4)
    assert all(len(s) <= 9 for s in fixed)
    other = suffuse.train(rows, "text", steps=20, batch=8, read={**TINY, "prior": "uniform"}, threads=1)
    assert len(other.sample(2, prefix="the c", length=9, steps=4)[0]) == 9


def test_integer_sequences():
    voices = [[(k + j) % 7 for k in range(12) for j in (0, 2)] for _ in range(40)]
    model = suffuse.train(voices, "text", steps=40, batch=8, read={**TINY, "streams": 2}, threads=1)
    given = [-1 if k % 2 else 3 for k in range(24)]
    out = model.sample(2, given, steps=4)
    assert all(len(s) == 24 and s[::2] == [3] * 12 and max(s) < 7 for s in out)


@pytest.fixture(scope="module")
def blocks():
    text = "the king of the hill saw the crown of the king. " * 40
    return suffuse.train([text], "text", steps=60, batch=8, read={**TINY, "length": 48, "block": 4}, threads=1)


def test_blocks_see_clean_blocks_before_them_and_nothing_after(blocks):
    """The training pass (noisy beside clean), the plain pass and the cached pass give the same logits for a block in work."""
    network = blocks.denoiser.network
    torch.manual_seed(0)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.3)
    clean = torch.randint(0, network.classes, (3, 48))
    noisy = torch.where(torch.rand(3, 48) < 0.5, network.classes, clean)
    with torch.inference_mode():
        beside = network({"text": noisy}, {}, {"clean:text": clean})["text"]
        network.cached, network._kept = True, None
        for block in range(12):
            here = slice(4 * block, 4 * block + 4)
            partial = clean.clone()
            partial[:, 4 * block :] = network.classes
            partial[:, here] = noisy[:, here]
            if not (partial[:, here] == network.classes).any(1).all():
                continue
            network.cached = False
            plain = network({"text": partial}, {}, {})["text"]
            network.cached = True
            kept = network({"text": partial}, {}, {})["text"]
            assert torch.allclose(plain[:, here], beside[:, here], atol=1e-4)
            assert torch.allclose(kept[:, here], beside[:, here], atol=1e-4)
        network.cached = False
    assert network._kept[0].shape[1] > 8


def test_models_of_blocks_write_and_refuse(blocks):
    assert len(blocks.sample(2, steps=24)[0]) == 48
    text = "".join(blocks.stream("the king", length=96))
    assert len(text) == 96 and text.startswith("the king")
    with pytest.raises(AskError, match="from left to right"):
        blocks.sample(1, "the ____ of")
    with pytest.raises(AskError, match="does not divide"):
        Text.read(["abc " * 50], block=4, length=30)
