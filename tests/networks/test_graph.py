"""The graph transformer: symmetries, padding, and its features against enumeration."""

import numpy as np
import pytest
import torch

from suffuse.networks.graph import GraphTransformer, own_posterior
from suffuse.networks.graph_features import node_cycles, random_walks
from suffuse.networks.pairs import node_count, pair_list, pair_tables, pair_total

nx = pytest.importorskip("networkx")


def randomised(**options):
    torch.manual_seed(0)
    made = GraphTransformer(width=32, edge_width=16, layers=2, heads=4, sets=4, walks=4, **options)
    for value in made.parameters():  # zero-initialised layers would hide everything
        torch.nn.init.normal_(value, std=0.15)
    return made.eval()


def example(n, directed=False, dims=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    pairs = pair_total(n, directed)
    x = {
        "nodes": torch.randint(0, 4, (2, n), generator=g),
        "edges": torch.randint(0, 4, (2, pairs), generator=g) * (torch.rand(2, pairs, generator=g) < 0.5),
        "mass": torch.randn(2, 1, generator=g),
        "kind": torch.randint(0, 3, (2, 1), generator=g),
    }
    levels = {k: torch.rand(v.shape, generator=g) for k, v in x.items()}
    if dims:
        place = torch.randn(2, n, dims, generator=g)
        x["coordinates"] = place - place.mean(1, keepdim=True)
        levels["coordinates"] = torch.rand(2, 1, 1, generator=g)
    return x, levels, {"sizes": torch.tensor([[n], [n]])}


def call(network, x, levels, context):
    with torch.inference_mode():
        return network(x, levels, context)


@pytest.mark.parametrize("directed", [False, True])
def test_permuting_nodes_permutes_answers(directed):
    network = randomised(node_classes=4, edge_classes=3, properties={"mass": 0, "kind": 2}, dims=3, directed=directed)
    x, levels, context = example(7, directed)
    out = call(network, x, levels, context)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    first, second = pair_list(7, directed)
    full = pair_tables(7, directed, "cpu")["full"].view(7, 7)
    pairs = full[order[first], order[second]]
    by = {"nodes": order, "coordinates": order, "edges": pairs}

    def moved(fields):
        return {k: v[:, by[k]] if k in by and v.shape[1] > 1 else v for k, v in fields.items()}

    again = call(network, moved(x), moved(levels), context)
    for name, value in moved(out).items():
        torch.testing.assert_close(again[name], value, atol=1e-3, rtol=1e-3)


def test_rotation_and_reflection():
    network = randomised(node_classes=4, edge_classes=3, properties={"mass": 0}, dims=3)
    x, levels, context = example(6)
    out = call(network, x, levels, context)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    again = call(network, {**x, "coordinates": x["coordinates"] @ turn}, levels, context)
    torch.testing.assert_close(again["coordinates"], out["coordinates"] @ turn, atol=1e-3, rtol=1e-3)
    for name in ("nodes", "edges", "mass"):
        torch.testing.assert_close(again[name], out[name], atol=1e-3, rtol=1e-3)
    assert out["coordinates"].abs().max() > 1e-3
    torch.testing.assert_close(out["coordinates"].mean(1), torch.zeros(2, 3), atol=1e-4, rtol=0)


def test_padding_changes_nothing():
    network = randomised(node_classes=4, edge_classes=3, properties={"mass": 0}, dims=3)
    x, levels, context = example(6)
    out = call(network, x, levels, context)
    wide, more = dict(x), dict(levels)
    for name, width in (("nodes", 9), ("edges", pair_total(9)), ("coordinates", 9)):
        shape = (2, width, *x[name].shape[2:])
        wide[name] = torch.ones(shape, dtype=x[name].dtype)
        wide[name][:, : x[name].shape[1]] = x[name]
        if levels[name].shape[1] > 1:
            more[name] = torch.zeros(shape[: levels[name].ndim])
            more[name][:, : levels[name].shape[1]] = levels[name]
    again = call(network, wide, more, context)
    for name, value in out.items():
        torch.testing.assert_close(again[name][:, : value.shape[1]], value, atol=1e-3, rtol=1e-3)


def test_certain_edges_are_answered_for_sure():
    network = randomised(node_classes=1, edge_classes=2)
    network.certain = (1,)
    x, levels, context = example(5, dims=0)
    edges = torch.randint(0, 3, (2, 10), generator=torch.Generator().manual_seed(2))
    out = call(network, {"edges": edges}, {"edges": levels["edges"]}, context)["edges"].softmax(-1)
    assert (out[edges == 1][:, 1] > 1 - 1e-6).all()
    assert (out[edges != 1][:, 1] < 1 - 1e-3).all()


def test_targets_are_taken():
    network = randomised(node_classes=4, edge_classes=3, dims=3)
    x, levels, context = example(5)
    with torch.inference_mode():
        none = network(x, levels, context)
        some = network(x, levels, context, {k: v * 0.5 for k, v in levels.items()})
    assert not torch.allclose(none["edges"], some["edges"])


@pytest.mark.parametrize("directed", [False, True])
def test_pairs_keep_their_numbers(directed):
    small, large = pair_list(4, directed), pair_list(7, directed)
    for a, b in zip(small, large):
        assert torch.equal(a, b[: len(a)])
    for n in range(1, 12):
        assert node_count(pair_total(n, directed), directed) == n
    with pytest.raises(ValueError):
        node_count(5, directed)


def test_tables_first_asked_for_in_inference_can_train():
    network = randomised(node_classes=1, edge_classes=2)
    edges = torch.zeros(2, pair_total(13), dtype=torch.int64)
    arguments = ({"edges": edges}, {"edges": torch.ones(2, 1)}, {"sizes": torch.tensor([[13], [13]])})
    call(network, *arguments)
    network(*arguments)["edges"].sum().backward()


def test_cycles_equal_enumeration():
    graph = nx.gnp_random_graph(9, 0.4, seed=2)
    expected = np.zeros((9, 3))
    for cycle in nx.simple_cycles(graph, length_bound=5):
        expected[cycle, len(cycle) - 3] += 1
    found = node_cycles(torch.tensor(nx.to_numpy_array(graph)).float()[None])[0]
    assert np.allclose(found.numpy(), expected)
    assert expected[:, 2].sum() > 0


def test_walks_of_a_ring():
    ring = torch.tensor(nx.to_numpy_array(nx.cycle_graph(5))).float()[None]
    walks = random_walks(ring, 3)[0]
    assert walks[0, 1].tolist() == [0.5, 0.0, 0.375]  # 3 of the 8 walks of length 3 end next door
    assert torch.allclose(walks.sum(1), torch.ones(5, 3))


def test_own_posterior_is_bayes_rule():
    prior = torch.tensor([0.7, 0.2, 0.1])
    level = torch.tensor([[0.3, 0.3, 0.9, 0.5]])
    x = torch.tensor([[0, 2, 1, 3]])
    found = own_posterior(x, level, prior).softmax(-1)[0]
    for k in range(3):
        likelihood = torch.stack([(1 - level[0, k]) * (x[0, k] == c) + level[0, k] * prior[x[0, k]] for c in range(3)])
        torch.testing.assert_close(found[k], prior * likelihood / (prior * likelihood).sum())
    torch.testing.assert_close(found[3], prior)
