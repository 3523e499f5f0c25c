"""Reading text and its clean refusals, and the vocabularies."""

import gzip
import json

import numpy as np
import pytest

from suffuse.errors import AskError, DataError
from suffuse.modalities import registry
from suffuse.modalities.text import Text
from suffuse.modalities.text.reading import documents
from suffuse.modalities.text.vocabulary import Vocabulary


def texts(source, **options):
    return [(d.text, d.label) for d in documents(source, **options)]


def test_formats_read_the_same(tmp_path):
    import pandas as pd

    rows = [{"text": "one é", "label": "a"}, {"text": "two\nlines", "label": "b"}]
    wanted = [("one é", "a"), ("two\nlines", "b")]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    (tmp_path / "x.json").write_text(json.dumps(rows))
    pd.DataFrame(rows).to_parquet(tmp_path / "x.parquet")
    for source in (tmp_path / "x.jsonl", tmp_path / "x.json", tmp_path / "x.parquet", rows, pd.DataFrame(rows)):
        assert texts(source) == wanted
    for label, text in (("a", "one é"), ("b", "two\r\nlines")):
        (tmp_path / "tree" / label).mkdir(parents=True)
        with gzip.open(tmp_path / "tree" / label / "f.txt.gz", "wb") as f:
            f.write(text.encode())
    assert texts(tmp_path / "tree") == wanted
    assert texts(tmp_path / "x.jsonl", text="label") == [("a", "a"), ("b", "b")]


def test_hugging_face_data_sets_are_read():
    import datasets

    assert texts(datasets.Dataset.from_dict({"text": ["a", "b"]})) == [("a", None), ("b", None)]


BAD = [
    (b"", "is empty"),
    (b"  \n ", "is empty"),
    (b"abc\xff\xe9d", "byte 3 is 0xff"),
    ("caf\u00e9".encode("utf-16"), "UTF-16"),
]


@pytest.mark.parametrize("content, sentence", BAD)
def test_bad_text_files_get_one_sentence(tmp_path, content, sentence):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        Text.read(tmp_path / "bad.txt")


def test_other_bad_sources(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": oops}\n')
    with pytest.raises(DataError, match="line 2 is not JSON"):
        texts(tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="no 'text'; it has body"):
        texts([{"body": "a"}])
    with pytest.raises(DataError, match="does not exist"):
        texts(tmp_path / "none.txt")
    with pytest.raises(DataError, match="no text files"):
        texts(_empty(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="not a Parquet file"):
        texts(tmp_path / "x.parquet")
    with pytest.raises(DataError, match="cannot be read as a NumPy file"):
        np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        texts(tmp_path / "x.npy")
    with pytest.raises(DataError, match="encoding .latin-9x. is not known"):
        texts(_text(tmp_path), encoding="latin-9x")
    with pytest.raises(DataError, match="item 2 has no label"):
        Text.read([{"text": "a", "label": "x"}, {"text": "b"}])
    with pytest.raises(AskError, match="form must be one of"):
        Text.read(["ab"] * 40, form="pages")
    with pytest.raises(DataError, match="neither 'characters'"):
        Text.read(["ab"] * 40, vocabulary="letters")


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def _text(folder):
    (folder / "fine.txt").write_text("abc")
    return folder / "fine.txt"


def test_recognised():
    for source, name in ((["hello", "you"], "text"), ([{"text": "a"}], "text")):
        assert registry.recognise(source).name == name
    assert Text.recognises("book.txt") > 0.5 and Text.recognises("a.png") == 0 and Text.recognises([1, 2]) == 0


def test_character_vocabulary():
    words = Vocabulary.of_characters(["hello wörld"])
    assert words.decode(words.encode("drow öll")) == "drow öll"
    assert Vocabulary(**words.config).encode("hold").tolist() == words.encode("hold").tolist()
    with pytest.raises(AskError, match=r"'x' \(U\+0078\), '漢' \(U\+6F22\)"):
        words.encode("hex 漢")


def test_rare_characters_become_unknown_and_are_never_generated():
    words = Vocabulary.of_characters(["aaabbc"], limit=2, end=True)
    assert words.size == 4 and words.banned == [2] and words.end == 3
    assert words.encode("abc", strict=False).tolist() == [0, 1, 2]
    assert words.decode([0, 3, 2]) == "a\ufffd"
    with pytest.raises(AskError):
        words.encode("abc")


def test_bytes_and_integers():
    assert Vocabulary("bytes").decode(Vocabulary("bytes").encode("漢字 é")) == "漢字 é"
    numbers = Vocabulary("integers", count=5)
    assert numbers.decode(numbers.encode([0, 4])) == [0, 4]
    with pytest.raises(AskError, match="value 5 at position 1 is outside 0 to 4"):
        numbers.encode([0, 5])
    with pytest.raises(AskError, match="whole numbers"):
        numbers.encode([0.5])
    with pytest.raises(AskError, match="'ab' is 2 tokens"):
        Vocabulary("bytes").token("ab")


def tokenizer(folder, mask):
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = ["[UNK]"] + (["[MASK]"] if mask else []) + ["the", "king", "of", "crown"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([n for n in names if n[0] == "["])
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_tokenizers_file(tmp_path):
    import torch

    path = tokenizer(tmp_path, mask=True)
    made, data = Text.read(["the king", "the crown of the king"] * 20, vocabulary=path)
    assert made.vocabulary.size == 6 and made.vocabulary.banned == [0, 1]
    assert made.vocabulary.decode(data.batch(torch.tensor([1])).x["text"][0].numpy()) == "the crown of the king"
    task = made.request(1, "the [MASK] of", index=torch.arange(1))
    assert task.given["text"][0].tolist() == [True, False, True]
    assert Text(**made.config).vocabulary.encode("king").tolist() == [3]
    bare, _ = Text.read(["the king"] * 40, vocabulary=tokenizer(tmp_path, mask=False))
    with pytest.raises(AskError, match="no mask token: write blanks as ___"):
        bare.request(1, "the [MASK] of", index=torch.arange(1))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(DataError, match="not a Hugging Face tokenizers file"):
        Text.read(["a"] * 40, vocabulary=tmp_path / "bad.json")
