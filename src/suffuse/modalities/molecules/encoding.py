"""RDKit molecules to arrays and back; scaffolds with `*` marks; projection to valid molecules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from suffuse.errors import AskError, DataError
from suffuse.modalities.graphs.data import Record
from suffuse.networks.pairs import node_count, pair_list

if TYPE_CHECKING:
    from rdkit.Chem import Mol

ORDERS = (None, 1, 2, 3)
"""Edge classes of a molecule: bond orders of its kekulised form."""


def kind(atom: Any) -> str:
    """The node class of an atom: element and formal charge, such as C, N+, O-, S2+."""
    charge = atom.GetFormalCharge()
    sign = "" if charge == 0 else ("+" if charge > 0 else "-")
    return atom.GetSymbol() + (str(abs(charge)) if abs(charge) > 1 else "") + sign


def split_kind(name: str) -> tuple[str, int]:
    """Element and charge of a node class."""
    sign = -1 if name.endswith("-") else 1
    core = name.rstrip("+-")
    digits = core.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    charge = 0 if core == name else sign * int(digits or 1)
    return core.removesuffix(digits) if digits else core, charge


def encode(molecule: Mol, kinds: dict[str, int], where: str, scale: float | None = None) -> Record:
    """A kekulised molecule as arrays; scale: divide its centred coordinates by this (None: no coordinates)."""
    nodes = np.empty(molecule.GetNumAtoms(), np.int16)
    for atom in molecule.GetAtoms():
        name = kind(atom)
        if name not in kinds:
            raise DataError(f"{where}: the atom kind {name} is not known to this model; it knows {', '.join(kinds)}")
        nodes[atom.GetIdx()] = kinds[name]
    pairs = np.empty((molecule.GetNumBonds(), 3), np.int16)
    for k, bond in enumerate(molecule.GetBonds()):
        a, b, order = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondTypeAsDouble()
        if order not in (1, 2, 3):
            raise DataError(f"{where}: bonds of order {order:g} cannot be used; possible are 1, 2 and 3")
        pairs[k] = min(a, b), max(a, b), int(order)
    coordinates = None
    if scale is not None:
        if not molecule.GetNumConformers() or not molecule.GetConformer().Is3D():
            raise DataError(f"{where} has no 3-D coordinates; give an SDF or XYZ file that has")
        found = np.asarray(molecule.GetConformer().GetPositions())
        coordinates = ((found - found.mean(0)) / scale).astype(np.float32)
    return Record(nodes, pairs, coordinates)


def build(
    nodes: np.ndarray, edges: np.ndarray, size: int, kinds: Sequence[str], coordinates: np.ndarray | None = None
) -> Mol:
    """Arrays of one sample as an RDKit molecule, sanitised when it is valid; `why_invalid(m)` tells for the others."""
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    from suffuse.modalities.molecules.reading import quiet

    types = (None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    made = Chem.RWMol()
    for v in range(size):
        element, charge = split_kind(kinds[int(nodes[v])])
        atom = Chem.Atom(element)
        atom.SetFormalCharge(charge)
        made.AddAtom(atom)
    first, second = (t.numpy() for t in pair_list(node_count(len(edges))))
    for k in np.flatnonzero(edges):
        if second[k] < size:
            made.AddBond(int(first[k]), int(second[k]), types[int(edges[k])])
    molecule = made.GetMol()
    if coordinates is not None:
        conformer = Chem.Conformer(size)
        conformer.Set3D(True)
        for v in range(size):
            conformer.SetAtomPosition(v, Point3D(*(float(c) for c in coordinates[v])))
        molecule.AddConformer(conformer, assignId=True)
    with quiet():
        try:
            whole = Chem.Mol(molecule)
            Chem.SanitizeMol(whole)
            return whole
        except (ValueError, RuntimeError) as error:
            molecule.SetProp("invalid", str(error).strip().splitlines()[0])
            return molecule


def why_invalid(molecule: Mol) -> str | None:
    """RDKit's reason against a molecule, or None for a valid one."""
    from rdkit import Chem

    from suffuse.modalities.molecules.reading import quiet

    if molecule.HasProp("invalid"):
        return molecule.GetProp("invalid")
    with quiet():
        try:
            Chem.SanitizeMol(Chem.Mol(molecule))
        except (ValueError, RuntimeError) as error:
            return str(error).strip().splitlines()[0]
    return None


