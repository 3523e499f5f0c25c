"""Frames, files and arrays to a `Panel`, and clean refusals.

Long frames have one row per (unique_id, ds); wide frames one row per time and one column per series; arrays are
(times, nodes) or a dict of values, times and mask. Nothing is resampled.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import DataError
from suffuse.modalities.series.panel import (
    Panel,
    Record,
    find_columns,
    is_text,
    label,
    sorted_times,
    to_numbers,
    to_seconds,
)

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq", ".tsv", ".txt.gz")
JOINT_AT_MOST = 256
"""Above this many ids a panel is read as separate series unless `layout="joint"` is asked for."""


def recognises(source: Any) -> float:
    """How sure we are that a path or object is time series; reads at most some rows of a file."""
    if isinstance(source, dict):
        return 0.9 if {"values", "times"} <= set(source) else 0.0
    if isinstance(source, np.ndarray):
        return 0.4 if source.ndim in (1, 2) and source.dtype.kind == "f" else 0.0
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.name.lower().endswith(SUFFIXES) or not path.is_file():
            return 0.0
        try:
            source = load_frame(path, rows=50)
        except DataError:
            return 0.0
    if type(source).__name__ != "DataFrame":
        return 0.0
    if not len(source):
        return 0.0
    if _has_time_index(source):
        return 0.9
    id, time = find_columns(source)
    numeric = sum(not is_text(source[c]) for c in source.columns if c not in (id, time))
    if time is not None and numeric:
        return 0.95 if id is not None else 0.85
    if numeric == len(source.columns):
        return 0.5
    return 0.0


def load_frame(source: Any, rows: int | None = None) -> Any:
    """A path as a pandas frame (CSV, TSV, Parquet; compressed CSV too); a frame as it is."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source
    path = Path(source)
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        if "".join(path.suffixes).lower().endswith((".txt.gz", ".txt")):
            return pd.read_csv(path, nrows=rows, header=None)
        return pd.read_csv(path, nrows=rows, sep="\t" if path.suffix.lower() == ".tsv" else ",", low_memory=False)
    except (ValueError, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error


def read_panel(
    source: Any,
    *,
    target: str | Sequence[str] | None = None,
    id: str | None = None,
    time: str | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    layout: str | None = None,
) -> Panel:
    """Read any accepted form.

    target: value columns (default: `y`, else every number column); known: covariates known ahead; static: constant per id;
    layout: "joint" (ids are nodes of one system) or "separate" (each id its own series); default joint when at most
    256 ids share most of their times. Raises DataError with one sentence.
    """
    if layout not in (None, "joint", "separate"):
        raise DataError(f"layout is '{layout}'; it must be 'joint' or 'separate'")
    if isinstance(source, (dict, np.ndarray, tuple)):
        return _arrays(source, layout)
    frame = load_frame(source)
    if not len(frame):
        raise DataError("the frame has no rows")
    if len(set(map(str, frame.columns))) < len(frame.columns):
        raise DataError("the frame has two columns of the same name")
    if _has_time_index(frame) and find_columns(frame, id, time)[1] is None:
        frame = frame.rename_axis("ds").reset_index()
    id, time = find_columns(frame, id, time)
    if time is None:
        frame, time = frame.assign(ds=np.arange(len(frame))) if id is None else _counted(frame, id), "ds"
    names = _targets(frame, target, {id, time, *known, *static})
    seconds, dates, zone = to_seconds(frame[time], str(time))
    values = {c: to_numbers(frame, c) for c in (*names, *known, *static)}
    if id is None:
        order = sorted_times(seconds, "the frame")
        joint = layout != "separate"
        series = np.stack([values[c] for c in names])[:, order]
        extra = np.stack([values[c] for c in known])[:, None, order] if known else None
        fixed = np.stack([values[c] for c in static])[:, :1] if static else None
        record = Record("", seconds[order], series, extra, fixed)
        nodes = [("", str(c)) if len(names) == 1 or not joint else (str(c), "y") for c in names]
        return checked(Panel([record], nodes, "joint" if joint else "separate", dates, zone, list(known), list(static)))
    return checked(_long(frame[id].astype(str).to_numpy(), seconds, values, names, known, static, layout, dates, zone))


def _has_time_index(frame: Any) -> bool:
    import pandas as pd

    return isinstance(frame.index, pd.DatetimeIndex)


def _counted(frame: Any, id: str) -> Any:
    return frame.assign(ds=frame.groupby(id).cumcount())


def _targets(frame: Any, target: str | Sequence[str] | None, others: set) -> list:
    if target is not None:
        names = [target] if isinstance(target, str) else list(target)
        missing = [c for c in names if c not in frame.columns]
        if missing:
            raise DataError(f"the frame has no column '{missing[0]}'; it has {', '.join(map(str, frame.columns))}")
        return names
    if "y" in frame.columns:
        return ["y"]
    names = []
    for column in frame.columns:
        if column in others:
            continue
        if is_text(frame[column]):
            warnings.warn(f"column '{column}' holds text and was left out", stacklevel=4)
        else:
            names.append(column)
    if not names:
        raise DataError(f"no column of numbers among {', '.join(map(str, frame.columns))}")
    return names


def _long(ids, seconds, values, names, known, static, layout, dates, zone) -> Panel:
    labels, codes = np.unique(ids, return_inverse=True)
    rows = [k[sorted_times(seconds[k], labels[j])] for j, k in enumerate(_groups(codes, len(labels)))]
    if layout is None:
        layout = "joint" if len(labels) > 1 and len(labels) <= JOINT_AT_MOST and _shared(seconds, rows) else "separate"
    if layout == "separate":
        records = []
        for label, k in zip(labels, rows, strict=True):
            extra = np.stack([values[c][k] for c in known])[:, None] if known else None
            fixed = np.array([[values[c][k][0]] for c in static]) if static else None
            records.append(Record(str(label), seconds[k], np.stack([values[c][k] for c in names]), extra, fixed))
        return Panel(records, [("", str(c)) for c in names], layout, dates, zone, list(known), list(static))
    times = np.unique(seconds)
    nodes, series, extra, fixed = [], [], [], []
    for label, k in zip(labels, rows, strict=True):
        place = np.searchsorted(times, seconds[k])
        for c in names:
            line = np.full(len(times), np.nan)
            line[place] = values[c][k]
            series.append(line)
            nodes.append((str(label), str(c)))
            if known:
                ahead = np.full((len(known), len(times)), np.nan)
                ahead[:, place] = np.stack([values[x][k] for x in known])
                extra.append(ahead)
            if static:
                fixed.append([values[x][k][0] for x in static])
    record = Record(
        "", times, np.stack(series), np.stack(extra, 1) if known else None, np.array(fixed).T if static else None
    )
    return Panel([record], nodes, layout, dates, zone, list(known), list(static))


def _groups(codes: np.ndarray, count: int) -> list[np.ndarray]:
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.searchsorted(codes[order], np.arange(1, count)))


