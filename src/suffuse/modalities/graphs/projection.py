"""The nearest graph of a kind: planar, acyclic, connected. What is changed is reported, never hidden."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from suffuse.errors import AskError

if TYPE_CHECKING:
    import networkx as nx

KINDS = ("planar", "acyclic", "connected")


def satisfies(graph: nx.Graph, kind: str) -> bool:
    """Whether a graph is planar, acyclic (a forest; a directed graph: no directed cycle) or connected."""
    import networkx as nx

    if kind == "planar":
        return nx.check_planarity(graph)[0]
    if kind == "acyclic":
        return nx.is_directed_acyclic_graph(graph) if graph.is_directed() else nx.is_forest(graph)
    if kind == "connected":
        return nx.is_weakly_connected(graph) if graph.is_directed() else nx.is_connected(graph)
    raise AskError(f"a graph can be made {', '.join(KINDS)}, not {kind!r}")


def project(graph: nx.Graph, kinds: Iterable[str], keep: Iterable[tuple] = ()) -> tuple[nx.Graph, int]:
    """(a graph that is of all `kinds`, how many edges were removed or added).

    Edges are put back one by one, those in `keep` (given by a person) first, then those whose end points share most
    neighbours, and one that would break planarity or close a cycle is left out. Then components are joined by the
    edge between their nodes of lowest degree, which can break neither. Raises AskError where `keep` itself breaks a kind.
    """
    import networkx as nx

    kinds = list(kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise AskError(f"a graph can be made {', '.join(KINDS)}, not {kind!r}")
    out = graph.copy()
    if any(not satisfies(out, kind) for kind in kinds if kind != "connected"):
        out.remove_edges_from(list(graph.edges))
        fixed = [e for e in keep if graph.has_edge(*e)]
        out.add_edges_from((a, b, graph.edges[a, b]) for a, b in fixed)
        for kind in kinds:
            if kind != "connected" and not satisfies(out, kind):
                raise AskError(f"the edges given are not {kind} themselves, so no graph that keeps them can be")
        around = {v: set(nx.all_neighbors(graph, v)) for v in graph}
        rest = sorted(
            (e for e in graph.edges if not out.has_edge(*e)), key=lambda e: (-len(around[e[0]] & around[e[1]]), str(e))
        )
        for a, b in rest:
            out.add_edge(a, b, **graph.edges[a, b])
            if not all(satisfies(out, kind) for kind in kinds if kind != "connected"):
                out.remove_edge(a, b)
    if "connected" in kinds:
        _connect(out, graph)
    before, after = set(_keys(graph)), set(_keys(out))
    return out, len(before ^ after)


def _keys(graph: nx.Graph) -> Iterable:
    return graph.edges if graph.is_directed() else (frozenset(e) for e in graph.edges)


def _connect(out: nx.Graph, graph: nx.Graph) -> None:
    """Join components one edge at a time: an edge that `graph` had between them where there is one, else between the
    nodes of lowest degree. A single edge between components keeps a graph planar and acyclic."""
    import networkx as nx

    common = next((d for _, _, d in graph.edges(data=True)), {})
    parts = nx.weakly_connected_components if out.is_directed() else nx.connected_components
    while True:
        found = sorted(parts(out), key=lambda c: (-len(c), str(min(c, key=str))))
        if len(found) == 1:
            return
        large, small = found[0], found[1]
        dropped = next(
            ((a, b) for a, b in graph.edges if (a in large and b in small) or (a in small and b in large)), None
        )
        if dropped is not None:
            out.add_edge(*dropped, **graph.edges[dropped])
            continue
        ends = [min(part, key=lambda v: (out.degree(v) or len(out), str(v))) for part in (large, small)]
        out.add_edge(*ends, **dict(common))
