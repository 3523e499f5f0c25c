"""Graph metrics against enumeration, closed forms and networkx."""

from itertools import combinations

import numpy as np
import pytest

nx = pytest.importorskip("networkx")

from suffuse.metrics import graphs as m  # noqa: E402


def enumerated_orbits(graph):
    """Orbits by looking at every connected induced subgraph of 2 to 4 nodes; told apart by degree sequences."""
    out = np.zeros((len(graph), 15), int)
    by_degrees = {
        (1, 1): {1: 0}, (1, 1, 2): {1: 1, 2: 2}, (2, 2, 2): {2: 3}, (1, 1, 2, 2): {1: 4, 2: 5}, (1, 1, 1, 3): {1: 6, 3: 7},
        (2, 2, 2, 2): {2: 8}, (1, 2, 2, 3): {1: 9, 2: 10, 3: 11}, (2, 2, 3, 3): {2: 12, 3: 13}, (3, 3, 3, 3): {3: 14},
    }  # fmt: skip
    for size in (2, 3, 4):
        for nodes in combinations(graph, size):
            part = graph.subgraph(nodes)
            if nx.is_connected(part):
                roles = by_degrees[tuple(sorted(d for _, d in part.degree))]
                for v, d in part.degree:
                    out[v, roles[d]] += 1
    return out


@pytest.mark.parametrize("seed", range(4))
def test_orbits_equal_enumeration(seed):
    graph = nx.gnp_random_graph(11, 0.25 + 0.15 * seed, seed=seed)
    assert np.array_equal(np.round(m.orbits(m.adjacency(graph))), enumerated_orbits(graph))


def test_histograms_equal_networkx():
    graph = nx.gnp_random_graph(20, 0.3, seed=1)
    a = m.adjacency(graph)
    assert m.degrees(a).tolist() == nx.degree_histogram(graph)
    expected = np.histogram(list(nx.clustering(graph).values()), bins=100, range=(0, 1))[0]
    assert np.array_equal(m.clustering(a), expected)
    values = np.linalg.eigvalsh(nx.normalized_laplacian_matrix(graph).toarray())
    assert np.array_equal(m.spectrum(a), np.histogram(values, bins=200, range=(-1e-5, 2))[0])


def test_mmd_closed_forms():
    one, two = [np.array([1.0, 0, 0])], [np.array([0, 0, 1.0])]
    assert m.mmd(one, one) == pytest.approx(0, abs=1e-6)
    assert m.mmd(one, two, "tv") == pytest.approx(2 - 2 * np.exp(-0.5), abs=1e-4)
    assert m.mmd(one, two, "emd") == pytest.approx(2 - 2 * np.exp(-2.0), abs=1e-4)  # mass moves two bins
    assert m.mmd(one, two, "gaussian", histogram=False) == pytest.approx(2 - 2 * np.exp(-1.0))


def test_distances_tell_kinds_apart():
    trees = [nx.random_labeled_tree(20, seed=k) for k in range(12)]
    others = [nx.random_labeled_tree(20, seed=100 + k) for k in range(12)]
    rings = [nx.cycle_graph(20) for _ in range(12)]
    near, far = m.graph_distances(others, trees), m.graph_distances(rings, trees)
    assert near["mean"] < 0.1 * far["mean"]
    assert m.ratio(far, near) > 10 and m.ratio(near, near) == pytest.approx(1)


def test_ratio_leaves_out_what_tables_print_as_zero():
    made, train = {"degree": 0.02, "orbit": 1e-3}, {"degree": 0.01, "orbit": 1e-6}
    assert m.ratio(made, train, ("degree", "orbit")) == pytest.approx(2)


def test_valid_unique_novel():
    path, star, ring = nx.path_graph(4), nx.star_graph(3), nx.cycle_graph(4)
    relabelled = nx.relabel_nodes(star, {0: 3, 3: 0})
    out = m.valid_unique_novel([path, star, relabelled, ring], [path], nx.is_tree)
    assert out == {"valid": 0.75, "unique": 0.75, "novel": 0.75, "vun": 0.25}
    red = nx.path_graph(4)
    nx.set_node_attributes(red, "red", "label")
    blue = nx.path_graph(4)
    nx.set_node_attributes(blue, "blue", "label")
    assert m.valid_unique_novel([red], [blue], nx.is_tree, "label")["vun"] == 1.0


def test_stochastic_blocks():
    sizes = [30, 25, 35]
    share = [[0.3 if i == j else 0.005 for j in range(3)] for i in range(3)]
    made = [nx.stochastic_block_model(sizes, share, seed=k) for k in range(8)]
    assert sum(m.stochastic_blocks(g) for g in made) >= 5
    dense = [[0.6 if i == j else 0.005 for j in range(3)] for i in range(3)]
    assert not any(m.stochastic_blocks(nx.stochastic_block_model(sizes, dense, seed=k)) for k in range(4))
    assert not m.stochastic_blocks(nx.gnp_random_graph(60, 0.2, seed=0)) and not m.stochastic_blocks(nx.path_graph(80))
