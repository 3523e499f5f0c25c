"""Few calls after distillation: Frechet distance of the student at 1, 2, 4, 8 calls against its teacher at 1 to 50.

    python benchmarks/distil.py fashion --data ../shared/data --minutes 1 2.5 5 9.5     # resumes; writes distil_fashion.md

Pictures are made by class (labels of the test set) with the model's own guidance, which the student has folded in; the
same noise for all. Real against real beside; the reference is the teacher at 50 calls with its own settings.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

import suffuse
from suffuse.files import write_json, write_text
from suffuse.metrics.frechet import frechet
from suffuse.modalities.images import quality

FOLDERS = {"fashion": "images/fashion-mnist", "digits": "images/mnist"}


class Measured:
    """Frechet distances in the judge's features to the same real pictures, from the same labels and noise."""

    def __init__(self, model: Any, source: Path, samples: int):
        self.data = model.modality.dataset(source)
        order = torch.randperm(len(self.data), generator=torch.Generator().manual_seed(0))
        self.rows = order[:samples]
        self.features, self.name = quality.feature_function(model.modality, self.data)
        self.real = self.features(self.data.pixels[order[-5000:]])
        self.floor = frechet(self.features(self.data.pixels[self.rows]), self.real)

    def __call__(self, model: Any, **settings: Any) -> dict[str, float]:
        begun = time.process_time()
        made = quality.generate(model.modality, model, self.data, self.rows, labels=True, **settings)
        seconds = (time.process_time() - begun) / len(self.rows)
        return {"frechet": frechet(self.features(made), self.real), "ms": 1000 * seconds}


def table(name: str, found: dict[str, Any], given: argparse.Namespace) -> str:
    reference = found["teacher 50"]
    lines = [
        f"# Distillation: `{name}`", "",
        f"{given.samples} pictures by class; real against real {found['floor']:.2f}; teacher trained "
        f"{found['trained'] / 60:.1f} CPU minutes, guidance {found['guidance']:g}. Quality against minutes: "
        f"[picture](distil_{name}.png).", "",
        "| model | CPU minutes of distillation | calls | Frechet | ratio to the teacher at 50 | CPU ms a picture |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for key, row in found.items():
        if isinstance(row, dict):
            model, minutes, calls = key.split()
            lines.append(
                f"| {model} | {minutes} | {calls} | {row['frechet']:.2f} | {row['frechet'] / reference:.2f} | {row['ms']:.1f} |"
            )
    minutes = " ".join(f"{m:g}" for m in given.minutes)
    command = f"python benchmarks/distil.py {name} --minutes {minutes} --samples {given.samples}"
    return "\n".join([*lines, "", f"Made by `{command}`. One run each, as the learning rate falls over it.", ""])


def draw(name: str, found: dict[str, Any], path: Path) -> None:
    """Frechet ratio to the teacher's 50 calls against minutes of distillation, one line a number of calls."""
    from matplotlib.figure import Figure

    reference = found["teacher 50"]
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    for calls in (1, 2, 4):
        points = [(float(k.split()[1]), v["frechet"] / reference) for k, v in found.items()
                  if k.startswith("student") and k.endswith(f" {calls}")]  # fmt: skip
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=f"{calls} call{'s' * (calls > 1)}")
    axes.axhline(1, color="grey", linewidth=0.8, label="teacher, 50 calls")
    axes.set(xlabel="CPU minutes of distillation", ylabel="Frechet ratio", xscale="log", yscale="log", title=name)
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(FOLDERS))
    parser.add_argument("--weights", type=Path, help="the model's folder (default: the one that ships)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/distil"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 2.5, 5.0, 9.5])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--tasks", nargs="*", help="learn these training tasks only")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of distillation, as name=number")
    parser.add_argument("-o", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    model = suffuse.load(given.weights or given.model)
    source = given.data / FOLDERS[given.model]
    extra = {k: json.loads(v) for k, v in (pair.split("=") for pair in given.set)}
    tasks = {t: model.modality.tasks.get(t, 1.0) for t in given.tasks} if given.tasks else None
    measured = Measured(model, source, given.samples)
    weight = model.settings["guidance"]
    file = given.work / f"{given.model}_{given.samples}.json"
    found = json.loads(file.read_text()) if file.is_file() else {
        "floor": measured.floor, "guidance": weight, "trained": model.notes.get("seconds", float("nan"))
    }  # fmt: skip

    def measure(key: str, which: Any, **settings: Any) -> None:
        if key not in found:
            found[key] = measured(which, **settings)
            write_json(found, file)
            print(key, found[key], flush=True)

    for calls in (50, 10, 2, 1):
        measure(f"teacher - {calls}", model, steps=calls, guidance=weight)
    found["teacher 50"] = found["teacher - 50"]["frechet"]
    for minutes in given.minutes:
        folder = given.work / f"{given.model}_{minutes:g}"
        student = model.distill(source, minutes, tasks=tasks, output=folder, resume=True, tell=print, **extra)
        for calls in (8, 4, 2, 1):
            measure(f"student {minutes:g} {calls}", student, steps=calls)
    write_text(table(given.model, found, given), given.o / f"distil_{given.model}.md")
    draw(given.model, found, given.o / f"distil_{given.model}.png")


if __name__ == "__main__":
    main()
