"""Few calls after distillation: Frechet distance of the student at 1, 2, 4, 8 calls against its teacher at 1 to 50.

    python benchmarks/distil.py fashion --data ../shared/data --minutes 10     # resumes; writes distil.md and distil.json

Pictures are made by class (labels of the test set) with the model's own guidance, which the student has folded in; the
same noise for all. Real against real beside; the reference is the teacher at 50 calls with its own settings, and
`teacher_ode` is the same without added noise, which is what the student learns.
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
    reference = found["teacher 50"]["frechet"]
    lines = [
        f"# Distillation: `{name}`, {found['seconds'] / 60:.1f} CPU minutes ({found['steps']} steps)", "",
        f"{given.samples} pictures by class; real against real {found['floor']:.2f}; teacher trained "
        f"{found['trained'] / 60:.1f} CPU minutes, guidance {found['guidance']:g}.", "",
        "| model | calls | Frechet | ratio to the teacher at 50 | CPU ms a picture |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    for key, row in found.items():
        if isinstance(row, dict):
            model, calls = key.split()
            lines.append(
                f"| {model} | {calls} | {row['frechet']:.2f} | {row['frechet'] / reference:.2f} | {row['ms']:.1f} |"
            )
    command = f"python benchmarks/distil.py {name} --minutes {given.minutes:g} --samples {given.samples}"
    return "\n".join([*lines, "", f"Made by `{command}`.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(FOLDERS))
    parser.add_argument("--weights", type=Path, help="the model's folder (default: the one that ships)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/distil"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--tasks", nargs="*", help="learn these training tasks only")
    parser.add_argument("--set", nargs="*", default=[], help="further settings of distillation, as name=number")
    parser.add_argument("-o", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    model = suffuse.load(given.weights or given.model)
    source = given.data / FOLDERS[given.model]
    extra = {k: json.loads(v) for k, v in (pair.split("=") for pair in given.set)}
    tasks = {t: model.modality.tasks.get(t, 1.0) for t in given.tasks} if given.tasks else None
    student = model.distill(
        source, given.minutes, tasks=tasks, output=given.work / given.model, resume=True, tell=print, **extra
    )
    measured = Measured(model, source, given.samples)
    file = given.o / f"distil_{given.model}.json"
    found: dict[str, Any] = {
        "floor": measured.floor,
        "steps": student.notes["distilled"]["steps"],
        "seconds": student.notes["distilled"]["seconds"],
        "guidance": student.notes["distilled"]["guidance"],
        "trained": model.notes.get("seconds", float("nan")),
    }
    for calls, eta in ((50, None), (50, 0.0), (10, None), (2, None), (2, 0.0), (1, None)):
        kind = "teacher" if eta is None else "teacher_ode"
        found[f"{kind} {calls}"] = measured(model, steps=calls, guidance=found["guidance"], stochasticity=eta)
        print(kind, calls, found[f"{kind} {calls}"], flush=True)
    for calls in (8, 4, 2, 1):
        found[f"student {calls}"] = measured(student, steps=calls)
        print("student", calls, found[f"student {calls}"], flush=True)
    write_json(found, file)
    write_text(table(given.model, found, given), given.o / f"distil_{given.model}.md")


if __name__ == "__main__":
    main()
