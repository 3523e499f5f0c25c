"""Trains the small classifiers in src/suffuse/metrics/features. About 5 CPU minutes each.

    python benchmarks/train_features.py fashion --data ../shared/data --minutes 5
"""

from __future__ import annotations

import argparse
import gzip
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from suffuse.metrics.features import HERE, FeatureNetwork, classes_of, load, save

FOLDERS = {"fashion": "images/fashion-mnist", "digits": "images/mnist"}


def idx(folder: Path, part: str) -> tuple[torch.Tensor, torch.Tensor]:
    pictures = gzip.open(folder / f"{part}-images-idx3-ubyte.gz").read()
    labels = gzip.open(folder / f"{part}-labels-idx1-ubyte.gz").read()
    x = torch.from_numpy(np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, 1, 28, 28).copy())
    return x, torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))


def shifted(x: torch.Tensor, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Random shifts by up to two pixels, one for the whole batch, and mirroring of half of it."""
    dy, dx = torch.randint(-2, 3, (2,), generator=generator).tolist()
    x = F.pad(x, (2, 2, 2, 2))[:, :, 2 + dy : 30 + dy, 2 + dx : 30 + dx]
    if flip:
        half = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(half[:, None, None, None], x.flip(-1), x)
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=FOLDERS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_flush_denormal(True)
    generator = torch.Generator().manual_seed(args.seed)
    folder = args.data / FOLDERS[args.name]
    x, y = idx(folder, "train")
    network = FeatureNetwork()
    peak, warm_up = 3e-3, 0.05
    optimiser = torch.optim.AdamW(network.parameters(), lr=peak, weight_decay=0.05)
    begin, step = time.process_time(), 0
    while (done := (time.process_time() - begin) / (60 * args.minutes)) < 1:
        rate = peak * min(done / warm_up, 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = max(rate, 1e-6)
        rows = torch.randint(len(x), (128,), generator=generator)
        pictures = shifted(x[rows].float() / 255, args.name == "fashion", generator)
        loss = F.cross_entropy(network(pictures), y[rows], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        if step % 500 == 0:
            print(f"step {step} {100 * done:.0f} % loss {loss.item():.3f}", flush=True)
    for old in HERE.glob(f"{args.name}-*.safetensors"):
        old.unlink()
    path = save(network, args.name)
    test_x, test_y = idx(folder, "t10k")
    right = (classes_of(load(args.name), test_x) == test_y).double().mean().item()
    print(f"{path.name}: {step} steps, {path.stat().st_size / 1e3:.0f} kB, test accuracy {100 * right:.2f} %")


if __name__ == "__main__":
    main()
