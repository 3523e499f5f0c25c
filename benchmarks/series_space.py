"""Claims about space: holes filled with and without knowing where the nodes lie, Beijing stations and Los-loop (line 6)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from series_common import answered, cut_records, figures, trained, write
from series_data import STATIONS, TEST_MONTHS, beijing, los

from suffuse.modalities.series import quality
from suffuse.modalities.series.panel import Record

TASKS = {"impute": 0.6, "channels": 0.4}


def with_and_without(
    args, name: str, source: Any, read: dict, place: dict, cut: Callable[[Any], list[Record]], **recipe
) -> list[dict]:
    """Rows of a model that is told the places of its nodes, and of one that is not; equal minutes. cut(model): test windows."""
    rows, length = [], read["window"]
    for title, more in ((next(iter(place)), place), ("without", {})):
        model, seconds = trained(args, f"{name}_{title}", source, read | more, tasks=TASKS, **recipe)
        assert name != "beijing" or [n[0] for n in model.modality.config["nodes"]] == list(STATIONS)
        records, rng = cut(model), np.random.default_rng(args.seed)
        nodes = len(records[0].values)
        blocks = [quality.hide_blocks(r.values.shape, 0.2, rng, (4, 18)) for r in records]
        whole = [np.repeat(rng.permutation(nodes)[:, None] < nodes / 3, length, 1) for _ in records]
        for task, hidden in (("20 % in blocks", blocks), ("a third of the nodes", whole)):
            truth = np.stack([np.where(h, r.values, np.nan) for r, h in zip(records, hidden, strict=True)])
            draws, spent = answered(model, records, hidden, args.n, args.calls[0])
            row = {"hidden": task, "method": title, "calls": args.calls[0], **figures(draws, truth), "seconds": spent}
            rows.append(row | {"steps": model.notes.get("steps"), "trained s": seconds})
            if len(rows) > 2:
                rows[-3]["against without"] = rows[-3]["CRPS"] / row["CRPS"] - 1
            print(json.dumps(rows[-1]), flush=True)
    return rows


HOW = (
    "The same network with a bias of the node mixing and a mean over the nodes that is weighted by nearness, and without "
    "both; equal minutes. Hidden: per node 20 % in blocks of 4 to 18 steps, or a third of the nodes for the whole window; the "
    "same masks for both."
)


def run_positions(args) -> None:
    """Line 6, second half: where the stations lie is worth knowing."""
    frame = beijing(args.data)
    places = np.array(list(STATIONS.values())) * [1, np.cos(np.radians(40))]

    def cut(model) -> list[Record]:
        return cut_records(model, frame, TEST_MONTHS, args.windows, np.random.default_rng(args.seed))

    train = frame[~frame.ds.dt.month.isin(TEST_MONTHS)]
    read = {"window": 48, "horizon": 24, "patch": 4}
    rows = with_and_without(args, "beijing", train, read, {"positions": places}, cut)
    text = (
        f"Beijing, 12 stations, PM2.5, hourly, windows of 48 h, trained without the months {TEST_MONTHS}, {args.windows} windows "
        f"of those months. {HOW} {args.n} samples."
    )
    write(args, "positions", "Beijing stations with and without their positions (line 6)", text, rows)


def run_graph(args) -> None:
    """Line 6, first half: the graph of the roads is worth knowing."""
    speeds, graph = los(args.data)
    first, second = int(0.6 * len(speeds)), int(0.75 * len(speeds))

    def cut(model) -> list[Record]:
        starts = np.linspace(second, len(speeds) - 24, args.windows).round().astype(int)
        return [Record("", np.arange(s, s + 24.0), speeds[s : s + 24].T) for s in starts]

    read = {"window": 24, "horizon": 12, "season": 0, "patch": 4}
    rows = with_and_without(args, "los", speeds[:first], read, {"adjacency": graph}, cut, batch=args.batch or 4)
    text = (
        f"Los-loop, 207 sensors, five minutes; the first 60 % of a week train, {args.windows} windows of two hours of the last "
        f"25 % test. {HOW} {args.n} samples."
    )
    write(args, "graph", "Los-loop with and without its graph (line 6)", text, rows)
