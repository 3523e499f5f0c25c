"""Drug-like molecules (MOSES) made as graphs.

    python benchmarks/molecules_moses.py --data DIR --model runs/moses --steps 50 --stochasticity 0.3 --grid midway

The model is `suffuse.train(FILE, "molecules")` on 100,000 training molecules, those of molecules_strings.py. Valid: by RDKit,
nothing corrected. FCD-TestSF: Frechet ChemNet Distance to MOSES' test molecules of unseen scaffolds. --made: take molecules that
were made before (one SMILES a line, an empty line for an invalid one), on an accelerator say.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from molecules import fcd
from molecules_strings import drug_like, figures, some
from tables import table, training_time

import suffuse
from suffuse.metrics.molecules import canonical

TRAIN = 100_000


def main() -> None:
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--stochasticity", type=float, default=0.0)
    parser.add_argument("--grid", default="quadratic")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest classes that add up to this share only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--precision", help="fp32 (default), bf16 or auto")
    parser.add_argument("--made", type=Path, help="molecules made with these settings before")
    asked = parser.parse_args()
    source = asked.data / "molecules/moses"
    train = some(source / "train.csv.gz", TRAIN + asked.count)
    train, left = train[:TRAIN], train[TRAIN:]
    real = some(source / "test_scaffolds.csv.gz", asked.count)
    model = suffuse.load(asked.model)
    begun = time.process_time()
    if asked.made:
        made: list[str | None] = [line.strip() or None for line in asked.made.read_text().split("\n")][: asked.count]
    else:
        drawn = model.sample(
            asked.count,
            steps=asked.steps,
            stochasticity=asked.stochasticity,
            grid=asked.grid,
            top_p=asked.top_p,
            batch=asked.batch,
            precision=asked.precision,
            seed=asked.seed,
        )
        made = [canonical(m) for m in drawn]
    spent: Any = "" if asked.made else time.process_time() - begun
    whole = 100 * sum(s is not None and "." not in s for s in made) / len(made)
    seen = {Chem.CanonSmiles(s) for s in train}
    found = figures(made, seen, real)
    rows = [
        ["left-out training molecules (real)", 100.0, 100.0, 100.0, 100.0, fcd(left, real), drug_like(left)[2], ""],
        [f"suffuse, {asked.steps} calls", found[0], whole, *found[1:], drug_like(made)[2], spent],
    ]
    size = sum(p.numel() for p in model.denoiser.parameters())
    nucleus = f", nucleus {asked.top_p:g}" if asked.top_p else ""
    where = " The molecules were made on the accelerator." if asked.made else ""
    table(
        "molecules_moses",
        "MOSES as graphs",
        ["", "valid %", "connected %", "unique %", "novel %", "FCD-TestSF", "QED > .8 and SA < 3, %", "CPU seconds"],
        rows,
        f"{asked.count:,} samples, grid '{asked.grid}', stochasticity {asked.stochasticity:g}{nucleus}; FCD against as many test "
        f"molecules of unseen scaffolds, novelty against the {TRAIN:,} training molecules. Trained for "
        f"{training_time(model.notes)} ({model.notes.get('steps'):,} steps of about {model.notes['recipe']['batch']}, "
        f"{size:,} parameters). Nothing is corrected. One seed.{where}",
    )


if __name__ == "__main__":
    main()
