"""Molecules: files in and out, stated rules, refusals, scaffolds, projection, conformers."""

import csv
import json
import pickle

import numpy as np
import pytest
import torch

Chem = pytest.importorskip("rdkit.Chem")
from rdkit.Chem import AllChem  # noqa: E402

from suffuse.errors import AskError, DataError  # noqa: E402
from suffuse.metrics.molecules import canonical  # noqa: E402
from suffuse.modalities import registry  # noqa: E402
from suffuse.modalities.molecules import Molecules, encoding, reading  # noqa: E402
from suffuse.model import Model  # noqa: E402

TINY = {"width": 16, "edge_width": 8, "layers": 1, "heads": 2, "walks": 2, "sets": 2}
REAL = """CC1=C(F)N=NOC1=N OC12CC1OC2CC#C c1ccccc1O CC(=O)[O-] C[NH3+] O=C(N)c1c[nH]cc1 C1CC2CC12 N#CC(O)C=O CS(=O)(=O)N ClCCBr
C[N+](=O)[O-] c1ccsc1 O=c1cc[nH]c(=O)[nH]1 FC(F)(F)C""".split()


def flat(smiles):
    molecule = Chem.MolFromSmiles(smiles)
    Chem.RemoveStereochemistry(molecule)
    return Chem.MolToSmiles(molecule)


@pytest.fixture(scope="module")
def model():
    modality, _ = Molecules.read(REAL, properties="logp,weight", **TINY)
    torch.manual_seed(0)
    made = Model.new(modality)
    for value in made.denoiser.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return made


def test_arrays_round_trip():
    modality, data = Molecules.read(REAL, **TINY)
    assert [canonical(modality.molecule_of(data.record(k))) for k in range(len(REAL))] == [flat(s) for s in REAL]
    assert json.loads(json.dumps(modality.config)) == modality.config
    batch = data.batch(torch.arange(len(REAL)))
    assert batch.x["nodes"].shape == (len(REAL), 9) and batch.x["edges"].shape == (len(REAL), 36)
    prior = np.bincount(batch.x["nodes"][batch.exists["nodes"]], minlength=len(modality.node_classes))
    assert np.allclose(prior / prior.sum(), modality.config["node_prior"])


@pytest.mark.parametrize(
    "name, element, charge", [("C", "C", 0), ("N+", "N", 1), ("Cl", "Cl", 0), ("O-", "O", -1), ("S2+", "S", 2)]
)
def test_kinds(name, element, charge):
    assert encoding.split_kind(name) == (element, charge)
    atom = Chem.Atom(element)
    atom.SetFormalCharge(charge)
    assert encoding.kind(atom) == name


def test_stated_rules():
    def read(smiles):
        return canonical(next(iter(reading.entries(smiles))).molecule)

    assert read("CC(=O)[O-].[Na+]") == "CC(=O)[O-]"  # a salt: the largest part
    assert read("C[C@H](F)O") == read("C[C@@H](F)O")  # stereochemistry is dropped
    assert read("[13CH4]") == "C"


