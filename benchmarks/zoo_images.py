"""Trains, measures and packs the picture models that ship: `fashion`, `digits`, `emoji`.

    python benchmarks/zoo_images.py train fashion --data ../shared/data --work runs --minutes 12     # resumes when repeated
    python benchmarks/zoo_images.py pack fashion --data ../shared/data --work runs                   # figures, card, samples

`train` is `suffuse train` with the settings below; `pack` writes src/suffuse/zoo/NAME.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import torch

import suffuse
from suffuse.storage import ZOO

FASHION = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
SMALL = {"widths": [64, 96], "patch": 2}
MODELS: dict[str, dict[str, Any]] = {
    "fashion": {
        "folder": "images/fashion-mnist",
        "read": {"classes": FASHION, "judge": "fashion", **SMALL},
        "data": "Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), 60,000 training pictures",
        "licence": "MIT, (c) 2017 Zalando SE, https://github.com/zalandoresearch/fashion-mnist",
    },
    "digits": {
        "folder": "images/mnist",
        "read": {"judge": "digits", **SMALL},
        "data": "MNIST (LeCun, Cortes & Burges 1998), 60,000 training pictures",
        "licence": "CC BY-SA 3.0, (c) Yann LeCun and Corinna Cortes",
    },
    "emoji": {
        "folder": "images/noto_emoji/noto_emoji_64.tar",
        "read": {"widths": [64, 128], "patch": 4},
        "data": "Noto Emoji at 64 pixels with Unicode names as captions; every 12th picture held out",
        "licence": "Apache-2.0, (c) Google, https://github.com/googlefonts/noto-emoji",
    },
}
RECIPE = {"batch": 64, "learning_rate": 2e-3, "precision": "bf16", "compile": False, "channels_last": False}
SAMPLING = {"steps": 10, "guidance": 2.0}


def source(name: str, data: Path, work: Path, part: str) -> Path:
    """Where the pictures are; emoji are unpacked and split into train and test folders first."""
    path = data / MODELS[name]["folder"]
    if name != "emoji":
        return path
    folder = work / "emoji_pictures"
    if not (folder / part / "metadata.csv").is_file():
        unpack(path, folder)
    return folder / part


def unpack(archive: Path, folder: Path) -> None:
    """Every 12th picture of the table goes to `test`, the rest to `train`."""
    import csv

    raw = folder / "raw"
    with tarfile.open(archive) as tar:
        tar.extractall(raw, filter="data")
    table = next(raw.rglob("metadata.csv"))
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        mine = [row for k, row in enumerate(rows) if (k % 12 == 11) == (part == "test")]
        for row in mine:
            shutil.copy(table.parent / row["file"], folder / part / Path(row["file"]).name)
        with open(folder / part / "metadata.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "caption"])
            writer.writerows([Path(row["file"]).name, row["caption"]] for row in mine)


def train(name: str, data: Path, work: Path, minutes: float, tasks: list[str] | None = None, output: str | None = None) -> None:
    """The recipe; a killed run goes on where it stopped."""
    spec = MODELS[name]
    folder = work / (output or name)
    begin = time.process_time()
    model = suffuse.train(
        source(name, data, work, "train"), "images", minutes=minutes, tasks=tasks, output=folder, resume=True, read=spec["read"], **RECIPE,
        tell=print,
    )  # fmt: skip
    print(f"{name}: {model.notes['steps']} steps, {time.process_time() - begin:.0f} CPU seconds in this process")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "pack"])
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--tasks", help="train on these tasks only, with commas between (a specialist)")
    parser.add_argument("--output", help="name of the run's folder, if it is not the model's name")
    args = parser.parse_args()
    if args.step == "train":
        tasks = args.tasks.split(",") if args.tasks else None
        train(args.name, args.data, args.work, args.minutes, tasks, args.output)
    else:
        pack(args.name, args.data, args.work)


def pack(name: str, data: Path, work: Path) -> None:
    raise SystemExit("pack: not yet")


if __name__ == "__main__":
    main()
