"""Files and objects into networkx graphs, checked: what a person gets wrong is named with its place."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse.errors import DataError
from suffuse.files import check_file, human_size

if TYPE_CHECKING:
    import networkx as nx

SUFFIXES = (".graphml", ".gml", ".edges", ".edgelist", ".json", ".jsonl")
PICKLES = (".pkl", ".pickle", ".p", ".gpickle", ".pt", ".pth", ".dat", ".npy")
LIMIT = 1 << 30
"""Bytes of graph file, unpacked, that are read."""


def is_graph(thing: Any) -> bool:
    """Whether an object is a networkx graph, without importing networkx."""
    return any(t.__module__.startswith("networkx.") and t.__name__ == "Graph" for t in type(thing).__mro__)


def is_geometric(thing: Any) -> bool:
    """Whether an object looks like torch_geometric's `Data`."""
    return type(thing).__module__.startswith("torch_geometric.") and hasattr(thing, "edge_index")


def suffix_of(path: Path) -> str:
    """The ending that tells the format, without .gz."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def graphs(source: Any, **options: Any) -> list[nx.Graph]:
    """All graphs of a file, a folder of files, a networkx graph, a PyG `Data` or a sequence of these.

    Raises DataError in one sentence: no graphs, a self loop, a duplicate edge, a multigraph, a pickle.
    """
    out = [checked(graph, where) for graph, where in _each(source, options)]
    if not out:
        raise DataError("the source holds no graphs")
    return out


def _each(source: Any, options: dict[str, Any]) -> Iterator[tuple[nx.Graph, str]]:
    if is_graph(source):
        yield source, "the graph"
    elif is_geometric(source):
        yield from_geometric(source, options), "the graph"
    elif isinstance(source, (str, Path)):
        yield from _from_path(Path(source).expanduser(), options)
    elif isinstance(source, dict):
        yield from_dict(source, "the graph", options), "the graph"
    elif isinstance(source, Sequence):
        for k, item in enumerate(source):
            where = f"graph {k}"
            if is_graph(item):
                yield item, where
            elif is_geometric(item):
                yield from_geometric(item, options), where
            elif isinstance(item, dict):
                yield from_dict(item, where, options), where
            elif isinstance(item, (str, Path)):
                yield from _from_path(Path(item).expanduser(), options)
            else:
                raise DataError(
                    f"{where} is of type {type(item).__name__}; a networkx graph, a dict with n and edges or a path is wanted"
                )
    else:
        raise DataError(f"graphs cannot be read from an object of type {type(source).__name__}")


def _from_path(path: Path, options: dict[str, Any]) -> Iterator[tuple[nx.Graph, str]]:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and suffix_of(p) in SUFFIXES)
        if not files:
            raise DataError(f"the folder {path} holds no graph files ({', '.join(SUFFIXES)})")
        for file in files:
            yield from _from_path(file, options)
        return
    suffix = suffix_of(path)
    if suffix in PICKLES:
        raise DataError(
            f"{path} is a pickle, which can run code when it is read; save the graphs as GraphML, GML, JSON or edge lists"
        )
    text = _text(path)
    if suffix in (".json", ".jsonl"):
        yield from _from_json(text, path, options)
    elif suffix in (".graphml", ".gml"):
        yield from _from_markup(text, path, suffix)
    else:
        yield from_edge_list(text, str(path), options), str(path)


def _text(path: Path) -> str:
    check_file(path, LIMIT)
    try:
        if path.name.endswith(".gz"):
            with gzip.open(path) as file:
                raw = file.read(LIMIT + 1)
        else:
            raw = path.read_bytes()
    except (OSError, EOFError) as broken:
        raise DataError(f"{path} cannot be read: {broken}") from None
    if len(raw) > LIMIT:
        raise DataError(f"{path} unpacks to more than the {human_size(LIMIT)} allowed here")
    if raw[:1] == b"\x80":
        raise DataError(
            f"{path} is a pickle, which can run code when it is read; save the graphs as GraphML, GML, JSON or edge lists"
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        raise DataError(f"{path} is not UTF-8 text (byte {broken.start})") from None


def _from_json(text: str, path: Path, options: dict[str, Any]) -> Iterator[tuple[nx.Graph, str]]:
    try:
        if path.name.removesuffix(".gz").endswith(".jsonl"):
            value: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as broken:
        raise DataError(f"{path} is not valid JSON: {broken}") from None
    if isinstance(value, dict) and "edges" not in value and "links" not in value:
        splits = [k for k, v in value.items() if isinstance(v, list)]
        wanted = options.get("split") or ("train" if "train" in splits else splits[0] if len(splits) == 1 else None)
        if wanted not in splits:
            raise DataError(f"{path} holds the lists {', '.join(splits) or 'none'}; name one as split=")
        value = value[wanted]
    for k, item in enumerate(value if isinstance(value, list) else [value]):
        where = f"{path}, graph {k}"
        yield from_dict(item, where, options), where


def _from_markup(text: str, path: Path, suffix: str) -> Iterator[tuple[nx.Graph, str]]:
    import networkx as nx

    try:
        if suffix == ".graphml":
            if "<!DOCTYPE" in text or "<!ENTITY" in text:
                raise DataError(f"{path} declares XML entities, which are not read; save plain GraphML")
            graph = nx.parse_graphml(text)
        else:
            try:
                graph = nx.parse_gml(text, label="label")
            except nx.NetworkXError:  # nodes without names
                graph = nx.parse_gml(text, label="id")
            for _, data in graph.nodes(data=True):
                if "class" in data:
                    data["label"] = data.pop("class")
    except DataError:
        raise
    except Exception as broken:  # networkx raises a dozen kinds
        raise DataError(f"{path} is not readable {suffix[1:].upper()}: {broken}") from None
    yield graph, str(path)


def from_dict(item: Any, where: str, options: dict[str, Any]) -> nx.Graph:
    """A graph from {"n": 5, "edges": [[0, 1], [1, 2, label]], ...} or networkx's node-link form.

    Lists of n entries beside them become node attributes ('pos' for positions), 'graph' or other plain values graph
    properties; "directed": true makes it directed. options: label=, the list that holds the node classes.
    """
    import networkx as nx

    if not isinstance(item, dict):
        raise DataError(f"{where} is a {type(item).__name__}; an object with n and edges is wanted")
    if "nodes" in item and ("links" in item or "edges" in item) and isinstance(item["nodes"], list):
        try:
            return nx.node_link_graph(item, edges="links" if "links" in item else "edges")
        except Exception as broken:
            raise DataError(f"{where} is not readable node-link JSON: {broken!r}") from None
    edges = item.get("edges")
    if not isinstance(edges, list):
        raise DataError(f"{where} has no list 'edges'")
    n = item.get("n", 1 + max((max(e[:2]) for e in edges if isinstance(e, list) and len(e) > 1), default=-1))
    if not isinstance(n, int) or n < 1:
        raise DataError(f"{where}: n must be a whole number of at least 1, not {n!r}")
    graph = nx.DiGraph() if item.get("directed") else nx.Graph()
    graph.add_nodes_from(range(n))
    for edge in edges:
        if not isinstance(edge, list) or len(edge) < 2 or not all(isinstance(v, int) and 0 <= v < n for v in edge[:2]):
            raise DataError(f"{where}: the edge {edge!r} does not join two of its {n} nodes (0 to {n - 1})")
        if graph.has_edge(*edge[:2]):
            raise DataError(f"{where} has the edge {edge[0]}-{edge[1]} twice")
        graph.add_edge(edge[0], edge[1], **({"label": edge[2]} if len(edge) > 2 else {}))
    for key, value in item.items():
        if key in ("n", "edges", "directed"):
            continue
        if isinstance(value, list) and len(value) == n:
            name = "label" if key == options.get("label", "label") else key
            nx.set_node_attributes(graph, dict(enumerate(value)), name)
        elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
            graph.graph[key] = value
    return graph


def from_edge_list(text: str, where: str, options: dict[str, Any]) -> nx.Graph:
    """A graph from lines `a b` or `a b label` (spaces, tabs or commas; # and % start comments)."""
    import networkx as nx

    graph = nx.DiGraph() if options.get("directed") else nx.Graph()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split("%")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) < 2:
            raise DataError(f"{where}, line {number}: an edge is two nodes, not {line.strip()!r}")
        if words[0] == words[1]:
            raise DataError(f"{where}, line {number}: {words[0]} is joined to itself; remove self loops")
        if graph.has_edge(words[0], words[1]):
            raise DataError(f"{where}, line {number}: the edge {words[0]}-{words[1]} stands there twice")
        graph.add_edge(words[0], words[1], **({"label": " ".join(words[2:])} if len(words) > 2 else {}))
    return graph