def test_csv_and_properties(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("name,SMILES,dipole\na,CCO,1.5\nb,CCN,\nc,CCF,2.5\n")
    assert registry.recognise(path) is Molecules
    modality, data = Molecules.read(path, properties=["dipole", "logp"], **TINY)
    batch = data.batch(torch.arange(3))
    assert batch.observed["dipole"][:, 0].tolist() == [True, False, True]
    assert modality.properties["dipole"]["mean"] == pytest.approx(2.0)
    assert modality.property_out("dipole", batch.x["dipole"][2, 0].item()) == pytest.approx(2.5)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a.smi", "CCO\nC1CC\n", "line 2"),
        ("a.smi", "CCO\nC[Pb]\n", "line 2.*Pb"),
        ("a.smi", "C[CH2]\n", "radical"),
        ("a.smi", "", "no molecules"),
        ("a.csv", "smiles,x\nCCO,1\nnope,2\n", "line 3"),
        ("a.csv", "structures\nCCO\n", "no column"),
        ("a.xyz", "two\n\nC 0 0 0\n", "number of atoms"),
        ("a.sdf", "rubbish\n", "no molecules|cannot be read"),
    ],
)
def test_refusals_of_files(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        Molecules.read(tmp_path / name)


def test_pickle_is_refused(tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(["CCO"]))
    with pytest.raises(DataError, match="pickle"):
        Molecules.read(tmp_path / "m.pkl")


def test_bad_lines_can_be_skipped():
    _, data = Molecules.read(["CCO", "C1CC", "C[Pb]C", "CCN"], skip_bad=True, **TINY)
    assert len(data) == 2


@pytest.mark.parametrize(
    "given, asked, words",
    [
        ("C1CC", {}, "readable"),
        ("[Si]*", {}, "Si"),
        ("C" * 20, {}, "cannot fit"),
        ("***", {}, "nothing but"),
        (None, {"atoms": 40}, "whole number"),
        (None, {"qed": 0.5}, "no property"),
        (None, {"logp": 100.0}, "impossible"),
        (None, {"logp": "high"}, "a number"),
        (None, {"project": "planar"}, "valid or connected"),
    ],
)
def test_refusals_of_asks(model, given, asked, words):
    with pytest.raises((AskError, DataError), match=words):
        model.sample(1, given, steps=1, **asked)


def test_scaffold_stays_and_grows_at_its_marks(model):
    made = model.complete("*C1CC1O", samples=12, steps=4)
    grown = 0
    for molecule in made:
        kinds = [a.GetSymbol() for a in molecule.GetAtoms()]
        assert kinds[:4] == ["C", "C", "C", "O"]
        inside = {(0, 1), (1, 2), (0, 2), (2, 3)}
        for bond in molecule.GetBonds():
            ends = tuple(sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())))
            if ends[1] < 4:
                assert ends in inside and bond.GetBondTypeAsDouble() == 1
                inside = inside - {ends}
            else:
                assert ends[0] in (0, *range(4, molecule.GetNumAtoms()))  # only atom 0 carries a mark
                grown += ends[0] == 0
        assert not inside
    assert grown > 0


def test_fragments_are_kept(model):
    made = model.sample(4, "C*.*CO", atoms=6, steps=3)
    for molecule in made:
        assert [a.GetSymbol() for a in molecule.GetAtoms()][:3] == ["C", "C", "O"]
        assert molecule.GetNumAtoms() == 6


def test_projection(model):
    made = model.sample(12, steps=2, project="valid,connected")
    for molecule in made:
        assert canonical(molecule) is not None and "." not in canonical(molecule)
    assert any(m.GetIntProp("bonds_changed") for m in made if m.HasProp("bonds_changed"))
    raw = model.sample(12, steps=2)
    assert any(m.HasProp("invalid") for m in raw)  # never corrected silently


def test_repair_changes_as_little_as_needed():
    five = encoding.build(np.zeros(6, int), np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]), 6, ["C"])
    assert "valence" in encoding.why_invalid(five)
    fixed, changed = encoding.repair(five)
    assert changed == 1 and encoding.why_invalid(fixed) is None


def test_writing(model, tmp_path):
    made = [Chem.MolFromSmiles(s) for s in REAL[:3]] + model.sample(3, steps=1, logp=None)
    for ending in ("smi", "csv", "sdf", "svg", "png"):
        path = model.modality.write(made, tmp_path / f"out.{ending}")[0]
        assert path.stat().st_size > 50
    rows = list(csv.DictReader(open(tmp_path / "out.csv")))
    assert [r["valid"] for r in rows[:3]] == ["1"] * 3 and rows[0]["smiles"] == flat(REAL[0])
    assert float(rows[3]["logp"]) == pytest.approx(made[3].GetDoubleProp("logp"))
    with pytest.raises(DataError, match="coordinates"):
        model.modality.write(made, tmp_path / "out.xyz")


