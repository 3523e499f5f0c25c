"""Back to frames: ids, times and original units; and what the reading side needs to line new data up with a model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.errors import AskError, DataError
from suffuse.modalities.series import scaling
from suffuse.modalities.series.panel import Panel, Record, label


def aligned(panel: Panel, config: dict[str, Any]) -> Panel:
    """A panel with the model's nodes in their order. Absent nodes become holes; unknown ones are refused."""
    if panel.dates != config["dates"]:
        kinds = ("numbers", "dates")
        raise DataError(f"the times are {kinds[panel.dates]} and the model was trained on {kinds[config['dates']]}")
    nodes = [tuple(n) for n in config["nodes"]]
    if panel.layout != config["layout"]:
        if config["layout"] == "separate" and len(panel.nodes) == len(nodes):
            records = [Record(r.id, r.times, r.values, r.known, r.static) for r in panel.records]
            return Panel(records, nodes, "separate", panel.dates, panel.zone, panel.known, panel.static)
        raise DataError(f"the data are {panel.layout} series and the model was trained on {config['layout']} ones")
    if list(map(tuple, panel.nodes)) == nodes:
        return panel
    if len(nodes) == 1 and len(panel.nodes) == 1:
        panel.nodes = nodes
        return panel
    unknown = [n for n in panel.nodes if n not in nodes]
    if unknown:
        some = ", ".join(label(n) for n in nodes[:6]) + (", ..." if len(nodes) > 6 else "")
        raise DataError(f"the model does not know the series '{label(unknown[0])}'; it knows {some}")
    where = [panel.nodes.index(n) if n in panel.nodes else -1 for n in nodes]
    missing = [n for n, k in zip(nodes, where, strict=True) if k < 0]
    if missing:
        text = f"{len(missing)} series of the model are absent from the data and count as holes (first: '{label(missing[0])}')"
        warnings.warn(text, stacklevel=4)
    for r in panel.records:
        r.values = np.stack([r.values[k] if k >= 0 else np.full(len(r.times), np.nan) for k in where])
        if r.known is not None and r.known.shape[1] > 1:
            r.known = np.stack([r.known[:, max(k, 0)] for k in where], 1)
        if r.static is not None and r.static.shape[1] > 1:
            r.static = np.stack([r.static[:, max(k, 0)] for k in where], 1)
    panel.nodes, panel.present = nodes, np.array(where) >= 0
    return panel


def extended(record: Record, horizon: int, config: dict[str, Any], future: Record | None = None) -> Record:
    """A record followed by `horizon` unknown steps, `config["step"]` apart; `future` brings covariates known ahead."""
    if not horizon:
        return record
    times = np.concatenate([record.times, record.times[-1] + config["step"] * np.arange(1, horizon + 1)])
    values = np.concatenate([record.values, np.full((len(record.values), horizon), np.nan)], 1)
    known = record.known
    if known is not None:
        ahead = _ahead(known, times[len(record.times) :], future, config)
        known = np.concatenate([known, ahead], -1)
    return Record(record.id, times, values, known, record.static)


def _ahead(known: np.ndarray, times: np.ndarray, future: Record | None, config: dict[str, Any]) -> np.ndarray:
    if future is None or future.known is None:
        raise AskError(
            f"the covariates {', '.join(config['known'])} are known ahead: give their future values as future=frame"
        )
    place = np.searchsorted(future.times, times).clip(max=len(future.times) - 1)
    off = np.abs(future.times[place] - times) > 1e-3 * config["step"]
    if off.any():
        raise AskError(f"future has no row at {to_ds(times[off][:1], config)[0]}, which the horizon reaches")
    return np.broadcast_to(future.known[:, :, place], (*known.shape[:2], len(times)))


def to_ds(times: np.ndarray, config: dict[str, Any]) -> Any:
    """Model times (float64) as the data had them: dates in their time zone, or numbers."""
    if not config["dates"]:
        return np.round(times).astype(np.int64) if np.allclose(times, np.round(times)) else times
    import pandas as pd

    stamps = pd.DatetimeIndex(np.round(times * 1e3).astype(np.int64).astype("datetime64[ms]"))
    return stamps if not config["zone"] else stamps.tz_localize("UTC").tz_convert(config["zone"])


