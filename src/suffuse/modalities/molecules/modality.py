"""Molecules: atoms, bonds, properties and, where the data has them, 3-D coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Task
from suffuse.errors import AskError, DataError
from suffuse.modalities.graphs.base import NETWORK, NodeEdgeModality
from suffuse.modalities.graphs.data import GraphData, Record
from suffuse.modalities.graphs.encoding import number_scale
from suffuse.modalities.graphs.modality import marginals
from suffuse.modalities.molecules import encoding, reading, verbs
from suffuse.networks.pairs import node_count, pair_list

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MOST_ATOMS = 128
PROJECTIONS = ("valid", "connected")


class Molecules(NodeEdgeModality):
    """RDKit molecules: node classes are elements with charges, edge classes the bond orders of the kekulised form, hydrogens
    implicit unless the data has 3-D coordinates. Stereochemistry is not modelled."""

    name = "molecules"
    summary = "Molecules in 2-D and 3-D: generate, by property, complete scaffolds, link fragments, predict, conformers"
    extra = "molecules"
    spelt = True
    verbs = {
        "complete": verbs.complete,
        "properties": verbs.properties,
        "conformers": verbs.conformers,
    }

    # -- reading ------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        if reading.is_molecule(source):
            return 1.0
        if isinstance(source, (list, tuple)) and source:
            return 1.0 if reading.is_molecule(source[0]) else 0.0
        if hasattr(source, "columns"):
            return 0.9 if any(str(c).lower() in reading.COLUMNS for c in source.columns) else 0.0
        if isinstance(source, (str, Path)) and len(str(source)) < 4096:
            path = Path(source).expanduser()
            suffix = reading.suffix_of(path)
            if suffix in reading.SUFFIXES:
                return 0.95
            if suffix in (".csv", ".tsv") and path.is_file():
                with reading._open(path) as file:
                    head = file.readline(4096).lower().replace("\t", ",").strip().split(",")
                return 0.95 if any(h.strip('"') in reading.COLUMNS for h in head) else 0.0
            if path.is_dir():
                return 0.9 if any(reading.suffix_of(p) in reading.SUFFIXES for p in path.iterdir()) else 0.0
        return 0.0

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        properties: Sequence[str] | str = (),
        coordinates: bool = False,
        column: str | None = None,
        skip_bad: bool = False,
        **network: Any,
    ) -> tuple[Molecules, GraphData]:
        """Learn atom kinds, marginals, sizes and scales from training molecules.

        properties: names of numeric columns, or of what RDKit computes (qed, logp, sa, weight, tpsa); a list, or with commas.
        coordinates: model 3-D coordinates and explicit hydrogens (SDF, XYZ). column: CSV column with SMILES. skip_bad: leave
        out what cannot be used. network: width, edge_width, layers, heads, walks, sets. Raises DataError, AskError.
        """
        unknown = set(network) - set(NETWORK)
        if unknown:
            raise AskError(
                f"{sorted(unknown)[0]!r} is no option of molecules; known are properties, coordinates, column, skip_bad, "
                + ", ".join(NETWORK)
            )
        names = [p.strip() for p in (properties.split(",") if isinstance(properties, str) else properties) if p.strip()]
        found = list(reading.entries(source, column=column, skip_bad=skip_bad, hydrogens=coordinates))
        if not found:
            raise DataError("the source holds no molecules")
        counts: dict[str, int] = {}
        for entry in found:
            if entry.molecule.GetNumAtoms() > MOST_ATOMS:
                raise DataError(
                    f"{entry.where} has {entry.molecule.GetNumAtoms()} atoms, and at most {MOST_ATOMS} are possible"
                )
            for atom in entry.molecule.GetAtoms():
                name = encoding.kind(atom)
                counts[name] = counts.get(name, 0) + 1
        kinds = sorted(counts, key=lambda k: (-counts[k], k))
        scale = None
        if coordinates:
            spreads = []
            for entry in found:
                if not entry.molecule.GetNumConformers() or not entry.molecule.GetConformer().Is3D():
                    raise DataError(f"{entry.where} has no 3-D coordinates; give an SDF or XYZ file that has")
                spreads.append(np.asarray(entry.molecule.GetConformer().GetPositions()).var(0).mean())
            scale = float(np.sqrt(np.mean(spreads)))
        values = {name: np.array([_value(e, name) for e in found]) for name in names}
        scales = {name: number_scale(v, name) for name, v in values.items()}
        number = {k: i for i, k in enumerate(kinds)}
        records = [encoding.encode(e.molecule, number, e.where, scale) for e in found]
        for name, about in scales.items():
            for record, value in zip(records, values[name], strict=True):
                record.properties[name] = (value - about["mean"]) / about["std"]
        config: dict[str, Any] = {"node_classes": kinds, "edge_classes": list(encoding.ORDERS), "properties": scales}
        if coordinates:
            config |= {"dims": 3, "position_scale": scale}
        config |= marginals(records, len(kinds), len(encoding.ORDERS), False)
        config["network"] = {k: int(v) for k, v in network.items() if v is not None}
        config |= {"posterior": True, "emphasis": 0.5}
        made = cls(**config)
        return made, made.data(records, bucketed=True)

    @property
    def kinds(self) -> dict[str, int]:
        """Atom kind -> node class."""
        return {k: i for i, k in enumerate(self.node_classes)}

    def dataset(self, source: Any, *, column: str | None = None, skip_bad: bool = False) -> GraphData:
        records = []
        for entry in reading.entries(source, column=column, skip_bad=skip_bad, hydrogens=bool(self.dims)):
            try:
                records.append(self.encode(entry))
            except DataError:
                if not skip_bad:
                    raise
        if not records:
            raise DataError("the source holds no molecules")
        return self.data(records)

    def encode(self, entry: reading.Entry, where: str | None = None) -> Record:
        """One molecule as arrays with the properties that are known of it. Raises DataError when the model cannot hold it."""
        where = where or entry.where
        if entry.molecule.GetNumAtoms() > self.largest:
            raise DataError(
                f"{where} has {entry.molecule.GetNumAtoms()} atoms; the model was trained on at most {self.largest}"
            )
        scale = self.config["position_scale"] if self.dims else None
        record = encoding.encode(entry.molecule, self.kinds, where, scale)
        for name, about in self.properties.items():
            record.properties[name] = (_value(entry, name) - about["mean"]) / about["std"]
        return record

    # -- asking -------------------------------------------------------------------------------------------------
    def request(
        self,
        n: int,
        given: Any = None,
        *,
        index: Tensor,
        atoms: int | None = None,
        project: str | Sequence[str] = (),
        top_p: float | None = None,
        **asked: Any,
    ) -> Task:
        """given: None; a scaffold or several fragments as SMILES or molecule, whose `*` mark where new atoms may be joined
        (without any: everywhere); or a mapping of properties, with such a scaffold as "scaffold" or "file". A list gives one
        per sample. atoms: how many the answer has (default: as in the data). project: 'valid', 'connected', both with a
        comma. top_p: leave out unlikely atoms and bonds at every step (more valid molecules, of fewer kinds). Other names are
        properties. Raises AskError, DataError."""
        if self.config.get("only") == "place":
            raise AskError(
                "this model only places given molecules in space: use its verb conformers, or make molecules with qm9"
            )
        wanted = [k for k in (project.split(",") if isinstance(project, str) else project) if k]
        strange = next((k for k in wanted if k not in PROJECTIONS), None)
        if strange:
            raise AskError(f"a molecule can be made {' or '.join(PROJECTIONS)}, not {strange!r}")
        if isinstance(given, Mapping):
            asked = {**{k: v for k, v in given.items() if k not in ("scaffold", "file")}, **asked}
            given = given.get("scaffold", given.get("file"))
        if isinstance(given, Path) or (isinstance(given, str) and reading._is_path(given)):
            given = [e.molecule for e in reading._each(Path(given), None, bool(self.dims), False)]
            given = given[0] if len(given) == 1 else given
        parts: list[Record | None] = [None] * n
        joins: list[np.ndarray] = []
        least = 1
        if given is not None:
            several = list(given) if isinstance(given, (list, tuple)) else [given]
            if len(several) not in (1, n):
                raise AskError(f"{len(several)} scaffolds are given for {n} samples: give one, or one per sample")
            made = [encoding.scaffold(g, self.kinds) for g in several]
            made = made * (n if len(made) == 1 else 1)
            parts, joins = [m[0] for m in made], [m[1] for m in made]
            starred = any(_has_star(g) for g in several)
            least = max(len(p) for p in parts) + starred
            if least > self.largest:
                raise AskError(
                    f"the scaffold has {least - starred} atoms and cannot fit: the model makes at most {self.largest}"
                )
        if atoms is not None:
            if isinstance(atoms, bool) or not isinstance(atoms, int) or not least <= atoms <= self.largest:
                raise AskError(f"atoms must be a whole number from {least} to {self.largest}, not {atoms!r}")
            sizes = np.full(n, atoms)
        else:
            sizes = self.draw_sizes(index, least)
        task = self.graph_task(n, index, sizes, parts, asked)
        if joins:
            first, second = pair_list(node_count(task.x["edges"].shape[1]))
            for b, (part, may) in enumerate(zip(parts, joins, strict=True)):
                closed = torch.zeros(int(second.max()) + 1 if len(second) else 1, dtype=torch.bool)
                closed[: len(part)] = torch.from_numpy(~may)
                locked = (closed[first] & (second >= len(part))) | (closed[second] & (first >= len(part)))
                task.start.levels["edges"][b, locked] = 0.0
                task.given["edges"][b] |= locked
        task.context["project"] = torch.tensor([[sum(1 << PROJECTIONS.index(k) for k in wanted)]]).expand(n, 1)
        self.narrow(task, top_p)
        return task

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[Mol]:
        """RDKit molecules, sanitised where valid (an invalid one has the property "invalid" with the reason). Given atoms come
        first; their numbers are the property "given_atoms". A projected one says "bonds_changed" and "atoms_dropped"."""
        sizes = task.context["sizes"][:, 0].tolist()
        known = task.given.get("nodes")
        out = []
        for b, size in enumerate(sizes):
            place = fields["coordinates"][b].cpu().numpy() * self.config["position_scale"] if self.dims else None
            molecule = encoding.build(
                fields["nodes"][b].cpu().numpy(), fields["edges"][b].cpu().numpy(), size, self.node_classes, place
            )
            given = (
                [] if known is None else torch.nonzero(known[b].expand(fields["nodes"].shape[1])[:size])[:, 0].tolist()
            )
            flags = int(task.context["project"][b, 0]) if "project" in task.context else 0
            changed = dropped = None
            if flags & 1 and encoding.why_invalid(molecule) is not None:
                fixed = {(i, j) for i in given for j in given if i < j}
                molecule, changed = encoding.repair(molecule, fixed)
            if flags & 2:
                molecule, dropped = encoding.largest_part(molecule)
            for name, value in (("bonds_changed", changed), ("atoms_dropped", dropped)):
                if value is not None:
                    molecule.SetIntProp(name, value)
            if given and not dropped:
                molecule.SetProp("given_atoms", " ".join(map(str, given)))
            for name in self.properties:
                held = task.start.held.get(name)
                if held is None or not bool(held.reshape(-1)[b if held.shape[0] > 1 else 0]):
                    molecule.SetDoubleProp(name, self.property_out(name, fields[name][b, 0].item()))
            out.append(molecule)
        return out

    def write(self, samples: Sequence[Mol], path: Path, first: int = 0) -> list[Path]:
        """.smi, .csv (with properties and a column 'valid'), .sdf, .xyz, or .svg / .png (a grid picture)."""
        from suffuse.modalities.molecules.writing import write_molecules

        path = Path(path)
        if path.suffix in (".svg", ".png"):
            return [self.show(samples, path)]
        return write_molecules(samples, path)

    def spell(self, sample: Mol) -> str:
        """SMILES."""
        from suffuse.modalities.molecules.writing import plain_smiles

        return plain_smiles(sample)

    def show(self, samples: Sequence[Mol], path: Path) -> Path:
        """A grid of structure drawings as SVG or PNG; given atoms are marked."""
        from suffuse.modalities.molecules.drawing import draw_molecules

        return draw_molecules(samples, Path(path))

    # -- quality ------------------------------------------------------------------------------------------------
    def evaluate(
        self, model: Any, data: GraphData, *, count: int = 1000, steps: int | None = None, **options: Any
    ) -> dict[str, float]:
        """Validity, connectedness, uniqueness, novelty and distances of QED and logP, beside half of `data` against the other."""
        from suffuse.metrics.molecules import figures

        count = min(count, len(data))
        real = [self.molecule_of(data.record(k)) for k in range(count)]
        made = model.sample(count, steps=steps, batch=500, **options)
        ours = figures(made, real)
        floor = figures(real[: count // 2], real[count // 2 :])
        return {k: v for name in ours for k, v in ((name, ours[name]), (name + "_real", floor[name]))}

    def molecule_of(self, record: Record) -> Mol:
        """A molecule from its arrays."""
        from suffuse.modalities.graphs.data import dense_edges

        place = record.coordinates * self.config["position_scale"] if record.coordinates is not None else None
        return encoding.build(
            record.nodes, dense_edges(record, len(record), False), len(record), self.node_classes, place
        )


def _value(entry: reading.Entry, name: str) -> float:
    """A property of an entry: as it stands in the file, or computed; NaN when there is none."""
    if name in entry.properties:
        return entry.properties[name]
    return reading.computed(name, entry.molecule) if name in reading.COMPUTED else float("nan")


def _has_star(given: Any) -> bool:
    if isinstance(given, str):
        return "*" in given
    return any(a.GetAtomicNum() == 0 for a in given.GetAtoms())


def smiles(molecules: Iterable[Mol]) -> list[str | None]:
    """Canonical SMILES without stereochemistry; None for invalid molecules."""
    from suffuse.metrics.molecules import canonical

    return [canonical(m) for m in molecules]
