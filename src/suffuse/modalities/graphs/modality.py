"""Graphs of any kind: social, biological, planar, tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Task
from suffuse.errors import AskError, DataError
from suffuse.modalities.graphs import encoding, reading, verbs, writing
from suffuse.modalities.graphs.admission import Admission
from suffuse.modalities.graphs.base import NETWORK, NodeEdgeModality
from suffuse.modalities.graphs.data import GraphData, Record
from suffuse.modalities.graphs.projection import KINDS, project
from suffuse.modalities.graphs.separation import Separation
from suffuse.networks.pairs import node_count, pair_list

if TYPE_CHECKING:
    import networkx as nx

MOST_NODES = 512
"""Largest graph taken: every pair of nodes has a state, so the cost grows with the square."""


class Graphs(NodeEdgeModality):
    """networkx graphs with node classes, edge classes, positions and graph properties, as far as the data has them."""

    name = "graphs"
    summary = "Graphs with node and edge classes: generate, complete, predict properties; planar, acyclic, connected on request"
    extra = "graphs"
    numbered = True
    verbs = {"complete": verbs.complete}

    # -- reading ------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        if reading.is_graph(source) or reading.is_geometric(source):
            return 0.9
        if isinstance(source, (list, tuple)) and source:
            return cls.recognises(source[0]) if not isinstance(source[0], (list, tuple, str)) else 0.0
        if isinstance(source, dict):
            return 0.6 if "edges" in source or "links" in source else 0.0
        if isinstance(source, (str, Path)) and len(str(source)) < 4096:
            path = Path(source).expanduser()
            if path.is_dir():
                return (
                    0.8
                    if any(reading.suffix_of(p) in (".graphml", ".gml", ".edges", ".edgelist") for p in path.iterdir())
                    else 0.0
                )
            suffix = reading.suffix_of(path)
            if suffix in (".graphml", ".gml", ".edgelist", ".edges"):
                return 0.9
            if suffix in (".json", ".jsonl") and path.is_file():
                return 0.8 if writing.looks_like_graphs(path) else 0.0
        return 0.0

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        label: str | None = None,
        properties: Sequence[str] | str | None = None,
        positions: bool = False,
        directed: bool | None = None,
        split: str | None = None,
        empty_prior: bool = False,
        **network: Any,
    ) -> tuple[Graphs, GraphData]:
        """Learn classes, marginals, sizes and scales from training graphs.

        label: the node attribute with the class. properties: graph attributes to model (default all; a list, or names with
        commas; "none"). positions: model the node attribute 'pos' too. split: which list of a JSON file. directed: edge lists
        only. empty_prior: start from no edges, so that edges are only ever added (for planar or acyclic kinds).
        network: width, edge_width, layers, heads, walks. Raises DataError in one sentence.
        """
        unknown = set(network) - set(NETWORK)
        if unknown:
            raise AskError(
                f"{sorted(unknown)[0]!r} is no option of graphs; known are label, properties, positions, directed, split, "
                f"empty_prior, {', '.join(NETWORK)}"
            )
        found = reading.graphs(source, split=split, directed=directed, label=label or "label")
        if len({g.is_directed() for g in found}) > 1:
            raise DataError("some graphs are directed and some are not; convert them to one kind")
        largest = max(found, key=len)
        if len(largest) > MOST_NODES:
            raise DataError(
                f"the largest graph has {len(largest)} nodes, and at most {MOST_NODES} are possible; cut it into subgraphs"
            )
        label = "label" if label and reading_renames(found, label) else encoding.find_label(found, label)
        kinds = [d.get(label) for g in found for _, d in g.nodes(data=True)] if label else [None]
        if label and any(k is None for k in kinds):
            raise DataError(f"some nodes have no {label!r}; training graphs need one on every node")
        links = [encoding.edge_label(d) for g in found for *_, d in g.edges(data=True)]
        names = properties.split(",") if isinstance(properties, str) else properties
        config: dict[str, Any] = {
            "directed": found[0].is_directed(),
            "label": label,
            "node_classes": encoding.classes_of(kinds, f"the node attribute {label!r}"),
            "edge_classes": [None, *encoding.classes_of(links or [True], "the edge attribute 'label'")],
            "properties": {} if properties == "none" else encoding.property_scales(found, names),
        }
        if positions:
            first = next(iter(found[0].nodes(data=True)))[1].get("pos")
            config["dims"] = len(first) if first is not None else 2
            config["position_scale"] = 1.0
            config["position_scale"] = float(
                np.sqrt(
                    np.mean([encoding.positions(g, config, f"graph {k}").var(0).mean() for k, g in enumerate(found)])
                )
            )
        records = [encoding.encode(g, config, f"graph {k}") for k, g in enumerate(found)]
        config |= marginals(
            records, len(config["node_classes"]), len(config["edge_classes"]), config["directed"], empty_prior
        )
        config["network"] = {k: int(v) for k, v in network.items() if v is not None}
        config |= {"posterior": True, "emphasis": 0.5}
        made = cls(**config)
        return made, made.data(records, bucketed=True)

    def dataset(self, source: Any, *, split: str | None = None, **options: Any) -> GraphData:
        found = reading.graphs(source, split=split, label=self.config.get("label") or "label", **options)
        return self.data([self.encode(g, f"graph {k}") for k, g in enumerate(found)])

    def encode(self, graph: nx.Graph, where: str = "the graph") -> Record:
        """One graph as arrays. Raises DataError when it is larger or of other classes than the model knows."""
        if len(graph) > self.largest:
            raise DataError(
                f"{where} has {len(graph)} nodes; the model was trained on graphs of at most {self.largest}"
            )
        if graph.is_directed() != self.directed:
            raise DataError(f"{where} is {'' if graph.is_directed() else 'un'}directed, and the model's graphs are not")
        return encoding.encode(graph, self.config, where)

    def network(self) -> torch.nn.Module:
        made = super().network()
        made.certain = tuple(k for k, p in enumerate(self.config["edge_prior"]) if p == 0)
        return made

    # -- asking -------------------------------------------------------------------------------------------------
    def request(
        self,
        n: int,
        given: Any = None,
        *,
        index: Tensor,
        nodes: int | None = None,
        links: str = "given",
        project: str | Sequence[str] = (),
        top_p: float | None = None,
        **asked: Any,
    ) -> Task:
        """given: None, a graph (or a path to one) whose nodes stay and to which others are added, or a mapping of properties,
        with such a graph as "graph" or "file". A node whose class is None is classified. nodes: how many there are to be
        (default: as in the data, at least those given). links: 'given' (pairs of given nodes without an edge have none) or
        'open' (they are asked, given edges stay). project: 'planar', 'acyclic', 'connected', several with commas. top_p:
        leave out unlikely nodes and edges at every step. Other names are properties; a value of None asks for it.
        Raises AskError."""
        if links not in ("given", "open"):
            raise AskError(f"links must be 'given' or 'open', not {links!r}")
        kinds = [k for k in (project.split(",") if isinstance(project, str) else project) if k]
        strange = next((k for k in kinds if k not in KINDS), None)
        if strange:
            raise AskError(f"a graph can be made {', '.join(KINDS)}, not {strange!r}")
        graph = given
        if isinstance(given, Mapping) and not reading.is_graph(given):
            own = "edges" in given or "links" in given
            asked = asked if own else {**{k: v for k, v in given.items() if k not in ("graph", "file")}, **asked}
            graph = given if own else given.get("graph", given.get("file"))
        parts: list[Record | None] = [None] * n
        opened: list[np.ndarray | None] = [None] * n
        least = 1
        if graph is not None:
            several = reading.graphs(graph, label=self.config.get("label") or "label")
            if len(several) not in (1, n):
                raise AskError(f"{len(several)} graphs are given for {n} samples: give one, or one per sample")
            records = [
                self.encode(g, "the graph given" if len(several) == 1 else f"given graph {k}")
                for k, g in enumerate(several)
            ]
            parts = records * (n if len(records) == 1 else 1)
            least = max(len(r) for r in records)
            if links == "open":
                opened = [open_pairs(r, self.directed) for r in parts]
        if nodes is not None:
            if not isinstance(nodes, int) or not least <= nodes <= self.largest:
                raise AskError(f"nodes must be a whole number from {least} to {self.largest}, not {nodes!r}")
            sizes = np.full(n, nodes)
        elif graph is not None and (
            links == "open" or any(v is None for v in asked.values()) or any((r.nodes < 0).any() for r in parts)
        ):
            sizes = np.array([len(r) for r in parts])
        else:
            sizes = self.draw_sizes(index, least)
        task = self.graph_task(n, index, sizes, parts, asked, opened)
        task.context["project"] = torch.tensor([[sum(1 << KINDS.index(k) for k in kinds)]]).expand(n, 1)
        self.narrow(task, top_p)
        return task

    def adjust(self, task: Task) -> Separation | None:
        """Where edges are only ever added (`empty_prior`), those that break a hard limit are refused while sampling. Without a
        limit they are added as they were drawn: of the entries that are decided, waiting would draw only the edges twice, and
        graphs came out thinner than the data's."""
        if self.config["edge_prior"][0] < 1:
            return super().adjust(task)
        asked = task.context.get("project")
        return Admission(task, self.directed) if asked is not None and bool(asked.any()) else None

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[nx.Graph]:
        """networkx graphs with nodes 0 .. n-1, given ones first. A projected one says in `graph["edges_changed"]` how much."""
        sizes = task.context["sizes"][:, 0].tolist()
        given = task.given.get("edges")
        out = []
        for b, size in enumerate(sizes):
            nodes = fields["nodes"][b].cpu().numpy() if self.with_nodes else None
            coordinates = fields["coordinates"][b].cpu().numpy() if self.dims else None
            edges = fields["edges"][b].cpu().numpy()
            graph = encoding.decode(nodes, edges, size, self.config, coordinates)
            for name in self.properties:
                held = task.start.held.get(name)
                if held is None or not bool(held.reshape(-1)[b if held.shape[0] > 1 else 0]):
                    graph.graph[name] = self.property_out(name, fields[name][b, 0].item())
            flags = int(task.context["project"][b, 0]) if "project" in task.context else 0
            if flags:
                keep = []
                if given is not None:
                    first, second = pair_list(node_count(len(edges), self.directed), self.directed)
                    kept = np.flatnonzero((given[b].expand(len(edges)).cpu().numpy()) & (edges > 0))
                    keep = [(int(first[k]), int(second[k])) for k in kept]
                graph, changed = project(graph, [k for i, k in enumerate(KINDS) if flags >> i & 1], keep)
                graph.graph["edges_changed"] = changed
            out.append(graph)
        return out

    def write(self, samples: Sequence[nx.Graph], path: Path, first: int = 0) -> list[Path]:
        """.json (all graphs), .jsonl, or .graphml, .gml, .edgelist (one graph, or a folder of them), .svg or .png (a picture)."""
        path = Path(path)
        if path.suffix in (".svg", ".png"):
            return [self.show(samples, path)]
        return writing.write_graphs(samples, path, first)

    def show(self, samples: Sequence[nx.Graph], path: Path) -> Path:
        """A sheet of drawn graphs, nodes coloured by class."""
        from suffuse.modalities.graphs.drawing import draw_graphs

        return draw_graphs(samples, Path(path), self.config.get("label"), self.node_classes)

    # -- quality ------------------------------------------------------------------------------------------------
    def evaluate(
        self, model: Any, data: GraphData, *, count: int | None = None, steps: int | None = None, **options: Any
    ) -> dict[str, float]:
        """Degree, clustering, orbit and spectral MMD to `data`, beside half of the data against the other half."""
        from suffuse.metrics.graphs import graph_distances

        real = [self.graph_of(data.record(k)) for k in range(min(len(data), count or 200))]
        made = model.sample(len(real), steps=steps, **options)
        half = len(real) // 2
        ours, floor = graph_distances(made, real), graph_distances(real[:half], real[half:])
        return {k: v for name in ours for k, v in ((name, ours[name]), (name + "_real", floor[name]))}

    def graph_of(self, record: Record) -> nx.Graph:
        """A graph from its arrays."""
        from suffuse.modalities.graphs.data import dense_edges

        edges = dense_edges(record, len(record), self.directed)
        return encoding.decode(
            record.nodes if self.with_nodes else None, edges, len(record), self.config, record.coordinates
        )


