"""Every room on grids at its default calls, at 8 tuned and at 2 distilled: the figures of `suffuse evaluate`.

    python benchmarks/few_calls.py xray solids sprites moving-digits hippocampus --data ../shared/data --minutes 2

The models are those that ship, the held-out data those of their cards. Distillation takes --minutes CPU minutes of one thread
on the training data. Pictures have their own tables (sampling.py, distil.py). Each figure is kept in --work as soon as
it is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tables import table
from zoo_grids import MODELS, held_out

import suffuse
from suffuse.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=[name for name in MODELS if name != "solid-views"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/few_calls"))
    parser.add_argument("--minutes", type=float, default=2.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    file = args.work / "figures.json"
    found: dict[str, dict[str, dict[str, float]]] = json.loads(file.read_text()) if file.is_file() else {}

    def measure(name: str, way: str, model: Callable[[], Any]) -> None:
        if way not in found.setdefault(name, {}):
            made = model()
            found[name][way] = made.evaluate(held_out(name, made, args.data))
            write_json(found, file)
            print(name, way, found[name][way], flush=True)

    for name in args.names:
        told = MODELS[name]
        source = told["source"] if told["source"] == "solids" else args.data / told["source"]

        def student(name: str = name, source: Any = source, read: dict[str, Any] = told["read"]) -> Any:
            folder = args.work / name
            options = {k: v for k, v in read.items() if k != "classes"}  # which the model knows
            return suffuse.load(name).distill(
                source, args.minutes, read=options, output=folder, resume=True, tell=print
            )

        measure(name, "default", lambda name=name: suffuse.load(name))
        measure(name, "8 tuned", lambda name=name: suffuse.load(name).tune(8, n=32))
        measure(name, "2 distilled", student)
    rows = [
        [
            name,
            key,
            *(ways[way].get(key, "") for way in ("default", "8 tuned", "2 distilled")),
            ways["default"][f"{key}_real"],
        ]
        for name, ways in found.items()
        for key in ways["default"]
        if f"{key}_real" in ways["default"]
    ]
    table(
        "few_calls",
        "Default calls, 8 tuned, 2 distilled",
        ["model", "figure", "default calls", "8 tuned", "2 distilled", "real against real"],
        rows,
        f"Default: {', '.join(sorted({str(suffuse.load(name).settings['steps']) for name in args.names}))} calls. Distillation: "
        f"{args.minutes:g} CPU minutes each.",
    )


if __name__ == "__main__":
    main()
