"""Cell graphs made for a low or a high content of TLS, raw and projected, beside real ones.

    python benchmarks/graphs_tissue.py --data DIR --model tissue --steps 50

Validity: planar and connected. The label of a made graph is checked by a judge: logistic regression on the shares of phenotypes
and of pairs of phenotypes among links, fitted to the training split. Sampling settings are chosen on other seeds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import graphs as sets
import networkx as nx
import numpy as np
import torch
from tables import table, training_time

import suffuse
from suffuse.metrics.graphs import bootstrap, graph_distances, ratio, valid_unique_novel
from suffuse.modalities.graphs.projection import project, satisfies

KINDS = ("planar", "connected")
LABELS = ("low", "high")


def features(graph: nx.Graph, phenotypes: Sequence[str]) -> np.ndarray:
    """Shares of phenotypes, then of unordered pairs of phenotypes among links."""
    number = {p: k for k, p in enumerate(phenotypes)}
    kinds = {v: number[p] for v, p in graph.nodes(data="label")}
    pairs = np.zeros((len(number), len(number)))
    for a, b in graph.edges:
        low, high = sorted((kinds[a], kinds[b]))
        pairs[low, high] += 1
    nodes = np.bincount(list(kinds.values()), minlength=len(number)) / len(graph)
    return np.concatenate([nodes, pairs[np.triu_indices(len(number))] / max(graph.number_of_edges(), 1)])


class Judge:
    """Logistic regression with a small penalty, fitted by LBFGS."""

    def __init__(self, graphs: Sequence[nx.Graph], phenotypes: Sequence[str]):
        self.phenotypes = phenotypes
        x = torch.tensor(np.array([features(g, phenotypes) for g in graphs]), dtype=torch.float64)
        y = torch.tensor([float(g.graph["tls"] == LABELS[1]) for g in graphs], dtype=torch.float64)
        self.weight = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([self.weight], max_iter=200)

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            logits = x @ self.weight[1:] + self.weight[0]
            value = (
                torch.nn.functional.binary_cross_entropy_with_logits(logits, y) + 1e-4 * self.weight[1:].square().sum()
            )
            value.backward()
            return value

        optimiser.step(loss)

    def right(self, graphs: Sequence[nx.Graph], labels: Sequence[str]) -> float:
        """Share of graphs judged to be what `labels` says."""
        x = torch.tensor(np.array([features(g, self.phenotypes) for g in graphs]))
        high = (x @ self.weight[1:].detach() + self.weight[0].detach() > 0).tolist()
        return float(np.mean([LABELS[h] == label for h, label in zip(high, labels, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="tissue")
    parser.add_argument("--each", type=int, default=40, help="graphs of each label")
    parser.add_argument("--steps", type=int, nargs="+", default=[50])
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--grid", help="time grid (default: the model's own)")
    parser.add_argument("--stochasticity", type=float, help="fresh noise a step (default: the model's own)")
    parser.add_argument("--precision", help="fp32 (default), bf16 or auto")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    splits = sets.load(asked.data, "tissue")
    model = suffuse.load(asked.model)
    judge = Judge(splits["train"], model.modality.node_classes)
    far = graph_distances(splits["train"], splits["test"])
    names = ("valid", "unique", "novel", "vun")
    rows: list[list[Any]] = []

    def row(title: str, graphs: list[nx.Graph], labels: list[str], changed: Any = "", seconds: Any = "") -> None:
        def valid(graph: nx.Graph) -> bool:
            return all(satisfies(graph, k) for k in KINDS)

        found = valid_unique_novel(graphs, splits["train"], valid, "label")
        low, high = bootstrap([float(valid(g)) for g in graphs])
        distance = graph_distances(graphs, splits["test"])
        shares = [100 * found[n] for n in names]
        rows.append([title, *shares, f"{100 * low:.0f}-{100 * high:.0f}", 100 * judge.right(graphs, labels)])
        rows[-1] += [distance["mean"], ratio(distance, far), changed, seconds]
        print(rows[-1], flush=True)

    row("test split (real)", splits["test"], [g.graph["tls"] for g in splits["test"]])
    for steps in asked.steps:
        begun, raw, labels = time.process_time(), [], []
        for k, label in enumerate(LABELS):
            raw += model.sample(
                asked.each,
                given={"tls": label},
                steps=steps,
                guidance=asked.guidance,
                grid=asked.grid,
                stochasticity=asked.stochasticity,
                precision=asked.precision,
                seed=asked.seed,
                start=k * asked.each,
                batch=10,
            )
            labels += [label] * asked.each
        row(f"suffuse, {steps} calls, raw", raw, labels, "", time.process_time() - begun)
        done = [project(g, KINDS) for g in raw]
        row(f"{steps} calls, projected at the end", [g for g, _ in done], labels, float(np.mean([c for _, c in done])))
    head = "|valid %|unique %|novel %|V.U.N. %|95 % interval of valid|label right %"
    head += "|mean MMD|ratio to train|edges changed|CPU seconds"
    table(
        "graphs_tissue",
        "Cell graphs by TLS content",
        head.split("|"),
        rows,
        f"{2 * asked.each} graphs, half of each label, guidance {asked.guidance:g}, one seed; the zoo model was trained for "
        f"{training_time(model.notes)}. Label: by the judge, which is right for the share of real graphs in the first row.",
    )


if __name__ == "__main__":
    main()
