"""Pictures of series: sample paths, fans of quantiles, gaps filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

INK, FILL, REAL = "#2b5f8a", "#7fb0d6", "#333333"


def _figure(rows: int, columns: int, width: float = 3.4, height: float = 1.7) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.tick_params(labelsize=6)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> Path:
    from suffuse.files import atomic_write

    with atomic_write(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip(".") or "png")
    return path


def key_of(table: Any) -> Any:
    """The rows' series as one label each."""
    names = table["unique_id"].astype(str)
    return names + "/" + table["variable"].astype(str) if "variable" in table else names


def paths(samples: Sequence[Any], path: Path, most: int = 6) -> Path:
    """Sample paths, one panel a series (at most `most`), all samples in each."""
    keys = list(dict.fromkeys(key_of(samples[0])))[:most]
    columns = min(3, len(keys))
    figure, axes = _figure(-(-len(keys) // columns), columns)
    for axis, key in zip(axes.flat, keys):
        for sample in samples[:24]:
            rows = sample[key_of(sample) == key]
            axis.plot(rows["ds"].to_numpy(), rows["y"].to_numpy(), lw=0.8, alpha=0.7)
        axis.set_title(key, fontsize=7)
        _dates(axis)
    return _save(figure, path)


def fan(answer: Any, path: Path, truth: Any = None, history: Any = None, most: int = 6) -> Path:
    """A fan chart: the quantile columns of an answer as bands, the median as a line, the truth and the history as dots.

    answer: what `forecast`, `impute`, `at` return. truth, history: long frames unique_id, ds, y.
    """
    keys = list(dict.fromkeys(key_of(answer)))[:most]
    levels = sorted(float(c[1:]) for c in answer if str(c).startswith("q0"))
    columns = min(3, len(keys))
    figure, axes = _figure(-(-len(keys) // columns), columns)
    for axis, key in zip(axes.flat, keys):
        rows = answer[key_of(answer) == key].sort_values("ds")
        ds = rows["ds"].to_numpy()
        for low in [q for q in levels if q < 0.5 and any(abs(1 - q - r) < 1e-9 for r in levels)]:
            high = min(levels, key=lambda r: abs(1 - low - r))
            axis.fill_between(ds, rows[f"q{low:g}"], rows[f"q{high:g}"], color=FILL, alpha=0.35, lw=0)
        if 0.5 in levels:
            axis.plot(ds, rows["q0.5"], color=INK, lw=1)
        for table, style in (
            (history, {"lw": 0.8, "color": REAL}),
            (truth, {"lw": 0, "marker": ".", "ms": 2.5, "color": REAL}),
        ):
            if table is not None:
                own = table[key_of(table) == key]
                axis.plot(own["ds"].to_numpy(), own["y"].to_numpy(dtype=np.float64), **style)
        axis.set_title(key, fontsize=7)
        _dates(axis)
    return _save(figure, path)


def _dates(axis: Any) -> None:
    for text in axis.get_xticklabels():
        text.set_rotation(30)
        text.set_horizontalalignment("right")
