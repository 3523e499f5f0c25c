"""Runs trainings in forked children, so that the heavy imports are paid once. Started by test_processes.py.

python processes.py kill FOLDER      trains with kill -9 at ten random moments, and unbroken; prints JSON
python processes.py split FOLDER     trains on one process and on two gloo processes; prints JSON
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import accelerate  # noqa: F401  (as below)
import accelerate.utils  # noqa: F401
import torch
import torch.optim  # noqa: F401
from safetensors.torch import save

import suffuse.diffusion.objectives.denoising  # noqa: F401  (imported before forking)
from suffuse.training.checkpoint import Checkpoints
from suffuse.training.recipe import Recipe
from tests.training.toy import trainer

STEPS = 80


def recipe(**settings) -> Recipe:
    return Recipe(steps=STEPS, batch=12, checkpoint_every=0.0, log_every=1, snapshots=3, threads=1, **settings)


def forked(function, *arguments) -> int:
    """Run a function in a child; returns its process number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    return child


def train(folder: Path, settings: dict, environment: dict | None = None, save_to: Path | None = None) -> None:
    os.environ.update(environment or {})
    run = trainer(recipe(**settings), folder, count=50, resume=True)
    run.run()
    if save_to is not None:
        save_to.write_text(json.dumps({"loss": run.curve.column("loss"), "digest": digest(run.network)}))


def digest(network) -> str:
    return hashlib.sha256(save({k: v.contiguous() for k, v in network.state_dict().items()})).hexdigest()


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(folder: Path) -> dict:
    settings = {"optimiser": "muon"}
    assert wait(forked(train, folder / "whole", settings, None, folder / "whole.json")) == 0
    draw, places, checkpoints = random.Random(time.time_ns()), [], Checkpoints(folder / "broken")
    for _ in range(10):
        goal = (checkpoints.steps() or [0])[-1] + draw.randint(0, 6)
        child = forked(train, folder / "broken", settings)
        while (checkpoints.steps() or [0])[-1] < goal and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.03))  # anywhere in a step or in the writing of a checkpoint
        os.kill(child, signal.SIGKILL)
        assert wait(child) == -signal.SIGKILL
        places.append((checkpoints.steps() or [0])[-1])
    assert wait(forked(train, folder / "broken", settings, None, folder / "broken.json")) == 0
    whole, broken = (json.loads((folder / f"{name}.json").read_text()) for name in ("whole", "broken"))
    left = [p.name for p in (folder / "broken").rglob("*partial*")]
    same, steps = whole == broken, len(broken["loss"])
    return {"places": places, "left": left, "same": same, "steps": steps}


def split(folder: Path) -> dict:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert wait(forked(train, folder / "one", {}, None, folder / "one.json")) == 0
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    shared["GLOO_SOCKET_IFNAME"] = "lo"
    children = []
    for rank in (0, 1):
        own = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        children.append(forked(train, folder / "two", {}, own, folder / "two.json" if rank == 0 else None))
    assert [wait(child) for child in children] == [0, 0]
    one, two = (json.loads((folder / f"{name}.json").read_text())["loss"] for name in ("one", "two"))
    return {"one": one, "two": two}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"kill": kill, "split": split}[sys.argv[1]](Path(sys.argv[2]))))
