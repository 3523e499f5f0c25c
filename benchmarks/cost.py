"""What sampling costs as the work doubles: samples, steps, batch, pixels; and memory as samples double.

    python benchmarks/cost.py

CPU seconds of one thread, the least of --repeats interleaved turns; the exponent is the slope of log seconds over log work
(1 is linear). Memory is the largest resident size of `suffuse sample fashion -n N -o FOLDER`, a process of its own each.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import table

import suffuse
from suffuse.modalities.images import Images


def least(calls: dict[int, Callable[[], Any]], repeats: int) -> dict[int, float]:
    """The least CPU seconds of each callable over interleaved turns, after one to warm up."""
    times = {size: float("inf") for size in calls}
    for turn in range(repeats + 1):
        for size, call in calls.items():
            begun = time.process_time()
            call()
            if turn:
                times[size] = min(times[size], time.process_time() - begun)
    return times


def memory(count: int) -> float:
    """Largest resident size, in MiB, of a command that samples so many pictures into a folder, one call each."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            "-m",
            "suffuse",
            "sample",
            "fashion",
            "-n",
            str(count),
            "--steps",
            "1",
            "-o",
            str(Path(folder) / "out"),
        ]
        process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status or len(list((Path(folder) / "out").glob("*.png"))) != count:
            raise RuntimeError(f"sampling {count} pictures failed")
    return used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = suffuse.load("fashion")

    def drawn(model: Any = model, n: int = 32, steps: int = 4, batch: int = 32) -> Callable[[], Any]:
        return lambda: model.sample(n, {"label": 3}, steps=steps, batch=batch, guidance=1.0)

    sizes = {}
    for size in (28, 40, 56, 80):
        config = {**model.modality.config, "size": [size, size]}
        sizes[size * size] = drawn(suffuse.Model.new(Images(**config)), n=8, batch=8)
    whole = {
        "samples (batch 32, 4 calls)": {n: drawn(n=n) for n in (32, 64, 128, 256)},
        "steps (32 samples)": {k: drawn(steps=k) for k in (4, 8, 16, 32)},
        "batch (one batch, 4 calls)": {b: drawn(n=b, batch=b) for b in (8, 16, 32, 64)},
        "pixels (8 samples, untrained networks)": sizes,
    }
    rows = []
    for name, calls in whole.items():
        found = least(calls, args.repeats)
        slope = np.polyfit(np.log(list(found)), np.log(list(found.values())), 1)[0]
        rows.append([name, ", ".join(map(str, found)), ", ".join(f"{v:.3f}" for v in found.values()), float(slope)])
        print(rows[-1], flush=True)
    used = {n: memory(n) for n in (256, 512, 1024, 2048)}
    rows.append(["memory, MiB, of N samples", ", ".join(map(str, used)), ", ".join(f"{v:.0f}" for v in used.values()),
                 float(np.polyfit(np.log(list(used)), np.log(list(used.values())), 1)[0])])  # fmt: skip
    table(
        "cost",
        "Cost against work",
        ["what is doubled", "sizes", "CPU seconds (or MiB)", "exponent"],
        rows,
        "The network of pictures attends at its coarsest level only, where attention's own exponent in pixels is 2; the row of "
        "pixels shows what that makes of the whole.",
    )


if __name__ == "__main__":
    main()