def test_properties_in_their_units(model):
    rows = model.properties(["CCO", "c1ccccc1O"])
    assert [r["smiles"] for r in rows] == ["CCO", "Oc1ccccc1"]
    data = model.modality.dataset(["CCO", "c1ccccc1O"])
    about = model.modality.properties["weight"]
    for record in range(2):
        assert np.isfinite(rows[record]["weight"]) and len(data) == 2
    blank = model.modality.data([data.record(0)])
    blank._properties = {k: np.full(1, np.nan) for k in blank._properties}
    expected = model.predict(blank, "weight")[0, 0].item() * about["std"] + about["mean"]
    assert rows[0]["weight"] == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def spatial(tmp_path_factory):
    path = tmp_path_factory.mktemp("sdf") / "m.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for k, smiles in enumerate(["CCO", "CC(=O)N", "C1CC1F", "N#CC"]):
            molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMolecule(molecule, randomSeed=k)
            writer.write(molecule)
    return path


def test_coordinates(spatial, tmp_path):
    modality, data = Molecules.read(spatial, coordinates=True, **TINY)
    assert modality.dims == 3 and "H" in modality.node_classes and len(data) == 4
    batch = data.batch(torch.arange(4))
    place = batch.x["coordinates"][batch.exists["coordinates"].expand(-1, -1, 3)]
    assert place.std().item() == pytest.approx(1, abs=0.15)
    torch.manual_seed(0)
    model = Model.new(modality)
    made = model.conformers("CCO", samples=3, steps=4)
    assert [m.GetNumAtoms() for m in made] == [9] * 3 and all(canonical(m) == "CCO" for m in made)
    for molecule in made:
        assert np.abs(molecule.GetConformer().GetPositions().mean(0)).max() < 1e-4
    many, alone = model.sample(4, steps=3), model.sample(1, start=2, steps=3)
    assert np.allclose(many[2].GetConformer().GetPositions(), alone[0].GetConformer().GetPositions(), atol=1e-3)
    modality.write(made, tmp_path / "m.xyz")
    modality.write(made, tmp_path / "m.sdf")
    assert len((tmp_path / "m.xyz").read_text().splitlines()) == 3 * 11
    with pytest.raises(DataError, match="at most"):
        model.conformers("C" * 12)


def test_flat_data_has_no_coordinates(model):
    with pytest.raises(DataError, match="3-D"):
        Molecules.read(REAL, coordinates=True)
    with pytest.raises(AskError, match="coordinates"):
        model.conformers("CCO")


def test_nucleus(model):
    index = torch.arange(3)
    task = model.modality.request(3, None, index=index, top_p=1e-6)
    assert "top_p:nodes" not in model.modality.request(3, None, index=index).context
    last = list(model.events(task, steps=4))[-1]
    for name in ("nodes", "edges"):  # one class is left, so the last step draws the likeliest
        where = task.exists[name]
        assert torch.isfinite(last.clean[name]).sum(-1).eq(1)[where].all()
        assert torch.equal(last.x[name][where], last.clean[name].argmax(-1)[where])
    for wrong in (0, 1.5, "much", True):
        with pytest.raises(AskError, match="top_p must be a number above 0 and at most 1"):
            model.sample(1, top_p=wrong)


def test_a_property_for_each(model):
    logp = model.modality.properties["logp"]
    task = model.modality.request(3, {"logp": [1.0, 0.0, 1.0]}, index=torch.arange(3))
    assert torch.allclose(task.x["logp"][:, 0] * logp["std"] + logp["mean"], torch.tensor([1.0, 0.0, 1.0]), atol=1e-5)
    assert bool(task.given["logp"].all()) and bool(task.start.held["weight"].all()) and "logp" not in task.start.held
    with pytest.raises(AskError, match="2 values of logp are given for 3 samples"):
        model.sample(3, {"logp": [1.0, 0.0]})
