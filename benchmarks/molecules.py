"""Molecules: QM9 in 2-D and 3-D, scaffolds, speed.

    python benchmarks/qm9.py --data DIR -o runs/qm9 --sdf 40000      # once
    python benchmarks/molecules.py generate scaffolds conformers properties --model qm9 -o runs/qm9

Every part writes benchmarks/results/molecules_PART.md. --model and --model3d name zoo models or folders. FCD is
fcd-torch's (ChemNet; its weights ship with it), which is no dependency of suffuse: `pip install --no-deps fcd_torch` brings it.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tables import command, training_time

import suffuse
from suffuse.metrics.molecules import canonical, descriptor_values, shares

RESULTS = Path(__file__).parent / "results"
SCAFFOLDS = ("*C1CC1", "*c1ccon1", "*C1CCO1", "*C1CCC1*", "OC*", "*C#C", "*C(=O)N", "*c1cc[nH]c1", "*C1CN1", "C*.*C#N")


@functools.cache
def moments(smiles: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of ChemNet's features of some molecules.

    fcd-torch 1.0.7 calls np.row_stack, which numpy 2 lacks: it is put back.
    """
    if not hasattr(np, "row_stack"):
        np.row_stack = np.vstack
    import fcd_torch

    judge = fcd_torch.FCD(device="cpu", n_jobs=1, batch_size=256)
    activations = judge.get_predictions(list(smiles)).astype(np.float64)
    return activations.mean(0), np.cov(activations.T)


