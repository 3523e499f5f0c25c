"""Molecules into SMILES, CSV, SDF and XYZ files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suffuse.errors import DataError
from suffuse.files import write_text
from suffuse.modalities.molecules.encoding import why_invalid

if TYPE_CHECKING:
    from rdkit.Chem import Mol


def plain_smiles(molecule: Mol) -> str:
    """The SMILES of a molecule, explicit hydrogens folded in; also of an invalid one, as it stands."""
    from rdkit import Chem

    from suffuse.metrics.molecules import canonical

    return canonical(molecule) or Chem.MolToSmiles(molecule)


def write_molecules(samples: Sequence[Mol], path: Path) -> list[Path]:
    """Write whole or not at all; the ending of `path` chooses the form (a folder or no ending: molecules.smi)."""
    from rdkit import Chem

    path = Path(path)
    if path.is_dir() or not path.suffix:
        path = path / "molecules.smi"
    if path.suffix in (".smi", ".smiles", ".txt"):
        return [write_text("".join(plain_smiles(m) + "\n" for m in samples), path)]
    if path.suffix == ".csv":
        names = sorted({k for m in samples for k in m.GetPropsAsDict() if k not in ("invalid", "given_atoms")})
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["smiles", "valid", *names])
        for molecule in samples:
            known = molecule.GetPropsAsDict()
            rows.writerow(
                [plain_smiles(molecule), int(why_invalid(molecule) is None), *(known.get(k, "") for k in names)]
            )
        return [write_text(text.getvalue(), path)]
    if path.suffix == ".sdf":
        text = io.StringIO()
        writer = Chem.SDWriter(text)
        writer.SetKekulize(False)
        for molecule in samples:
            writer.write(molecule)
        writer.close()
        return [write_text(text.getvalue(), path)]
    if path.suffix == ".xyz":
        flat = next((k for k, m in enumerate(samples) if not m.GetNumConformers()), None)
        if flat is not None:
            raise DataError(f"molecule {flat} has no coordinates, which XYZ needs; write .smi, .csv or .sdf")
        return [write_text("".join(Chem.MolToXYZBlock(m) for m in samples), path)]
    raise DataError(f"{path}: molecules are written as .smi, .csv, .sdf, .xyz, .svg or .png, not {path.suffix}")
