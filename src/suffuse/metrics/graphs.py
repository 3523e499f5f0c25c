"""How near generated graphs are to real ones: degree, clustering, orbit and spectral MMD, and valid, unique, novel shares.

Kernels: 'tv' as in SPECTRE and DiGress (Gaussian of total variation), 'emd' as in GRAN and GDSS (Gaussian of the earth mover's
distance); both for histograms; orbit counts use a Gaussian of the Euclidean distance in GDSS's form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import networkx as nx

BINS = {"clustering": 100, "spectrum": 200}


def adjacency(graph: nx.Graph) -> np.ndarray:
    """(n, n) 0/1 matrix, directions forgotten."""
    order = {v: k for k, v in enumerate(graph)}
    out = np.zeros((len(order), len(order)))
    for a, b in graph.edges:
        out[order[a], order[b]] = out[order[b], order[a]] = 1
    return out


def degrees(a: np.ndarray) -> np.ndarray:
    """Histogram of degrees 0 .. max."""
    return np.bincount(a.sum(1).astype(int)).astype(float)


def clustering(a: np.ndarray) -> np.ndarray:
    """Histogram (100 bins on [0, 1]) of local clustering coefficients."""
    degree = a.sum(1)
    triangles = ((a @ a) * a).sum(1) / 2
    share = np.divide(triangles, degree * (degree - 1) / 2, out=np.zeros_like(degree), where=degree > 1)
    return np.histogram(share, bins=BINS["clustering"], range=(0, 1))[0].astype(float)


def spectrum(a: np.ndarray) -> np.ndarray:
    """Histogram (200 bins on [0, 2]) of the eigenvalues of the normalised Laplacian."""
    degree = a.sum(1)
    root = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    laplacian = np.diag((degree > 0).astype(float)) - root[:, None] * a * root[None]
    return np.histogram(np.linalg.eigvalsh(laplacian), bins=BINS["spectrum"], range=(-1e-5, 2))[0].astype(float)


def orbits(a: np.ndarray) -> np.ndarray:
    """(n, 15) how often each node is at each orbit of the connected graphs of 2 to 4 nodes, as induced subgraphs.

    Numbering of Przulj 2007. Counted as subgraphs by closed forms in the adjacency matrix (in the spirit of ORCA, Hocevar &
    Demsar 2014), then made induced by taking away the denser graphs that contain them.
    """
    degree = a.sum(1)
    common = a @ a
    edge = a * common  # triangles on each edge
    t = edge.sum(1) / 2
    off = common - np.diag(np.diag(common))
    out = np.zeros((len(a), 15))
    out[:, 0], out[:, 3] = degree, t
    out[:, 2] = degree * (degree - 1) / 2 - t
    out[:, 1] = a @ (degree - 1) - 2 * t
    n14 = np.zeros(len(a))
    for i in range(len(a)):
        near = np.flatnonzero(a[i])
        if len(near) > 2:
            b = a[np.ix_(near, near)]
            n14[i] = ((b @ b) * b).sum() / 6
    n13 = (a * edge * (edge - 1)).sum(1) / 2
    n12 = ((a @ (a * (edge - 1))) * a).sum(1) / 2
    n8 = (off * (off - 1)).sum(1) / 2
    n11 = t * (degree - 2)
    n10 = edge @ (degree - 2)
    n9 = a @ t - edge.sum(1)
    n7 = degree * (degree - 1) * (degree - 2) / 6
    n6 = a @ ((degree - 1) * (degree - 2) / 2)
    n5 = (degree - 1) * (a @ (degree - 1)) - edge.sum(1)
    n4 = a @ (a @ (degree - 1)) - degree * (degree - 1) - 2 * t
    o14 = n14
    o13, o12 = n13 - 3 * o14, n12 - 3 * o14
    o8 = n8 - o12 - o13 - 3 * o14
    o11 = n11 - 2 * o13 - 3 * o14
    o10 = n10 - 2 * o12 - 2 * o13 - 6 * o14
    o9 = n9 - 2 * o12 - 3 * o14
    o7 = n7 - o11 - o13 - o14
    o6 = n6 - o9 - o10 - o13 - 2 * o12 - 3 * o14
    o5 = n5 - 2 * o8 - o10 - 2 * o11 - 2 * o12 - 4 * o13 - 6 * o14
    o4 = n4 - 2 * o8 - 2 * o9 - o10 - 4 * o12 - 2 * o13 - 6 * o14
    out[:, 4:] = np.stack([o4, o5, o6, o7, o8, o9, o10, o11, o12, o13, o14], 1)
    return out


def _pad(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    out = np.zeros((len(rows), width))
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return out


def mmd(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    kernel: str = "tv",
    sigma: float = 1.0,
    scale: float = 1.0,
    histogram: bool = True,
) -> float:
    """Squared maximum mean discrepancy (biased, as in the graph literature) of two sets of vectors.

    kernel: exp(-d^2 / 2 sigma^2) with d total variation ('tv'), earth mover's distance over bins `1 / scale` apart ('emd')
    or Euclidean ('gaussian'). histogram: normalise each vector to sum 1.
    """
    width = max(len(v) for v in (*a, *b))
    x, y = _pad(a, width), _pad(b, width)
    if histogram:
        x, y = x / (x.sum(1, keepdims=True) + 1e-6), y / (y.sum(1, keepdims=True) + 1e-6)
    if kernel == "emd":
        x, y = x.cumsum(1) / scale, y.cumsum(1) / scale

    def mean(u: np.ndarray, v: np.ndarray) -> float:
        total = 0.0
        for row in u:
            gap = v - row
            d2 = (
                (gap**2).sum(1) if kernel == "gaussian" else np.abs(gap).sum(1) ** 2 * (0.25 if kernel == "tv" else 1.0)
            )
            total += np.exp(-d2 / (2 * sigma**2)).mean()
        return total / len(u)

    return max(mean(x, x) + mean(y, y) - 2 * mean(x, y), 0.0)


def graph_distances(made: Sequence[nx.Graph], real: Sequence[nx.Graph], kernel: str = "tv") -> dict[str, float]:
    """Degree, clustering, orbit and spectral MMD and their mean. kernel: 'tv' (SPECTRE's settings) or 'emd' (GDSS's)."""
    x, y = [adjacency(g) for g in made], [adjacency(g) for g in real]
    emd = kernel == "emd"
    out = {
        "degree": mmd([*map(degrees, x)], [*map(degrees, y)], kernel),
        "clustering": mmd([*map(clustering, x)], [*map(clustering, y)], kernel, 0.1, BINS["clustering"]),
    }
    mean_orbits = [[orbits(a).mean(0) for a in side] for side in (x, y)]
    out["orbit"] = mmd(*mean_orbits, kernel="gaussian" if emd else "tv", sigma=30.0, histogram=False)
    out["spectrum"] = mmd([*map(spectrum, x)], [*map(spectrum, y)], kernel, 1.0, 1.0)
    out["mean"] = float(np.mean(list(out.values())))
    return out


def ratio(
    made: dict[str, float],
    train: dict[str, float],
    names: Iterable[str] = ("degree", "clustering", "orbit", "spectrum"),
    least: float = 5e-5,
) -> float:
    """Mean of the made set's distances over the training set's own (SPECTRE). A metric whose training distance is below `least`
    is left out (trees: clustering and orbit), as by the `compute_ratios` that published code shares, which rounds training
    distances to four digits and skips zeros; it divides by the rounded value too, which is not done here."""
    return float(np.mean([made[n] / train[n] for n in names if train[n] >= least]))


def _matcher(label: str | None) -> Callable[[Any, Any], bool] | None:
    return None if label is None else lambda a, b: a.get(label) == b.get(label)


def valid_unique_novel(
    made: Sequence[nx.Graph], train: Sequence[nx.Graph], valid: Callable[[nx.Graph], bool], label: str | None = None
) -> dict[str, float]:
    """Shares of `made`: valid, unique (no earlier isomorphic graph), novel (isomorphic to none of `train`), and all three (vun).

    label: node attribute that an isomorphism must respect.
    """
    import networkx as nx

    def key(graph: nx.Graph) -> str:
        return nx.weisfeiler_lehman_graph_hash(graph, node_attr=label, iterations=3)

    def among(graph: nx.Graph, known: list[nx.Graph]) -> bool:
        return any(nx.is_isomorphic(graph, other, node_match=_matcher(label)) for other in known)

    trained: dict[str, list[nx.Graph]] = {}
    for graph in train:
        trained.setdefault(key(graph), []).append(graph)
    seen: dict[str, list[nx.Graph]] = {}
    good = np.zeros((len(made), 3), bool)
    for k, graph in enumerate(made):
        name = key(graph)
        good[k] = valid(graph), not among(graph, seen.get(name, [])), not among(graph, trained.get(name, []))
        seen.setdefault(name, []).append(graph)
    return dict(zip(("valid", "unique", "novel"), good.mean(0).tolist())) | {"vun": float(good.all(1).mean())}


def stochastic_blocks(graph: nx.Graph, inside: float = 0.3, across: float = 0.005) -> bool:
    """Whether a graph could come from SPECTRE's stochastic block model (Martinkus et al. 2022): 2-5 blocks of 20-40 nodes, and a
    Wald test of each block pair's edge share against `inside` or `across` with a mean p value above .9.

    Blocks are found by modularity (Louvain), SPECTRE's by minimum description length: of its own training graphs 80.5 % pass
    here and, as published, 85.9 % there.
    """
    import networkx as nx
    from scipy.stats import chi2

    blocks = [sorted(b) for b in nx.community.louvain_communities(graph, seed=0)]
    sizes = np.array([len(b) for b in blocks])
    if not 2 <= len(blocks) <= 5 or sizes.min() < 20 or sizes.max() > 40:
        return False
    member = np.repeat(np.eye(len(blocks)), sizes, axis=0)
    found = nx.to_numpy_array(graph, nodelist=[v for b in blocks for v in b], weight=None)
    edges = member.T @ found @ member
    share = edges / (np.outer(sizes, sizes) - np.diag(sizes))
    wanted = np.where(np.eye(len(blocks), dtype=bool), inside, across)
    wald = (share - wanted) ** 2 / (share * (1 - share) + 1e-6)
    return bool(chi2.sf(wald, 1).mean() > 0.9)


def bootstrap(values: Sequence[float], draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean over few samples."""
    found = np.asarray(values, float)
    picks = np.random.RandomState(seed).randint(0, len(found), (draws, len(found)))
    return tuple(np.quantile(found[picks].mean(1), [0.025, 0.975]).tolist())
