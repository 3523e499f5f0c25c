"""Malformed files by the hundred: each is refused in one sentence or read for what it is; never a traceback, never a trace."""

import os
from pathlib import Path

import numpy as np
import pytest

from suffuse.cli import main
from suffuse.modalities import available
from tests import seeds

ROUNDS = int(os.environ.get("SUFFUSE_FUZZ_ROUNDS", "2"))
SEED = int(os.environ.get("SUFFUSE_FUZZ_SEED", "0"))
KINDS = [name for name in seeds.MAKERS if name in available()]


def tree(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_size if p.is_file() else -1 for p in folder.rglob("*")}


def told(capsys) -> list[str]:
    """The lines on stderr that are complaints, checked to be ours."""
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return [line for line in err.splitlines() if line.startswith("suffuse: ") and not line.startswith("suffuse: note:")]


@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_files(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").mkdir()
    random = np.random.default_rng([SEED, len(kind)])
    tried = refused = 0
    for good in seeds.MAKERS[kind](tmp_path / "good"):
        place = tmp_path / "bad"
        for round_ in range(ROUNDS):
            for way in range(6):
                place.mkdir(exist_ok=True)
                bad = place / good.name
                bad.write_bytes(seeds.spoil(good.read_bytes(), way, random))
                before = tree(tmp_path)
                code = main(["info", str(bad), "--modality", kind])
                lines = told(capsys)
                assert code in (0, 2), f"{good.name} spoilt in way {way}, round {round_}: {lines}"
                assert len(lines) == (1 if code == 2 else 0), lines
                assert tree(tmp_path) == before
                tried, refused = tried + 1, refused + (code == 2)
                bad.unlink()
    assert tried >= 12 and refused >= tried // 4


@pytest.mark.parametrize("kind", KINDS)
def test_good_files_are_recognised(kind, tmp_path, capsys):
    """The seeds are good, and each is taken for what it is where its name says so."""
    for good in seeds.MAKERS[kind](tmp_path):
        assert main(["info", str(good), "--modality", kind]) == 0, (good.name, capsys.readouterr().err)
        capsys.readouterr()


@pytest.mark.parametrize("kind", KINDS)
def test_things_that_are_no_data(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.xyz").write_text("nothing of interest")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("empty", "folder.png", "other", "loop", "gone", "/dev/null", "a\nb", "é" * 300):
        before = tree(tmp_path)
        code = main(["train", name, "-o", "model", "--steps", "1", "--modality", kind])
        lines = told(capsys)
        assert code == 2 and len(lines) == 1, (name, lines)
        assert tree(tmp_path) == before, name
