"""How soon suffuse reaches what its peers reach in 30 CPU minutes: Fashion-MNIST, unconditional, one thread each.

    peers/bin/python benchmarks/images_peers.py train diffusers --minutes 4 --rate 0.00125 --work runs/ttq    # three rates each
    peers/bin/python benchmarks/images_peers.py sample diffusers --minutes 4 --rate 0.00125 --calls 50 --count 200 --work runs/ttq
    ...                                                                       # the best rate of each peer for 30 minutes
    python benchmarks/time_to_quality.py --data ../shared/data --work runs/ttq    # suffuse's own runs, and the table

Peers: `images_peers.py` says how they are trained and sampled; every set of samples in --work is a row. suffuse: the recipe
of the model that ships (generate task alone, as the peers'), a run of its own for each budget, since the learning rate
falls over the run. "with labels": the same network told the labels that lie beside the pictures, which the peers'
unconditional recipes leave aside (tasks label 9 : generate 1), sampled under labels in the data's proportions at the shipped
guidance.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import torch
from images import Judge, trained
from tables import table
from zoo_images import SAMPLING

from suffuse.modalities.images.quality import generate

NAME = re.compile(r"peer_(ddp|diffusers)_([\d.]+)_0_rate([\d.e-]+)_(\d+)\.npy")
SAMPLERS = {
    1000: "native, 1,000 calls",
    250: "native, 250 calls",
    50: "DDIM, 50 calls",
    20: "DPM-Solver++ 2M, 20 calls",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/ttq"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[2.5, 5.0, 10.0])
    parser.add_argument("--with-labels", type=float, nargs="*", default=[5.0, 10.0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, sizes = [], set()
    models = {("suffuse", m): trained(args, f"own_{m:g}", m, {"generate": 1.0}) for m in args.minutes}
    for minutes in args.with_labels:
        tasks = {"generate": 0.1, "label": 0.9}
        models["suffuse, with labels", minutes] = trained(args, f"own_label_{minutes:g}", minutes, tasks)
    tests = next(iter(models.values())).modality.dataset(args.data / "images/fashion-mnist")
    judge = Judge(tests)
    for path in sorted(args.work.glob("peer_*.npy")):
        kind, minutes, rate, calls = NAME.fullmatch(path.name).groups()
        made = torch.from_numpy(np.load(path))
        if float(minutes) >= 10:
            sizes.add(len(made))
        found = judge.frechet(made, slice(0, 5000))
        rows.append([kind, float(minutes), float(rate), SAMPLERS[int(calls)], len(made), found])
    rows.sort(key=lambda row: (row[1], row[0], row[2], row[4]))
    second = torch.arange(5000, 5000 + args.samples)
    for (name, minutes), model in models.items():
        model.settings |= SAMPLING
        for calls in (10, 20):
            made = generate(model.modality, model, tests, second, "labels" in name, args.seed, steps=calls)
            for count in sorted(sizes | {args.samples}):
                if count <= len(made):
                    found = judge.frechet(made[:count], slice(0, 5000))
                    rows.append([name, minutes, "", f"{calls} calls", count, found])
    for count in sorted(sizes | {args.samples}):
        real = judge.frechet(tests.pixels[5000 : 5000 + count], slice(0, 5000))
        rows.append(["real against real", "", "", "", count, real])
    table(
        "time_to_quality",
        "Time to quality: Fashion-MNIST, CPU minutes of one thread",
        ["model", "CPU minutes", "rate", "sampling", "pictures", "Frechet"],
        rows,
        "Against 5,000 test pictures in the shipped judge's features, EMA everywhere, one seed. Few pictures raise a Frechet "
        "distance (see the real rows): compare rows of as many pictures.",
    )


if __name__ == "__main__":
    main()