def reading_renames(found: Sequence[nx.Graph], label: str) -> bool:
    """Whether reading has put the attribute `label` under the name 'label' already (JSON lists)."""
    first = next(iter(found[0].nodes(data=True)))[1]
    return label not in first and "label" in first


def open_pairs(record: Record, directed: bool) -> np.ndarray:
    """(m, 2) pairs of the nodes of a graph that have no edge."""
    first, second = pair_list(len(record), directed)
    linked = {(int(a), int(b)) for a, b, _ in record.pairs}
    return np.array(
        [(a, b) for a, b in zip(first.tolist(), second.tolist()) if (a, b) not in linked], np.int64
    ).reshape(-1, 2)


def marginals(
    records: Sequence[Record], node_classes: int, edge_classes: int, directed: bool, empty: bool = False
) -> dict[str, Any]:
    """Node and edge priors (how often each class is seen) and how many graphs have each number of nodes."""
    nodes = np.bincount(np.concatenate([r.nodes for r in records]), minlength=node_classes).astype(float)
    links = np.bincount(np.concatenate([r.pairs[:, 2] for r in records]), minlength=edge_classes).astype(float)
    sizes = np.array([len(r) for r in records])
    links[0] = (sizes * (sizes - 1) // (1 if directed else 2)).sum() - links[1:].sum()
    if empty or not links.sum():
        links = np.eye(edge_classes)[0]
    counts = np.bincount(sizes)
    return {
        "node_prior": (nodes / nodes.sum()).tolist(),
        "edge_prior": (links / links.sum()).tolist(),
        "sizes": [[int(k), int(counts[k])] for k in np.flatnonzero(counts)],
    }
