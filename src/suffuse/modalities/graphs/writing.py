"""Graphs into files: JSON (several), GraphML, GML or edge lists (one, or a folder of them)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse.errors import DataError
from suffuse.files import atomic_folder, atomic_write, write_text

if TYPE_CHECKING:
    import networkx as nx

ONE = (".graphml", ".gml", ".edgelist")


def looks_like_graphs(path: Path) -> bool:
    """Whether the first bytes of a JSON file speak of edges."""
    try:
        with gzip.open(path, "rt") if path.name.endswith(".gz") else open(path, encoding="utf-8") as file:
            head = file.read(4096)
    except (OSError, UnicodeDecodeError):
        return False
    return '"edges"' in head or '"links"' in head


def to_dict(graph: nx.Graph) -> dict[str, Any]:
    """The form that `reading.from_dict` reads: n, edges, one list a node attribute, graph properties."""
    order = {v: k for k, v in enumerate(graph)}
    out: dict[str, Any] = {"n": len(order)}
    if graph.is_directed():
        out["directed"] = True
    out["edges"] = [[order[a], order[b], *([d["label"]] if "label" in d else [])] for a, b, d in graph.edges(data=True)]
    for name in sorted({k for _, d in graph.nodes(data=True) for k in d}):
        out[name] = [d.get(name) for _, d in graph.nodes(data=True)]
    return out | {k: v for k, v in graph.graph.items() if isinstance(v, (int, float, str))}


def write_graphs(samples: Sequence[nx.Graph], path: Path, first: int = 0) -> list[Path]:
    """Write graphs whole or not at all; the ending of `path` chooses the form, a folder or no ending means GraphML files,
    numbered from `first`."""
    path = Path(path)
    if path.suffix == ".json":
        return [write_text(json.dumps([to_dict(g) for g in samples]) + "\n", path)]
    if path.suffix == ".jsonl":
        return [write_text("".join(json.dumps(to_dict(g)) + "\n" for g in samples), path)]
    if path.suffix in ONE and len(samples) == 1:
        with atomic_write(path) as partial:
            _one(samples[0], partial, path.suffix)
        return [path]
    if path.suffix and path.suffix not in ONE:
        raise DataError(
            f"{path}: graphs are written as .json, .jsonl, {', '.join(ONE)}, .svg or .png, not {path.suffix}"
        )
    suffix, folder = path.suffix or ".graphml", path.with_suffix("")
    names = [f"graph_{k:05d}{suffix}" for k in range(first, first + len(samples))]
    with atomic_folder(folder, existing="merge") as partial:
        for name, graph in zip(names, samples, strict=True):
            _one(graph, partial / name, suffix)
    return [folder / name for name in names]


def _one(graph: nx.Graph, path: Path, suffix: str) -> None:
    import networkx as nx

    plain = graph.copy()
    for _, data in plain.nodes(data=True):
        for key, value in list(data.items()):
            if isinstance(value, (list, tuple)):  # GraphML and GML hold no lists
                data.update({f"{key}_{axis}": float(v) for axis, v in zip("xyz", value)})
                del data[key]
    if suffix == ".graphml":
        nx.write_graphml(plain, path)
    elif suffix == ".gml":
        for _, data in plain.nodes(data=True):  # GML's own `label` is the node's name
            if "label" in data:
                data["class"] = data.pop("label")
        nx.write_gml(plain, path, stringizer=str)
    else:
        lines = [f"{a}\t{b}" + (f"\t{d['label']}" if "label" in d else "") for a, b, d in graph.edges(data=True)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
