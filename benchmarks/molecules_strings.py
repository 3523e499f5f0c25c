"""Drug-like molecules (MOSES) as strings that always decode: SELFIES on the text engine, beside a CharRNN on SMILES.

    python benchmarks/molecules_strings.py --data DIR -o runs/strings --minutes 10

Each SELFIES symbol (Krenn et al. 2020) is one character, so that a string is a line of text; its label says how drug-like it is.
The CharRNN is MOSES' baseline in small: a two-layer LSTM over the characters of the SMILES of the same molecules, trained for the
same CPU minutes. FCD-TestSF: Frechet ChemNet Distance to MOSES' test molecules of unseen scaffolds. Settings of sampling are
chosen on molecules of the training file that are left out of training (--validate). Needs `selfies` and `fcd_torch`, which are no
dependencies of suffuse (`pip install --no-deps` brings them).
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from molecules import fcd
from tables import table, training_time
from torch import Tensor, nn

import suffuse
from suffuse.diffusion.orders import Even
from suffuse.diffusion.path import Clock
from suffuse.metrics.molecules import canonical

FIRST = 0x4E00
"""Symbol k is written as the character FIRST + k."""
HEADS = ["", "valid %", "unique %", "novel %", "FCD-TestSF", "parameters", "CPU seconds of sampling"]
STEERED = ["", "valid %", "unique %", "QED > .8 and SA < 3, %", "mean QED", "mean SA", "CPU seconds"]


def some(path: Path, count: int, seed: int = 0) -> list[str]:
    """`count` molecules of a MOSES file, a fixed random choice."""
    with gzip.open(path, "rt") as file:
        lines = [line.split(",")[0].strip() for line in file][1:]
    return [lines[k] for k in np.random.RandomState(seed).permutation(len(lines))[:count]]


def options(about: str, output: str, minutes: float) -> argparse.ArgumentParser:
    """The command line that benchmarks of strings share."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=Path(output))
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--molecules", type=int, default=100_000, help="training molecules")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--asked", type=int, default=1000, help="molecules a row of the table of drug-like ones")
    return parser


