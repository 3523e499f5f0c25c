"""Checkpoints: whole or not at all, the last two kept, altered ones refused."""

import json

import pytest
import torch

from suffuse.errors import DataError, ModelError
from suffuse.training import checkpoint
from suffuse.training.checkpoint import Checkpoints


def fill(folder, *steps):
    store = Checkpoints(folder)
    for step in steps:
        store.write(step, {"note": step}, {"w": torch.full((3,), float(step)), "n": torch.tensor(step)})
    return store


def test_reads_back_and_keeps_two(tmp_path):
    store = fill(tmp_path, 1, 2, 3)
    assert store.steps() == [2, 3]
    state = store.read()
    assert state.step == 3 and state.values == {"note": 3} and state.tensors["w"].tolist() == [3.0] * 3
    assert store.read(2).values == {"note": 2}
    assert Checkpoints(tmp_path / "none").read() is None


@pytest.mark.parametrize("where", ["write_tensors", "atomic_write", "_sealed"])
def test_a_failure_midway_leaves_the_previous_one(tmp_path, monkeypatch, where):
    store = fill(tmp_path, 1, 2)

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, where, fail)
    with pytest.raises(DataError, match="disk is full"):
        store.write(3, {}, {"w": torch.zeros(2)})
    monkeypatch.undo()
    assert store.steps() == [1, 2] and store.read().step == 2
    assert sorted(p.name for p in store.root.iterdir()) == ["step-00000001", "step-00000002"]


def test_what_a_killed_writer_left_is_ignored_and_swept(tmp_path):
    store = fill(tmp_path, 1)
    (store.root / ".step-00000002-x.partial").mkdir()
    (store.root / ".step-00000002-x.partial" / "state.safetensors").write_bytes(b"half")
    assert store.steps() == [1] and store.read().step == 1
    fill(tmp_path, 2)
    assert sorted(p.name for p in store.root.iterdir()) == ["step-00000001", "step-00000002"]


def alter(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["weights", "cut", "json", "values", "missing"])
def test_altered_checkpoints_are_refused_in_one_sentence(tmp_path, damage):
    store = fill(tmp_path, 1)
    weights, notes = store.place(1) / "state.safetensors", store.place(1) / "state.json"
    if damage == "weights":
        alter(weights)
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:20])
    elif damage == "json":
        notes.write_text("{")
    elif damage == "values":
        document = json.loads(notes.read_text())
        document["values"]["note"] = 7
        notes.write_text(json.dumps(document))
    else:
        weights.unlink()
    with pytest.raises(ModelError) as caught:
        store.read()
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_stored_averages_are_checked(tmp_path):
    store = Checkpoints(tmp_path)
    entry = store.write_average(5, 0.05, {"w": torch.ones(2)})
    assert store.read_average(entry)["w"].tolist() == [1.0, 1.0]
    assert store.read_average({**entry, "file": "../averages/" + entry["file"]})["w"].tolist() == [1.0, 1.0]
    alter(store.averages / entry["file"])
    with pytest.raises(ModelError, match="hash"):
        store.read_average(entry)


def test_tied_tensors_are_written(tmp_path):
    tied = torch.ones(4)
    checkpoint.write_tensors(tmp_path / "a.safetensors", {"a": tied, "b": tied, "c": tied.view(2, 2)})
    assert sorted(checkpoint.read_tensors(tmp_path / "a.safetensors")) == ["a", "b", "c"]
