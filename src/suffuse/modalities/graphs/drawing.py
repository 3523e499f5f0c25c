"""Graphs as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suffuse.files import atomic_write

if TYPE_CHECKING:
    import networkx as nx

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44bb99", "#99ddff", "#bbbbbb")
"""Paul Tol's bright scheme, readable with colour-blind eyes."""


def layout(graph: nx.Graph) -> dict[Any, tuple[float, float]]:
    """Positions of the nodes: their own 'pos' where all have one, a planar-friendly layout for others."""
    import networkx as nx

    if all("pos" in d and d["pos"] is not None for _, d in graph.nodes(data=True)):
        return {v: tuple(d["pos"][:2]) for v, d in graph.nodes(data=True)}
    small = len(graph) <= 30 and 0 < graph.number_of_edges() <= 4 * len(graph)
    if small and nx.is_connected(graph.to_undirected(as_view=True)):
        return nx.kamada_kawai_layout(graph)  # finer, and slow on large or dense graphs
    return nx.spring_layout(graph, seed=0, iterations=60, k=2.0 / math.sqrt(len(graph)))


def draw_graphs(
    graphs: Sequence[nx.Graph],
    path: Path,
    label: str | None = None,
    classes: Sequence[Any] = (),
    columns: int = 4,
    marked: Sequence[set] | None = None,
    size: float = 2.4,
) -> Path:
    """A sheet of graphs as SVG or PNG, nodes coloured by class. marked: per graph the nodes that were given (ringed)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    columns = min(columns, len(graphs))
    rows = math.ceil(len(graphs) / columns)
    figure = Figure(figsize=(size * columns, size * rows + (0.4 if label and classes else 0)))
    (FigureCanvasSVG if path.suffix == ".svg" else FigureCanvasAgg)(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    kinds = {c: k for k, c in enumerate(classes)}
    for k, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if k >= len(graphs):
            continue
        graph = graphs[k]
        where = layout(graph)
        ax.add_collection(
            LineCollection([(where[a], where[b]) for a, b in graph.edges], colors="#888888", linewidths=0.7, zorder=1)
        )
        given = marked[k] if marked is not None else set()
        colours = [
            PALETTE[kinds.get(d.get(label), 0) % len(PALETTE)] if label else PALETTE[0]
            for _, d in graph.nodes(data=True)
        ]
        dots = 140 / max(1.0, len(graph) ** 0.5)
        ax.scatter(
            [where[v][0] for v in graph],
            [where[v][1] for v in graph],
            s=dots,
            c=colours,
            edgecolors=["#000000" if v in given else "#ffffff" for v in graph],
            linewidths=[1.4 if v in given else 0.4 for v in graph],
            zorder=2,
        )
        ax.set_aspect("equal")
        ax.margins(0.06)
    if label and classes:
        from matplotlib.lines import Line2D

        dots = [
            Line2D([], [], marker="o", linestyle="", color=PALETTE[k % len(PALETTE)], label=str(c))
            for c, k in kinds.items()
        ]
        legend = figure.legend(handles=dots, loc="lower center", ncols=min(5, len(dots)), fontsize=7, frameon=False)
        for text in legend.get_texts():
            text.set_color("#777777")
    figure.subplots_adjust(0.01, 0.06 if label and classes else 0.01, 0.99, 0.99, 0.04, 0.04)
    with atomic_write(path) as partial:
        figure.savefig(partial, transparent=True, dpi=110)
    return path
