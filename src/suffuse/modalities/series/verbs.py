"""Sugar: impute, forecast, answer at times, find anomalies, cross-validate. Each answers with a long frame.

Columns: unique_id, ds, variable (where there are several), what the verb adds, mean, and one column a quantile (q0.05, ...);
with samples=True also sample_0, sample_1, ..., the joint draws themselves. `n` is the number of draws, `steps` the
network calls of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from suffuse.errors import AskError
from suffuse.modalities.series import asking, frames, reading
from suffuse.modalities.series.asking import Filled
from suffuse.modalities.series.panel import Panel, Record, find_columns

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


def impute(
    model: Any,
    frame: Any,
    *,
    n: int = 100,
    quantiles: Sequence[float] = QUANTILES,
    samples: bool = False,
    conformal: bool = False,
    **how: Any,
) -> Any:
    """Fill every hole (NaN) of a frame. Adds `y` (the value given, or the median where it was asked) and `asked`."""
    pairs = _fitted(model, "impute") if conformal else None
    quantiles = _check(n, quantiles)
    panel = model.modality.panel(frame)
    filled = asking.fill(model, panel.records, n, **how)
    return _table(filled, panel, model, quantiles, samples, only_asked=False, pairs=pairs)


def forecast(
    model: Any,
    frame: Any,
    horizon: int | None = None,
    *,
    future: Any = None,
    n: int = 100,
    quantiles: Sequence[float] = QUANTILES,
    samples: bool = False,
    conformal: bool = False,
    **how: Any,
) -> Any:
    """The next `horizon` steps after each series' last time (default: the trained horizon). future: a frame with the
    covariates known ahead. A longer horizon than trained is rolled out (told)."""
    pairs = _fitted(model, "forecast") if conformal else None
    quantiles = _check(n, quantiles)
    config = model.modality.config
    horizon = config["horizon"] if horizon is None else _whole(horizon, "horizon")
    panel = model.modality.panel(frame)
    ahead = {} if future is None else {r.id: r for r in future_records(model, future)}
    longer = [frames.extended(_trimmed(r), horizon, config, ahead.get(r.id)) for r in panel.records]
    recent = [_recent(r, horizon, config) for r in longer]
    filled = asking.fill(model, recent, n, **how)
    return _table([_last(f, horizon) for f in filled], panel, model, quantiles, samples, only_asked=True, pairs=pairs)


def at(
    model: Any,
    frame: Any,
    times: Any,
    *,
    n: int = 100,
    quantiles: Sequence[float] = QUANTILES,
    samples: bool = False,
    **how: Any,
) -> Any:
    """Values at any times, between, before or after the measured ones; rows of exactly these times."""
    quantiles = _check(n, quantiles)
    config = model.modality.config
    times = times.split(",") if isinstance(times, str) else times
    wanted = np.unique([frames.to_time(t, config) for t in np.atleast_1d(np.asarray(times, dtype=object))])
    if not len(wanted) or not np.isfinite(wanted).all():
        raise AskError("times must be at least one finite time")
    records, keep = [], []
    panel = model.modality.panel(frame)
    for r in panel.records:
        merged = np.union1d(r.times, wanted)
        values = np.full((len(r.values), len(merged)), np.nan)
        values[:, np.searchsorted(merged, r.times)] = r.values
        known = None
        if r.known is not None:
            known = np.stack([[np.interp(merged, r.times, line) for line in c] for c in r.known])
        records.append(Record(r.id, merged, values, known, r.static))
        keep.append(np.searchsorted(merged, wanted))
    filled = asking.fill(model, records, n, **how)
    picked = []
    for f, k in zip(filled, keep, strict=True):
        part = Record(f.record.id, f.record.times[k], f.record.values[:, k])
        picked.append(Filled(part, f.values[..., k], np.ones_like(f.asked[:, k])))
    return _table(picked, panel, model, quantiles, samples, only_asked=True)


def anomaly(
    model: Any, frame: Any, *, folds: int = 4, n: int = 100, quantiles: Sequence[float] = QUANTILES, **how: Any
) -> Any:
    """How surprising each measured value is, given the others: values are hidden in `folds` turns of short blocks and
    predicted. Adds `y`, `surprise` (distance from the median over half the central 68 % width: about a number of
    deviations) and `p` (two-sided share of draws at least as far out)."""
    quantiles = _check(n, quantiles)
    if folds < 2:
        raise AskError(f"folds is {folds}; at least 2 are needed")
    panel = model.modality.panel(frame)
    records = panel.records
    totals = [np.full((n, *r.values.shape), np.nan) for r in records]
    for fold in range(folds):
        hidden, masks = [], []
        for r in records:
            nodes, size = r.values.shape
            place = (np.arange(size)[None] // 2 + np.arange(nodes)[:, None]) % folds == fold
            mask = place & np.isfinite(r.values)
            hidden.append(Record(r.id, r.times, np.where(place, np.nan, r.values), r.known, r.static))
            masks.append(mask)
        for total, mask, f in zip(totals, masks, asking.fill(model, hidden, n, **how), strict=True):
            total[:, mask] = f.values[:, mask]
    filled = [Filled(r, t, np.isfinite(r.values)) for r, t in zip(records, totals, strict=True)]
    table = _table(filled, panel, model, quantiles, True, only_asked=True)
    draws = table[[c for c in table if str(c).startswith("sample_")]].to_numpy()
    y = np.concatenate([f.record.values[f.asked] for f in filled])
    low, middle, high = np.quantile(draws, [0.16, 0.5, 0.84], axis=1)
    beyond = (np.abs(draws - middle[:, None]) >= np.abs(y - middle)[:, None]).sum(1)
    table = table.drop(columns=[c for c in table if str(c).startswith("sample_")])
    table.insert(2, "y", y)
    table.insert(3, "surprise", np.abs(y - middle) / np.maximum((high - low) / 2, 1e-9 + 1e-6 * np.abs(middle)))
    table.insert(4, "p", (beyond + 1) / (n + 1))
    return table


def cross_validation(
    model: Any,
    frame: Any,
    horizon: int | None = None,
    windows: int = 3,
    *,
    stride: int | None = None,
    n: int = 100,
    quantiles: Sequence[float] = QUANTILES,
    samples: bool = False,
    **how: Any,
) -> Any:
    """Forecasts from `windows` cutoffs, `stride` steps apart (default: the horizon), the last horizon being the end of the
    data. Adds `cutoff` (the last time known) and `y`, the truth. The model is not trained again between cutoffs."""
    import pandas as pd

    quantiles = _check(n, quantiles)
    config = model.modality.config
    horizon = config["horizon"] if horizon is None else _whole(horizon, "horizon")
    windows, stride = _whole(windows, "windows"), horizon if stride is None else _whole(stride, "stride")
    panel = model.modality.panel(frame)
    records = panel.records
    shortest = min(len(r.times) for r in records)
    if shortest - horizon - (windows - 1) * stride < 2:
        raise AskError(f"{windows} windows of {horizon} steps, {stride} apart, do not fit a series of {shortest} times")
    pieces, truths = [], []
    for k in range(windows):
        for r in records:
            end = len(r.times) - (windows - 1 - k) * stride
            values = r.values[:, :end].copy()
            truths.append(values[:, end - horizon :].copy())
            values[:, end - horizon :] = np.nan
            known = None if r.known is None else r.known[..., :end]
            pieces.append(_recent(Record(r.id, r.times[:end], values, known, r.static), horizon, config))
    filled = [_last(f, horizon) for f in asking.fill(model, pieces, n, **how)]
    tables = []
    for f, truth in zip(filled, truths, strict=True):
        table = _table([f], panel, model, quantiles, samples, only_asked=True)
        cutoff = frames.to_ds(np.array([f.before]), config)[0]  # type: ignore[attr-defined]
        table.insert(2, "cutoff", cutoff)
        table.insert(3, "y", (truth if panel.present is None else truth[panel.present]).reshape(-1))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def calibrate(model: Any, frame: Any, *, share: float = 0.2, n: int = 100, seed: int = 0, **how: Any) -> Any:
    """Fit the conformal correction on held-out data (not those of training); `conformal=True` then applies it.

    Windows of the frame are answered twice: blocks of a `share` of the entries hidden, and the last horizon hidden. The
    correction is fitted on the first half of the windows and kept in the model's settings; the table tells coverage and
    width on the second half, without and with it.
    """
    import pandas as pd

    from suffuse.modalities.series import conformal as correction
    from suffuse.modalities.series import quality

    config, data = model.modality.config, model.modality.dataset(frame)
    size, horizon = config["window"], config["horizon"]
    pieces = [data.window(k) for k in range(0, len(data), size)]
    pieces = [p for p in pieces if len(p.times) > horizon + 1]
    fitted, rows = {}, []
    for task in ("impute", "forecast"):
        records, truths = quality.questions(pieces, task, config, share, np.random.default_rng(seed))
        filled = asking.fill(model, records, n, seed, **how)
        half = len(filled) // 2
        parts = [(slice(0, half)), slice(half, None)]
        draws = [np.concatenate([f.values.reshape(n, -1) for f in filled[p]], 1) if filled[p] else None for p in parts]
        truth = [np.concatenate([t.reshape(-1) for t in truths[p]]) if truths[p] else np.zeros(0) for p in parts]
        if draws[0] is None:
            raise AskError(f"the frame gives {len(pieces)} windows of {size} times; at least 2 are needed to calibrate")
        fitted[task] = correction.factors(draws[0], truth[0])
        rows += [{"task": task, **row} for row in correction.report(draws[1], truth[1], fitted[task])]
    model.settings["conformal"] = fitted
    return pd.DataFrame(rows)


# -- pieces ---------------------------------------------------------------------------------------------------------
def future_records(model: Any, future: Any) -> list[Record]:
    """Records that carry covariates known ahead; the frame need not hold values."""
    config = model.modality.config
    frame = reading.load_frame(future).copy()
    long = find_columns(frame, config["columns"].get("id"), config["columns"].get("time"))[0] is not None
    wanted = {n[1] if long or config["layout"] == "separate" else n[0] for n in config["nodes"]}
    for name in sorted(wanted | set(config["static"])):
        if name not in frame.columns:
            frame[name] = 0.0
    return model.modality.panel(frame).records


def _trimmed(r: Record) -> Record:
    """Without trailing times at which nothing was measured: the horizon starts after the last known value."""
    seen = np.flatnonzero(np.isfinite(r.values).any(0))
    end = seen[-1] + 1
    if end == len(r.times):
        return r
    return Record(r.id, r.times[:end], r.values[:, :end], None if r.known is None else r.known[..., :end], r.static)


def _recent(r: Record, horizon: int, config: dict[str, Any]) -> Record:
    """The end of a record that a forecast can see."""
    first = max(0, len(r.times) - horizon - (config["window"] - min(horizon, config["horizon"])))
    known = None if r.known is None else r.known[..., first:]
    return Record(r.id, r.times[first:], r.values[:, first:], known, r.static)


def _last(f: Filled, horizon: int) -> Filled:
    r = f.record
    part = Record(r.id, r.times[-horizon:], r.values[:, -horizon:])
    answer = Filled(part, f.values[..., -horizon:], np.ones_like(f.asked[:, -horizon:]))
    answer.before = float(r.times[-horizon - 1])  # type: ignore[attr-defined]
    return answer


def _table(
    filled: list[Filled],
    panel: Panel,
    model: Any,
    quantiles: Sequence[float],
    samples: bool,
    only_asked: bool,
    pairs: Sequence[Sequence[float]] | None = None,
) -> Any:
    import pandas as pd

    config, tables = model.modality.config, []
    for f in filled:
        flat = f.values.reshape(len(f.values), -1)
        table = frames.long_frame(f.record.times, np.median(flat, 0).reshape(f.asked.shape), f.record.id, config)
        if only_asked:
            table = table.drop(columns="y")
        else:
            table["asked"] = f.asked.reshape(-1)
        table["mean"] = flat.mean(0)
        cuts = np.quantile(flat, quantiles, axis=0)
        if pairs is not None:
            from suffuse.modalities.series import conformal

            cuts = conformal.widen(cuts, quantiles, np.median(flat, 0), pairs)
        columns = {f"q{q:g}": line for q, line in zip(quantiles, cuts, strict=True)}
        if samples:
            columns |= {f"sample_{k}": line for k, line in enumerate(flat)}
        table = pd.concat([table, pd.DataFrame(columns)], axis=1)
        keep = f.asked | (not only_asked)
        if panel.present is not None:
            keep = keep & panel.present[:, None]
        tables.append(table if keep.all() else table[keep.reshape(-1)])
    return pd.concat(tables, ignore_index=True)


def _fitted(model: Any, task: str) -> Any:
    pairs = model.settings.get("conformal", {}).get(task)
    if pairs is None:
        raise AskError("the model has no conformal correction yet: model.calibrate(held_out_frame) fits one")
    return pairs


def _check(n: int, quantiles: Any) -> tuple[float, ...]:
    _whole(n, "n")
    try:
        listed = quantiles.split(",") if isinstance(quantiles, str) else np.atleast_1d(quantiles)
        levels = tuple(float(q) for q in listed)
    except (TypeError, ValueError):
        levels = ()
    if not levels or not all(0 < q < 1 for q in levels):
        raise AskError(f"quantiles must be numbers between 0 and 1, not {quantiles!r}")
    return levels


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or int(value) != value or value < 1:
        raise AskError(f"{name} is {value!r}; it must be a whole number, at least 1")
    return int(value)
