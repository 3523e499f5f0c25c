"""How long a person waits before anything happens: import, help, lists, loading a model.

    python benchmarks/startup.py [--runs 7] [--out benchmarks/results/startup.md]

Each line is a fresh process; the median and the slowest of the runs are shown. There is nothing to be compared with but the
bare interpreter and `import torch`, which stand beside.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

CASES = {
    "python -c pass": ["-c", "pass"],
    "import suffuse": ["-c", "import suffuse"],
    "suffuse --help": ["-m", "suffuse", "--help"],
    "suffuse sample -h": ["-m", "suffuse", "sample", "-h"],
    "a wrong option": ["-m", "suffuse", "sample", "digits", "--steps", "0"],
    "import torch": ["-c", "import torch"],
    "suffuse.load, then one sample": ["-c", "import suffuse; suffuse.load('digits').sample(1, steps=8)"],
}


def seconds(words: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *words], capture_output=True, check=False)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/startup.md"))
    a = parser.parse_args()
    lines = ["# Startup", "", f"`python benchmarks/startup.py --runs {a.runs}`, fresh processes, files in the disk cache", ""]
    lines += ["| what | median s | slowest s |", "| --- | --- | --- |"]
    for name, words in CASES.items():
        seconds(words)
        times = [seconds(words) for _ in range(a.runs)]
        lines.append(f"| {name} | {statistics.median(times):.2f} | {max(times):.2f} |")
        print(lines[-1], flush=True)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
