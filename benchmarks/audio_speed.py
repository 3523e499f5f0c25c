"""Line 10 of benchmarks/audio.py: real-time factor split into load, first and steady; growth with length; memory in chunks."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

LENGTHS = (2, 10, 60)
"""Seconds of sound."""


def probe(model: str, folder: str, calls: int, seconds: int) -> None:
    """One length in a process of its own, so that its peak of memory is its own; prints one JSON line of figures."""
    import suffuse

    loaded = suffuse.load(model)
    load = time.process_time()
    from audio_common import clips_of

    rate = loaded.modality.rate
    speech = np.concatenate(clips_of(Path(folder), rate, 40))
    wave = (np.tile(speech, -(-seconds * rate // len(speech)))[: seconds * rate], rate)
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, []
    for _ in range(6):
        begun = time.process_time()
        loaded.vocode(wave, steps=calls)
        times.append((time.process_time() - begun) / seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row = {"load, s": load, "first": times[0], "steady": min(times[1:]), "steady, median": float(np.median(times[1:]))}
    print(json.dumps(row | {"peak memory, MB": peak, "rise, MB": peak - before}))


def speed(a: argparse.Namespace) -> None:
    from audio_common import Table
    from tables import command

    note = (
        f"Vocoding on {torch.get_num_threads()} CPU thread(s), polish included: CPU seconds a second of sound, so that other "
        "programs do not count; each row in a process of its own. "
        "Load: all before the first run, the import of torch included. Steady: "
        "the fastest of five more runs, and their median. Rise: peak memory above what it was before "
        f"the first run. One seed. `{command()}`"
    )
    table = Table("Real-time factor" + a.tag, note)
    folder = str((a.work / "kathleen" / "test").resolve())
    for calls in (1, 4):
        for seconds in LENGTHS:

            def timed(calls: int = calls, seconds: int = seconds) -> dict[str, float]:
                code = f"import audio_speed; audio_speed.probe({a.model!r}, {folder!r}, {calls}, {seconds})"
                here = Path(__file__).parent
                done = subprocess.run(
                    [sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE, text=True, check=True
                )
                return json.loads(done.stdout.splitlines()[-1])

            table.row(f"{calls} call{'s' * (calls > 1)}, {seconds} s", timed)