def _shared(seconds: np.ndarray, rows: list[np.ndarray]) -> bool:
    """True when the ids cover most of a common time axis."""
    times = np.unique(seconds)
    return np.mean([len(k) for k in rows]) >= 0.7 * len(times) and min(len(k) for k in rows) > 1


def _arrays(source: Any, layout: str | None) -> Panel:
    """values (T,), (T, N) or (records, T, N); times (T,) or (records, T); mask True where measured."""
    if isinstance(source, np.ndarray):
        source = {"values": source}
    elif isinstance(source, tuple):
        source = dict(zip(("values", "times", "mask"), source, strict=False))
    values = np.array(source["values"], dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or not values.size:
        raise DataError(
            f"values of shape {np.shape(source['values'])}; they must be (times,), (times, nodes) or (records, times, nodes)"
        )
    mask = source.get("mask")
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        if mask.size != values.size:
            raise DataError(f"the mask has {mask.size} entries and the values {values.size}")
        values[~mask.reshape(values.shape)] = np.nan
    if np.isinf(values).any():
        raise DataError(f"values hold an infinite value at {tuple(int(k[0]) for k in np.nonzero(np.isinf(values)))}")
    times, dates = source.get("times"), False
    if times is None:
        times = np.arange(values.shape[1], dtype=np.float64)
    else:
        times = np.asarray(times)
        if np.issubdtype(times.dtype, np.datetime64):
            times, dates = times.astype("datetime64[us]").astype(np.int64) / 1e6, True
        times = times.astype(np.float64)
    if times.shape not in ((values.shape[1],), values.shape[:2]):
        raise DataError(
            f"times have shape {times.shape}; for values of {values.shape[1]} times they must be ({values.shape[1]},)"
        )
    times = np.broadcast_to(times, values.shape[:2])
    records = []
    for k, (line, value) in enumerate(zip(times, values, strict=True)):
        order = sorted_times(line, f"record {k}")
        records.append(Record(str(k) if len(values) > 1 else "", line[order].copy(), value[order].T.copy()))
    layout = layout or ("separate" if len(records) > 1 else "joint")
    many = [(f"y{k}", "y") if layout == "joint" else ("", f"y{k}") for k in range(values.shape[2])]
    return checked(Panel(records, many if len(many) > 1 else [("", "y")], layout, dates))


def checked(panel: Panel) -> Panel:
    """Refuse panels without any value and tell about nodes that have none or never change."""
    if not any(np.isfinite(r.values).any() for r in panel.records):
        raise DataError("every value is empty: there is nothing to learn from")
    empty = [n for k, n in enumerate(panel.nodes) if not any(np.isfinite(r.values[k]).any() for r in panel.records)]
    if empty:
        raise DataError(f"the series '{label(empty[0])}' has no value at all; leave it out")
    keep = [r for r in panel.records if np.isfinite(r.values).any()]
    if len(keep) < len(panel.records):
        gone = next(r.id for r in panel.records if not np.isfinite(r.values).any())
        warnings.warn(
            f"{len(panel.records) - len(keep)} series without any value were left out (first: '{gone}')", stacklevel=3
        )
        panel.records = keep
    return panel
