"""Killed runs resume to the same bits; two processes train as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run(command: str, folder: Path) -> dict:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE.parents[1])]),
    }
    done = subprocess.run(
        [sys.executable, HERE / "processes.py", command, folder],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_ten_kills_resume_to_the_same_bits(tmp_path):
    found = run("kill", tmp_path)
    assert len(found["places"]) == 10 and found["places"][-1] > found["places"][0]
    assert found["same"], "weights or loss curve differ from the unbroken run"
    assert found["steps"] == 80 and not found["left"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_give_the_loss_curve_of_one(tmp_path):
    found = run("split", tmp_path)
    assert len(found["one"]) == len(found["two"]) == 80
    assert max(abs(a - b) for a, b in zip(found["one"], found["two"])) < 1e-3
    assert max(found["one"]) - min(found["one"]) > 0.1
