"""Drug-like molecules on request (MOSES): fine marks before each string, and the model's own word on what it wrote.

    python benchmarks/molecules_steered.py --data DIR -o runs/steered --minutes 30

As `molecules_blocks.py`, but the mark of a line is two letters, the bin of QED and the bin of SA (`EDGES`), so that more than the
border can be asked for: a molecule that misses the best bin by a little is drug-like still. The model is then asked about it:
of --draws strings for each that is kept, those stay that it gives the least probability of a mark that is not drug-like (Bayes'
rule over marks, one call a mark; no property is computed). Needs `selfies` and `fcd_torch`.
"""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import torch
from molecules_blocks import packed, trained, written
from molecules_strings import STEERED, drug_like, from_text, molecules_of, options
from tables import table, training_time

import suffuse
from suffuse.diffusion.state import Batch
from suffuse.modalities.text.scoring import exact_count_bound

EDGES = {"qed": (0.6, 0.7, 0.75, 0.8, 0.85, 0.9), "sa": (3.4, 3.0, 2.7, 2.4, 2.15)}
"""Bins of QED (letters A..G, G the best) and of SA (letters a..f, f the easiest to make)."""


def marks(qed: float, sa: float) -> str:
    """Two letters for a molecule."""
    good, easy = sum(qed > e for e in EDGES["qed"]), sum(sa < e for e in EDGES["sa"])
    return chr(ord("A") + good) + chr(ord("a") + easy)


BEST, LEAST = marks(1.0, 1.0), marks(0.801, 2.99)
FREQUENT = 0.02
"""Marks of fewer molecules than this share are not asked about."""


def likelihood(model: suffuse.Model, lines: list[str], mark: str) -> np.ndarray:
    """(n,) log-probability of each string and its line break after a mark; exact, as each symbol is a block."""
    words, out = model.modality.vocabulary, []
    for first in range(0, len(lines), 250):
        rows = [words.encode("\n" + mark + line + "\n") for line in lines[first : first + 250]]
        text = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        asked = torch.zeros(text.shape, dtype=torch.bool)
        for k, row in enumerate(rows):
            text[k, : len(row)] = torch.as_tensor(np.asarray(row, dtype=np.int64))
            asked[k, 1 + len(mark) : len(row)] = True
        batch = Batch({"text": text}, context={"clean:text": text})
        out.append(-exact_count_bound(model.denoiser, batch, draws=1, asked=asked))
    return torch.cat(out).numpy()


def doubt(model: suffuse.Model, lines: list[str], shares: dict[str, float]) -> np.ndarray:
    """(n,) the model's probability that a string has none of the drug-like marks."""
    below = {m: np.log(share) + likelihood(model, lines, m) for m, share in shares.items()}
    good = [m for m in below if drug_like_mark(m)]
    every = np.logaddexp.reduce(list(below.values()))
    return 1 - np.exp(np.logaddexp.reduce([below[m] for m in good]) - every)


def drug_like_mark(mark: str) -> bool:
    """QED > .8 and SA < 3."""
    return mark[0] >= LEAST[0] and mark[1] >= LEAST[1]


def main() -> None:
    from rdkit import RDLogger

    RDLogger.DisableLog("rdApp.*")
    parser = options(__doc__, "runs/steered", 30)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--draws", type=int, default=2, help="strings written for each that is kept")
    parser.set_defaults(block=1, dim=128)
    asked = parser.parse_args()
    how = {"letters": 2, "temperature": asked.temperature}
    place, (train, _, _) = asked.output / "selfies", molecules_of(asked)
    model = trained(train, place, asked, partial(packed, mark=lambda row: marks(row["qed"], row["sa"])))
    found = [line[:2] for line in (place / "train.txt").read_text().splitlines()]
    kinds, counts = np.unique(found, return_counts=True)
    every = {str(k): float(c / len(found)) for k, c in zip(kinds, counts, strict=True)}
    shares = {k: share for k, share in every.items() if share >= FREQUENT}
    likely = sum(share for k, share in every.items() if drug_like_mark(k))
    rows = [["training molecules (real)", *drug_like(train[: asked.asked]), ""]]

    def add(title: str, lines: list[str], seconds: float) -> None:
        rows.append([title, *drug_like(from_text(lines, place)), seconds])
        print(rows[-1], flush=True)

    begun = time.process_time()
    lines = written(model, asked.asked, 2, "", **how)
    add("marks as the model draws them", lines, time.process_time() - begun)
    begun = time.process_time()
    lines = written(model, asked.asked * asked.draws, 2, BEST, **how)
    spent = time.process_time() - begun
    add(f"the best marks asked ({BEST})", lines[: asked.asked], spent / asked.draws)
    different = list(dict.fromkeys(lines))
    print(f"{len(different)} different strings", flush=True)
    kept = np.argsort(doubt(model, different, shares), kind="stable")[: asked.asked]
    spent = time.process_time() - begun
    add(f"of {asked.draws} so asked for each, those the model itself doubts least", [different[k] for k in kept], spent)
    ratios = [row[3] / rows[1][3] for row in rows[2:]]
    table(
        "molecules_steered",
        "Drug-like molecules on request (MOSES), with fine marks",
        STEERED,
        rows,
        f"{asked.asked:,} molecules a row, trained for {training_time(model.notes)} with {asked.molecules:,} molecules; "
        f"{100 * every[BEST]:.1f} % of them have the best marks (QED > {EDGES['qed'][-1]}, SA < {EDGES['sa'][-1]}), "
        f"{100 * likely:.1f} % are drug-like, so that no model that matches the data can be asked for twice the share. "
        f"Asked for, the share is {ratios[0]:.2f} times that without asking, and {ratios[1]:.2f} times with the model's own "
        f"choice; {100 / rows[1][3]:.2f} times would be all. Temperature {asked.temperature:g} in all rows. One seed.",
    )


if __name__ == "__main__":
    main()
