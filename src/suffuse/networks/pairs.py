"""The pairs of the nodes of a graph: how the entries of an `edges` field are numbered.

Pairs are in the order of their later node, so that a pair keeps its number when nodes are added: padding a graph changes no
number. Undirected: (0,1), (0,2), (1,2), (0,3) ...; directed: (0,1), (1,0), (0,2), (2,0), (1,2), (2,1) ...
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_total(n: int, directed: bool = False) -> int:
    """How many pairs n nodes have: n(n-1)/2 unordered, n(n-1) ordered (directed)."""
    return n * (n - 1) // (1 if directed else 2)


def node_count(pairs: int, directed: bool = False) -> int:
    """How many nodes have `pairs` pairs; the inverse of `pair_total` (one node for no pairs)."""
    n = (1 + math.isqrt(1 + (4 if directed else 8) * pairs)) // 2
    if pair_total(n, directed) != pairs:
        raise ValueError(f"{pairs} is not a number of node pairs")
    return n


def pair_list(n: int, directed: bool = False) -> tuple[Tensor, Tensor]:
    """First and second node of every pair, both (P,) int64."""
    second, first = torch.tril_indices(n, n, -1)
    if directed:
        return torch.stack([first, second], 1).flatten(), torch.stack([second, first], 1).flatten()
    return first, second


@lru_cache(maxsize=64)
def pair_tables(n: int, directed: bool, device: str) -> dict[str, Tensor]:
    """Index tables of the pairs of n nodes.

    first, second: (P,) end points. full: (n*n,) number of pair (i, j), 0 on the diagonal. reverse: (P,) number of (j, i).
    one, two: (P, n) which node is first, second; both, sign: their sum and difference. off: (n, n), False on the diagonal.
    """
    with torch.inference_mode(False):  # kept for training too, whoever asks first
        return _tables(n, directed, device)


def _tables(n: int, directed: bool, device: str) -> dict[str, Tensor]:
    first, second = pair_list(n, directed)
    count = len(first)
    full = torch.zeros(n, n, dtype=torch.int64)
    full[first, second] = torch.arange(count)
    if not directed:
        full[second, first] = torch.arange(count)
    one, two = F.one_hot(first, n).float(), F.one_hot(second, n).float()
    tables = {
        "first": first,
        "second": second,
        "full": full.flatten(),
        "reverse": full[second, first],
        "one": one,
        "two": two,
        "both": one + two,
        "sign": one - two,
        "off": ~torch.eye(n, dtype=torch.bool),
    }
    return {name: value.to(device) for name, value in tables.items()}
