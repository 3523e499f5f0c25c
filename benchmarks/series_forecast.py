"""Claims about the future: M4 hourly (line 1), exchange rates (line 2), double-well process and Los-loop (line 3, 6)."""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
from series_common import answered, figures, trained, write
from series_data import los, m4_hourly

from suffuse.metrics import probabilistic as scores
from suffuse.modalities.series import asking
from suffuse.modalities.series.panel import Record

NINE = scores.NINE


def run_exchange(args) -> None:
    """Line 2: not fooled by a random walk."""
    values = np.loadtxt(args.data / "timeseries/exchange_rate.txt.gz", delimiter=",")
    read = {"window": 60, "horizon": 30, "transform": "log"}
    model, seconds = trained(args, "exchange", values[:6071], read, tasks={"forecast": 1.0}, batch=24)
    records, hidden = [], []
    for k in range(5):
        end = 6071 + 30 * (k + 1)
        records.append(Record("", np.arange(end - 60.0, end), values[end - 60 : end].T))
        hidden.append(np.repeat(np.arange(60)[None] >= 30, 8, 0))
    truth = np.stack([np.where(h, r.values, np.nan) for r, h in zip(records, hidden)])
    rng = np.random.default_rng(args.seed)
    move = np.diff(np.log(values[5071:6071]), axis=0)
    steps = rng.normal(size=(2000, 5, 8, 30)) * move.std(0)[None, None, :, None]
    last = np.stack([r.values[:, 29] for r in records])[None, ..., None]
    walk = np.concatenate([np.zeros((2000, 5, 8, 30)), last * np.exp(np.cumsum(steps, -1))], -1)
    rows = [{"method": "log random walk, deviation of the last 1,000 training days", **figures(walk, truth)}]
    draws, spent = answered(model, records, hidden, args.n, args.calls[0])
    rows.append({"method": "suffuse", "calls": args.calls[0], **figures(draws, truth), "seconds": spent})
    text = (
        f"Eight daily rates; the first 6,071 days train ({model.notes.get('steps')} steps, {seconds:.0f} s of process time); "
        f"five windows of 30 days after them, 30 days given. {args.n} samples. CRPS: 19 levels, normalised by the mean of the "
        "truth. Published (bracketed): CSDI .008, TimeGrad .011."
    )
    write(args, "exchange", "Exchange rates, 5 x 30 days (line 2)", text, rows)


def run_doublewell(args) -> None:
    """Line 3, first half: the weights of two modes."""
    rng = np.random.default_rng(args.seed)

    def paths(start: np.ndarray, length: int) -> np.ndarray:
        """(len(start), length) values, the start first."""
        x, out = start.copy(), np.empty((len(start), length))
        for k in range(length):
            out[:, k] = x
            for _ in range(20):
                x = x + 0.025 * 4 * (x - x**3) + np.sqrt(0.025) * 0.7 * rng.normal(size=len(x))
        return out

    values = paths(rng.uniform(-1.5, 1.5, 40000), 21)
    data = {"values": values[:, :, None]}
    read = {"window": 21, "horizon": 20, "patch": 3}
    model, seconds = trained(args, "doublewell", data, read, tasks={"forecast": 1.0}, batch=args.batch or 256)
    rows = []
    for x0 in (-0.4, -0.15, 0.0, 0.15, 0.4):
        future = paths(np.full(20000, x0), 21)
        record = Record("0", np.arange(21.0), np.concatenate([[x0], np.full(20, np.nan)])[None])
        start = time.process_time()
        (filled,) = asking.fill(model, [record], 2000, steps=args.calls[0])
        draws = filled.values[:, 0]
        rows.append({
            "first value": x0, "calls": args.calls[0],
            "upper well, exact (20,000 paths)": float((future[:, -1] > 0).mean()),
            "upper well, suffuse (2,000)": float((draws[:, -1] > 0).mean()),
            "switches, exact": float((np.diff(np.sign(future), axis=1) != 0).sum(1).mean()),
            "switches, suffuse": float((np.diff(np.sign(draws), axis=1) != 0).sum(1).mean()),
            "seconds": time.process_time() - start,
        })  # fmt: skip
        rows[-1]["difference"] = rows[-1]["upper well, suffuse (2,000)"] - rows[-1]["upper well, exact (20,000 paths)"]
        print(json.dumps(rows[-1]), flush=True)
    text = (
        "dx = 4 (x - x^3) dt + .7 dW, seen every .5; trained on 40,000 paths of 21 points from uniform starts in [-1.5, 1.5] "
        f"({model.notes.get('steps')} steps, {seconds:.0f} s of process time); one point given, 20 asked. "
        "Share of paths that end in the upper well."
    )
    write(args, "doublewell", "Double-well process (line 3)", text, rows)