def to_time(value: Any, config: dict[str, Any]) -> float:
    """One time, as the person wrote it, in model times."""
    import pandas as pd

    try:
        if not config["dates"]:
            return float(value)
        stamp = pd.Timestamp(value)
        if stamp.tzinfo is not None:
            stamp = stamp.tz_convert("UTC").tz_localize(None)
        elif config["zone"]:
            stamp = stamp.tz_localize(config["zone"]).tz_convert("UTC").tz_localize(None)
        return stamp.to_datetime64().astype("datetime64[us]").astype(np.int64) / 1e6
    except (ValueError, TypeError) as error:
        raise AskError(f"'{value}' is no {'date' if config['dates'] else 'number'}") from error


def unscale(series: Tensor, context: dict[str, Tensor], config: dict[str, Any]) -> np.ndarray:
    """(B, N, T) scaled values in original units, finite, float64."""
    return scaling.original(
        series.detach().cpu().numpy(), context["centre"].cpu().numpy(), context["scale"].cpu().numpy(), config
    )


def long_frame(times: np.ndarray, values: np.ndarray, id: str, config: dict[str, Any], name: str = "y") -> Any:
    """values (N, T) as a long frame unique_id, ds, [variable], y."""
    import pandas as pd

    nodes = config["nodes"]
    ds = to_ds(times, config)
    size = len(times)
    columns: dict[str, Any] = {
        "unique_id": np.repeat([n[0] or id for n in nodes], size),
        "ds": type(ds)(np.tile(ds, len(nodes)))
        if isinstance(ds, pd.DatetimeIndex) and ds.tz is None
        else _tiled(ds, len(nodes)),
    }
    if len({n[1] for n in nodes}) > 1:
        columns["variable"] = np.repeat([n[1] for n in nodes], size)
    columns[name] = values.reshape(-1)
    return pd.DataFrame(columns)


def _tiled(ds: Any, times: int) -> Any:
    import pandas as pd

    if isinstance(ds, pd.DatetimeIndex):
        return ds[np.tile(np.arange(len(ds)), times)]
    return np.tile(ds, times)


def write(samples: Sequence[Any], path: Path) -> list[Path]:
    """One table with a column `sample`, CSV or Parquet by suffix, written whole or not at all."""
    import pandas as pd

    from suffuse.files import atomic_write

    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet", ".pq", ".gz", ""):
        raise AskError(f"time series are written as .csv or .parquet, not '{suffix}'")
    if not suffix:
        path, suffix = path / "samples.csv", ".csv"
    frame = pd.concat([s.assign(sample=k) for k, s in enumerate(samples)], ignore_index=True)
    with atomic_write(path) as partial:
        frame.to_parquet(partial) if suffix in (".parquet", ".pq") else frame.to_csv(partial, index=False)
    return [path]


def adjacency(matrix: Any, positions: Any, nodes: int) -> list | None:
    """A node similarity (N, N) as sparse [i, j, weight] triples scaled to at most 1: the adjacency matrix given, or
    exp(-d^2 / s^2) of positions (N, 2 or 3) with s their mean nearest distances. Raises DataError on another size."""
    if matrix is None and positions is None:
        return None
    value = _matrix(positions if matrix is None else matrix)
    if not np.isfinite(value).all():
        raise DataError("the adjacency matrix or the positions hold an empty or infinite entry")
    if matrix is None:
        if value.shape[0] != nodes:
            raise DataError(f"there are {value.shape[0]} positions and {nodes} series")
        gap = np.linalg.norm(value[:, None] - value[None], axis=-1)
        near = np.sort(gap, axis=1)[:, 1 : 1 + min(3, nodes - 1)].mean()
        value = np.exp(-((gap / max(near, 1e-12)) ** 2) / 2)
    elif value.shape != (nodes, nodes):
        raise DataError(f"the adjacency matrix is {' x '.join(map(str, value.shape))} and there are {nodes} series")
    value = value / max(float(np.abs(value).max()), 1e-12)
    i, j = np.nonzero(np.abs(value) > 1e-3)
    return [[int(a), int(b), round(float(value[a, b]), 4)] for a, b in zip(i, j, strict=True)]


def _matrix(value: Any) -> np.ndarray:
    if isinstance(value, (str, Path)):
        try:
            return np.loadtxt(value, delimiter=",", ndmin=2)
        except (OSError, ValueError) as error:
            raise DataError(f"{value} cannot be read as a matrix of numbers: {error}") from error
    return np.asarray(value, dtype=np.float64)


def bias_of(triples: list, nodes: int) -> Tensor:
    """The sparse triples as a dense (N, N) tensor."""
    dense = torch.zeros(nodes, nodes)
    for i, j, w in triples:
        dense[i, j] = w
    return dense
