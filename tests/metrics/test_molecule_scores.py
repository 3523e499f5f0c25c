"""Molecule metrics on molecules whose answers are known."""

import numpy as np
import pytest

Chem = pytest.importorskip("rdkit.Chem")
from rdkit.Chem import AllChem  # noqa: E402
from scipy.stats import wasserstein_distance  # noqa: E402

from suffuse.metrics import molecules as m  # noqa: E402


def test_shares():
    bad = Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)
    made = [Chem.MolFromSmiles(s) for s in ("CCO", "OCC", "C.O", "CCN")] + [bad]
    assert m.shares(made, {"CCO"}) == {"valid": 0.8, "connected": 0.6, "unique": 0.75, "novel": pytest.approx(2 / 3)}


def test_wasserstein_equals_scipy():
    rng = np.random.RandomState(0)
    a, b = rng.randn(50), rng.randn(80) + 0.5
    assert m.wasserstein(a, b) == pytest.approx(wasserstein_distance(a, b))


@pytest.mark.parametrize("smiles", ["CCO", "C=C", "C#N", "CC(=O)N", "C1CC1", "FCC#C"])
def test_bonds_from_force_field_geometry(smiles):
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(molecule)
    symbols, place = m.geometry(molecule)
    orders = m.bond_orders(symbols, place)
    for bond in molecule.GetBonds():
        assert orders[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()] > 0
    assert m.bonds_agree([molecule]) == 1.0
    if smiles in ("CCO", "C=C", "C1CC1"):
        assert m.stability([(symbols, place)]) == {"atom_stable": 1.0, "molecule_stable": 1.0}


def test_a_broken_geometry_is_unstable():
    molecule = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    symbols, place = m.geometry(molecule)
    assert m.stability([(symbols, place * 2)])["atom_stable"] == 0
    assert m.bond_order("C", "C", 1.54) == 1 and m.bond_order("C", "C", 1.34) == 2 and m.bond_order("C", "C", 1.2) == 3
    assert m.bond_order("N", "C", 1.16) == 3 and m.bond_order("F", "F", 3.0) == 0 and m.bond_order("H", "H", 0.5) == 1
