"""Drug-like molecules (MOSES) as strings written from left to right: SELFIES under block diffusion, beside a CharRNN on SMILES.

    python benchmarks/molecules_blocks.py --data DIR -o runs/blocks --minutes 13

As `molecules_strings.py`, whose any-order model learns more slowly: here a text of many lines is cut into windows, blocks of
--block symbols are written one after another (Arriola et al. 2025; 1: one symbol at a time), and every symbol of a window is
learnt from in every step. A line is a mark that says how drug-like the molecule is, then its SELFIES symbols; to sample, a line
is written after a line break or, on request, after the mark. Needs `selfies` and `fcd_torch`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from molecules_strings import HEADS, STEERED, as_text, charrnn, drug_like, figures, from_text, molecules_of, options
from tables import table, training_time

import suffuse
from suffuse.metrics.molecules import canonical

MARKS = {"clear": "C", "good": "G", "other": "O"}
WINDOW = 128
"""Symbols of a window of training."""
LINE = 56
"""Symbols that are written: the longest training line, of 51, and its break fit."""


def packed(
    train: list[str],
    folder: Path,
    seed: int = 0,
    mark: Callable[[dict[str, Any]], str] = lambda row: MARKS[row["label"]],
) -> Path:
    """train.txt: one line a molecule, its mark (of its row in train.jsonl) first; kept."""
    path = folder / "train.txt"
    if not path.exists():
        rows = [json.loads(line) for line in as_text(train, folder).read_text().splitlines()]
        order = np.random.RandomState(seed).permutation(len(rows))
        path.write_text("".join(mark(rows[k]) + rows[k]["text"] + "\n" for k in order))
    return path


def trained(
    train: list[str], place: Path, asked: argparse.Namespace, packed: Callable[[list[str], Path], Path] = packed
) -> suffuse.Model:
    """The model in `place`: loaded, resumed or trained on the file of `packed`; it keeps finished blocks between calls."""
    if (place / "config.json").exists():
        model = suffuse.load(place)
    else:
        place.mkdir(parents=True, exist_ok=True)
        model = suffuse.train(
            packed(train, place),
            "text",
            minutes=asked.minutes,
            output=place,
            resume=True,
            read={"form": "packed", "block": asked.block, "length": WINDOW, "dim": asked.dim, "depth": 4, "heads": 4},
            batch=16,
            optimiser="muon",
            learning_rate=1e-2,
            decay=0.9,
            compile=False,
            precision="bf16",
            preview_every=0,
            tell=lambda line: print(line, flush=True),
        )
    model.denoiser.network.cached = True
    return model


def written(
    model: suffuse.Model, count: int, seed: int, mark: str = "", letters: int = 1, **settings: Any
) -> list[str]:
    """Lines without their marks of so many letters, each written after a line break and perhaps a mark."""
    texts = model.sample(count, prefix="\n" + mark, steps=LINE, batch=500, seed=seed, length=LINE, **settings)
    return [str(text)[1:].split("\n")[0][letters:] for text in texts]


def rival(train: list[str], asked: argparse.Namespace) -> tuple[list[str], int, float]:
    """(SMILES, parameters, CPU seconds of sampling) of a CharRNN trained as long; kept beside the model."""
    kept = asked.output / f"charrnn_{asked.minutes:g}_{asked.count}_{asked.temperature:g}.json"
    if not kept.is_file():
        begun = time.process_time()
        texts, size = charrnn(train, asked.minutes, asked.count, temperature=asked.temperature)
        kept.write_text(json.dumps([texts, size, time.process_time() - begun - 60 * asked.minutes]))
    return tuple(json.loads(kept.read_text()))


def steer(model: suffuse.Model, place: Path, train: list[str], asked: argparse.Namespace) -> None:
    """The table of molecules asked to be drug-like."""
    rows = [["training molecules (real)", *drug_like(train[: asked.asked]), ""]]
    for title, mark in (("marks as the model draws them", ""), ("mark 'clear'", MARKS["clear"])):
        begun = time.process_time()
        lines = written(model, asked.asked, 2, mark, temperature=asked.temperature)
        spent = time.process_time() - begun
        rows.append([title, *drug_like(from_text(lines, place)), spent])
        print(rows[-1], flush=True)
    ratio = rows[2][3] / rows[1][3]
    table(
        "molecules_blocks_steer",
        "Drug-like molecules on request (MOSES)",
        STEERED,
        rows,
        f"{asked.asked:,} molecules a row; the model of molecules_blocks.md. Mark 'clear' in training: QED > .85 and SA < 2.8. "
        f"Asked for, the share is {ratio:.2f} times that without asking; {100 / rows[1][3]:.2f} times would be all. "
        f"Temperature {asked.temperature:g} in both rows. One seed.",
    )


def main() -> None:
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    parser = options(__doc__, "runs/blocks", 13)
    parser.add_argument("--block", type=int, default=1, help="symbols of a block")
    parser.add_argument("--dim", type=int, default=128, help="width of the network")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument(
        "--validate", type=float, nargs="*", help="compare temperatures on left-out molecules; no table"
    )
    parser.add_argument("--alone", action="store_true", help="without the CharRNN")
    asked = parser.parse_args()
    place, (train, left, real) = asked.output / "selfies", molecules_of(asked)
    model = trained(train, place, asked)
    seen = {Chem.CanonSmiles(s) for s in train}
    if asked.validate is not None:
        for temperature in asked.validate or [1.0]:
            lines = written(model, asked.asked, 1, temperature=temperature)
            print(temperature, figures(from_text(lines, place), seen, left[: asked.asked]), flush=True)
        return
    steer(model, place, train, asked)
    size = sum(p.numel() for p in model.denoiser.parameters())
    rows = [["left-out training molecules (real)", 100.0, 100.0, 100.0, figures(left, seen, real)[-1], "", ""]]
    begun = time.process_time()
    lines = written(model, asked.count, 0, temperature=asked.temperature)
    spent = time.process_time() - begun
    found = figures(from_text(lines, place), seen, real)
    rows.append([f"SELFIES, block diffusion, blocks of {asked.block}", *found, f"{size:,}", spent])
    report(rows, model, asked)
    if asked.alone:
        return
    texts, size, spent = rival(train, asked)
    found = figures([canonical(Chem.MolFromSmiles(t)) if t else None for t in texts], seen, real)
    rows.append(["CharRNN on SMILES", *found, f"{size:,}", spent])
    report(rows, model, asked)


def report(rows: list[list[Any]], model: suffuse.Model, asked: argparse.Namespace) -> None:
    """The table of molecules drawn unasked."""
    table(
        "molecules_blocks",
        "MOSES as strings, from left to right",
        HEADS,
        rows,
        f"Each trained for {training_time(model.notes)} with {asked.molecules:,} molecules at hand; {asked.count:,} samples, FCD "
        "against as many test molecules of unseen scaffolds; novelty against the training molecules. One call a block; "
        f"temperature {asked.temperature:g}, chosen on left-out training molecules. One seed. A SELFIES string always decodes: "
        "validity is no merit of the model." + (" The CharRNN was not run." if asked.alone else ""),
    )


if __name__ == "__main__":
    main()