def from_geometric(data: Any, options: dict[str, Any]) -> nx.Graph:
    """A graph from torch_geometric's `Data`: edge_index, one-hot or integer `x` as labels, `edge_attr`, `pos`, scalar `y`."""
    import networkx as nx

    index = data.edge_index.tolist()
    directed = not bool(data.is_undirected())
    graph = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(range(int(data.num_nodes)))
    labels = _integers(getattr(data, "edge_attr", None))
    for k, (a, b) in enumerate(zip(*index)):
        if directed and graph.has_edge(a, b):
            raise DataError(f"the PyG graph has the edge {a}-{b} twice")
        graph.add_edge(a, b, **({} if labels is None else {"label": labels[k]}))
    kinds = _integers(getattr(data, "x", None))
    if kinds is not None:
        nx.set_node_attributes(graph, dict(enumerate(kinds)), "label")
    if getattr(data, "pos", None) is not None:
        nx.set_node_attributes(graph, dict(enumerate(data.pos.tolist())), "pos")
    if getattr(data, "y", None) is not None and data.y.numel() == 1:
        graph.graph["y"] = data.y.item()
    return graph


def _integers(value: Any) -> list[int] | None:
    """Classes of one-hot rows or of a column of integers; None for anything else."""
    if value is None:
        return None
    if value.ndim == 2 and value.shape[1] > 1:
        one_hot = ((value == 0) | (value == 1)).all() and (value.sum(1) == 1).all()
        return value.argmax(1).tolist() if one_hot else None
    value = value.flatten()
    return value.long().tolist() if bool((value == value.long()).all()) else None


def checked(graph: nx.Graph, where: str) -> nx.Graph:
    """The graph itself, when it is one that can be used. Raises DataError in one sentence."""
    import networkx as nx

    if graph.is_multigraph():
        simple = nx.DiGraph(graph) if graph.is_directed() else nx.Graph(graph)
        if simple.number_of_edges() != graph.number_of_edges():
            raise DataError(f"{where} has several edges between the same nodes; merge them first")
        graph = simple
    if graph.number_of_nodes() == 0:
        raise DataError(f"{where} has no nodes")
    loop = next(iter(nx.selfloop_edges(graph)), None)
    if loop is not None:
        raise DataError(f"{where} joins the node {loop[0]!r} to itself; remove self loops")
    return graph
