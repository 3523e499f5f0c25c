"""What can be asked of a graph model beside sampling."""

from __future__ import annotations

from typing import Any


def complete(
    model: Any,
    source: str,
    nodes: int = 0,
    samples: int = 4,
    links: str = "given",
    project: str = "",
    seed: int = 0,
    **sampling: Any,
) -> list[Any]:
    """Complete a partial graph: what is given stays, further nodes or links are added.

    suffuse complete tissue part.graphml --nodes 60 --samples 4 -o completed.json
    nodes: of the whole answer (0: drawn as in the data). links: 'open' asks for links among the given nodes. project:
    'planar', 'acyclic', 'connected'.
    """
    return model.sample(samples, given=source, nodes=nodes or None, links=links, project=project, seed=seed, **sampling)
