"""The normal form of time series: records of real times and values, whatever frame or file they came from.

A *record* is one system observed over time: times (T,) and values (N, T) of its *nodes*, NaN where nothing was measured.
Nodes are the series of a joint panel (stations, sensors, currencies) or the columns of one series (heart rate, pressure).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from suffuse.errors import DataError

ID_NAMES = ("unique_id", "item_id", "series_id", "station", "id")
TIME_NAMES = ("ds", "timestamp", "datetime", "date", "time", "date_time")


@dataclass
class Record:
    """id: name; times: (T,) float64, ascending and distinct, seconds since 1970 for dates, else the numbers given;
    values: (N, T) float64 with NaN holes; known: (C, N or 1, T) covariates known ahead; static: (S, N or 1)."""

    id: str
    times: np.ndarray
    values: np.ndarray
    known: np.ndarray | None = None
    static: np.ndarray | None = None


@dataclass
class Panel:
    """Records that share nodes. nodes: (unique_id, variable) pairs in layout "joint", ("", variable) in "separate".
    present: (N,) bool, False for nodes of the model that the data do not name; None when all are there."""

    records: list[Record]
    nodes: list[tuple[str, str]]
    layout: str
    dates: bool
    zone: str | None = None
    known: list[str] = field(default_factory=list)
    static: list[str] = field(default_factory=list)
    present: np.ndarray | None = None


def find_columns(frame: Any, id: str | None = None, time: str | None = None) -> tuple[str | None, str | None]:
    """(id column, time column) of a frame, by the names in use (Nixtla, GluonTS, plain CSV); None where there is none."""
    lower = {str(c).strip().lower(): c for c in frame.columns}
    for asked in (id, time):
        if asked is not None and asked not in frame.columns:
            raise DataError(f"the frame has no column '{asked}'; it has {', '.join(map(str, frame.columns))}")
    id = id if id is not None else next((lower[n] for n in ID_NAMES if n in lower and lower[n] != time), None)
    time = time if time is not None else next((lower[n] for n in TIME_NAMES if n in lower and lower[n] != id), None)
    return id, time


def to_seconds(column: Any, name: str) -> tuple[np.ndarray, bool, str | None]:
    """A time column as float64 (seconds since 1970 UTC for dates), whether it holds dates, and its time zone."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(values).all():
            raise DataError(
                f"the time column '{name}' has an empty or infinite time at row {int(np.argmin(np.isfinite(values)))}"
            )
        return values, False, None
    zone = None
    if not pd.api.types.is_datetime64_any_dtype(column):
        column = _parse_dates(column, name)
    if column.isna().any():
        raise DataError(f"the time column '{name}' has an empty time at row {int(np.argmax(column.isna().to_numpy()))}")
    if getattr(column.dt, "tz", None) is not None:
        zone = str(column.dt.tz)
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return column.to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6, True, zone


def _parse_dates(column: Any, name: str) -> Any:
    import pandas as pd

    text = column.astype(str).str.strip()
    aware = text.map(lambda s: bool(re.search(r"(\d(Z|UTC)|[ T]\d\d:\d\d.*[+-]\d\d:?\d\d)$", str(s))))
    if aware.any() and not aware.all():
        raise DataError(
            f"the time column '{name}' mixes times with and without a time zone (row {int(np.argmin(aware))} has none)"
        )
    offsets = text[aware].str.extract(r"(Z|UTC|[+-]\d\d:?\d\d)$")[0].nunique() if aware.any() else 0
    if offsets > 1:
        warnings.warn(f"the time column '{name}' mixes time zones: all times were moved to UTC", stacklevel=4)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if re.fullmatch(r"\d\d/\d\d/\d{4}.*", text.iloc[0]):  # day first or month first: whichever fits every row
                try:
                    return pd.to_datetime(text, utc=bool(aware.any()), dayfirst=False, format=None, errors="raise")
                except (ValueError, TypeError):
                    return pd.to_datetime(text, utc=bool(aware.any()), dayfirst=True, errors="raise")
            return pd.to_datetime(
                text, utc=bool(aware.any()), format="ISO8601" if re.match(r"\d{4}-", text.iloc[0]) else None
            )
    except (ValueError, TypeError) as error:
        parsed = pd.to_datetime(text, errors="coerce", utc=bool(aware.any()))
        bad = parsed.isna().to_numpy()
        row = int(np.argmax(bad)) if bad.any() else 0
        raise DataError(
            f"'{text.iloc[row]}' in the time column '{name}' (row {row}) is neither a date nor a number"
        ) from error


def to_numbers(frame: Any, column: Any) -> np.ndarray:
    """A value column as float64 with NaN holes; text and infinite values are refused with their place."""
    import pandas as pd

    values = frame[column]
    if not pd.api.types.is_numeric_dtype(values):
        numbers = pd.to_numeric(values, errors="coerce")
        text = (numbers.isna() & values.notna() & (values.astype(str).str.strip() != "")).to_numpy()
        if text.any():
            row = int(np.argmax(text))
            raise DataError(
                f"column '{column}' holds text ('{values.iloc[row]}' at row {row}); values must be numbers or empty"
            )
        values = numbers
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        raise DataError(f"column '{column}' holds an infinite value at row {int(np.argmax(np.isinf(numbers)))}")
    return numbers


def is_text(column: Any) -> bool:
    """True for a column that holds no number at all (a wind direction, a comment)."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return False
    return not pd.to_numeric(column, errors="coerce").notna().any() and bool(column.notna().any())


def sorted_times(times: np.ndarray, name: str) -> np.ndarray:
    """The order that sorts times; duplicates are refused, disorder is told."""
    order = np.argsort(times, kind="stable")
    repeated = np.diff(times[order]) == 0
    if repeated.any():
        raise DataError(
            f"'{name}' has two rows at the same time ({times[order][int(np.argmax(repeated))]:.15g}); times must be distinct"
        )
    if (order[:-1] > order[1:]).any():
        warnings.warn(f"the times of '{name}' were not in order: sorted", stacklevel=4)
    return order


def median_step(records: list[Record]) -> float:
    """The median gap between neighbouring times over all records (the unit of model time); 1 where there is none."""
    gaps = [np.diff(r.times) for r in records if len(r.times) > 1]
    return float(np.median(np.concatenate(gaps))) if gaps else 1.0


def label(node: Sequence[str]) -> str:
    """A node's name for people."""
    return "/".join(part for part in node if part) if node[1] != "y" or not node[0] else node[0]
