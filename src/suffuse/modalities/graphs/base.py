"""What graphs and molecules share: fields, processes, network, training tasks and the building of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.diffusion import logits
from suffuse.diffusion.noise import ZeroCentred
from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError
from suffuse.modalities.contract import Modality
from suffuse.modalities.graphs.data import GraphData, Record, dense_edges, masks, pair_position
from suffuse.modalities.graphs.separation import Separation
from suffuse.networks.pairs import pair_list, pair_total

NETWORK = ("width", "edge_width", "layers", "heads", "walks", "sets", "fine")
"""Sizes of the network that `read` takes as options and `config["network"]` keeps."""
NODE_WARP = EDGE_WARP = 2.0
"""level = clock ** warp: most of the clock is spent near data (DeFoG's 'polydec' distortion)."""


class NodeEdgeModality(Modality):
    """Fields `nodes` (B, N) when there is more than one class, `edges` (B, P), `coordinates` (B, N, dims) when there are any,
    and one (B, 1) field a property. Config (plain JSON): directed, node_classes, edge_classes (names; the first means none),
    node_prior, edge_prior (probabilities), properties {name: {mean, std} or {classes}}, dims, position_scale, sizes
    [[nodes, count]], network."""

    def __init__(self, **config: Any):
        super().__init__(**config)
        self.directed = bool(config.get("directed", False))
        self.node_classes: list[Any] = config["node_classes"]
        self.edge_classes: list[Any] = config["edge_classes"]
        self.properties: dict[str, dict[str, Any]] = config.get("properties", {})
        self.dims = int(config.get("dims", 0))
        self.largest = max(n for n, _ in config["sizes"])

    # -- the model's parts --------------------------------------------------------------------------------------
    @property
    def with_nodes(self) -> bool:
        return len(self.node_classes) > 1

    @property
    def property_classes(self) -> dict[str, int]:
        """Property name -> number of classes, 0 for a number."""
        return {name: len(p.get("classes", ())) for name, p in self.properties.items()}

    def joint(self) -> Joint:
        """Marginal priors; edges weigh 5 in the loss and spend more of the clock near data (DeFoG's 'polydec')."""
        processes: dict[str, Any] = {}
        more = {"emphasis": float(self.config.get("emphasis", 0.0))}
        if self.with_nodes:
            processes["nodes"] = Categorical(len(self.node_classes), self.config["node_prior"], warp=NODE_WARP, **more)
        processes["edges"] = Categorical(len(self.edge_classes), self.config["edge_prior"], warp=EDGE_WARP, **more)
        if self.dims:
            processes["coordinates"] = Gaussian(noise_model=ZeroCentred("inside"))
        weights = {"edges": 5.0}
        for name, classes in self.property_classes.items():
            processes[name] = Categorical(classes) if classes else Gaussian()
            weights[name] = 0.3
        return Joint(processes, weights)

    def network(self) -> nn.Module:
        from suffuse.networks.graph import GraphTransformer

        total = sum(count for _, count in self.config["sizes"])
        typical = sum(n * count for n, count in self.config["sizes"]) / total
        return GraphTransformer(
            len(self.node_classes),
            len(self.edge_classes),
            self.property_classes,
            self.dims,
            self.directed,
            typical=typical,
            priors={"nodes": self.config["node_prior"], "edges": self.config["edge_prior"]}
            if self.config.get("posterior")
            else None,
            **self.config.get("network", {}),
        )

    # -- training -----------------------------------------------------------------------------------------------
    @property
    def tasks(self) -> dict[str, float]:
        """generate: the graph, properties unknown; by_property: the graph, properties given (each with chance 1/2);
        complete: some nodes with all links among them given; predict: a property, the graph given; place: coordinates,
        the graph given."""
        tasks = {"generate": 0.7, "complete": 0.1}
        if self.properties:
            tasks |= {"generate": 0.5, "by_property": 0.3, "predict": 0.1}
        if self.dims:
            tasks |= {"generate": 0.3, "place": 0.5}
        return tasks

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        """Nodes and edges share one clock, save in a tenth of the examples; all levels are final (`exact`)."""
        size = len(batch)
        draw = random.uniform((5,), batch.index, step, f"task/{task}")
        apart = draw[:, 4:] < 0.1
        u = random.uniform((1 + len(self.properties),), batch.index, step, f"properties/{task}")
        zero = torch.zeros(size, 1)
        clock = draw[:, :1]
        levels = {"edges": clock**EDGE_WARP, "nodes": torch.where(apart, draw[:, 1:2], clock) ** NODE_WARP}
        spread = torch.where(apart, draw[:, 2:3], clock).reshape(size, 1, 1)
        held: dict[str, Tensor] = {}
        for k, name in enumerate(self.properties):
            chance = u[:, k : k + 1]
            if task == "predict":  # asked, given or unknown
                levels[name] = torch.where((chance > 0.5) & (chance < 0.75), 0.0, 1.0)
                held[name] = chance >= 0.75
            else:
                known = (chance < 0.5) & (task != "generate")
                levels[name] = (~known).float()
                held[name] = ~known
        if task in ("predict", "place"):
            levels["edges"] = levels["nodes"] = zero
        if task == "predict":
            spread = torch.zeros(size, 1, 1)
        if task == "complete":
            given, closed = self._kept(batch, random, step)
            first, second = pair_list(given.shape[1], self.directed)
            known = (given[:, first] & given[:, second]) | closed[:, first] | closed[:, second]
            levels["edges"] = levels["edges"] * (~known).float()
            levels["nodes"] = levels["nodes"] * (~given).float()
        if not self.with_nodes:
            del levels["nodes"]
        if self.dims:
            levels["coordinates"] = spread
        return Start(levels, held, torch.ones(size, dtype=torch.bool))

    def _kept(self, batch: Batch, random: Random, step: int) -> tuple[Tensor, Tensor]:
        """What the task 'complete' gives of each graph: (B, N) nodes, and of these the ones that are known to have no further
        links. Three times in four the nodes are the nearest ones to a random node, a connected piece, else any."""
        inside, edges = batch.context["inside"], batch.x["edges"]
        size, n = inside.shape
        first, second = pair_list(n, self.directed)
        linked = torch.zeros(size, n, n)
        linked[:, first, second] = (edges > 0).float()
        linked = torch.maximum(linked, linked.transpose(1, 2))
        draw = random.uniform((n + 4,), batch.index, step, "kept nodes")
        rank, u = draw[:, :n], draw[:, n:]
        count = inside.sum(1, keepdim=True)
        reached = torch.zeros(size, n).scatter_(1, (u[:, :1] * count).long(), 1.0)
        hops = reached.clone()
        for _ in range(min(n, 12)):
            reached = torch.maximum(reached, ((reached[:, None] @ linked)[:, 0] > 0).float())
            hops = hops + reached
        far = torch.where(u[:, 1:2] < 0.75, -hops, torch.zeros_like(hops))
        order = (far + rank).masked_fill(~inside, 1e9).argsort(1).argsort(1)
        given = (order < 1 + (u[:, 2:3] * (count - 1)).long()) & inside
        outside = (linked * (~given)[:, None].float()).sum(2) > 0
        closed = given & ~outside & (u[:, 3:4] < 0.6)
        return given, closed

    def defaults(self) -> dict[str, Any]:
        batch = 256 if self.largest <= 12 else 64 if self.largest <= 32 else 16
        grid = "adding" if self.config["edge_prior"][0] == 1 else "quadratic"
        return {"batch": batch, "learning_rate": 2e-3, "sampling": {"steps": 20, "guidance": 1.0, "grid": grid}}

    def data(self, records: Sequence[Record], bucketed: bool = False) -> GraphData:
        """A data set of graphs that are encoded already. bucketed: for training, see `GraphData`."""
        return GraphData(records, self.directed, self.with_nodes, self.property_classes, self.dims, bucketed)

    # -- asking -------------------------------------------------------------------------------------------------
    def adjust(self, task: Task) -> Separation | None:
        """Changes that meet at a node are made one after another (see `Separation`)."""
        return Separation(task, self.directed)

    def batching(self, task: Task) -> Tensor | None:
        """By size, so that small graphs are not padded to large ones."""
        return task.context["sizes"].flatten().argsort(stable=True)

    def trimmed(self, task: Task) -> Task:
        """Padded to the batch's largest graph (with coordinates, whose noise depends on the padding, to the model's)."""
        full = task.context["inside"].shape[1]
        n = full if self.dims else int(task.context["sizes"].max())
        if n == full:
            return task
        ends = {"nodes": n, "edges": pair_total(n, self.directed), "inside": n}
        start = Start(*(_cut(fields, ends) for fields in (task.start.levels, task.start.held)))
        rest = (_cut(fields, ends) for fields in (task.given, task.exists, task.context))
        return Task(_cut(task.x, ends), start, *rest, task.index)

    def draw_sizes(self, index: Tensor, at_least: int = 1) -> np.ndarray:
        """Numbers of nodes as often as in the data, one a sample; at least as many as are given. Along a golden-ratio sequence,
        so that any run of samples has them as evenly as can be: 200 independent draws miss the data's mean size by a few per
        cent, which shows in every distance between sets of small graphs."""
        table = np.array([s for s in self.config["sizes"] if s[0] >= at_least], dtype=float)
        if not len(table):
            raise AskError(f"{at_least} nodes are given, and the model was trained on graphs of at most {self.largest}")
        u = ((0.5 + index.double() * 0.6180339887498949) % 1.0).numpy()
        edges = np.cumsum(table[:, 1]) / table[:, 1].sum()
        return table[np.searchsorted(edges, u).clip(max=len(table) - 1), 0].astype(np.int64)

    def property_value(self, name: str, value: Any) -> float:
        """A property as a person gives it to the number the model holds. Raises AskError on an unknown or impossible one."""
        if name not in self.properties:
            known = ", ".join(self.properties) or "none"
            raise AskError(f"this model knows no property {name!r}; it knows {known}")
        about = self.properties[name]
        if "classes" in about:
            if value not in about["classes"] and str(value) not in map(str, about["classes"]):
                raise AskError(f"{name} is one of {', '.join(map(str, about['classes']))}, not {value!r}")
            return float([str(c) for c in about["classes"]].index(str(value)))
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise AskError(f"{name} is a number, not {value!r}") from None
        low, high = about["min"], about["max"]
        room = 0.25 * (high - low)
        if not low - room <= number <= high + room:
            raise AskError(f"{name} = {number:g} is impossible here: the data has {low:g} to {high:g}")
        return (number - about["mean"]) / about["std"]

    def property_out(self, name: str, value: float) -> Any:
        """The number the model holds to the property as a person knows it."""
        about = self.properties[name]
        if "classes" in about:
            return about["classes"][int(value)]
        return float(value) * about["std"] + about["mean"]

    def narrow(self, task: Task, top_p: float | None) -> None:
        """Draw node and edge classes from the likeliest that add up to `top_p` only (nucleus, Holtzman et al. 2020).
        Raises AskError."""
        logits.ask(task.context, "top_p", top_p, [name for name in ("nodes", "edges") if name in task.x])

    def graph_task(
        self,
        n: int,
        index: Tensor,
        sizes: np.ndarray,
        parts: Sequence[Record | None],
        asked: Mapping[str, Any] | None = None,
        open_pairs: Sequence[np.ndarray | None] | None = None,
        width: int | None = None,
    ) -> Task:
        """A task of n graphs.

        parts: per sample the given sub-graph (its nodes come first; node class -1 is unknown) or None. open_pairs: per sample
        (m, 2) pairs of given nodes whose link is asked. asked: property name -> value, or one per sample (None: to be predicted
        with the graph). width: pad to this many nodes.
        """
        if (
            width is None
        ):  # noise of coordinates depends on the padding, so that one sample must not depend on the others' sizes
            width = self.largest if self.dims else int(max(sizes))
        exists, context = masks(torch.from_numpy(np.asarray(sizes, np.int64)), width, self.directed)
        first, second = pair_list(width, self.directed)
        nodes = np.zeros((n, width), np.int64)
        edges = np.zeros((n, pair_total(width, self.directed)), np.int64)
        node_level, edge_level = np.ones(nodes.shape, np.float32), np.ones(edges.shape, np.float32)
        for b, part in enumerate(parts):
            if part is None:
                continue
            k = len(part)
            nodes[b, :k] = part.nodes.clip(min=0)
            node_level[b, :k] = part.nodes < 0
            edges[b] = dense_edges(part, width, self.directed)
            edge_level[b] = ((first >= k) | (second >= k)).float().numpy()
            if open_pairs is not None and open_pairs[b] is not None and len(open_pairs[b]):
                pairs = open_pairs[b]
                edge_level[b, pair_position(pairs[:, 0], pairs[:, 1], self.directed)] = 1
        x = {"edges": torch.from_numpy(edges)}
        levels = {"edges": torch.from_numpy(edge_level)}
        if self.with_nodes:
            x["nodes"], levels["nodes"] = torch.from_numpy(nodes), torch.from_numpy(node_level)
        else:
            exists.pop("nodes")
        if self.dims:
            x["coordinates"] = torch.zeros(n, width, self.dims)
            exists["coordinates"] = context["inside"][..., None]
            levels["coordinates"] = torch.ones(n, 1, 1)
        held: dict[str, Tensor] = {}
        asked = dict(asked or {})
        for name in asked:
            if name not in self.properties:
                self.property_value(name, None)
        for name, classes in self.property_classes.items():
            values = asked.get(name)
            several = list(values) if isinstance(values, (list, tuple, np.ndarray)) else [values] * n
            if len(several) != n:
                raise AskError(
                    f"{len(several)} values of {name} are given for {n} samples: give one, or one per sample"
                )
            known = torch.tensor([[v is not None] for v in several])
            numbers = [[0.0 if v is None else self.property_value(name, v)] for v in several]
            x[name] = torch.tensor(numbers).to(torch.int64 if classes else torch.float32)
            levels[name] = (~known).float()
            if not known.all():
                held[name] = torch.full((n, 1), name not in asked)
        given_masks = {f: levels[f] == 0 for f in levels}
        return Task(x, Start(levels, held), given_masks, exists, context, index)


def _cut(fields: Mapping[str, Tensor], ends: Mapping[str, int]) -> dict[str, Tensor]:
    """Fields (B, n) without what lies behind their `ends`; those of one entry a sample stay."""
    return {k: v[:, : ends[k]] if k in ends and v.shape[1] > 1 else v for k, v in fields.items()}
