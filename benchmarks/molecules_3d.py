"""Molecules made in three dimensions: stability by EDM's bond tables, validity, and whether drawn and measured bonds agree.

    python benchmarks/qm9.py --data DIR -o runs/qm9 --sdf 40000      # once
    python benchmarks/molecules_3d.py --model qm9-3d -o runs/qm9 --count 500 --steps 20 50

Atoms, bonds and coordinates are drawn together. 'valid' is told from coordinates alone, as in EDM (Hoogeboom et al. 2022):
bonds by its tables, RDKit's sanitisation; 'valid as drawn' from the bonds that the model draws. Conformers beside ETKDG are
measured by `benchmarks/molecules.py conformers`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tables import table, training_time

import suffuse
from suffuse.errors import DataError
from suffuse.metrics.molecules import bond_orders, bonds_agree, canonical, geometry, shares, stability
from suffuse.modalities.molecules.encoding import build, encode, why_invalid
from suffuse.modalities.molecules.verbs import placed
from suffuse.networks.pairs import pair_list

COLUMNS = (
    "atom stable %",
    "molecule stable %",
    "valid %",
    "valid and unique %",
    "valid as drawn %",
    "bonds agree %",
    "all bonds agree %",
)


def measured(molecule: Any) -> Any:
    """The molecule that its coordinates alone tell of: neutral atoms, bonds by EDM's tables; as `build` returns it."""
    symbols, place = geometry(molecule)
    orders = bond_orders(symbols, place)
    first, second = (t.numpy() for t in pair_list(len(symbols)))
    kinds = sorted(set(symbols))
    nodes = np.array([kinds.index(s) for s in symbols])
    return build(nodes, orders[first, second], len(symbols), kinds, place)


def figures(molecules: Sequence[Any]) -> dict[str, float]:
    """Percentages of `COLUMNS`. Unique: distinct SMILES among all, of those valid. None counts as a molecule whose atoms are as
    many as others have, all unstable."""
    share = sum(m is not None for m in molecules) / len(molecules)
    if share < 1:
        return {name: share * value for name, value in figures([m for m in molecules if m is not None]).items()}
    found = stability([geometry(m) for m in molecules])
    told = [measured(m) for m in molecules]
    names = [canonical(m) for m in told if why_invalid(m) is None]
    whole = [bonds_agree([m]) == 1 for m in molecules]
    return {
        "atom stable %": 100 * found["atom_stable"],
        "molecule stable %": 100 * found["molecule_stable"],
        "valid %": 100 * len(names) / len(molecules),
        "valid and unique %": 100 * len(set(names)) / len(molecules),
        "valid as drawn %": 100 * shares(molecules)["valid"],
        "bonds agree %": 100 * bonds_agree(molecules),
        "all bonds agree %": 100 * float(np.mean(whole)),
    }


def with_hydrogens(molecule: Any, kinds: dict[str, int], largest: int) -> Any | None:
    """The graph of a molecule made in 2-D, hydrogens to the usual valences included, valid or not; None where the 3-D model
    does not know an atom kind or holds no molecule as large."""
    from rdkit import Chem

    whole = Chem.Mol(molecule)
    whole.UpdatePropertyCache(strict=False)
    whole = Chem.AddHs(whole)
    if why_invalid(molecule) is None:
        Chem.Kekulize(whole, clearAromaticFlags=True)
    try:
        return encode(whole, kinds, "it") if whole.GetNumAtoms() <= largest else None
    except DataError:
        return None


def in_two_stages(flat: suffuse.Model, model: suffuse.Model, asked: argparse.Namespace, steps: list[int]) -> list[Any]:
    """Graphs drawn by one model and placed by the other; what cannot be placed comes back as None."""
    drawn = flat.sample(asked.count, steps=steps[0], precision=asked.precision, batch=500, seed=asked.seed)
    records = [with_hydrogens(m, model.modality.kinds, model.modality.largest) for m in drawn]
    known = [k for k, r in enumerate(records) if r is not None]
    sampling = {"steps": steps[1], "precision": asked.precision, "grid": "quadratic", "batch": 100}
    made = placed(model, [records[k] for k in known], asked.seed, **sampling)
    found = dict(zip(known, made, strict=True))
    return [found.get(k) for k in range(len(records))]


def main() -> None:
    from rdkit import Chem

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="qm9-3d")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/qm9"), help="where qm9.py wrote its files")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--stochasticity", type=float, nargs="+", default=[0.0])
    parser.add_argument("--grid", help="time grid (default: the model's own)")
    parser.add_argument("--flat", help="a 2-D model: its graphs are placed by the 3-D one, a further row")
    parser.add_argument("--stages", type=int, nargs=2, default=[30, 20], help="calls of each of the two")
    parser.add_argument("--precision", help="fp32 (default), bf16 or auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tag", default="", help="ending of the table's name")
    asked = parser.parse_args()
    model = suffuse.load(asked.model)
    real = [m for m in Chem.SDMolSupplier(str(asked.output / "held.sdf"), removeHs=False)][: asked.count]
    rows: list[list[Any]] = [["held out (real)", *figures(real).values(), ""]]
    for steps in asked.steps:
        for eta in asked.stochasticity:
            begun = time.process_time()
            made = model.sample(
                asked.count,
                steps=steps,
                stochasticity=eta,
                grid=asked.grid,
                precision=asked.precision,
                batch=100,
                seed=asked.seed,
            )
            spent = time.process_time() - begun
            rows.append([f"{steps} calls, stochasticity {eta:g}", *figures(made).values(), spent])
            print(rows[-1], flush=True)
    if asked.flat:
        flat = suffuse.load(asked.flat)
        begun = time.process_time()
        made = in_two_stages(flat, model, asked, asked.stages)
        spent = time.process_time() - begun
        title = f"graphs by `{Path(asked.flat).name}` ({asked.stages[0]} calls), then placed ({asked.stages[1]} calls)"
        rows.append([title, *figures(made).values(), spent])
    size = sum(p.numel() for p in model.denoiser.parameters())
    table(
        f"molecules_3d{asked.tag}",
        "QM9 made in 3-D",
        ["", *COLUMNS, "CPU seconds"],
        rows,
        f"{asked.count} molecules a row, grid '{asked.grid or model.settings['grid']}', one seed; the model was trained for "
        f"{training_time(model.notes)} "
        f"({model.notes.get('steps')} steps of {model.notes.get('recipe', {}).get('batch')}, {size:,} parameters). Nothing is "
        "corrected. 'bonds agree': bonds drawn and measured, of those in either; 'all bonds agree': molecules where they are the "
        "same. Orders are left aside in both. What cannot be placed counts "
        "as unstable and invalid. Atoms with a charge count as unstable by EDM's tables.",
    )


if __name__ == "__main__":
    main()
