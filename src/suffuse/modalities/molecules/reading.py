"""SMILES, CSV, SDF and XYZ files and RDKit molecules into checked RDKit molecules with properties.

Stated rules: stereochemistry, isotopes and atom maps are dropped; of a molecule in several parts (a salt) the largest part is
kept; radicals and elements outside `ELEMENTS` are refused.
"""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse.errors import AskError, DataError
from suffuse.files import check_file, human_size

if TYPE_CHECKING:
    from rdkit.Chem import Mol

ELEMENTS = ("H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Se", "Br", "I")
SUFFIXES = (".smi", ".smiles", ".sdf", ".mol", ".xyz")
COLUMNS = ("smiles", "canonical_smiles", "smile", "structure")
LIMIT = 2 << 30


@dataclass
class Entry:
    """One molecule: RDKit's, its place for error messages, and its properties by name."""

    molecule: Mol
    where: str
    properties: dict[str, float] = field(default_factory=dict)


def quiet() -> Any:
    """A context in which RDKit prints nothing (errors are raised by us in one sentence)."""
    from rdkit import rdBase

    return rdBase.BlockLogs()


def suffix_of(path: Path) -> str:
    """The ending that tells the format, without .gz or .xz."""
    name = path.name
    for packed in (".gz", ".xz"):
        name = name.removesuffix(packed)
    return Path(name).suffix.lower()


def is_molecule(thing: Any) -> bool:
    """Whether an object is an RDKit molecule, without importing RDKit."""
    return any(t.__name__ == "Mol" and t.__module__.startswith("rdkit") for t in type(thing).__mro__)


def entries(
    source: Any, *, column: str | None = None, skip_bad: bool = False, hydrogens: bool = False
) -> Iterator[Entry]:
    """Molecules of a file, an RDKit molecule, a SMILES, a data frame or a sequence of these, checked.

    column: the CSV column with SMILES. skip_bad: leave out what cannot be used instead of raising. hydrogens: keep explicit
    hydrogens of files that have them. Raises DataError in one sentence that names the line or number.
    """
    with quiet():
        for entry in _each(source, column, hydrogens, skip_bad):
            try:
                entry.molecule = clean(entry.molecule, entry.where)
            except DataError:
                if not skip_bad:
                    raise
                continue
            yield entry


def _each(source: Any, column: str | None, hydrogens: bool, skip_bad: bool) -> Iterator[Entry]:
    if is_molecule(source):
        yield Entry(source, "the molecule")
    elif hasattr(source, "columns"):
        yield from _from_rows(
            source.to_dict("records"), [str(c) for c in source.columns], column, "the table", 0, skip_bad
        )
    elif isinstance(source, (str, Path)):
        if isinstance(source, str) and not _is_path(source):
            yield Entry(parse(source, "the SMILES"), "the SMILES")
        else:
            yield from _from_path(Path(source).expanduser(), column, hydrogens, skip_bad)
    elif isinstance(source, Sequence):
        for k, item in enumerate(source):
            where = f"molecule {k}"
            if is_molecule(item):
                yield Entry(item, where)
            elif isinstance(item, str):
                yield from _tolerant(item, where, {}, skip_bad)
            else:
                raise DataError(f"{where} is of type {type(item).__name__}; an RDKit molecule or a SMILES is wanted")
    else:
        raise DataError(f"molecules cannot be read from an object of type {type(source).__name__}")


def _is_path(text: str) -> bool:
    path = Path(text).expanduser()
    if suffix_of(path) in (*SUFFIXES, ".csv", ".tsv", ".txt", ".pkl", ".pickle"):
        return True
    try:
        return path.exists()
    except OSError:
        return False


def parse(smiles: str, where: str) -> Mol:
    """A SMILES as an RDKit molecule. Raises DataError."""
    from rdkit import Chem

    with quiet():
        molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        raise DataError(f"{where}: {smiles[:60]!r} is not a readable SMILES")
    return molecule


def _tolerant(smiles: str, where: str, properties: dict[str, float], skip_bad: bool) -> Iterator[Entry]:
    try:
        yield Entry(parse(smiles, where), where, properties)
    except DataError:
        if not skip_bad:
            raise


def _open(path: Path) -> io.TextIOBase:
    check_file(path, LIMIT)
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    if path.name.endswith(".xz"):
        return lzma.open(path, "rt", encoding="utf-8-sig")
    return open(path, encoding="utf-8-sig")


def _from_path(path: Path, column: str | None, hydrogens: bool, skip_bad: bool) -> Iterator[Entry]:
    suffix = suffix_of(path)
    if suffix in (".pkl", ".pickle", ".pt", ".pth"):
        raise DataError(
            f"{path} is a pickle, which can run code when it is read; save the molecules as SMILES, CSV or SDF"
        )
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if suffix_of(p) in (*SUFFIXES, ".csv"))
        if not files:
            raise DataError(f"the folder {path} holds no molecule files ({', '.join(SUFFIXES)}, .csv)")
        for file in files:
            yield from _from_path(file, column, hydrogens, skip_bad)
        return
    try:
        if suffix in (".sdf", ".mol"):
            yield from _from_sdf(path, hydrogens, skip_bad)
        elif suffix == ".xyz":
            yield from _from_xyz(path, hydrogens, skip_bad)
        elif suffix in (".csv", ".tsv"):
            with _open(path) as file:
                rows = csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",")
                yield from _from_rows(rows, list(rows.fieldnames or []), column, str(path), 2, skip_bad)
        else:
            with _open(path) as file:
                for number, line in enumerate(_bounded(file, path), 1):
                    words = line.split()
                    if not words or words[0].startswith("#") or (number == 1 and words[0].lower() in COLUMNS):
                        continue
                    yield from _tolerant(words[0], f"{path}, line {number}", {}, skip_bad)
    except UnicodeDecodeError as broken:
        raise DataError(f"{path} is not UTF-8 text (byte {broken.start})") from None
    except (OSError, EOFError, lzma.LZMAError, csv.Error) as broken:
        raise DataError(f"{path} cannot be read: {broken}") from None


