"""Edges that would break a kind are refused as they appear, not taken out of the finished graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Fields, Task
from suffuse.modalities.graphs.projection import KINDS, satisfies
from suffuse.modalities.graphs.separation import Separation
from suffuse.networks.pairs import node_count, pair_list

if TYPE_CHECKING:
    import networkx as nx

HEREDITARY = ("planar", "acyclic")
"""Kinds that a graph keeps when edges are taken away: what breaks one never mends by adding more."""


class Admission(Separation):
    """Called as adjust(x, levels, step): sets new edges of the field `edges` (B, P) back to 0 where, added one by one in a random
    order, they break one of the sample's kinds. For models whose edges are only ever added (ConStruct, Madeira et al. 2024)."""

    def __init__(self, task: Task, directed: bool):
        """task.context["project"]: (B, 1) bits of `KINDS`."""
        super().__init__(task, directed)
        self.kinds = [
            [k for i, k in enumerate(KINDS) if k in HEREDITARY and int(bits) >> i & 1]
            for bits in task.context["project"][:, 0]
        ]
        self.given = task.given.get("edges")
        self.graphs: list[nx.Graph] | None = None
        self.first = self.second = np.zeros(0, np.int64)

    def _begin(self, edges: Tensor) -> list[nx.Graph]:
        import networkx as nx

        n = node_count(edges.shape[1], self.directed)
        self.first, self.second = (t.numpy() for t in pair_list(n, self.directed))
        given = (
            torch.zeros_like(edges, dtype=torch.bool) if self.given is None else self.given.cpu().expand(edges.shape)
        )
        made = [nx.DiGraph() if self.directed else nx.Graph() for _ in range(len(edges))]
        for graph, kept in zip(made, ((edges > 0) & given).numpy(), strict=True):
            graph.add_nodes_from(range(n))
            graph.add_edges_from(zip(self.first[kept].tolist(), self.second[kept].tolist(), strict=True))
        return made

    def __call__(self, x: Fields, levels: Fields, step: int) -> Fields:
        edges = x["edges"].cpu()
        if self.graphs is None:
            self.graphs = self._begin(edges)
        out = edges.clone()
        for b, graph in enumerate(self.graphs):
            linked = np.flatnonzero(edges[b].numpy())
            pairs = [(int(self.first[k]), int(self.second[k]), int(k)) for k in linked]
            new = [p for p in pairs if not graph.has_edge(p[0], p[1])]
            gone = set(graph.edges) - {(i, j) for i, j, _ in pairs}
            graph.remove_edges_from(gone)
            order = np.random.RandomState((int(self.index[b]) * 10007 + step) % 2**32).permutation(len(new))
            for *_, k in self._refused(graph, [new[o] for o in order], self.kinds[b]):
                out[b, k] = 0
        return x | {"edges": out.to(x["edges"].device)}

    @staticmethod
    def _refused(graph: nx.Graph, new: list[tuple[int, int, int]], kinds: list[str]) -> list[tuple[int, int, int]]:
        """Adds to `graph` what may be added; returns the rest. Halves first, since most new edges do no harm."""
        if not new or not kinds:
            graph.add_edges_from((i, j) for i, j, _ in new)
            return []
        graph.add_edges_from((i, j) for i, j, _ in new)
        if all(satisfies(graph, kind) for kind in kinds):
            return []
        graph.remove_edges_from((i, j) for i, j, _ in new)
        if len(new) == 1:
            return new
        half = len(new) // 2
        return Admission._refused(graph, new[:half], kinds) + Admission._refused(graph, new[half:], kinds)
