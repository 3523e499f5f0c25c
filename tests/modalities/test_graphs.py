"""Graphs: files in and out, refusals, what is given stays, projections."""

import json
import pickle

import numpy as np
import pytest
import torch

nx = pytest.importorskip("networkx")

from suffuse.diffusion.random import Random  # noqa: E402
from suffuse.errors import AskError, DataError  # noqa: E402
from suffuse.modalities.graphs import Graphs  # noqa: E402
from suffuse.modalities.graphs.projection import project, satisfies  # noqa: E402
from suffuse.model import Model  # noqa: E402

TINY = {"width": 16, "edge_width": 8, "layers": 1, "heads": 2, "walks": 2}


def labelled(count=12, directed=False, seed=0):
    rng = np.random.RandomState(seed)
    out = []
    for k in range(count):
        graph = nx.gnp_random_graph(int(rng.randint(4, 8)), 0.4, seed=k, directed=directed)
        for v in graph:
            graph.nodes[v]["label"] = "ab"[rng.randint(2)]
        for e in graph.edges:
            graph.edges[e]["label"] = "xy"[rng.randint(2)]
        graph.graph["score"] = float(rng.rand())
        graph.graph["group"] = "uv"[k % 2]
        out.append(graph)
    return out


def same(a, b):
    nodes = nx.algorithms.isomorphism.categorical_node_match("label", None)
    edges = nx.algorithms.isomorphism.categorical_edge_match("label", None)
    return nx.is_isomorphic(a, b, node_match=nodes, edge_match=edges)


@pytest.mark.parametrize("directed", [False, True])
def test_arrays_round_trip(directed):
    graphs = labelled(directed=directed)
    modality, data = Graphs.read(graphs, **TINY)
    assert modality.config["directed"] is directed
    batch = data.batch(torch.arange(len(graphs)))
    assert batch.x["edges"].shape[1] == (7 * 6 if directed else 21)
    for k, graph in enumerate(graphs):
        back = modality.graph_of(data.record(k))
        assert dict(back.nodes(data="label")) == dict(graph.nodes(data="label"))
        assert {(*e, d) for *e, d in back.edges(data="label")} == {(*e, d) for *e, d in graph.edges(data="label")}
    score = torch.tensor([g.graph["score"] for g in graphs])
    assert torch.allclose(batch.x["score"][:, 0], (score - score.mean()) / score.std(unbiased=False), atol=1e-5)
    assert json.loads(json.dumps(modality.config)) == modality.config


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".graphml", ".gml"])
@pytest.mark.parametrize("directed", [False, True])
def test_files_round_trip(tmp_path, ending, directed):
    graphs = labelled(3, directed)
    modality, _ = Graphs.read(graphs, **TINY)
    written = modality.write(graphs, tmp_path / f"graphs{ending}")
    again, data = Graphs.read(written[0] if len(written) == 1 else written[0].parent, **TINY)
    assert len(data) == 3
    assert again.config["directed"] is directed
    for k, graph in enumerate(graphs):
        assert same(again.graph_of(data.record(k)), graph)


def test_training_batches_are_of_one_size_and_fair():
    graphs = [nx.path_graph(n) for n in range(2, 42)]
    _, data = Graphs.read(graphs, **TINY)
    assert data.bucketed
    exact = data.batch(torch.arange(3, 9)).context["sizes"][:, 0]
    assert exact.tolist() == list(range(5, 11))
    counts = np.zeros(42)
    for first in range(40):
        sizes = data.batch(torch.tensor([first, 3, 30, 7])).context["sizes"][:, 0].numpy()
        counts[sizes] += 1
        assert np.ptp(sizes) == 3 or first > 36
    assert set(counts[2:]) == {4}


def test_edge_list(tmp_path):
    path = tmp_path / "net.edgelist"
    path.write_text("# proteins\nA B binds\nB,C cuts\nC D binds\n")
    modality, data = Graphs.read(path, **TINY)
    assert modality.config["sizes"] == [[4, 1]]
    assert modality.edge_classes == [None, "binds", "cuts"]
    assert Graphs.recognises(path) > 0.5 and len(data) == 1


