"""How good generated molecules are: validity, connectedness, uniqueness, novelty, stability, distances of properties."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rdkit.Chem import Mol

SINGLE = {
    "HH": 74, "CH": 109, "HN": 101, "HO": 96, "FH": 92, "CC": 154, "CN": 147, "CO": 143, "CF": 135, "NN": 145, "NO": 140,
    "FN": 136, "OO": 148, "FO": 142, "FF": 142,
}  # fmt: skip
DOUBLE = {"CC": 134, "CN": 129, "CO": 120, "NN": 125, "NO": 121, "OO": 121}
TRIPLE = {"CC": 120, "CN": 116, "CO": 113, "NN": 110}
MARGINS = (10, 5, 3)
"""Typical bond lengths and tolerances in picometres by which EDM (Hoogeboom et al. 2022) tells bonds from distances."""
VALENCE = {"H": 1, "C": 4, "N": 3, "O": 2, "F": 1}


def canonical(molecule: Mol | None) -> str | None:
    """Canonical SMILES without stereochemistry and explicit hydrogens; None for an invalid molecule."""
    from rdkit import Chem, rdBase

    if molecule is None or molecule.HasProp("invalid"):
        return None
    with rdBase.BlockLogs():
        try:
            made = Chem.MolFromSmiles(Chem.MolToSmiles(molecule, isomericSmiles=False))
            return None if made is None else Chem.MolToSmiles(made)
        except (ValueError, RuntimeError):
            return None


def shares(molecules: Sequence[Mol], train: Iterable[str] | None = None) -> dict[str, float]:
    """Shares in [0, 1], no correction of any kind.

    valid: of all; connected: valid and in one part, of all; unique: distinct of the valid; novel (with `train`, canonical
    SMILES): not in it, of the distinct.
    """
    found = [canonical(m) for m in molecules]
    valid = [s for s in found if s is not None]
    distinct = set(valid)
    out = {
        "valid": len(valid) / max(len(found), 1),
        "connected": sum("." not in s for s in valid) / max(len(found), 1),
        "unique": len(distinct) / max(len(valid), 1),
    }
    if train is not None:
        seen = train if isinstance(train, (set, frozenset)) else set(train)
        out["novel"] = sum(s not in seen for s in distinct) / max(len(distinct), 1)
    return out


def descriptor_values(molecules: Sequence[Mol]) -> dict[str, np.ndarray]:
    """QED and logP of the valid molecules."""
    from rdkit import Chem
    from rdkit.Chem import QED, Crippen

    whole = [Chem.MolFromSmiles(s) for s in map(canonical, molecules) if s is not None]
    return {"qed": np.array([QED.qed(m) for m in whole]), "logp": np.array([Crippen.MolLogP(m) for m in whole])}


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """1-Wasserstein distance of two samples of a number (area between their quantile functions)."""
    if not len(a) or not len(b):
        return float("nan")
    values = np.sort(np.concatenate([a, b]))
    steps = np.diff(values)
    below = np.searchsorted(np.sort(a), values[:-1], side="right") / len(a)
    other = np.searchsorted(np.sort(b), values[:-1], side="right") / len(b)
    return float((np.abs(below - other) * steps).sum())


def figures(made: Sequence[Mol], real: Sequence[Mol]) -> dict[str, float]:
    """Shares of `made` (novel: not in `real`) and distances of QED and logP to `real`."""
    out = shares(made, {s for s in map(canonical, real) if s is not None})
    ours, theirs = descriptor_values(made), descriptor_values(real)
    return out | {f"{name}_distance": wasserstein(ours[name], theirs[name]) for name in ours}


def bond_order(first: str, second: str, distance: float) -> int:
    """The bond between two elements `distance` Angstrom apart by EDM's tables: 0 to 3."""
    pair, length = "".join(sorted((first, second))), 100 * distance
    if length >= SINGLE.get(pair, -1e9) + MARGINS[0]:
        return 0
    if pair in DOUBLE and length < DOUBLE[pair] + MARGINS[1]:
        return 3 if pair in TRIPLE and length < TRIPLE[pair] + MARGINS[2] else 2
    return 1


def bond_orders(symbols: Sequence[str], coordinates: np.ndarray) -> np.ndarray:
    """(n, n) bond orders by EDM's tables from (n, 3) coordinates in Angstrom."""
    distance = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=-1)
    n = len(symbols)
    out = np.zeros((n, n), int)
    for i in range(n):
        for j in range(i):
            out[i, j] = out[j, i] = bond_order(symbols[i], symbols[j], distance[i, j])
    return out


def stability(molecules: Sequence[tuple[Sequence[str], np.ndarray]]) -> dict[str, float]:
    """Atom and molecule stability (EDM): shares of atoms whose bonds, told from coordinates, fill their valence exactly, and of
    molecules all of whose atoms do. molecules: (element symbols with all hydrogens, (n, 3) Angstrom)."""
    atoms = stable = whole = 0
    for symbols, coordinates in molecules:
        valence = bond_orders(symbols, coordinates).sum(1)
        good = sum(valence[k] == VALENCE.get(s) for k, s in enumerate(symbols))
        atoms, stable, whole = atoms + len(symbols), stable + good, whole + (good == len(symbols))
    return {"atom_stable": stable / max(atoms, 1), "molecule_stable": whole / max(len(molecules), 1)}


def geometry(molecule: Mol) -> tuple[list[str], np.ndarray]:
    """Element symbols and coordinates of a molecule with a conformer."""
    return [a.GetSymbol() for a in molecule.GetAtoms()], np.asarray(molecule.GetConformer().GetPositions())


def bonds_agree(molecules: Sequence[Mol]) -> float:
    """Share of atom pairs bonded in the drawing or in space whose bond is in both (whatever its order)."""
    both = either = 0
    for molecule in molecules:
        symbols, coordinates = geometry(molecule)
        space = bond_orders(symbols, coordinates) > 0
        drawn = np.zeros_like(space)
        for bond in molecule.GetBonds():
            a, b = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            drawn[a, b] = drawn[b, a] = True
        both, either = both + (space & drawn).sum() / 2, either + (space | drawn).sum() / 2
    return float(both / max(either, 1))
