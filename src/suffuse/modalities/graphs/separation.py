"""Changes that meet at a node are made one after another, not in one step."""

from __future__ import annotations

import numpy as np
import torch

from suffuse.diffusion.state import Fields, Task
from suffuse.networks.pairs import node_count, pair_list


class Separation:
    """Of the changes of one step that touch a common node, one is made and the others wait for the next step, which sees it.

    Entries of a step are drawn independently, so that two bonds may come to an atom that has room for one: most of what goes
    wrong in few steps. A change taken back is drawn again in the next step, from a new prediction, as an entry known to be lost.
    """

    def __init__(self, task: Task, directed: bool):
        self.directed = directed
        self.index = torch.arange(len(task)) if task.index is None else task.index.cpu()

    def __call__(self, x: Fields, levels: Fields, step: int) -> Fields:
        return x

    def separate(self, before: Fields, x: Fields, step: int) -> tuple[Fields, Fields]:
        """(x with conflicting changes of this step taken back, where). Which change is made is drawn at random."""
        names = [name for name in ("edges", "nodes") if name in x]
        changed = {name: (x[name] != before[name]).cpu().numpy() for name in names}
        back = {name: np.zeros_like(c) for name, c in changed.items()}
        n = node_count(x["edges"].shape[1], self.directed)
        first, second = (t.numpy() for t in pair_list(n, self.directed))
        several = np.flatnonzero(sum(c.sum(1) for c in changed.values()) > 1)
        for b in several:
            entries: list[tuple[str, int, set[int]]] = [
                ("edges", int(k), {int(first[k]), int(second[k])}) for k in np.flatnonzero(changed["edges"][b])
            ]
            if "nodes" in changed:
                entries += [("nodes", int(v), {int(v)}) for v in np.flatnonzero(changed["nodes"][b])]
            touched: set[int] = set()
            for o in np.random.RandomState((int(self.index[b]) * 10007 + step) % 2**32).permutation(len(entries)):
                name, k, ends = entries[o]
                if ends & touched:
                    back[name][b, k] = True
                else:
                    touched |= ends
        waiting = {name: torch.from_numpy(mask).to(x[name].device) for name, mask in back.items()}
        return x | {name: torch.where(mask, before[name], x[name]) for name, mask in waiting.items()}, waiting
