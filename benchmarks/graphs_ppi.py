"""Neighbourhoods in the human protein interaction network, beside two null models.

    python benchmarks/graphs_ppi.py --data DIR -o runs/graphs --minutes 8

A graph is a protein with its partners and all links among them (10 to 60 nodes; node2vec's subset of BioGRID, as ProNE ships
it). 200 neighbourhoods are the test set. Nulls are made from as many training neighbourhoods: the configuration model keeps
their degrees, the block model their communities (greedy modularity) and the density of links within and between these.
"""

from __future__ import annotations

import argparse
import gzip
import time
from pathlib import Path

import graphs as sets
import networkx as nx
import numpy as np
from tables import table, training_time

from suffuse.metrics.graphs import graph_distances

SIZES = (10, 60)
COLUMNS = ("degree", "clustering", "orbit", "spectrum", "mean")


def neighbourhoods(path: Path) -> list[nx.Graph]:
    """Ego nets of `SIZES` nodes, in a fixed random order, nodes renamed 0 .. n-1."""
    whole = nx.Graph()
    with gzip.open(path, "rt") as file:
        for line in file:
            ends = line.split()
            if len(ends) == 2 and ends[0] != ends[1]:
                whole.add_edge(*ends)
    centres = [v for v in sorted(whole) if SIZES[0] <= whole.degree[v] + 1 <= SIZES[1]]
    order = np.random.RandomState(0).permutation(len(centres))
    found = (whole.subgraph([centres[k], *whole[centres[k]]]) for k in order)
    return [nx.convert_node_labels_to_integers(nx.Graph(g)) for g in found]


def configuration(graph: nx.Graph, seed: int) -> nx.Graph:
    """A random graph of the same degrees, parallel edges and loops dropped."""
    made = nx.Graph(nx.configuration_model([d for _, d in graph.degree], seed=seed))
    made.remove_edges_from(nx.selfloop_edges(made))
    return made


def blocks(graph: nx.Graph, seed: int) -> nx.Graph:
    """A stochastic block model fitted to one graph."""
    parts = list(nx.community.greedy_modularity_communities(graph))
    sizes = [len(p) for p in parts]
    shares = np.zeros((len(parts), len(parts)))
    for a, one in enumerate(parts):
        for b, two in enumerate(parts):
            pairs = sizes[a] * (sizes[a] - 1) / 2 if a == b else sizes[a] * sizes[b]
            links = graph.subgraph(one).number_of_edges() if a == b else len(list(nx.edge_boundary(graph, one, two)))
            shares[a, b] = links / max(pairs, 1)
    return nx.stochastic_block_model(sizes, shares.tolist(), seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/graphs"))
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--grid", help="time grid (default: the model's own)")
    parser.add_argument("--stochasticity", type=float, help="fresh noise a step (default: the model's own)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    found = neighbourhoods(asked.data / "graphs/bio/ppi_homo_sapiens/PPI.ungraph.gz")
    test, train = found[: asked.test], found[asked.test :]
    sets.SETS["ppi"] = {"read": sets.LARGE | {"walks": 8}, "batch": 16, "kinds": ()}
    model = sets.trained("ppi", train, asked.output / "ppi", asked.minutes, asked.seed)
    part = train[: asked.test]
    rows = []

    def row(title: str, graphs: list[nx.Graph], seconds: float | str = "") -> None:
        distance = graph_distances(graphs, test)
        rows.append([title, *(distance[c] for c in COLUMNS), seconds])
        print(rows[-1], flush=True)

    row("training neighbourhoods (real)", part)
    row("configuration model", [configuration(g, k) for k, g in enumerate(part)])
    row("block model", [blocks(g, k) for k, g in enumerate(part)])
    for steps in asked.steps:
        begun = time.process_time()
        made = model.sample(
            asked.test, steps=steps, seed=asked.seed, batch=20, grid=asked.grid, stochasticity=asked.stochasticity
        )
        row(f"suffuse, {steps} calls", made, time.process_time() - begun)
    size = sum(p.numel() for p in model.denoiser.parameters())
    table(
        "graphs_ppi",
        "Neighbourhoods of human proteins",
        ["MMD to the test set (SPECTRE's kernels)", *COLUMNS, "CPU seconds"],
        rows,
        f"{asked.test} graphs a row against {asked.test} held out; one seed. Trained for {training_time(model.notes)} on "
        f"{len(train):,} ({model.notes.get('steps')} steps of {sets.SETS['ppi']['batch']}, {size:,} parameters). "
        "Neighbourhoods overlap, so that test and training graphs share links.",
    )


if __name__ == "__main__":
    main()