@pytest.mark.parametrize(
    "text, name, words",
    [
        ("a b\nb a\n", "x.edgelist", "line 2"),
        ("a b\nc c\n", "x.edgelist", "itself"),
        ("lonely\n", "x.edgelist", "line 1"),
        ('[{"n": 2, "edges": [[0, 2]]}]', "x.json", "does not join"),
        ('[{"n": 3, "edges": [[0, 1], [1, 0]]}]', "x.json", "twice"),
        ('[{"n": 3, "edges": [[1, 1]]}]', "x.json", "itself"),
        ("{not json", "x.json", "not valid JSON"),
        ("<graphml><!DOCTYPE a></graphml>", "x.graphml", "entities"),
        ("nonsense", "x.gml", "GML"),
        ("[]", "x.json", "no graphs"),
    ],
)
def test_refusals_of_files(tmp_path, text, name, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        Graphs.read(tmp_path / name)


def test_pickles_are_refused(tmp_path):
    for name in ("x.pkl", "x.json"):
        (tmp_path / name).write_bytes(pickle.dumps([1, 2]))
        with pytest.raises(DataError, match="pickle"):
            Graphs.read(tmp_path / name)


def test_refusals_of_graphs():
    with pytest.raises(DataError, match="at most"):
        Graphs.read([nx.path_graph(600)])
    double = nx.MultiGraph([(0, 1), (0, 1)])
    with pytest.raises(DataError, match="several edges"):
        Graphs.read([double])
    with pytest.raises(DataError, match="directed"):
        Graphs.read([nx.path_graph(3), nx.path_graph(3, create_using=nx.DiGraph)])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    modality, _ = Graphs.read(labelled(), **TINY)
    made = Model.new(modality)
    for value in made.denoiser.parameters():
        torch.nn.init.normal_(value, std=0.3)
    return made


def test_given_graph_stays(model):
    given = nx.Graph([(0, 1, {"label": "x"}), (1, 2, {"label": "y"})])
    nx.set_node_attributes(given, {0: "a", 1: "b", 2: None}, "label")
    for graph in model.sample(6, given=given, nodes=6, steps=4):
        assert len(graph) == 6
        assert [graph.nodes[v]["label"] for v in (0, 1)] == ["a", "b"]
        assert graph.edges[0, 1]["label"] == "x" and graph.edges[1, 2]["label"] == "y" and not graph.has_edge(0, 2)
    kept = model.complete(given, samples=6, links="open", steps=4)
    assert all(len(g) == 3 and g.has_edge(0, 1) for g in kept)
    assert any(g.has_edge(0, 2) for g in kept)


def test_one_sample_does_not_depend_on_others(model):
    many = model.sample(8, steps=3)
    alone = model.sample(1, start=5, steps=3)[0]
    assert dict(alone.nodes(data="label")) == dict(many[5].nodes(data="label"))
    assert set(alone.edges(data="label")) == set(many[5].edges(data="label"))


def test_batches_gather_graphs_of_one_size(model):
    task = model.modality.request(9, index=torch.arange(9))
    order = model.modality.batching(task)
    sizes = task.context["sizes"].flatten()
    small = model.modality.trimmed(task.rows(order[:3]))
    assert small.x["nodes"].shape[1] == int(sizes.sort().values[2]) < int(sizes.max())
    assert small.x["edges"].shape == small.exists["edges"].shape == small.start.levels["edges"].shape
    whole, parts = (model.sample(9, steps=3, batch=b) for b in (9, 3))
    assert [len(g) for g in parts] == sizes.tolist()
    assert [set(g.edges(data="label")) for g in whole] == [set(g.edges(data="label")) for g in parts]


def test_sizes_follow_the_data(model):
    sizes = [len(g) for g in model.sample(400, steps=1, batch=400)]
    table = dict(model.modality.config["sizes"])
    for size, count in table.items():
        assert sizes.count(size) / 400 == pytest.approx(count / sum(table.values()), abs=0.08)


@pytest.mark.parametrize(
    "asked, words",
    [
        ({"nodes": 50}, "whole number from"),
        ({"links": "some"}, "links"),
        ({"project": "round"}, "round"),
        ({"weight": 3}, "no property"),
        ({"score": 99.0}, "impossible"),
        ({"group": "w"}, "one of"),
    ],
)
def test_refusals_of_asks(model, asked, words):
    with pytest.raises(AskError, match=words):
        model.sample(1, steps=1, **asked)


def test_too_large_and_unknown_given(model):
    with pytest.raises(DataError, match="at most 7"):
        model.sample(1, given=nx.path_graph(9))
    strange = nx.path_graph(2)
    nx.set_node_attributes(strange, "c", "label")
    with pytest.raises(DataError, match="'c'"):
        model.sample(1, given=strange)


def test_tasks_start_where_they_should():
    graphs = labelled(32)
    modality, data = Graphs.read(graphs, **TINY)
    batch = data.batch(torch.arange(32))
    random = Random(0)
    predict = modality.start("predict", batch, random, 0)
    assert predict.levels["edges"].max() == 0 and predict.levels["nodes"].max() == 0
    asked = (predict.levels["score"] == 1) & ~predict.held["score"]
    assert 0.2 < asked.float().mean() < 0.8
    plain = modality.start("generate", batch, random, 0)
    assert plain.held["score"].all() and plain.levels["edges"].min() > 0
    part = modality.start("complete", batch, random, 0)
    nodes, edges = part.levels["nodes"], part.levels["edges"]
    assert ((nodes == 0) & batch.exists["nodes"]).any(1).all()
    given, closed = modality._kept(batch, random, 0)
    from suffuse.networks.pairs import pair_list

    first, second = pair_list(nodes.shape[1])
    known = edges == 0
    assert known[given[:, first] & given[:, second]].all()
    assert (
        batch.x["edges"][(closed[:, first] & ~given[:, second]) | (closed[:, second] & ~given[:, first])] == 0
    ).all()
    assert closed.any() and (~given & batch.exists["nodes"]).any()


@pytest.mark.parametrize(
    "kinds", [("planar",), ("acyclic",), ("connected",), ("planar", "connected"), ("acyclic", "connected")]
)
def test_projection(kinds):
    for seed in range(4):
        graph = nx.gnp_random_graph(14, 0.35, seed=seed)
        graph.add_nodes_from([14, 15])
        made, changed = project(graph, kinds)
        assert all(satisfies(made, k) for k in kinds)
        assert set(made) == set(graph)
        ours, theirs = ({frozenset(e) for e in g.edges} for g in (made, graph))
        assert changed == len(ours ^ theirs)
        again, more = project(made, kinds)
        assert more == 0 and nx.utils.graphs_equal(again, made)


def test_projection_keeps_what_was_given():
    graph = nx.complete_graph(6)
    keep = [(0, 1), (2, 3), (4, 5)]
    made, _ = project(graph, ["acyclic"], keep)
    assert nx.is_forest(made) and all(made.has_edge(*e) for e in keep)
    with pytest.raises(AskError, match="themselves"):
        project(graph, ["acyclic"], [(0, 1), (1, 2), (0, 2)])


def test_projected_samples_say_so(model):
    for graph in model.sample(3, steps=2, project="planar,connected"):
        assert nx.check_planarity(graph)[0] and nx.is_connected(graph)
        assert graph.graph["edges_changed"] >= 0


@pytest.mark.parametrize("kind", ["acyclic", "planar"])
def test_edges_that_break_a_kind_are_refused_as_they_appear(kind):
    trees = [nx.path_graph(9), nx.star_graph(8)]
    modality, _ = Graphs.read(trees, empty_prior=True, **TINY)
    torch.manual_seed(0)
    made = Model.new(modality)
    with torch.no_grad():
        made.denoiser.network.edge_out.bias.copy_(torch.tensor([0.0, 16.0]))
    assert not any(satisfies(g, kind) for g in made.sample(4, steps=8))
    graphs = made.sample(4, steps=8, project=kind)
    assert all(satisfies(g, kind) and g.graph["edges_changed"] == 0 and g.number_of_edges() > 3 for g in graphs)
    assert set(made.sample(1, start=2, steps=8, project=kind)[0].edges) == set(graphs[2].edges)
    given = made.sample(1, given=nx.path_graph(4), steps=8, nodes=9, project=kind)[0]
    assert all(given.has_edge(i, i + 1) for i in range(3))


def test_picture(model, tmp_path):
    for ending in (".svg", ".png"):
        path = model.modality.show(model.sample(3, steps=1), tmp_path / f"sheet{ending}")
        assert path.stat().st_size > 1000
