"""QM9 as files that suffuse reads: `python benchmarks/qm9.py --data DIR -o runs/qm9`.

Writes train.csv and held.csv (smiles, dipole in Debye, gap in Hartree; 100,000 and 30,831 molecules, a fixed permutation)
and, with --sdf N, train.sdf and held.sdf with coordinates, hydrogens and bonds found from the coordinates (molecules whose bonds
cannot be told, or differ from the SMILES, are left out and counted).
"""

from __future__ import annotations

import argparse
import io
import lzma
from pathlib import Path

import numpy as np
import pandas as pd

TRAIN = 100_000


def tables(data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(train, held-out) rows: smiles, dipole, gap, and `row`, the position in the source."""
    found = pd.read_csv(data / "molecules/qm9/qm9_smiles_props.csv.xz")
    rows = pd.DataFrame({"smiles": found.SMILES, "dipole": found.Dipole_debye, "gap": found.HOMO_LUMO_gap_au})
    rows["row"] = np.arange(len(rows))
    order = np.random.RandomState(0).permutation(len(rows))
    return rows.iloc[order[:TRAIN]], rows.iloc[order[TRAIN:]]


def write_sdf(data: Path, rows: pd.DataFrame, path: Path) -> tuple[int, int]:
    """Molecules with coordinates as SDF; (written, left out)."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDetermineBonds

    source = np.load(io.BytesIO(lzma.open(data / "molecules/qm9/qm9_xyz.npz.xz").read()))
    place, count, z = source["pos_1e4"] / 1e4, source["num_atoms"], source["z"]
    start = np.concatenate([[0], np.cumsum(count.astype(np.int64))])
    table = Chem.GetPeriodicTable()
    written = left = 0
    with rdBase.BlockLogs(), Chem.SDWriter(str(path)) as writer:
        for row, smiles in zip(rows.row, rows.smiles):
            part = slice(start[row], start[row + 1])
            lines = [
                f"{table.GetElementSymbol(int(a))} {p[0]:.4f} {p[1]:.4f} {p[2]:.4f}"
                for a, p in zip(z[part], place[part])
            ]
            try:
                molecule = Chem.MolFromXYZBlock(f"{len(lines)}\n\n" + "\n".join(lines) + "\n")
                rdDetermineBonds.DetermineBonds(molecule, charge=0)
                same = flat(Chem.RemoveHs(molecule)) == flat(Chem.MolFromSmiles(smiles))
            except Exception:
                same = False
            if same:
                writer.write(molecule)
            written, left = written + same, left + (not same)
    return written, left


def flat(molecule) -> str:
    """Canonical SMILES without stereochemistry."""
    from rdkit import Chem

    return Chem.CanonSmiles(Chem.MolToSmiles(molecule, isomericSmiles=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/qm9"))
    parser.add_argument("--sdf", type=int, default=0, help="molecules of train.sdf (a tenth as many in held.sdf)")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    train, held = tables(asked.data)
    for name, rows in (("train", train), ("held", held)):
        rows.drop(columns="row").to_csv(asked.output / f"{name}.csv", index=False)
        if asked.sdf:
            count = asked.sdf if name == "train" else asked.sdf // 10
            print(name, write_sdf(asked.data, rows.iloc[:count], asked.output / f"{name}.sdf"))


if __name__ == "__main__":
    main()
