"""Changes that meet at a node are made one after another, not in one step."""

from __future__ import annotations

import torch

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Fields, Task
from suffuse.networks.pairs import node_count, pair_tables

ROUNDS = 4
"""How often more changes are looked for that touch none of those already made."""


class Separation:
    """Of the changes of one step that touch a common node, one is made and the others wait for the next step, which sees it.

    Entries of a step are drawn independently, so that two bonds may come to an atom that has room for one. A change taken back
    is drawn again in the next step, from a new prediction, as an entry known to be lost. Which change is made is random: in
    each round those are made that drew the highest number at all of their nodes (Luby, "A simple parallel algorithm for the
    maximal independent set problem", 1986).
    """

    def __init__(self, task: Task, directed: bool):
        self.directed, self.random = directed, Random(0)
        self.index = torch.arange(len(task)) if task.index is None else task.index

    def __call__(self, x: Fields, levels: Fields, step: int) -> Fields:
        return x

    def separate(self, before: Fields, x: Fields, step: int) -> tuple[Fields, Fields]:
        """(x with conflicting changes of this step taken back, where) for fields `edges` (B, P) and perhaps `nodes` (B, N)."""
        names = [name for name in ("edges", "nodes") if name in x]
        changed = {name: x[name] != before[name] for name in names}
        rows = torch.nonzero(sum(c.sum(1) for c in changed.values()) > 1)[:, 0]
        waiting = {name: torch.zeros_like(c) for name, c in changed.items()}
        if len(rows):
            for name, mask in self._waiting({k: c[rows] for k, c in changed.items()}, rows, step).items():
                waiting[name][rows] = mask
        return x | {name: torch.where(mask, before[name], x[name]) for name, mask in waiting.items()}, waiting

    def _waiting(self, left: Fields, rows: torch.Tensor, step: int) -> Fields:
        """Of the changes of some rows those that are not made."""
        edges = left["edges"]
        n = node_count(edges.shape[1], self.directed)
        tables = pair_tables(n, self.directed, str(edges.device))
        first, second = tables["first"].expand(edges.shape), tables["second"].expand(edges.shape)
        index = self.index.to(edges.device)[rows]
        # a changed entry holds a number above 0, one that cannot be made any more or never changed holds -1
        rank = {
            name: self.random.uniform(c.shape[1:], index, step, f"separation {name}").masked_fill(~c, -1.0)
            for name, c in left.items()
        }
        for _ in range(ROUNDS):
            highest = rank.get("nodes", rank["edges"].new_zeros(len(rows), n)).clamp(min=0)
            highest = highest.scatter_reduce(1, first, rank["edges"], "amax").scatter_reduce(
                1, second, rank["edges"], "amax"
            )
            one, two = highest.gather(1, first), highest.gather(1, second)
            made = {"edges": (rank["edges"] == one) & (rank["edges"] == two)}
            touched = torch.zeros_like(highest)
            for ends in (first, second):
                touched = touched.scatter_reduce(1, ends, made["edges"].float(), "amax")
            touched = touched > 0
            if "nodes" in rank:
                made["nodes"] = rank["nodes"] == highest.masked_fill(highest == 0, -2.0)
                touched |= made["nodes"]
                rank["nodes"] = rank["nodes"].masked_fill(touched, -1.0)
            left = {name: c & ~made[name] for name, c in left.items()}
            rank["edges"] = rank["edges"].masked_fill(touched.gather(1, first) | touched.gather(1, second), -1.0)
        return left