def molecules_of(asked: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    """Molecules to train on, others of the same file, and those of the test scaffolds."""
    source = asked.data / "molecules/moses"
    train = some(source / "train.csv.gz", asked.molecules + asked.count)
    return train[: asked.molecules], train[asked.molecules :], some(source / "test_scaffolds.csv.gz", asked.count)


def figures_of(molecule: Any) -> tuple[float, float]:
    """(QED, SA) of an RDKit molecule."""
    from suffuse.modalities.molecules.reading import computed

    return computed("qed", molecule), computed("sa", molecule)


def label_of(qed: float, sa: float) -> str:
    """'good' is what the table counts, 'clear' the part of it that keeps a distance from the border."""
    if qed > 0.85 and sa < 2.8:
        return "clear"
    return "good" if qed > 0.8 and sa < 3 else "other"


def as_text(smiles: list[str], folder: Path) -> Path:
    """train.jsonl with a labelled line and the figures of each molecule, and symbols.json; both are kept."""
    import selfies
    from rdkit import Chem

    if (folder / "train.jsonl").exists():
        return folder / "train.jsonl"
    rows = [list(selfies.split_selfies(selfies.encoder(s))) for s in smiles]
    symbols = sorted({t for row in rows for t in row})
    code = {t: chr(FIRST + k) for k, t in enumerate(symbols)}
    lines = []
    for smile, row in zip(smiles, rows, strict=True):
        qed, sa = figures_of(Chem.MolFromSmiles(smile))
        lines.append({"text": "".join(code[t] for t in row), "label": label_of(qed, sa), "qed": qed, "sa": sa})
    (folder / "symbols.json").write_text(json.dumps(symbols))
    (folder / "train.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return folder / "train.jsonl"


def from_text(lines: list[str], folder: Path) -> list[str | None]:
    """SMILES (canonical, None where RDKit refuses) of generated lines."""
    import selfies
    from rdkit import Chem

    symbols = json.loads((folder / "symbols.json").read_text())
    out = []
    for line in lines:
        made = selfies.decoder("".join(symbols[ord(c) - FIRST] for c in line if ord(c) >= FIRST))
        out.append(canonical(Chem.MolFromSmiles(made)) if made else None)
    return out


class CharRNN(nn.Module):
    """Next character of a SMILES; token 0 begins and ends it."""

    def __init__(self, classes: int, dim: int = 320):
        super().__init__()
        self.embedding = nn.Embedding(classes, dim)
        self.body = nn.LSTM(dim, dim, 2, batch_first=True)
        self.out = nn.Linear(dim, classes)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.body(self.embedding(x), state)
        return self.out(h), state


def charrnn(
    smiles: list[str],
    minutes: float,
    count: int,
    batch: int = 64,
    rate: float = 2e-3,
    device: str = "cpu",
    temperature: float = 1.0,
) -> tuple[list[str], int]:
    """(SMILES made, parameters) of a CharRNN trained for some minutes of processor time (wall time on an accelerator)."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    letters = ["\n", *sorted(set("".join(smiles)))]
    code = {c: k for k, c in enumerate(letters)}
    longest = max(map(len, smiles)) + 2
    data = torch.zeros(len(smiles), longest, dtype=torch.int64)
    for k, text in enumerate(smiles):
        data[k, 1 : len(text) + 1] = torch.tensor([code[c] for c in text])
    size = torch.tensor([len(s) for s in smiles])
    torch.manual_seed(0)
    model = CharRNN(len(letters)).to(device)
    optimiser = torch.optim.Adam(model.parameters(), rate)
    begun, draw, step = clock(), torch.Generator().manual_seed(0), 0
    while (done := (clock() - begun) / 60 / minutes) < 1:
        rows = torch.randint(len(data), (batch,), generator=draw)
        width = int(size[rows].max()) + 2
        x = data[rows, :width].to(device)
        target = x[:, 1:].clone()
        target[torch.arange(1, width, device=device) > size[rows, None].to(device) + 1] = -100
        loss = F.cross_entropy(model(x[:, :-1])[0].flatten(0, 1), target.flatten(), ignore_index=-100)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, 2 * (1 - done))
        optimiser.step()
        step += 1
        if step % 200 == 0:
            print(f"CharRNN {done:.2f} step {step} loss {loss.item():.4f}", flush=True)
    with torch.inference_mode():
        x, state, made = torch.zeros(count, 1, dtype=torch.int64, device=device), None, []
        for _ in range(longest - 1):
            logits, state = model(x, state)
            x = torch.multinomial(torch.softmax(logits[:, -1] / temperature, -1), 1)
            made.append(x)
    rows = torch.cat(made, 1).tolist()
    texts = ["".join(letters[t] for t in row).split("\n")[0] for row in rows]
    return texts, sum(p.numel() for p in model.parameters())


def figures(smiles: list[str | None], train: set[str], real: list[str]) -> list[Any]:
    """valid %, unique %, novel % and FCD of generated molecules."""
    good = [s for s in smiles if s]
    distinct = set(good)
    novel = 100 * sum(s not in train for s in distinct) / max(len(distinct), 1)
    return [100 * len(good) / len(smiles), 100 * len(distinct) / max(len(good), 1), novel, fcd(good, real)]


def drug_like(smiles: list[str | None]) -> list[float]:
    """valid %, unique % of the valid, % of all with QED > .8 and SA < 3, mean QED, mean SA."""
    from rdkit import Chem

    good = [s for s in smiles if s]
    found = np.array([figures_of(Chem.MolFromSmiles(s)) for s in good]).reshape(-1, 2)
    share = ((found[:, 0] > 0.8) & (found[:, 1] < 3)).sum() / len(smiles)
    return [
        100 * len(good) / len(smiles),
        100 * len(set(good)) / max(len(good), 1),
        100 * share,
        *found.mean(0).tolist(),
    ]


def drawn(model: suffuse.Model, count: int, seed: int, label: str | None = None, **settings: Any) -> list[str]:
    """Lines for a label, or for labels as often as the data has them."""
    names = model.modality.labels
    often = np.array([sum(row) for row in model.modality.config["sizes"]], float)
    picks = np.random.RandomState(seed).choice(len(names), count, p=often / often.sum())
    given = [{"label": label or names[k]} for k in picks]
    return [str(s) for s in model.sample(count, given, batch=250, seed=seed, **settings)]


class Made:
    """Lines that were drawn on an accelerator: `lines.json.xz` of a folder, a list of settings with their lines."""

    def __init__(self, folder: Path):
        self.rows = json.loads(lzma.decompress((folder / "lines.json.xz").read_bytes()))

    def lines(self, **settings: Any) -> list[str] | None:
        """Those of the first row with these settings, or None."""
        found = (row["lines"] for row in self.rows if all(row[k] == v for k, v in settings.items()))
        return next(found, None)


def trained(train: list[str], place: Path, minutes: float) -> suffuse.Model:
    """The model in `place`: loaded, resumed or trained."""
    if (place / "config.json").exists():
        return suffuse.load(place)
    place.mkdir(parents=True, exist_ok=True)
    return suffuse.train(
        as_text(train, place),
        "text",
        minutes=minutes,
        output=place,
        resume=True,
        tasks={"generate": 0.9, "unlabelled": 0.1},
        read={"form": "lines", "dim": 192, "depth": 4},
        batch=64,
        optimiser="muon",
        learning_rate=3e-3,
        decay=0.9,
        compile=False,
        preview_every=0,
        tell=lambda line: print(line, flush=True),
    )


def validate(model: suffuse.Model, place: Path, left: list[str], seen: set[str], asked: argparse.Namespace) -> None:
    """Print figures of several ways to sample, against molecules of the training file that were left out."""
    for steps in asked.steps:
        for by in ("random", "entropy", "left"):
            for temperature in asked.temperature:
                settings = {"path": Clock(steps, order=Even(by)), "temperature": temperature}
                if asked.made:
                    lines = Made(asked.made).lines(steps=steps, order=by, temperature=temperature, seed=1)
                else:
                    lines = drawn(model, asked.count, seed=1, **settings)
                if lines is None:
                    continue
                print(steps, by, temperature, figures(from_text(lines, place), seen, left), flush=True)


def steer(model: suffuse.Model, place: Path, train: list[str], asked: argparse.Namespace) -> None:
    """The table of molecules asked to be drug-like."""
    rows = [["training molecules (real)", *drug_like(train[: asked.asked]), ""]]
    for title, label, weight in [
        ("labels as in the data", None, 1.0),
        *[("label 'clear'", "clear", g) for g in asked.guidance],
    ]:
        begun = time.process_time()
        settings = {"path": Clock(asked.steps[-1], order=Even(asked.order)), "guidance": weight}
        if asked.made:
            wanted = {"seed": 2, "label": label, "guidance": weight} if label else {"seed": 1, "label": None}
            lines = Made(asked.made).lines(steps=asked.steps[-1], order=asked.order, temperature=1.0, **wanted)
            spent = ""
        else:
            lines = drawn(model, asked.asked, 2, label, **settings)
            spent = time.process_time() - begun
        title += f", guidance {weight:g}" if label else ""
        rows.append([title, *drug_like(from_text(lines, place)), spent])
        print(rows[-1], flush=True)
    table(
        "molecules_strings_steer",
        "Drug-like molecules on request (MOSES)",
        STEERED,
        rows,
        f"{asked.asked:,} molecules a row, {asked.steps[-1]} calls (twice that with guidance); the model of "
        "molecules_strings.md. Label 'clear' in training: QED > .85 and SA < 2.8. One seed.",
    )


def main() -> None:
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")
    parser = options(__doc__, "runs/strings", 10)
    parser.add_argument("--made", type=Path, help="a folder with lines and a CharRNN's SMILES made on an accelerator")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50])
    parser.add_argument(
        "--order", default="random", choices=["random", "entropy", "left"], help="in which symbols open"
    )
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--validate", action="store_true", help="compare ways to sample; no table")
    asked = parser.parse_args()
    place, (train, left, real) = asked.output / "selfies", molecules_of(asked)
    seen = {Chem.CanonSmiles(s) for s in train}
    model = trained(train, place, asked.minutes)
    if asked.validate:
        validate(model, place, left, seen, asked)
        return
    steer(model, place, train, asked)
    size = sum(p.numel() for p in model.denoiser.parameters())
    rows = [["left-out training molecules (real)", 100.0, 100.0, 100.0, fcd(left, real), "", ""]]
    for steps in asked.steps:
        begun = time.process_time()
        settings = {"path": Clock(steps, order=Even(asked.order)), "temperature": asked.temperature[0]}
        if asked.made:
            lines = Made(asked.made).lines(steps=steps, order=asked.order, temperature=asked.temperature[0], seed=0)
        else:
            lines = drawn(model, asked.count, 0, **settings)
        spent = "" if asked.made else time.process_time() - begun
        rows.append([f"SELFIES, masked diffusion, {steps} calls", *figures(from_text(lines, place), seen, real)])
        rows[-1] += [f"{size:,}", spent]
        print(rows[-1], flush=True)
    begun = time.process_time()
    if asked.made:
        found = json.loads(lzma.decompress((asked.made / "charrnn.json.xz").read_bytes()))
        texts, size = found["smiles"], found["parameters"]
    else:
        texts, size = charrnn(train, asked.minutes, asked.count)
    spent = "" if asked.made else time.process_time() - begun - 60 * asked.minutes
    found = figures([canonical(Chem.MolFromSmiles(t)) if t else None for t in texts], seen, real)
    rows.append(["CharRNN on SMILES", *found, f"{size:,}", spent])
    table(
        "molecules_strings",
        "MOSES as strings",
        HEADS,
        rows,
        f"Both trained for {training_time(model.notes)} with {asked.molecules:,} molecules at hand; {asked.count:,} "
        f"samples, FCD against as many test molecules of unseen scaffolds; novelty against the training molecules. Order of "
        f"opening: {asked.order}, temperature {asked.temperature[0]:g}. One seed. A SELFIES string always decodes, so its "
        "validity is no merit of the model.",
    )


if __name__ == "__main__":
    main()
