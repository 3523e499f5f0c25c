"""Trains and packs the graph and molecule models that ship: `qm9`, `qm9-3d`, `tissue`.

    python benchmarks/qm9.py --data DIR -o runs/qm9 --sdf 40000                    # once, for qm9 and qm9-3d
    python benchmarks/zoo_graphs.py train qm9 --data DIR --work runs --minutes 10   # resumes when repeated
    python benchmarks/zoo_graphs.py pack qm9 --data DIR --work runs                # card, samples, 16-bit weights

`train` is `suffuse.train` with the settings below; `pack` writes src/suffuse/zoo/NAME.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import graphs as graph_sets
import pandas as pd
from tables import training_time

import suffuse
from suffuse.storage import ZOO

QM9 = "QM9 (Ramakrishnan, Dral, Rupp & von Lilienfeld 2014, doi 10.1038/sdata.2014.22), from the files of qm9pack 1.0.3"
QM9_LICENCE = "public data, cite the paper; the package's files are MIT"
MODELS: dict[str, dict[str, Any]] = {
    "qm9": {
        "modality": "molecules",
        "read": {"properties": "dipole,gap,logp", "width": 128, "edge_width": 48, "layers": 5, "fine": 1},
        "tasks": {"generate": 0.6, "by_property": 0.2, "complete": 0.1, "predict": 0.1},
        "settings": {"grid": "midway", "stochasticity": 0.2},
        "batch": 512,
        "data": f"{QM9}; 100,000 molecules, dipole in Debye, gap in Hartree, logP by RDKit",
        "licence": QM9_LICENCE,
    },
    "qm9-3d": {
        "modality": "molecules",
        "read": {"coordinates": True, "width": 96, "edge_width": 40, "layers": 5, "sets": 16},
        "tasks": {"place": 0.4, "generate": 0.6},
        "batch": 128,
        "data": f"{QM9}; 37,884 molecules with hydrogens and coordinates in Angstrom",
        "licence": QM9_LICENCE,
    },
    "tissue": {
        "modality": "graphs",
        "read": graph_sets.SETS["tissue"]["read"],
        "batch": 32,
        "data": "cell graphs with low and high TLS content of ConStruct (Madeira et al. 2024), 256 for training",
        "licence": "MIT, https://github.com/manuelmlmadeira/ConStruct",
    },
}
RECIPE = {
    "optimiser": "muon",
    "learning_rate": 3e-3,
    "decay": 0.9,
    "compile": False,
    "preview_every": 0,
    "average": 0.04,
}


def source(name: str, asked: argparse.Namespace) -> Any:
    """The training data of a model."""
    if name == "tissue":
        return graph_sets.load(asked.data, "tissue")["train"]
    return asked.work / "qm9" / ("train.sdf" if name == "qm9-3d" else "train.csv")


def widened(folder: Path) -> suffuse.Model:
    """An earlier model with what newer ones have besides: a loss weighted as the likelihood bound is, and fourth roots of
    levels shown, whose weights start at zero, so that it answers as before."""
    old = suffuse.load(folder)
    config = old.modality.config | {"emphasis": 0.5}
    config["network"] = config["network"] | {"fine": 1}
    model = suffuse.Model.new(type(old.modality)(**config))
    model.denoiser.network.load_state_dict(
        old.denoiser.network.state_dict(), strict="fine" in old.modality.config["network"]
    )
    model.settings, model.notes = old.settings, old.notes
    return model


def train(name: str, asked: argparse.Namespace) -> None:
    about = MODELS[name]
    model = suffuse.train(
        source(name, asked),
        about["modality"],
        minutes=asked.minutes,
        output=asked.work / "zoo" / name,
        resume=True,
        tasks=about.get("tasks"),
        read=None if asked.go_on else about["read"],
        tell=lambda line: print(line, flush=True),
        device=asked.device,
        start_from=widened(asked.go_on) if asked.go_on else None,
        **(
            RECIPE | {"learning_rate": asked.rate, "precision": asked.precision, "batch": asked.batch or about["batch"]}
        ),
    )
    if asked.go_on:
        staged(model, suffuse.load(asked.go_on)).save(asked.work / "zoo" / name)


def staged(model: suffuse.Model, earlier: suffuse.Model) -> suffuse.Model:
    """The model with notes of both of its trainings, where it went on from an earlier one."""

    def stage(notes: dict[str, Any]) -> str:
        return f"{training_time(notes)} ({notes['steps']} steps of {notes['recipe']['batch']})"

    for key in ("accelerator", "sharing", "minutes", "stages"):
        model.notes.pop(key, None)
    model.notes["stages"] = [*(earlier.notes.get("stages") or [stage(earlier.notes)]), stage(model.notes)]
    return model


def pack(name: str, asked: argparse.Namespace) -> None:
    """Copy the model with 16-bit weights, its card, its recipe and a few real samples that it has not seen."""
    model = suffuse.load(asked.model or asked.work / "zoo" / name)
    about, folder = MODELS[name], ZOO / name
    model.settings |= model.modality.defaults()["sampling"] | about.get("settings", {})
    if set(model.notes["recipe"].get("tasks") or ()) == {"place"}:
        model.modality.config["only"] = "place"
    model.notes |= {"data": about["data"], "licence": about["licence"]}
    model.save(folder, half=True)
    recipe = model.notes["recipe"] | {"modality": about["modality"], "read": about["read"]}
    if "stages" in model.notes:
        recipe["stages"] = model.notes["stages"]  # what was done by hand; the command does the like in one go
    recipe["command"] = f"python benchmarks/zoo_graphs.py train {name} --minutes {recipe['minutes']:g}"
    if "stages" in model.notes:
        recipe["command"] += f" --go-on FIRST --rate {recipe['learning_rate']:g} --batch {recipe['batch']}"
        recipe["command"] += f" --precision {recipe['precision']}"
    recipe["command"] += " --device cuda" if "accelerator" in model.notes else ""
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
    samples = folder / "samples"
    samples.mkdir(exist_ok=True)
    if name == "tissue":
        found = [g for kind in (0, 40) for g in graph_sets.tissue(asked.data, "test")[kind : kind + 16]]
        with gzip.GzipFile(samples / "test.json.gz", "wb", mtime=0) as file:
            file.write(json.dumps(found, separators=(",", ":")).encode())
        words = "32 graphs of the test split of ConStruct's TLS data, MIT, https://github.com/manuelmlmadeira/ConStruct"
    else:
        held = pd.read_csv(asked.work / "qm9" / "held.csv").iloc[-256:]
        (samples / "held.smi").write_text("\n".join(held.smiles) + "\n")
        if name == "qm9":
            (samples / "held.json").write_text(json.dumps(held.iloc[:128].to_dict("records"), indent=0) + "\n")
        words = f"Molecules held out of training. {QM9} (MIT). The data itself is public: cite the paper."
    (samples / "ATTRIBUTION.txt").write_text(words + "\n")
    print(name, sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()), "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["train", "pack"])
    parser.add_argument("names", nargs="+", choices=list(MODELS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--device", help="train: cpu, cuda or mps (default: the best at hand)")
    parser.add_argument("--go-on", type=Path, help="train: start from the weights of this model's folder")
    parser.add_argument("--rate", type=float, default=RECIPE["learning_rate"], help="train: peak learning rate")
    parser.add_argument("--batch", type=int, help="train: examples a step (default: the model's own)")
    parser.add_argument("--precision", default="auto", help="train: fp32, bf16 or auto (measured)")
    parser.add_argument("--model", type=Path, help="pack this folder instead of the one that `train` wrote")
    asked = parser.parse_args()
    for name in asked.names:
        {"train": train, "pack": pack}[asked.verb](name, asked)


if __name__ == "__main__":
    main()
