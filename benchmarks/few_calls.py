"""Every room at its default calls, at 8 tuned and at 2 distilled.

    python benchmarks/few_calls.py xray solids sprites moving-digits hippocampus --data ../shared/data --minutes 2
    python benchmarks/few_calls.py spoken-digits air shakespeare tang qm9 tissue --data ../shared/data --work runs --minutes 2

The models are those that ship, the held-out data those of their cards; the figures are those of `suffuse evaluate` (of the
samples, not of the likelihood), beside real against real, or the simple method that a room has. Distillation takes --minutes
CPU minutes of one thread on the training data. Rooms of categories have no tuned column: `tune` refuses them
(docs/sampling.md). Sound, text and molecules need the data that audio.py prepare, text_data.py and qm9.py leave in --work.
Pictures have their own tables (sampling.py, distil.py). Each figure is kept in --work as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import graphs as graph_sets
import pandas as pd
import torch
import zoo_grids
import zoo_text
from series_data import TEST_MONTHS, beijing
from tables import table

import suffuse
from suffuse.errors import AskError
from suffuse.files import write_json

WAYS = ("default", "8 tuned", "2 distilled")
LIKELIHOODS = ("bits_per_token", "classification")
"""Figures that no sampler changes."""


@dataclass
class Room:
    """Where a model's training data and held-out data are, and how much of them is evaluated."""

    train: Callable[[], Any]
    test: Callable[[Any], Any]
    read: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def room(name: str, data: Path, work: Path) -> Room:
    if name in zoo_grids.MODELS:
        told = zoo_grids.MODELS[name]
        read = {k: v for k, v in told["read"].items() if k not in ("classes", "frames", "size")}  # which the model knows
        if name == "solids":
            read["first"] = 0  # the shapes it was trained on
        source = told["source"] if told["source"] == "solids" else data / told["source"]
        return Room(lambda: source, lambda model: zoo_grids.held_out(name, model, data), read)
    if name in zoo_text.MODELS:
        folder, told = work / "data", zoo_text.MODELS[name]
        return Room(
            lambda: folder / told["train"],
            lambda model: model.modality.dataset(folder / told["test"]),
            options={"samples": 256, "draws": 1},
        )
    if name == "spoken-digits":
        folder = work / "audio/fsdd"
        return Room(
            lambda: folder / "train", lambda model: model.modality.dataset(folder / "test"), options={"clips": 100}
        )
    if name == "air":
        frame = beijing(data)
        unseen = frame.ds.dt.month.isin(TEST_MONTHS)
        return Room(lambda: frame[~unseen], lambda model: model.modality.dataset(frame[unseen]), options={"n": 20})
    if name == "qm9":
        held = work / "qm9/held.csv"
        return Room(lambda: work / "qm9/train.csv", lambda model: model.modality.dataset(pd.read_csv(held)))
    sets = graph_sets.load(data, "tissue")
    return Room(lambda: sets["train"], lambda model: model.modality.dataset(sets["test"]))


NAMES = [name for name in zoo_grids.MODELS if name != "solid-views"]
NAMES += [*zoo_text.MODELS, "spoken-digits", "air", "qm9", "tissue"]


def measure(name: str, way: str, given: argparse.Namespace) -> dict[str, float]:
    """One model sampled in one way; nothing where the model refuses it."""
    place, model = room(name, given.data, given.work), suffuse.load(name)
    if way == "8 tuned":
        try:
            model.tune(8, n=32)
        except AskError as refusal:
            print(name, refusal)
            return {}
    if way == "2 distilled":
        folder = given.work / "few_calls" / name
        model = model.distill(
            place.train(), given.minutes, read=place.read, output=folder, resume=True, tell=print, progress=False
        )
    found = model.evaluate(place.test(model), **place.options)
    return {k: v for k, v in found.items() if k not in LIKELIHOODS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=2.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = args.work / "few_calls/figures.json"
    for name in args.names:
        for way in WAYS:
            found = json.loads(file.read_text()) if file.is_file() else {}
            if way not in found.setdefault(name, {}):
                figures = measure(name, way, args)
                found = json.loads(file.read_text()) if file.is_file() else {}
                found.setdefault(name, {})[way] = figures
                write_json(found, file)
                print(name, way, figures, flush=True)
    found = json.loads(file.read_text())
    rows = [
        [name, suffuse.load(name).settings["steps"], key, *(ways.get(way, {}).get(key, "") for way in WAYS)]
        + [ways["default"][beside]]
        for name, ways in found.items()
        for key in ways["default"]
        for beside in (f"{key}_real", f"{key}_simple")
        if beside in ways["default"]
    ]
    table(
        "few_calls",
        "Default calls, 8 tuned, 2 distilled",
        ["model", "default calls", "figure", *WAYS, "real, or a simple method"],
        rows,
        f"Distillation: {args.minutes:g} CPU minutes each. No figure under 8 tuned: the room is of "
        "categories, where tuning is refused.",
    )


if __name__ == "__main__":
    main()
