"""Many graphs in little memory, handed out as padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Batch
from suffuse.networks.pairs import pair_list, pair_total


@dataclass
class Record:
    """One graph as arrays.

    nodes: (n,) class of each node. pairs: (m, 3) first node, second node, edge class (1 or more); undirected graphs have
    first < second. coordinates: (n, dims) or None. properties: numbers (scaled) or class numbers; a missing one is NaN.
    """

    nodes: np.ndarray
    pairs: np.ndarray
    coordinates: np.ndarray | None = None
    properties: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.nodes)


def pair_position(first: np.ndarray, second: np.ndarray, directed: bool) -> np.ndarray:
    """Where pairs stand in the field `edges` (see `suffuse.networks.pairs`); undirected pairs have first < second."""
    low, high = np.minimum(first, second).astype(np.int64), np.maximum(first, second).astype(np.int64)
    if directed:
        return high * (high - 1) + 2 * low + (first > second)
    return high * (high - 1) // 2 + low


def dense_edges(record: Record, n: int, directed: bool) -> np.ndarray:
    """(P,) edge class of every pair of n >= len(record) nodes, 0 where there is none."""
    out = np.zeros(pair_total(n, directed), np.int64)
    if len(record.pairs):
        out[pair_position(record.pairs[:, 0], record.pairs[:, 1], directed)] = record.pairs[:, 2]
    return out


class GraphData:
    """Graphs at random access; a batch is padded to its largest graph.

    bucketed: for training. Random indices are answered with graphs of about one size: the window of the size-sorted data that
    starts at the first index (and wraps round), so that every graph is still seen equally often and little is padding.
    Consecutive indices are always answered as they are.
    """

    def __init__(
        self,
        records: Sequence[Record],
        directed: bool,
        with_nodes: bool,
        classes: dict[str, int],
        dims: int = 0,
        bucketed: bool = False,
    ):
        """classes: property name -> number of classes, 0 for a number. with_nodes: hand out the field `nodes`."""
        self.directed, self.with_nodes, self.classes, self.dims = directed, with_nodes, classes, dims
        self.sizes = np.array([len(r) for r in records], np.int64)
        self._by_size = np.argsort(self.sizes, kind="stable")
        self._rank = np.argsort(self._by_size)
        self.bucketed = bucketed and len(records) > 0 and self.sizes.max() > 1.15 * self.sizes.mean()
        self._node_start = np.concatenate([[0], np.cumsum(self.sizes)])
        self._pair_start = np.concatenate([[0], np.cumsum([len(r.pairs) for r in records])])
        self._nodes = np.concatenate([r.nodes for r in records]).astype(np.int16)
        self._pairs = np.concatenate([r.pairs.reshape(-1, 3) for r in records]).astype(np.int16)
        self._coordinates = np.concatenate([r.coordinates for r in records]).astype(np.float32) if dims else None
        self._properties = {name: np.array([r.properties.get(name, np.nan) for r in records]) for name in classes}

    def __len__(self) -> int:
        return len(self.sizes)

    def record(self, k: int) -> Record:
        """The k-th graph as arrays."""
        nodes = slice(self._node_start[k], self._node_start[k + 1])
        pairs = slice(self._pair_start[k], self._pair_start[k + 1])
        coordinates = self._coordinates[nodes] if self._coordinates is not None else None
        return Record(
            self._nodes[nodes], self._pairs[pairs], coordinates, {p: v[k] for p, v in self._properties.items()}
        )

    def batch(self, indices: Tensor) -> Batch:
        rows = indices.numpy()
        if self.bucketed and len(rows) > 1 and (np.diff(rows) != 1).any():
            rows = self._by_size[(self._rank[rows[0]] + np.arange(len(rows))) % len(self)]
        sizes = self.sizes[rows]
        n, count = int(sizes.max()), len(rows)
        edges = np.zeros((count, pair_total(n, self.directed)), np.int64)
        nodes = np.zeros((count, n), np.int64)
        coordinates = np.zeros((count, n, self.dims), np.float32)
        for b, k in enumerate(rows):
            pairs = self._pairs[self._pair_start[k] : self._pair_start[k + 1]]
            edges[b, pair_position(pairs[:, 0], pairs[:, 1], self.directed)] = pairs[:, 2]
            where = slice(self._node_start[k], self._node_start[k + 1])
            nodes[b, : sizes[b]] = self._nodes[where]
            if self._coordinates is not None:
                coordinates[b, : sizes[b]] = self._coordinates[where]
        x, observed = {"edges": torch.from_numpy(edges)}, {}
        exists, context = masks(torch.from_numpy(sizes), n, self.directed)
        if self.with_nodes:
            x["nodes"] = torch.from_numpy(nodes)
        else:
            exists.pop("nodes")
        if self.dims:
            x["coordinates"] = torch.from_numpy(coordinates)
            exists["coordinates"] = context["inside"][..., None]
        for name, classes in self.classes.items():
            value = self._properties[name][rows][:, None]
            seen = ~np.isnan(value)
            value = np.where(seen, value, 0.0)
            x[name] = torch.from_numpy(value.astype(np.int64) if classes else value.astype(np.float32))
            if not seen.all():
                observed[name] = torch.from_numpy(seen)
        return Batch(x, observed, exists, context, indices)


def masks(sizes: Tensor, n: int, directed: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(exists masks of nodes and edges, context with `sizes` (B, 1) and `inside` (B, n)) of graphs padded to n nodes."""
    inside = torch.arange(n) < sizes[:, None]
    first, second = pair_list(n, directed)
    exists = {"nodes": inside, "edges": inside[:, first] & inside[:, second]}
    return exists, {"sizes": sizes[:, None], "inside": inside}