def _bounded(file: Iterator[str], path: Path) -> Iterator[str]:
    total = 0
    for line in file:
        total += len(line)
        if total > LIMIT:
            raise DataError(f"{path} unpacks to more than the {human_size(LIMIT)} allowed here")
        yield line


def _from_rows(
    rows: Any, names: list[str], column: str | None, where: str, first: int, skip_bad: bool
) -> Iterator[Entry]:
    if column is None:
        column = next((n for n in names if n.lower() in COLUMNS), None)
    if column not in names:
        raise DataError(
            f"{where} has no column {column or 'smiles'!r}; it has {', '.join(names) or 'none'}; name it as column="
        )
    for number, row in enumerate(rows, first):
        properties = {}
        for name in names:
            try:
                properties[name] = float(row[name])
            except (TypeError, ValueError):
                continue
        yield from _tolerant(str(row[column]), f"{where}, line {number}", properties, skip_bad)


def _from_sdf(path: Path, hydrogens: bool, skip_bad: bool) -> Iterator[Entry]:
    from rdkit import Chem

    check_file(path, LIMIT)
    opened = (
        gzip.open(path)
        if path.name.endswith(".gz")
        else lzma.open(path)
        if path.name.endswith(".xz")
        else open(path, "rb")
    )
    with opened as file:
        for number, molecule in enumerate(Chem.ForwardSDMolSupplier(file, removeHs=not hydrogens), 1):
            if molecule is None:
                if skip_bad:
                    continue
                raise DataError(f"{path}: molecule {number} cannot be read")
            properties = {}
            for name in molecule.GetPropNames():
                try:
                    properties[name] = float(molecule.GetProp(name))
                except ValueError:
                    continue
            yield Entry(molecule, f"{path}, molecule {number}", properties)


def _from_xyz(path: Path, hydrogens: bool, skip_bad: bool) -> Iterator[Entry]:
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    with _open(path) as file:
        lines = list(_bounded(file, path))
    at, number = 0, 0
    while at < len(lines) and lines[at].strip():
        number += 1
        where = f"{path}, molecule {number} (line {at + 1})"
        try:
            count = int(lines[at])
        except ValueError:
            raise DataError(f"{where}: the number of atoms is wanted, not {lines[at].strip()[:40]!r}") from None
        block = "".join(lines[at : at + 2 + count])
        at += 2 + count
        try:
            molecule = Chem.MolFromXYZBlock(block)
            rdDetermineBonds.DetermineBonds(molecule, charge=0)
        except (ValueError, RuntimeError, TypeError):
            if skip_bad:
                continue
            raise DataError(f"{where}: the bonds of a neutral molecule cannot be told from these coordinates") from None
        yield Entry(molecule if hydrogens else Chem.RemoveHs(molecule), where)


def clean(molecule: Mol, where: str) -> Mol:
    """Largest part, no stereochemistry, isotopes or maps, kekulised. Raises DataError on exotic elements and radicals."""
    from rdkit import Chem

    parts = Chem.GetMolFrags(molecule, asMols=True) if len(Chem.GetMolFrags(molecule)) > 1 else (molecule,)
    molecule = Chem.Mol(max(parts, key=lambda m: (m.GetNumHeavyAtoms(), m.GetNumAtoms())))
    Chem.RemoveStereochemistry(molecule)
    for atom in molecule.GetAtoms():
        atom.SetIsotope(0)
        atom.SetAtomMapNum(0)
        if atom.GetSymbol() not in ELEMENTS:
            raise DataError(
                f"{where}: the element {atom.GetSymbol()} cannot be used; possible are {', '.join(ELEMENTS)}"
            )
        if atom.GetNumRadicalElectrons():
            raise DataError(f"{where}: atom {atom.GetIdx()} ({atom.GetSymbol()}) is a radical, which cannot be used")
    try:
        Chem.Kekulize(molecule, clearAromaticFlags=True)
    except Chem.KekulizeException:
        raise DataError(f"{where}: its aromatic bonds cannot be written as single and double ones") from None
    return molecule


def computed(name: str, molecule: Mol) -> float:
    """A property that RDKit computes: qed, logp, sa (synthetic accessibility), weight, tpsa. NaN where it cannot."""
    from rdkit import Chem
    from rdkit.Chem import QED, Crippen, Descriptors

    whole = Chem.Mol(molecule)
    try:
        Chem.SanitizeMol(whole)
        if name == "sa":
            return sa_score(whole)
        return float(
            {"qed": QED.qed, "logp": Crippen.MolLogP, "weight": Descriptors.MolWt, "tpsa": Descriptors.TPSA}[name](
                whole
            )
        )
    except (ValueError, RuntimeError):
        return math.nan


COMPUTED = ("qed", "logp", "sa", "weight", "tpsa")


def sa_score(molecule: Mol) -> float:
    """Synthetic accessibility, 1 (easy) to 10 (Ertl & Schuffenhauer 2009), by the script that comes with RDKit."""
    import importlib.util
    import os

    from rdkit import RDConfig

    global _SA
    if _SA is None:
        path = os.path.join(RDConfig.RDContribDir, "SA_Score", "sascorer.py")
        if not os.path.exists(path):
            raise AskError("this RDKit comes without its SA_Score script; leave the property 'sa' out")
        spec = importlib.util.spec_from_file_location("suffuse_sascorer", path)
        _SA = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(_SA)
    return float(_SA.calculateScore(molecule))


_SA: Any = None