def scaffold(given: Any, kinds: dict[str, int]) -> tuple[Record, np.ndarray]:
    """(arrays of the given atoms, (n,) bool: may the atom be joined to new ones).

    given: a SMILES or molecule. Its `*` atoms mark where new atoms may be joined and are themselves left out; without any,
    every atom may be. Several parts (fragments to link) are welcome. Raises AskError / DataError.
    """
    from rdkit import Chem

    from suffuse.modalities.molecules.reading import is_molecule, parse, quiet

    molecule = Chem.Mol(given) if is_molecule(given) else parse(str(given), "the scaffold")
    with quiet():
        try:
            Chem.Kekulize(molecule, clearAromaticFlags=True)
        except Chem.KekulizeException:
            raise DataError("the scaffold: its aromatic bonds cannot be written as single and double ones") from None
    Chem.RemoveStereochemistry(molecule)
    stars = {a.GetIdx() for a in molecule.GetAtoms() if a.GetAtomicNum() == 0}
    kept = [a.GetIdx() for a in molecule.GetAtoms() if a.GetIdx() not in stars]
    if not kept:
        raise AskError("the scaffold holds nothing but * marks; give some atoms")
    number = {a: k for k, a in enumerate(kept)}
    nodes = np.empty(len(kept), np.int16)
    joins = np.array([any(n.GetIdx() in stars for n in molecule.GetAtomWithIdx(a).GetNeighbors()) for a in kept])
    for a in kept:
        name = kind(molecule.GetAtomWithIdx(a))
        if name not in kinds:
            raise DataError(
                f"the scaffold: the atom kind {name} is not known to this model; it knows {', '.join(kinds)}"
            )
        nodes[number[a]] = kinds[name]
    pairs = []
    for bond in molecule.GetBonds():
        a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if a in number and b in number:
            pairs.append((min(number[a], number[b]), max(number[a], number[b]), int(bond.GetBondTypeAsDouble())))
    return Record(nodes, np.array(pairs, np.int16).reshape(-1, 3)), joins if stars else np.ones(len(kept), bool)


def repair(molecule: Mol, fixed: set[tuple[int, int]] = frozenset()) -> tuple[Mol, int]:
    """(a valid molecule, how many bonds were changed): bonds of atoms beyond their valence lose an order at a time, highest
    order first; bonds in `fixed` (given by a person) last of all."""
    from rdkit import Chem

    from suffuse.modalities.molecules.reading import quiet

    types = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE}
    made, changed = Chem.RWMol(molecule), 0
    if made.HasProp("invalid"):
        made.ClearProp("invalid")
    with quiet():
        while True:
            whole = Chem.Mol(made)
            problems = Chem.DetectChemistryProblems(whole)
            if not problems:
                Chem.SanitizeMol(whole)
                return whole, changed
            about = problems[0]
            atoms = [about.GetAtomIdx()] if hasattr(about, "GetAtomIdx") else list(about.GetAtomIndices())
            bonds = [b for a in atoms for b in made.GetAtomWithIdx(a).GetBonds()]
            if not bonds:
                return molecule, changed

            def rank(b: Any) -> tuple:
                ends = tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx())))
                return ends in fixed, -b.GetBondTypeAsDouble(), ends

            worst = min(bonds, key=rank)
            order = int(worst.GetBondTypeAsDouble())
            a, b = worst.GetBeginAtomIdx(), worst.GetEndAtomIdx()
            made.RemoveBond(a, b)
            if order > 1:
                made.AddBond(a, b, types[order - 1])
            changed += 1


def largest_part(molecule: Mol) -> tuple[Mol, int]:
    """(the largest connected part, how many atoms were dropped)."""
    from rdkit import Chem

    parts = Chem.GetMolFrags(molecule, asMols=True, sanitizeFrags=False)
    best = max(parts, key=lambda m: m.GetNumAtoms())
    return best, molecule.GetNumAtoms() - best.GetNumAtoms()
