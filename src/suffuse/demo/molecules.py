"""The molecules room of the demo: made, grown from scaffolds, asked for by property, predicted, and placed in space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from suffuse.demo.pieces import table
from suffuse.demo.report import Report

INTRO = (
    "Small organic molecules of up to nine heavy atoms (QM9, Ramakrishnan et al. 2014; files by qm9pack, MIT). <code>qm9</code> "
    "makes atoms, bonds and properties together, after six minutes of training on one CPU thread. Nothing is "
    "corrected: an invalid molecule would be drawn and called so."
)


def demo(report: Report, folder: Path) -> None:
    """Six items on two models; shares of valid molecules stand beside those of the real ones that ship."""
    from suffuse.model import load
    from suffuse.storage import ZOO

    report.room("Molecules", INTRO)
    model = load("qm9")
    real = (model.folder / "samples" / "held.smi").read_text().split()
    made(report, model, folder, real)
    by_property(report, model, folder)
    grown(report, model, folder)
    predicted(report, model)
    if (ZOO / "qm9-3d").is_dir():
        placed(report, load("qm9-3d"), real)


def made(report: Report, model: Any, folder: Path, real: list[str]) -> None:
    """Generate, with the shares over 128 molecules."""
    from rdkit import Chem

    from suffuse.metrics.molecules import figures

    with report.watch(model) as seen:
        molecules = model.sample(128, steps=20, batch=128)
    known = [Chem.MolFromSmiles(s) for s in real]
    names = {
        "valid": "valid",
        "connected": "valid and in one part",
        "unique": "distinct",
        "qed_distance": "distance of QED",
    }
    ours, theirs = figures(molecules, known), figures(known[::2], known[1::2])
    report.item(
        "Generate",
        "128 new molecules, of which sixteen are drawn",
        'suffuse.load("qm9").sample(128, steps=20)',
        model.modality.show(molecules[:16], folder / "made.svg"),
        seen.calls,
        seen.seconds,
        {title: ours[name] for name, title in names.items()},
        {title: theirs[name] for name, title in names.items()},
    )


def by_property(report: Report, model: Any, folder: Path) -> None:
    """Two values of one property, each judged by the property computed from what was made."""
    import numpy as np

    from suffuse.metrics.molecules import canonical
    from suffuse.modalities.molecules.reading import computed

    pictures, found = {}, {}
    with report.watch(model) as seen:
        for value in (-1.5, 1.5):
            molecules = model.sample(32, given={"logp": value}, steps=20, guidance=2.0)
            whole = [m for m in molecules if canonical(m)]
            found[f"mean logP, {value:+g} asked"] = float(np.mean([computed("logp", m) for m in whole]))
            pictures[f"logP {value:+g}"] = model.modality.show(molecules[:8], folder / f"logp_{value:+g}.svg")
    report.item(
        "Ask for a property",
        "Molecules that prefer water (logP -1.5) and fat (+1.5)",
        'model.sample(32, given={"logp": 1.5}, steps=20, guidance=2.0)',
        pictures,
        seen.calls,
        seen.seconds,
        found,
        note="logP is computed from the molecules that were made (RDKit, Crippen), not taken from the model.",
    )


def grown(report: Report, model: Any, folder: Path) -> None:
    """A scaffold with a mark, and two fragments to link."""
    from suffuse.metrics.molecules import shares

    for title, asked, scaffold, atoms in (
        ("Complete a scaffold", "Grow an isoxazole ring at the carbon marked *", "*c1ccon1", None),
        ("Link two fragments", "Join cyclopropane and a nitrile", "*C1CC1.*C#N", 9),
    ):
        with report.watch(model) as seen:
            molecules = model.complete(scaffold, samples=32, atoms=atoms or 0, steps=20)
        kept = {"valid": shares(molecules)["valid"], "in one part": shares(molecules)["connected"]}
        name = title.split()[0].lower()
        report.item(
            title,
            f"{asked}: eight of 32, what was given is marked",
            f'model.complete("{scaffold}", samples=32{f", atoms={atoms}" if atoms else ""})',
            model.modality.show(molecules[:8], folder / f"{name}.svg"),
            seen.calls,
            seen.seconds,
            kept,
        )


def predicted(report: Report, model: Any) -> None:
    """The same model predicts the properties of molecules it has not seen."""
    import numpy as np

    rows = json.loads((model.folder / "samples" / "held.json").read_text())
    with report.watch(model) as seen:
        answers = model.properties([r["smiles"] for r in rows])
    units = {"dipole": "Debye", "gap": "Hartree"}
    quality, real = {}, {}
    for name, unit in units.items():
        truth = np.array([r[name] for r in rows])
        quality[f"mean error of {name}, {unit}"] = float(np.abs(truth - [a[name] for a in answers]).mean())
        real[f"mean error of {name}, {unit}"] = float(np.abs(truth - truth.mean()).mean())
    head = ["molecule", *(f"{n}: predicted" for n in units), *(f"{n}: real" for n in units)]
    lines = [[r["smiles"], *(a[n] for n in units), *(r[n] for n in units)] for r, a in list(zip(rows, answers))[:6]]
    report.item(
        "Predict properties",
        f"Dipole and gap of {len(rows)} molecules held out of training, in one call each",
        'model.properties(["CCO"])',
        table(lines, head),
        seen.calls,
        seen.seconds,
        quality,
        real,
        note="In the column of the real data: the error of always answering their mean.",
    )


def placed(report: Report, model: Any, real: list[str]) -> None:
    """Conformers of real molecules, turning."""
    from suffuse.metrics.molecules import bonds_agree, geometry, stability
    from suffuse.modalities.molecules.drawing import turning_view

    chosen = real[:12]
    with report.watch(model) as seen:
        molecules = model.conformers(chosen, samples=1, steps=20)
    found = stability([geometry(m) for m in molecules])
    report.item(
        "Place in space",
        f"3-D structures with hydrogens for {len(chosen)} molecules held out of training; three of them turn",
        'suffuse.load("qm9-3d").conformers("CCO", samples=1)',
        [turning_view(m) for m in molecules[:3]],
        seen.calls,
        seen.seconds,
        {
            "atoms with the right bonds": found["atom_stable"],
            "molecules with the right bonds": found["molecule_stable"],
            "bonds found again in space": bonds_agree(molecules),
        },
        note="Bonds are told from distances by the tables of EDM (Hoogeboom et al. 2022).",
    )
