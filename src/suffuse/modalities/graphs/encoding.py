"""networkx graphs to arrays and back, with classes and scaling learnt from data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from suffuse.errors import DataError
from suffuse.modalities.graphs.data import Record
from suffuse.networks.pairs import node_count, pair_list

if TYPE_CHECKING:
    import networkx as nx

MOST_CLASSES = 256
"""Node or edge classes beyond which an attribute is refused as no class."""


def find_label(graphs: Sequence[nx.Graph], asked: str | None) -> str | None:
    """The node attribute that holds the class: as asked, else 'label', else the only one that is text everywhere."""
    first = graphs[0].nodes[next(iter(graphs[0]))]
    if asked is not None:
        if asked not in first:
            raise DataError(f"the nodes have no attribute {asked!r}; they have {', '.join(map(str, first)) or 'none'}")
        return asked
    if "label" in first:
        return "label"
    text = [k for k in first if all(isinstance(d.get(k), str) for _, d in graphs[0].nodes(data=True))]
    return text[0] if len(text) == 1 else None


def classes_of(values: Sequence[Any], what: str) -> list[Any]:
    """The distinct values, most frequent first. Raises DataError when they are too many to be classes."""
    counts = Counter(values)
    if len(counts) > MOST_CLASSES:
        raise DataError(
            f"{what} takes {len(counts)} values, and at most {MOST_CLASSES} classes are possible; name another attribute"
        )
    return sorted(counts, key=lambda v: (-counts[v], str(v)))


def property_scales(graphs: Sequence[nx.Graph], names: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """Per graph property its mean, deviation and range, or its classes. names: which ones (default: all there are)."""
    found = Counter(
        k for g in graphs for k, v in g.graph.items() if isinstance(v, (int, float, str)) and k != "edges_changed"
    )
    wanted = [k for k in found if not k.startswith(("node_default", "edge_default"))] if names is None else list(names)
    out: dict[str, dict[str, Any]] = {}
    for name in wanted:
        if name not in found:
            raise DataError(f"no graph has a property {name!r}; they have {', '.join(found) or 'none'}")
        values = [g.graph[name] for g in graphs if name in g.graph]
        if any(isinstance(v, str) for v in values):
            out[name] = {"classes": classes_of([str(v) for v in values], f"the property {name!r}")}
        else:
            out[name] = number_scale(np.array(values, float), name)
    return out


def number_scale(values: np.ndarray, name: str) -> dict[str, float]:
    """Mean, deviation and range of a property over the data."""
    values = values[~np.isnan(values)]
    if not len(values) or not np.isfinite(values).all():
        raise DataError(f"the property {name!r} is not a finite number everywhere")
    return {
        "mean": float(values.mean()),
        "std": float(values.std()) or 1.0,
        "min": float(values.min()),
        "max": float(values.max()),
    }


def edge_label(data: dict[str, Any]) -> Any:
    """The class of an edge: its 'label', or True for an edge without one."""
    return data.get("label", True)


def encode(graph: nx.Graph, config: dict[str, Any], where: str) -> Record:
    """A graph as arrays. A node or edge label of None is unknown: class -1. Raises DataError on what the model cannot hold."""
    order = {v: k for k, v in enumerate(graph)}
    label, kinds = config.get("label"), {c: k for k, c in enumerate(config["node_classes"])}
    links = {c: k for k, c in enumerate(config["edge_classes"])}
    nodes = np.zeros(len(order), np.int16)
    if label is not None:
        for v, data in graph.nodes(data=True):
            value = data.get(label)
            if value is not None and value not in kinds:
                raise DataError(
                    f"{where}: the node class {value!r} is not known; known are {', '.join(map(str, kinds))}"
                )
            nodes[order[v]] = -1 if value is None else kinds[value]
    pairs = []
    for a, b, data in graph.edges(data=True):
        value = edge_label(data)
        if value not in links:
            known = ", ".join(str(c) for c in list(links)[1:])
            raise DataError(f"{where}: the edge class {value!r} of {a}-{b} is not known; known are {known}")
        first, second = order[a], order[b]
        if not config.get("directed") and first > second:
            first, second = second, first
        pairs.append((first, second, links[value]))
    coordinates = None
    if config.get("dims"):
        coordinates = positions(graph, config, where)
    record = Record(nodes, np.array(pairs, np.int16).reshape(-1, 3), coordinates)
    for name, about in config.get("properties", {}).items():
        if name in graph.graph:
            record.properties[name] = property_in(about, graph.graph[name], name, where)
    return record


def property_in(about: dict[str, Any], value: Any, name: str, where: str) -> float:
    """A property's value as the model holds it: scaled, or a class number."""
    if "classes" in about:
        if str(value) not in about["classes"]:
            raise DataError(f"{where}: {name} is {value!r}; the model knows {', '.join(about['classes'])}")
        return float(about["classes"].index(str(value)))
    return (float(value) - about["mean"]) / about["std"]


def positions(graph: nx.Graph, config: dict[str, Any], where: str) -> np.ndarray:
    """(n, dims) centred and scaled positions from the node attribute 'pos'."""
    try:
        values = np.array([graph.nodes[v]["pos"] for v in graph], np.float64).reshape(len(graph), -1)
    except (KeyError, ValueError, TypeError):
        raise DataError(f"{where}: not every node has a position 'pos' of numbers") from None
    if values.shape[1] != config["dims"] or not np.isfinite(values).all():
        raise DataError(f"{where}: positions must be {config['dims']} finite numbers a node")
    return ((values - values.mean(0)) / config["position_scale"]).astype(np.float32)


def decode(
    nodes: np.ndarray | None,
    edges: np.ndarray,
    size: int,
    config: dict[str, Any],
    coordinates: np.ndarray | None = None,
) -> nx.Graph:
    """Arrays of one sample, padding cut off, as a networkx graph with nodes 0 .. size - 1."""
    import networkx as nx

    graph = nx.DiGraph() if config.get("directed") else nx.Graph()
    label = config.get("label") or "label"
    for v in range(size):
        graph.add_node(v)
        if nodes is not None:
            graph.nodes[v][label] = config["node_classes"][int(nodes[v])]
        if coordinates is not None:
            graph.nodes[v]["pos"] = [float(c) for c in coordinates[v] * config["position_scale"]]
    directed = bool(config.get("directed"))
    first, second = pair_list(node_count(len(edges), directed), directed)
    for k in np.flatnonzero(edges):
        a, b = int(first[k]), int(second[k])
        if a < size and b < size:
            value = config["edge_classes"][int(edges[k])]
            graph.add_edge(a, b, **({} if value is True else {"label": value}))
    return graph
