"""What the time-series benchmarks share: training or loading a model, answering with holes, scoring, and the tables."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tables import command

import suffuse
from suffuse.metrics import probabilistic as scores
from suffuse.modalities.series import asking
from suffuse.modalities.series.panel import Record


def trained(args, name: str, frame: pd.DataFrame, read: dict, **recipe) -> tuple:
    """A model trained for --minutes (process time), or the finished one in the work folder."""
    if args.model:
        model = suffuse.load(args.model)
        return model, model.notes.get("seconds", 0)
    folder = Path(args.work) / name
    if (folder / "config.json").exists():
        model = suffuse.load(folder)
        return model, model.notes.get("seconds", 0)
    model = suffuse.train(
        frame, modality="series", minutes=args.minutes, seed=args.seed, output=folder, read=read,
        resume=(folder / "training").exists(), **recipe,
    )  # fmt: skip
    return model, model.notes["seconds"]


def cut_records(model, frame: pd.DataFrame, months: tuple[int, ...], limit: int, rng) -> list[Record]:
    """Windows that do not overlap and lie wholly in the test months, `limit` of them at random."""
    size, record = model.modality.config["window"], model.modality.panel(frame).records[0]
    month = pd.to_datetime(record.times, unit="s").month
    step = model.modality.config["step"]
    starts = []
    for s in range(0, len(record.times) - size + 1, size):
        if np.isin(month[s : s + size], months).all() and record.times[s + size - 1] - record.times[s] < 1.01 * step * (
            size - 1
        ):
            starts.append(s)
    chosen = rng.choice(starts, min(limit, len(starts)), replace=False)
    return [Record("", record.times[s : s + size], record.values[:, s : s + size]) for s in sorted(chosen)]


def answered(
    model, records: list[Record], hidden: list[np.ndarray], n: int, steps: int, **how
) -> tuple[np.ndarray, float]:
    """(draws (n, K, N, T), process seconds) for records with `hidden` entries taken away."""
    questions = [Record(r.id, r.times, np.where(h, np.nan, r.values)) for r, h in zip(records, hidden)]
    begin = time.process_time()
    filled = asking.fill(model, questions, n, steps=steps, **how)
    return np.stack([f.values for f in filled], 1), time.process_time() - begin


def window_sums(draws: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over the hidden entries of each (window, node) with at least 3: (n, M) and (M,)."""
    seen = np.isfinite(truth)
    many = seen.sum(-1) >= 3
    return np.where(seen, draws, 0).sum(-1)[:, many], np.where(seen, truth, 0).sum(-1)[many]


def figures(draws: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The row of a probabilistic answer: marginal scores and the same for window sums."""
    row = scores.summary(draws, truth)
    sums, real = window_sums(draws, truth)
    return {
        "CRPS": row["crps"],
        "MAE": row["mae"],
        "cov 50": row["coverage50"],
        "cov 90": row["coverage90"],
        "width 90": row["width90"],
        "spread-error": scores.spread_error_correlation(draws, truth),
        "sum CRPS": scores.normalised_crps(sums, real),
        "sum cov 90": scores.coverage(sums, real, 0.9)[0],
    }


def write(args, name: str, title: str, text: str, rows: list[dict]) -> None:
    """A Markdown table with the command that made it."""
    head = list(dict.fromkeys(k for r in rows for k in r))

    def cell(value) -> str:
        return f"{value:.4f}" if isinstance(value, float) else ("" if value is None else str(value))

    table = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    table += ["| " + " | ".join(cell(r.get(k)) for k in head) + " |" for r in rows]
    machine = f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)"
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"series_{name}.md"
    path.write_text(f"# {title}\n\n{text}\n\n" + "\n".join(table) + f"\n\n`{command()}` on {machine}.\n")
    print(path.read_text())
    (Path(args.work) / f"{name}.json").write_text(json.dumps(rows))
