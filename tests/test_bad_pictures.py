"""What bad input gets, on pictures: the list of the promise, each through the command line."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import suffuse
from suffuse.cli import main
from suffuse.modalities import find


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with labelled pictures and an untrained model of them."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for k in range(8):
        place = folder / "data" / "ab"[k % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16), dtype=np.uint8)).save(place / f"{k}.png")
    modality, _ = find("images").read(folder / "data")
    suffuse.Model.new(modality).save(folder / "model")
    return folder


@pytest.fixture
def bad(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.symlink(made / "data", tmp_path / "data")
    os.symlink(made / "model", tmp_path / "model")

    def run(*words, code=2):
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        assert main(list(words)) == code, capsys.readouterr().err
        out, err = capsys.readouterr()
        lines = [line for line in err.splitlines() if not line.startswith("suffuse: note:")]
        assert len(lines) == (code != 0) and "Traceback" not in out + err
        if code:
            assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, with almost nothing behind it."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_an_empty_folder(bad, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in bad("train", "empty", "-o", "m", "--steps", "1")


def test_a_truncated_picture_is_skipped_only_when_told(bad, made, tmp_path):
    good = next((made / "data" / "a").glob("*.png"))
    (tmp_path / "some").mkdir()
    for k in range(4):
        (tmp_path / "some" / f"{k}.png").write_bytes(good.read_bytes())
    (tmp_path / "some" / "cut.png").write_bytes(good.read_bytes()[:60])
    assert "cut.png" in bad("train", "some", "-o", "m", "--steps", "1")
    assert "cut.png" in bad("train", "some", "-o", "m", "--steps", "1", "--batch", "2", "--skip-bad", code=0)
    assert (tmp_path / "m" / "model.safetensors").is_file()


def test_a_huge_picture_is_refused_before_memory_is_taken(bad, tmp_path):
    (tmp_path / "huge.png").write_bytes(png(100_000, 100_000))
    before = _peak()
    assert "huge.png" in bad("edit", "model", "huge.png", "-o", "x.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "huge.png").write_bytes(png(100_000, 100_000))
    assert "huge.png" in bad("train", "folder", "-o", "m", "--steps", "1")
    assert _peak() - before < 400 << 20


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(bad, tmp_path, value):
    pixels = np.zeros((4, 16, 16), np.float32)
    pixels[2, 3, 4] = value
    np.save(tmp_path / "x.npy", pixels)
    assert "x.npy" in bad("train", "x.npy", "-o", "m", "--steps", "1")


@pytest.mark.parametrize("words, said", [
    (["edit", "model", "data/a/0.png", "--mask", "mask.png", "-o", "x.png"], "mask"),
    (["sample", "model", "--given", "label=c", "-o", "x.png"], "'c'"),
    (["sample", "model", "--given", "label=17", "-o", "x.png"], "17"),
    (["sample", "model", "--given", "caption=a cat", "-o", "x.png"], "caption"),
    (["sample", "model", "--steps", "0", "-o", "x.png"], "at least 1"),
    (["sample", "model", "--steps", "-1", "-o", "x.png"], "at least 1"),
    (["edit", "model", "data/a/0.png", "--strength", "1.01", "-o", "x.png"], "between 0 and 1"),
    (["edit", "model", "data/a/0.png", "--strength", "-0.1", "-o", "x.png"], "between 0 and 1"),
    (["edit", "model", "data/a/gone.png", "-o", "x.png"], "gone.png"),
    (["sample", "model", "--given", "data/a/0.png", "--given", "label=a", "--length", "3", "-o", "x.png"], "length"),
    (["sample", "digit", "-o", "x.png"], "there is no model 'digit'"),
    (["sample", "data", "-o", "x.png"], "no config.json"),
    (["evaluate", "model", "mask.png"], "at least"),
])
def test_wrong_asks(bad, tmp_path, words, said):
    Image.new("L", (5, 7), 255).save(tmp_path / "mask.png")
    assert said in bad(*words)


def test_no_permission_and_a_full_disk(bad, monkeypatch):
    import errno

    for number, said in ((errno.EACCES, "no permission"), (errno.ENOSPC, "the disk is full")):
        def fail(*args, number=number, **options):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fail)
            assert said in bad("sample", "model", "--steps", "1", "-o", "x.png")
            assert said in bad("sample", "model", "-n", "2", "--steps", "1", "-o", "folder")


def test_ctrl_c_saves_and_says_how_to_go_on(made, tmp_path):
    import signal
    import time

    words = ["train", str(made / "data"), "-o", "m", "--minutes", "5", "--batch", "2", "--threads", "1",
             "--checkpoint-every", "0.5"]
    run = subprocess.Popen([sys.executable, "-m", "suffuse", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        time.sleep(0.1)
        if list(tmp_path.glob("m/training/checkpoints/step-*")) or run.poll() is not None:
            break
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 130, err
    last = err.strip().splitlines()[-1]
    assert last.startswith("suffuse: stopped") and last.endswith("--resume") and "Traceback" not in err
    assert list(Path(tmp_path / "m" / "training" / "checkpoints").glob("step-*"))
