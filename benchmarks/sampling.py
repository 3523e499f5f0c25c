"""Quality against network calls on the shipped picture models: solvers, time grids, tuning.

    python benchmarks/sampling.py fashion digits --data ../shared/data --out benchmarks/results

Frechet distances are in the shipped judge's 64 features: class-conditional with the data's labels, no guidance (but in the
rows "default", which are as the model samples by itself), --samples pictures against as many real ones; the ratio is to the
same model's 50 calls of DPM-Solver++ 2M. Each row is kept in a JSON file as soon as it is measured, so that a stopped run
goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

import suffuse
from suffuse.metrics.frechet import frechet
from suffuse.modalities.images.quality import feature_function, generate

SOURCES = {"fashion": "images/fashion-mnist", "digits": "images/mnist"}
SOLVERS = ("ddim", "dpmpp2m", "deis2", "unipc2", "ipndm4", "exact3")
GRIDS = ("uniform", "rho3", "karras", "log_snr")


class Table:
    """Measured rows, on disk after each."""

    def __init__(self, path: Path):
        self.path = path
        self.rows = json.loads(path.read_text()) if path.is_file() else {}

    def measure(self, name: str, call) -> dict:
        if name not in self.rows:
            begin = time.perf_counter()
            self.rows[name] = {**call(), "seconds": round(time.perf_counter() - begin, 1)}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.rows, indent=1))
            print(name, self.rows[name], flush=True)
        return self.rows[name]


def measure(name: str, data_folder: Path, out: Path, samples: int, work: Path) -> None:
    model = suffuse.load(name)
    model.settings.pop("tuned", None)
    data = model.modality.dataset(data_folder / SOURCES[name], split="test")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    rows, others = order[:samples], order[samples : 2 * samples]
    features, _ = feature_function(model.modality, data)
    real, real_b = features(data.pixels[rows]), features(data.pixels[others])
    table = Table(work / f"sampling-{name}.json")

    def distance(guidance: float = 1.0, **settings) -> dict:
        made = generate(model.modality, model, data, rows, True, 0, 250, guidance=guidance, **settings)
        return {"frechet": frechet(features(made), real)}

    def on(calls: int, grid: str, solver: str) -> dict:
        return distance(path=model.modality.path(calls, grid), solver=solver)

    def by_itself(calls: int) -> dict:
        kept = {k: model.settings[k] for k in ("grid", "solver", "stochasticity", "guidance", "interval")}
        return {**distance(kept["guidance"], steps=calls), "settings": ", ".join(f"{k} {v}" for k, v in kept.items())}

    floor = frechet(real_b, real)
    table.measure("reference", lambda: on(50, "rho3", "dpmpp2m"))

    def converged() -> dict:
        task = model.modality.request(256, None, index=torch.arange(256))
        a, b = (
            model.run(task, path=model.modality.path(k, "rho3"), solver="dpmpp2m", batch=256)["image"]
            for k in (50, 100)
        )
        return {"rmse": float((a - b).square().mean().sqrt()), "deviation": float(b.std())}

    table.measure("converged", converged)
    for calls in (10, 5):
        for grid in GRIDS if calls == 10 else ("uniform", "rho3"):
            for solver in SOLVERS if grid in ("rho3", "uniform") else ("dpmpp2m",):
                table.measure(f"{calls} {grid} {solver}", lambda c=calls, g=grid, s=solver: on(c, g, s))
    for calls in (10, 5):

        def tuned(calls: int = calls) -> dict:
            begin = time.perf_counter()
            model.tune(calls, n=96, tell=lambda line: print("   ", line, flush=True))
            spent = time.perf_counter() - begin
            best = model.settings["tuned"][str(calls)]
            return {
                **distance(steps=calls),
                "tuning_seconds": round(spent, 1),
                "kept": f"{best['solver']} on {best['grid_name']}",
            }

        table.measure(f"{calls} tuned", tuned)
    for calls in (1, 2, 4, 8, 16):
        table.measure(f"default {calls}", lambda c=calls: by_itself(c))
    write(name, table.rows, floor, samples, out)


def write(name: str, rows: dict, floor: float, samples: int, out: Path) -> None:
    reference = rows["reference"]["frechet"]
    lines = [
        f"# Quality against network calls: `{name}`",
        "",
        "Made by `python benchmarks/sampling.py " + name + "`.",
        f"{samples} class-conditional samples, no guidance but in the rows `default`, which are as the model samples by itself "
        f"({rows['default 8'].get('settings', '')}). Real against real: {floor:.3f}. Reference (50 calls): "
        f"{reference:.3f}; "
        f"50 against 100 calls differ by {rows['converged']['rmse']:.4f} (data deviation {rows['converged']['deviation']:.2f}).",
        "",
        "| calls | grid | solver | Frechet | ratio to 50 calls | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key, row in rows.items():
        if "frechet" not in row or key == "reference":
            continue
        calls, *rest = key.split()
        grid, solver = rest if len(rest) == 2 else (rest[0], row.get("kept", ""))
        if calls == "default":
            calls, grid, solver = rest[0], "default", "default"
        lines.append(
            f"| {calls} | {grid} | {solver} | {row['frechet']:.3f} | {row['frechet'] / reference:.2f} | {row['seconds']} |"
        )
    for calls in ("10", "5"):
        spent = rows.get(f"{calls} tuned", {}).get("tuning_seconds")
        if spent is not None:
            lines.append(f"\nTuning for {calls} calls took {spent} s.")
    out.mkdir(parents=True, exist_ok=True)
    (out / f"sampling-{name}.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(SOURCES))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, default=Path("runs/sampling"))
    parser.add_argument("--samples", type=int, default=2000)
    arguments = parser.parse_args()
    for name in arguments.names:
        measure(name, arguments.data, arguments.out, arguments.samples, arguments.work)


if __name__ == "__main__":
    main()
