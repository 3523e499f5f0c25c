"""The graphs room of the demo: cell graphs of tissue made, by class, completed, classified, and made planar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from suffuse.demo.report import Report

INTRO = (
    "Cell graphs of tumour tissue: nodes are cells with their phenotype, edges join neighbours, and each graph has a class, "
    "low or high content of tertiary lymphoid structures (ConStruct, Madeira et al. 2024, MIT). One small model, "
    "<code>tissue</code>, makes phenotypes, edges and class together."
)

LIMITS = ("planar", "connected")


def demo(report: Report, folder: Path) -> None:
    """Five items; graph distances stand beside those of real graphs against real graphs."""
    from suffuse.modalities.graphs import reading
    from suffuse.model import load

    report.room("Graphs", INTRO)
    model = load("tissue")
    real = reading.graphs(model.folder / "samples" / "test.json.gz", label="phenotype")
    made(report, model, folder, real)
    by_class(report, model, folder, real)
    completed(report, model, folder, real)
    classified(report, model, folder, real)


def made(report: Report, model: Any, folder: Path, real: list[Any]) -> None:
    """Generate, raw and projected."""
    from suffuse.metrics.graphs import graph_distances
    from suffuse.modalities.graphs.projection import project

    with report.watch(model) as seen:
        graphs = model.sample(8, steps=16)
    half = len(real) // 2
    ours, floor = graph_distances(graphs, real), graph_distances(real[:half], real[half:])
    names = {"degree": "distance of degrees", "clustering": "of clustering", "spectrum": "of spectra"}
    report.item(
        "Generate",
        "Eight pieces of tissue; below, real ones",
        'suffuse.load("tissue").sample(8, steps=16)',
        {
            "made": model.modality.show(graphs, folder / "made.svg"),
            "real": model.modality.show(real[:4], folder / "real.svg"),
        },
        seen.calls,
        seen.seconds,
        {title: ours[n] for n, title in names.items()} | {"planar and connected": kept(graphs)},
        {title: floor[n] for n, title in names.items()} | {"planar and connected": kept(real)},
    )
    pairs = [project(g, LIMITS) for g in graphs]
    report.item(
        "Make planar",
        "The same graphs, projected to planar and connected ones: what had to change is told",
        'model.sample(8, steps=16, project="planar,connected")',
        model.modality.show([g for g, _ in pairs[:4]], folder / "planar.svg"),
        quality={
            "planar and connected": kept([g for g, _ in pairs]),
            "edges of a graph": sum(g.number_of_edges() for g in graphs) / len(graphs),
            "edges changed": sum(c for _, c in pairs) / len(pairs),
        },
    )


def by_class(report: Report, model: Any, folder: Path, real: list[Any]) -> None:
    """Both classes, judged by the share of B cells, by which pathologists tell them."""
    pictures, found, truth = {}, {}, {}
    with report.watch(model) as seen:
        for kind in ("low", "high"):
            graphs = model.sample(4, given={"tls": kind}, steps=10, guidance=1.5)
            pictures[f"{kind} TLS content"] = model.modality.show(graphs, folder / f"{kind}.svg")
            found[f"share of B cells, {kind}"] = share(graphs, "B")
            truth[f"share of B cells, {kind}"] = share([g for g in real if g.graph["tls"] == kind], "B")
    report.item(
        "Generate by class",
        "Tissue with a low and a high content of lymphoid structures",
        'model.sample(4, given={"tls": "high"}, steps=10, guidance=1.5)',
        pictures,
        seen.calls,
        seen.seconds,
        found,
        truth,
    )


def kept(graphs: list[Any]) -> float:
    """Share of graphs within the limits."""
    from suffuse.modalities.graphs.projection import satisfies

    return sum(all(satisfies(g, kind) for kind in LIMITS) for g in graphs) / len(graphs)


def share(graphs: list[Any], kind: str) -> float:
    """Share of cells of one phenotype."""
    cells = [d["label"] for g in graphs for _, d in g.nodes(data=True)]
    return sum(c == kind for c in cells) / len(cells)


def completed(report: Report, model: Any, folder: Path, real: list[Any]) -> None:
    """A real piece of tissue, of which a part is given, grown to its size."""
    import networkx as nx

    from suffuse.modalities.graphs.drawing import draw_graphs

    whole = real[0]
    centre = max(whole, key=whole.degree)
    near = sorted(
        whole, key=lambda v: nx.shortest_path_length(whole, centre, v) if nx.has_path(whole, centre, v) else 99
    )
    part = nx.convert_node_labels_to_integers(whole.subgraph(near[: len(whole) // 2]), ordering="sorted")
    given = set(range(len(part)))
    with report.watch(model) as seen:
        graphs = model.sample(2, given=part, nodes=len(whole), steps=16)
    kept = all({frozenset(e) for e in g.subgraph(given).edges} == {frozenset(e) for e in part.edges} for g in graphs)
    names, kinds = model.modality.config["label"], model.modality.node_classes
    report.item(
        "Complete a partial graph",
        f"{len(part)} cells of a real piece are given (ringed), the other {len(whole) - len(part)} and their edges are asked",
        "model.sample(2, given=part, nodes=len(whole))",
        {
            "completed, twice": draw_graphs(graphs, folder / "completed.svg", names, kinds, marked=[given] * 2),
            "real": draw_graphs([whole], folder / "whole.svg", names, kinds, marked=[set(near[: len(part)])]),
        },
        seen.calls,
        seen.seconds,
        {"what was given is kept": kept},
    )


def classified(report: Report, model: Any, folder: Path, real: list[Any]) -> None:
    """Hide the phenotypes of a fifth of the cells, and the class of the graph."""
    import random

    rng, hidden, right = random.Random(0), 0, 0
    masked = []
    for graph in real[:12]:
        copy = graph.copy()
        for v in rng.sample(list(copy), len(copy) // 5):
            copy.nodes[v]["label"] = None
        masked.append(copy)
    with report.watch(model) as seen:
        answers = model.sample(len(masked), given=masked, steps=4)
        classes = model.predict(real, "tls")[:, 0].argmax(-1).tolist()
    most = max({d["label"] for g in real for _, d in g.nodes(data=True)}, key=lambda c: share(real, c))
    common = 0
    for before, asked, after in zip(real, masked, answers):
        for v, (_, made) in zip(before, sorted(after.nodes(data=True))):
            if asked.nodes[v]["label"] is None:
                hidden += 1
                right += made["label"] == before.nodes[v]["label"]
                common += before.nodes[v]["label"] == most
    names = model.modality.properties["tls"]["classes"]
    good = sum(names[c] == g.graph["tls"] for c, g in zip(classes, real)) / len(real)
    report.item(
        "Fill in what is unknown",
        f"Phenotypes of {hidden} hidden cells in {len(masked)} real graphs, and the TLS class of {len(real)} real graphs",
        'model.sample(1, given=graph_with_None_labels); model.predict(graphs, "tls")',
        None,
        seen.calls,
        seen.seconds,
        {"phenotypes right": right / hidden, "TLS class right": good},
        note=f"Always answering the most frequent phenotype would be right for {common / hidden:.2f}, always one class for 0.5.",
    )
