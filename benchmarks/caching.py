"""What reusing the inner blocks of a transformer costs and brings: the shipped `shakespeare`, whose network has four blocks.

    python benchmarks/text_data.py --data ../shared/data -o runs/data
    python benchmarks/caching.py --work runs

Bits a character under a Kneser-Ney 6-gram on text that neither has seen; fewer calls of the plain network beside.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from tables import table

import suffuse
from suffuse.metrics.text import KneserNey
from suffuse.modalities.text.quality import figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--samples", type=int, default=192)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = suffuse.load("shakespeare")
    judge = KneserNey([(args.work / f"data/shakespeare_{part}.txt").read_text() for part in ("valid", "test")])
    rows = []
    for steps, reuse in ((64, 1), (64, 2), (64, 3), (48, 1), (32, 1), (32, 2), (24, 1), (16, 1)):
        begin = time.process_time()
        texts = model.sample(args.samples, steps=steps, reuse=reuse, seed=1)
        spent = time.process_time() - begin
        entropy = next(iter(figures(texts).values()))
        rows.append([steps, reuse, judge.bits(texts), entropy, 1000 * spent / args.samples])
        print(rows[-1], flush=True)
    table(
        "caching",
        "Block caching: two of four blocks computed in every k-th call",
        ["calls", "k", "judge, bits a character", "entropy of words, bits", "CPU ms a text"],
        rows,
        f"{args.samples} texts of 128 characters, temperature 1, one seed.",
    )


if __name__ == "__main__":
    main()
