"""QM9 molecules made for a dipole or a gap, judged by a predictor that was trained on molecules the maker never saw.

    python benchmarks/qm9.py --data DIR -o runs/qm9
    python benchmarks/molecules_steer.py --model qm9 -o runs/qm9 --judge 4

The judge learns from the first 25,000 held-out molecules (graphs alone), for --judge CPU minutes; the last 5,000 test it. Asked
values are those of test molecules. The scale is EDM's (Hoogeboom et al. 2022): 0 % is the judge's own error on the test
molecules, 100 % its error when their values are shuffled. Guidance is chosen on values of other molecules.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tables import table, training_time

import suffuse
from suffuse.metrics.molecules import canonical

NAMES = ("dipole", "gap")
TRAIN, TEST = 25_000, 5_000


def judge_of(folder: Path, minutes: float, seed: int = 0) -> suffuse.Model:
    """The predictor of both properties: loaded, or trained on the first held-out molecules."""
    place = folder / "judge"
    if (place / "config.json").exists():
        return suffuse.load(place)
    pd.read_csv(folder / "held.csv").iloc[:TRAIN].to_csv(folder / "judge.csv", index=False)
    return suffuse.train(
        folder / "judge.csv",
        "molecules",
        minutes=minutes,
        output=place,
        resume=True,
        seed=seed,
        tasks=["predict"],
        batch=128,
        optimiser="muon",
        learning_rate=3e-3,
        decay=0.9,
        compile=False,
        preview_every=0,
        read={"properties": ",".join(NAMES), "width": 128, "edge_width": 48, "layers": 4},
    )


def answers(model: suffuse.Model, smiles: list[str], name: str) -> np.ndarray:
    """Predictions of one property."""
    return np.array([row[name] for row in model.properties(smiles)])


def made_for(model: suffuse.Model, name: str, values: np.ndarray, each: int, **settings: Any) -> tuple[list, list]:
    """(SMILES of the valid molecules, the value each was made for), `each` molecules a value."""
    wanted = np.repeat(values, each)
    made = model.sample(len(wanted), given={name: wanted}, batch=200, **settings)
    found = [(canonical(molecule), value) for molecule, value in zip(made, wanted, strict=True)]
    return [s for s, _ in found if s], [v for s, v in found if s]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/qm9"))
    parser.add_argument("--judge", type=float, default=4, help="CPU minutes of the judge's training")
    parser.add_argument("--values", type=int, default=50)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest classes that add up to this share only")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 3.0], help="chosen among these")
    asked = parser.parse_args()
    model, judge = suffuse.load(asked.model), judge_of(asked.output, asked.judge)
    held = pd.read_csv(asked.output / "held.csv")
    test, other = held.iloc[-TEST:], held.iloc[TRAIN:-TEST]
    rng, rows = np.random.RandomState(0), []
    settings = {"steps": asked.steps, "precision": asked.precision, "top_p": asked.top_p}
    for name in NAMES:
        truth = test[name].to_numpy()
        told = answers(judge, test.smiles.tolist(), name)
        own = np.abs(told - truth).mean()
        shuffled = np.abs(told - rng.permutation(truth)).mean()
        same = np.abs(answers(model, test.smiles.tolist(), name) - truth).mean()
        tried = {}
        for weight in asked.guidance if len(asked.guidance) > 1 else []:
            pick = rng.choice(other[name].to_numpy(), asked.values // 2)
            smiles, wanted = made_for(model, name, pick, asked.each, guidance=weight, seed=1, **settings)
            tried[weight] = float(np.abs(answers(judge, smiles, name) - wanted).mean())
            print(name, weight, tried[weight], flush=True)
        weight = min(tried, key=tried.get) if tried else asked.guidance[0]
        begun = time.process_time()
        pick = rng.choice(truth, asked.values)
        smiles, wanted = made_for(model, name, pick, asked.each, guidance=weight, **settings)
        error = float(np.abs(answers(judge, smiles, name) - wanted).mean())
        spent = time.process_time() - begun
        free = [s for s in map(canonical, model.sample(len(wanted), batch=500, **settings)) if s]
        loose = float(np.abs(answers(judge, free, name) - rng.choice(truth, len(free))).mean())
        valid = 100 * len(smiles) / (asked.values * asked.each)
        share = [100 * (e - own) / (shuffled - own) for e in (error, loose)]
        rows.append(
            [name, own, shuffled, error, share[0], share[1], weight, valid, len(set(smiles)), same, same / own, spent]
        )
        print(rows[-1], flush=True)
    head = "property|judge's own error (0 %)|shuffled (100 %)|made for a value|share %|made for none, share %|guidance|valid %"
    head += "|distinct|same model predicts|over the judge's|CPU seconds"
    table(
        "molecules_steer",
        "QM9 by dipole (Debye) and gap (Hartree)",
        head.split("|"),
        rows,
        f"The maker was trained for {training_time(model.notes)}, the judge for {training_time(judge.notes)} on {TRAIN:,} "
        f"other molecules. {asked.values} values, {asked.each} molecules each, {asked.steps} calls (twice that with guidance)"
        f"{f', nucleus {asked.top_p:g}' if asked.top_p else ''}; one seed. "
        f"Guidance chosen among {', '.join(f'{g:g}' for g in asked.guidance)} on values of molecules outside the test. "
        f"'same model predicts': the maker's own one-call prediction for the {TEST:,} test molecules, which neither has seen.",
    )


if __name__ == "__main__":
    main()
