"""Files are written whole or not at all."""

import errno
import json

import pytest

from suffuse import files
from suffuse.errors import DataError, ModelError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_whole(tmp_path):
    with files.atomic_write(tmp_path / "new" / "a.txt") as partial:
        assert partial.suffix == ".txt" and not (tmp_path / "new" / "a.txt").exists()
        partial.write_text("all of it")
    assert (tmp_path / "new" / "a.txt").read_text() == "all of it"
    assert names(tmp_path / "new") == ["a.txt"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), files.atomic_write(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]
    with pytest.raises(ValueError), files.atomic_write(tmp_path / "deep" / "er" / "b.txt"):
        raise ValueError
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="disk is full"), files.atomic_write(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(tmp_path) == []


def test_writing_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "a.txt", tmp_path / "file" / "x" / "a.txt"):
        with pytest.raises(DataError, match="a file stands where a folder is needed"), files.atomic_write(target):
            pass
    with pytest.raises(DataError, match="is a folder"), files.atomic_write(tmp_path):
        pass
    assert names(tmp_path) == ["file"]
    with pytest.raises(DataError, match="is a device"), files.atomic_write("/dev/null"):
        pass


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    for content in ("one", "two"):
        with files.atomic_folder(target, existing="replace") as partial:
            (partial / f"{content}.txt").write_text(content)
    assert names(tmp_path) == ["model"] and names(target) == ["two.txt"]
    with pytest.raises(RuntimeError), files.atomic_folder(target, "replace") as partial:
        (partial / "three.txt").write_text("")
        raise RuntimeError
    assert names(tmp_path) == ["model"] and names(target) == ["two.txt"]
    with pytest.raises(DataError, match="not empty"), files.atomic_folder(target):
        pass


def test_the_folder_one_stands_in_is_never_replaced(tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").write_text("years of work")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="will not be replaced"), files.atomic_folder(".", "replace"):
        pass
    assert names(tmp_path) == ["thesis.tex"]


def test_samples_join_what_is_there(tmp_path):
    target = tmp_path / "out"
    (target / "sub").mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    (target / "0.txt").write_text("old")
    with files.atomic_folder(target, "merge") as partial:
        (partial / "sub").mkdir()
        for name in ("0.txt", "1.txt", "sub/2.txt"):
            (partial / name).write_text("new")
    assert names(tmp_path) == ["out"] and names(target) == ["0.txt", "1.txt", "mine.txt", "sub"]
    assert (target / "0.txt").read_text() == "new" and names(target / "sub") == ["2.txt"]
    with pytest.raises(RuntimeError), files.atomic_folder(target, "merge") as partial:
        (partial / "mine.txt").write_text("half")
        raise RuntimeError
    assert (target / "mine.txt").read_text() == "mine" and names(tmp_path) == ["out"]


def test_json_round_trip_and_refusals(tmp_path):
    path = files.write_json({"name": "Übung", "n": [1, 2.5, None]}, tmp_path / "a.json")
    assert files.read_json(path) == {"name": "Übung", "n": [1, 2.5, None]}
    with pytest.raises(DataError, match="cannot hold"):
        files.write_json({"loss": float("nan")}, tmp_path / "b.json")
    assert names(tmp_path) == ["a.json"]
    for text, said in [
        ("{", "not valid JSON"),
        ("[NaN]", "NaN is not a JSON number"),
        ("[" * 200_000, "nested too deeply"),
        ("1" * 5000, "not valid JSON"),
    ]:
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ModelError, match=said):
            files.read_json(tmp_path / "bad.json", error=ModelError)
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        files.read_json(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text(json.dumps("x" * 100))
    with pytest.raises(DataError, match="more than the 50 bytes"):
        files.read_json(tmp_path / "bad.json", limit=50)
    with pytest.raises(DataError, match="there is no file"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(DataError, match="is a folder"):
        files.read_json(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        files.read_json("a\0b")


def test_memory_is_checked_before_it_is_taken():
    files.check_memory(1000, "a thing")
    with pytest.raises(DataError, match=r"big.png .* needs 40\.0 PB|needs 40000\.0 TB"):
        files.check_memory(40 * 10**15, "big.png")
    assert files.available_memory() > 1 << 20


@pytest.mark.parametrize("size, text", [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (3_100_000, "3.1 MB")])
def test_sizes_as_a_person_reads_them(size, text):
    assert files.human_size(size) == text