def fcd(made: Sequence[str], real: Sequence[str]) -> float:
    """Frechet ChemNet Distance of two lists of SMILES (Preuer et al. 2018), by fcd-torch's network.

    Its scipy sqrtm returns complex numbers where the product of covariances is singular: here the trace of the root comes from
    eigenvalues. NaN for fewer than two molecules.
    """
    if min(len(made), len(real)) < 2:
        return float("nan")
    (m1, c1), (m2, c2) = moments(tuple(made)), moments(tuple(real))
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    middle = np.linalg.eigvalsh(root @ c2 @ root).clip(min=0)
    return float(((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * np.sqrt(middle).sum())


def table(path: Path, title: str, text: str, rows: list[dict[str, Any]]) -> None:
    """Write a Markdown table with the command that made it."""
    columns = list(dict.fromkeys(k for row in rows for k in row))
    lines = [f"# {title}", "", f"`{command()}`", "", text, ""]
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = [row.get(c, "") for c in columns]
        lines.append("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    RESULTS.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines), flush=True)


def about(model: suffuse.Model) -> str:
    """One sentence on how a model was trained."""
    recipe = model.notes.get("recipe", {})
    size = sum(p.numel() for p in model.denoiser.parameters())
    steps = "" if "stages" in model.notes else f"{model.notes.get('steps')} steps of {recipe.get('batch')}, "
    return (
        f"One seed; trained for {training_time(model.notes)} ({steps}{size:,} parameters). No correction of any kind."
    )


def generate(asked: argparse.Namespace) -> None:
    """Line 1 and 9: validity, connectedness, uniqueness, novelty, FCD and time, beside held-out molecules."""
    model = suffuse.load(asked.model)
    rows_read = None if asked.novelty else asked.count  # making all 100,000 canonical takes half a minute
    train = [canonical_text(s) for s in pd.read_csv(asked.output / "train.csv", nrows=rows_read).smiles]
    held = [canonical_text(s) for s in pd.read_csv(asked.output / "held.csv").smiles[: asked.count]]
    reference = train[: asked.count]
    seen, rows = set(train) if asked.novelty else None, []
    if asked.fcd:
        rows.append(
            {
                "": "held out (real)",
                "valid %": 100.0,
                "connected %": 100.0,
                "unique %": 100.0 * len(set(held)) / len(held),
            }
        )
        rows[0]["FCD"] = fcd(held, reference)
        if seen is not None:
            rows[0]["novel %"] = 100.0 * float(np.mean([s not in seen for s in set(held)]))
            again = np.random.RandomState(0).choice(train, asked.count)
            rows.append({"": "training molecules, drawn with replacement", "valid %": 100.0, "connected %": 100.0})
            rows[1] |= {"unique %": 100.0 * len(set(again)) / len(again), "novel %": 0.0}
    given = asked.stochasticity or [None]
    for k, steps in enumerate(asked.steps):
        eta = given[min(k, len(given) - 1)]
        begun, cpu = time.perf_counter(), time.process_time()
        made = model.sample(
            asked.count,
            steps=steps,
            batch=asked.batch,
            stochasticity=eta,
            grid=asked.grid,
            precision=asked.precision,
            seed=asked.seed,
            top_p=asked.top_p,
        )
        spent, used = time.perf_counter() - begun, time.process_time() - cpu
        found = shares(made, seen)
        row: dict[str, Any] = {"": ", ".join(filter(None, ["suffuse", f"{steps} calls", asked.precision]))}
        row["stochasticity"] = model.settings["stochasticity"] if eta is None else eta
        row |= {f"{k} %": 100 * v for k, v in found.items()}
        smiles = [s for s in map(canonical, made) if s]
        if asked.fcd:
            row["FCD"] = fcd(smiles, reference)
        rows.append(row | {"seconds": spent, "CPU seconds": used})
        print(rows[-1], flush=True)
    text = f"{about(model)} {asked.count:,} samples."
    text += " " + settings_of(model, asked)
    text += " FCD against as many training molecules." if asked.fcd else ""
    if asked.novelty:
        text += (
            " Novelty against all training molecules. A model that has learnt the distribution draws with replacement: QM9 being "
            "enumerated, all its molecules are different, and draws from it are not."
        )
    table(RESULTS / f"molecules_generate{asked.tag}.md", "QM9 in 2-D", text, rows)


def settings_of(model: suffuse.Model, asked: argparse.Namespace) -> str:
    """One sentence on how was sampled."""
    nucleus = f", nucleus {asked.top_p:g}" if asked.top_p else ""
    return f"Grid '{asked.grid or model.settings['grid']}'{nucleus}."


def canonical_text(smiles: str) -> str:
    """Canonical SMILES without stereochemistry."""
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles)
    Chem.RemoveStereochemistry(molecule)
    return Chem.MolToSmiles(molecule)


def keeps(molecule: Any, pattern: Any) -> bool:
    """Whether the first atoms of a molecule are those of the scaffold (without its `*`), with its bonds and no others among them,
    and none but the atoms beside a `*` have further neighbours. Bond orders count where the scaffold is not aromatic."""
    inside = [a for a in pattern.GetAtoms() if a.GetAtomicNum()]
    number = {a.GetIdx(): k for k, a in enumerate(inside)}
    if molecule.GetNumAtoms() < len(inside):
        return False
    for a in inside:
        if molecule.GetAtomWithIdx(number[a.GetIdx()]).GetSymbol() != a.GetSymbol():
            return False
    wanted = {}
    for bond in pattern.GetBonds():
        ends = [number.get(bond.GetBeginAtomIdx()), number.get(bond.GetEndAtomIdx())]
        if None not in ends:
            wanted[tuple(sorted(ends))] = bond
    open_ = {
        number[n.GetIdx()]
        for a in pattern.GetAtoms()
        if not a.GetAtomicNum()
        for n in a.GetNeighbors()
        if n.GetAtomicNum()
    }
    found = {}
    for bond in molecule.GetBonds():
        one, two = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        if two < len(inside):
            found[one, two] = bond
        elif one < len(inside) and one not in open_:
            return False
    same = all(b.GetIsAromatic() or b.GetBondType() == found[k].GetBondType() for k, b in wanted.items() if k in found)
    return set(found) == set(wanted) and same


def scaffolds(asked: argparse.Namespace) -> None:
    """Line 5: scaffolds kept, and valid."""
    from rdkit import Chem

    model, rows = suffuse.load(asked.model), []
    count = max(50, asked.count // 100)
    eta = asked.stochasticity[0] if asked.stochasticity else None
    for scaffold in SCAFFOLDS:
        made = model.complete(
            scaffold,
            samples=count,
            steps=asked.steps[-1],
            batch=count,
            seed=asked.seed,
            stochasticity=eta,
            grid=asked.grid,
            precision=asked.precision,
            top_p=asked.top_p,
        )
        pattern = Chem.MolFromSmiles(scaffold)
        kept = np.mean([keeps(molecule, pattern) for molecule in made])
        rows.append(
            {"scaffold": f"`{scaffold}`", "kept %": 100 * float(kept)}
            | {f"{k} %": 100 * v for k, v in shares(made).items()}
        )
        print(rows[-1], flush=True)
    mean = {k: float(np.mean([r[k] for r in rows])) for k in rows[0] if k != "scaffold"}
    text = (
        f"{about(model)} {count} completions of each, {asked.steps[-1]} calls. {settings_of(model, asked)} New atoms may join "
        "at `*` only, which 'kept' looks at too. 'unique': distinct of the valid; small answers leave few to be had."
    )
    table(RESULTS / "molecules_scaffolds.md", "Scaffolds and fragments", text, rows + [{"scaffold": "mean"} | mean])


def properties(asked: argparse.Namespace) -> None:
    """Errors of the one-call prediction of properties on held-out molecules; and logP as asked for."""
    from suffuse.modalities.molecules.reading import computed

    model = suffuse.load(asked.model)
    held = pd.read_csv(asked.output / "held.csv").iloc[: min(asked.count, 5000)]
    answers = model.properties(held.smiles.tolist())
    rows = []
    for name in ("dipole", "gap"):
        truth = held[name].to_numpy()
        error = np.abs(truth - np.array([a[name] for a in answers])).mean()
        spread = np.abs(truth - np.median(truth)).mean()
        rows.append({"property": name, "mean error": float(error), "error of the median": float(spread)})
    for value in (-1.5, 0.0, 1.5):
        made = [m for m in model.sample(200, given={"logp": value}, steps=20, guidance=2.0, batch=200) if canonical(m)]
        found = np.array([computed("logp", m) for m in made])
        free = descriptor_values(model.sample(200, steps=20, batch=200))["logp"]
        rows.append(
            {
                "property": f"made with logP {value:+g}, guidance 2",
                "mean error": float(np.abs(found - value).mean()),
                "error of the median": float(np.abs(free - value).mean()),
            }
        )
    text = (
        f"{about(model)} Predictions for {len(held):,} held-out molecules from their graph alone (Debye, Hartree). Last rows: "
        "distance of the computed logP of molecules made for a value from that value, beside molecules made for none."
    )
    table(RESULTS / "molecules_properties.md", "Properties", text, rows)


def conformers(asked: argparse.Namespace) -> None:
    """Line 4: held-out molecules placed in space, beside ETKDG and the data; and molecules made in 2-D, then placed."""
    from rdkit import Chem
    from rdkit.Chem import AllChem, rdMolAlign

    from suffuse.metrics.molecules import bonds_agree, geometry, stability

    spatial = suffuse.load(asked.model3d)
    count = min(asked.count, 500)
    real = [m for m in Chem.SDMolSupplier(str(asked.output / "held.sdf"), removeHs=False)][:count]
    smiles = [canonical_text(Chem.MolToSmiles(Chem.RemoveHs(m))) for m in real]
    rows = []

    def row(
        title: str, molecules: list[Any], references: list[Any] | None = None, seconds: float | None = None
    ) -> None:
        found = stability([geometry(m) for m in molecules])
        out: dict[str, Any] = {"": title, "molecules": len(molecules)}
        out |= {"atom stable %": 100 * found["atom_stable"], "molecule stable %": 100 * found["molecule_stable"]}
        out["bonds agree %"] = 100 * bonds_agree(molecules)
        if references is not None:
            flat = [(Chem.RemoveHs(a), Chem.RemoveHs(b)) for a, b in zip(molecules, references) if canonical(a)]
            out["median RMSD, A"] = float(np.median([rdMolAlign.GetBestRMS(a, b) for a, b in flat]))
        if seconds is not None:
            out["seconds"] = seconds
        rows.append(out)

    row("held out (real)", real)
    for steps in asked.steps:
        begun = time.perf_counter()
        made = spatial.conformers(smiles, samples=1, steps=steps, batch=100)
        row(f"suffuse conformers, {steps} calls", made, real, time.perf_counter() - begun)
    begun, etkdg, kept = time.perf_counter(), [], []
    for text, reference in zip(smiles, real):
        molecule = Chem.AddHs(Chem.MolFromSmiles(text))
        if AllChem.EmbedMolecule(molecule, AllChem.ETKDGv3()) == 0:
            etkdg.append(molecule)
            kept.append(reference)
    row("ETKDGv3 (RDKit)", etkdg, kept, time.perf_counter() - begun)
    flat = suffuse.load(asked.model)
    begun = time.perf_counter()
    drawn = flat.sample(count, steps=30, batch=500)
    good = [s for s in map(canonical, drawn) if s and "." not in s]
    fit = [s for s in good if Chem.AddHs(Chem.MolFromSmiles(s)).GetNumAtoms() <= spatial.modality.largest]
    known = [s for s in fit if all(k in spatial.modality.kinds for k in kinds(s))]
    placed = spatial.conformers(known, samples=1, steps=20, batch=100)
    row("made in 2-D (30 calls), then placed (20 calls)", placed, None, time.perf_counter() - begun)
    text = (
        f"{about(spatial)} RMSD of heavy atoms to the one reference geometry (DFT), best over symmetries. Of {count} made "
        f"in 2-D, {len(good)} were valid and in one part and {len(known)} could be placed (no larger, and of known atom kinds); "
        f"{len(set(known))} of these are distinct. Stability by EDM's bond tables."
    )
    table(RESULTS / "molecules_conformers.md", "QM9 in 3-D", text, rows)


def kinds(smiles: str) -> set[str]:
    """Atom kinds of a molecule."""
    from rdkit import Chem

    from suffuse.modalities.molecules.encoding import kind

    return {kind(a) for a in Chem.MolFromSmiles(smiles).GetAtoms()}


PARTS = {"generate": generate, "scaffolds": scaffolds, "properties": properties, "conformers": conformers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--model", default="qm9")
    parser.add_argument("--model3d", default="qm9-3d")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("runs/qm9"), help="where benchmarks/qm9.py wrote its files"
    )
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50])
    parser.add_argument(
        "--stochasticity", type=float, nargs="+", help="fresh noise, for each of --steps (default: the model's own)"
    )
    parser.add_argument("--grid", help="time grid (default: the model's own)")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest classes that add up to this share only")
    parser.add_argument("--precision", help="fp32 (default), bf16 or auto")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fcd", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--novelty", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--tag", default="", help="ending of the table's name")
    asked = parser.parse_args()
    for part in asked.parts:
        PARTS[part](asked)


if __name__ == "__main__":
    main()
