"""What can be asked of a molecule model beside sampling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from suffuse.errors import AskError, DataError


def complete(model: Any, scaffold: str, samples: int = 8, atoms: int = 0, seed: int = 0, **sampling: Any) -> list[Any]:
    """Grow a scaffold, or link fragments: what is given stays, new atoms join at the * marks.

    suffuse complete qm9 "*C1CC1" --samples 8 -o grown.svg
    atoms: of the whole answer (0: drawn as in the data).
    """
    return model.sample(samples, given=scaffold, atoms=atoms or None, seed=seed, **sampling)


def properties(model: Any, source: str) -> list[dict[str, Any]]:
    """Predict every property the model knows for given molecules, in the property's own unit.

    suffuse properties qm9 "CCO"
    """
    from suffuse.metrics.molecules import canonical
    from suffuse.modalities.molecules import reading

    modality = model.modality
    if not modality.properties:
        raise AskError("this model knows no properties")
    found = list(reading.entries(source, hydrogens=bool(modality.dims)))
    records = [modality.encode(e) for e in found]
    for record in records:
        record.properties = dict.fromkeys(modality.properties, float("nan"))
    data = modality.data(records)
    rows: list[dict[str, Any]] = [{"smiles": canonical(e.molecule)} for e in found]
    for name in modality.properties:
        for row, value in zip(rows, model.predict(data, name)[:, 0].tolist(), strict=True):
            row[name] = modality.property_out(name, value)
    return rows


def conformers(model: Any, source: str, samples: int = 4, seed: int = 0, start: int = 0, **sampling: Any) -> list[Any]:
    """3-D structures, hydrogens included, for given molecules: `samples` of each, one after another.

    suffuse conformers qm9-3d "CCO" --samples 4 -o ethanol.sdf
    """
    from rdkit import Chem

    from suffuse.modalities.molecules import encoding, reading

    modality = model.modality
    if not modality.dims:
        raise AskError(
            "this model knows no coordinates; use one that was trained with coordinates=True, such as qm9-3d"
        )
    if isinstance(source, Path):
        source = str(source)
    records = []
    for entry in reading.entries(source):
        whole = Chem.Mol(entry.molecule)
        Chem.SanitizeMol(whole)
        whole = Chem.AddHs(whole)
        Chem.Kekulize(whole, clearAromaticFlags=True)
        if whole.GetNumAtoms() > modality.largest:
            count = whole.GetNumAtoms()
            raise DataError(
                f"{entry.where} has {count} atoms with hydrogens; the model was trained on at most {modality.largest}"
            )
        records += [encoding.encode(whole, modality.kinds, entry.where)] * samples
    return placed(model, records, seed, start, **sampling)


def placed(model: Any, records: Sequence[Any], seed: int = 0, start: int = 0, **sampling: Any) -> list[Any]:
    """RDKit molecules of graphs with their hydrogens (`graphs.data.Record`), placed in space; the order is kept.

    Molecules of one size go together, so that nothing is spent on padding.
    """
    import numpy as np
    import torch

    modality = model.modality
    out: list[Any] = [None] * len(records)
    sizes = np.array([len(r) for r in records])
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes == size)
        index = torch.from_numpy(rows) + start
        task = modality.graph_task(len(rows), index, sizes[rows], [records[k] for k in rows], width=int(size))
        fields = model.run(task, seed=seed, **sampling)
        for k, molecule in zip(rows, modality.decode(fields, task), strict=True):
            molecule.ClearProp("given_atoms")
            out[k] = molecule
    return out