def run_m4(args) -> None:
    """Line 1: beats the classical methods."""
    train, test = m4_hourly(args.data)
    size, horizon = 312, 48
    parts = [pd.DataFrame({"unique_id": f"H{k}", "ds": np.arange(len(v)), "y": v}) for k, v in enumerate(train)]
    read = {"window": size, "horizon": horizon, "season": [24, 168], "layout": "separate", "patch": 12, "dim": 64}
    model, seconds = trained(args, "m4", pd.concat(parts), read, tasks={"forecast": 1.0}, batch=args.batch or 32)
    chosen = np.arange(len(train))[:: max(1, len(train) // args.windows)]
    records, hidden = [], [np.arange(size)[None] >= size - horizon] * len(chosen)
    for k in chosen:
        values, end = np.concatenate([train[k], test[k]]), len(train[k]) + horizon
        records.append(Record(f"H{k}", np.arange(end - size, end, dtype=float), values[None, end - size : end]))
    truth = np.stack([np.where(h, r.values, np.nan) for r, h in zip(records, hidden)])
    rows = []
    for season in (24, 168):
        guess = np.stack([r.values for r in records])
        past = guess[..., : size - horizon]
        place = size - horizon - season + np.arange(horizon) % season
        guess = np.concatenate([past, past[..., place]], -1)
        error = scores.normalised_crps(guess[None], truth, NINE)
        rows.append({"method": f"seasonal naive, {season} h (a point)", "mean wQL": error})
    for calls in args.calls:
        draws, spent = answered(model, records, hidden, args.n, calls)
        row = {"method": "suffuse", "calls": calls, "mean wQL": scores.normalised_crps(draws, truth, NINE)}
        row |= {"cov 90": scores.coverage(draws, truth, 0.9)[0], "seconds": spent}
        rows.append(row)
        print(json.dumps(rows[-1]), flush=True)
    text = (
        f"M4 hourly, {len(chosen)} of 414 series, the 48 hours after each; one model for all, trained on the rest "
        f"({model.notes.get('steps')} steps, {seconds:.0f} s of process time), {size - horizon} hours given. {args.n} samples. "
        "Mean weighted quantile loss over the levels .1 to .9. Published (bracketed): AutoARIMA .0337, AutoETS .0696, "
        "TSDiff-Q .036."
    )
    write(args, "m4", "M4 hourly, 48 hours ahead (line 1)", text, rows)


def run_los(args) -> None:
    """Lines 3 and 6: more than a Gaussian; the graph is worth its bias."""
    speeds, graph = los(args.data)
    kinds = {"graph": {"adjacency": graph}, "no graph": {}}
    first, second, rows = int(0.6 * len(speeds)), int(0.75 * len(speeds)), []
    future = np.repeat(np.arange(24)[None] >= 12, speeds.shape[1], 0)

    def windows(begin: int, end: int, count: int) -> list[Record]:
        starts = np.linspace(begin, end - 24, count).round()
        return [Record("", np.arange(s, s + 24.0), speeds[int(s) : int(s) + 24].T) for s in starts]

    for name in [args.only] if args.only else kinds:
        read = {"window": 24, "horizon": 12, "season": 0, "patch": 3, **kinds[name]}
        folder = f"los_{name.replace(' ', '_')}"
        model, seconds = trained(args, folder, speeds[:first], read, tasks={"forecast": 1.0}, batch=args.batch or 4)
        held, records = windows(first, second, args.windows), windows(second, len(speeds), args.windows)
        truth = np.stack([np.where(future, r.values, np.nan) for r in records])
        draws, spent = answered(model, records, [future] * len(records), args.n, args.calls[0])
        row = {"method": f"suffuse, {name}", "calls": args.calls[0], **figures(draws, truth), "seconds": spent}
        rows.append(row | {"steps": model.notes.get("steps"), "trained s": seconds})
        print(json.dumps(rows[-1]), flush=True)
        past, _ = answered(model, held, [future] * len(held), args.n, args.calls[0])
        error = np.stack([r.values for r in held]) - past.mean(0)
        centre, sigma = error.mean(0), error.std(0)
        normal = np.random.default_rng(args.seed).normal(size=draws.shape)
        for title, shift in (("its mean + Gaussian", 0), ("its mean, bias taken off, + Gaussian", centre)):
            guess = np.where(future, draws.mean(0) + shift + sigma * normal, draws)
            rows.append({"method": f"{title}, {name}", **figures(guess, truth)})
            rows[-1]["diffusion against it"] = row["CRPS"] / rows[-1]["CRPS"] - 1
    if not args.only:
        rows[0]["against no graph"] = rows[0]["CRPS"] / rows[3]["CRPS"] - 1
    text = (
        f"Los-loop, 207 sensors, five minutes; the first 60 % of a week train, {args.windows} windows of the last 25 % test, an "
        f"hour given, an hour asked. {args.n} samples. Gaussian: around the mean of our samples, one deviation a sensor "
        f"and step ahead from {args.windows} windows of the 15 % between, which neither trained on."
    )
    write(args, "los", "Los-loop speeds (lines 3 and 6)", text, rows)
