"""Claims about long memory: ETTh1, 24 to 720 hours ahead (line 7), beside a PatchTST-size network with a quantile head."""

from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import torch
from series_common import answered, trained, write
from torch import Tensor, nn

from suffuse.metrics import probabilistic as scores
from suffuse.modalities.series.panel import Record

LEVELS = scores.NINETEEN
PAST = 336
TRAIN, TEST = 8640, (11520, 14400)
"""Hours of the usual split: 12 months train, 4 are left out (validation), 4 test."""


class PatchTST(nn.Module):
    """Past (B, N, 336) -> quantiles (19, B, N, H): the published network for ETTh1 (Nie et al. 2023, table 8: patches of 16
    every 8, width 16, 4 heads, 3 layers, dropout .3, channels apart, each window scaled by its own moments), with a head of
    19 quantiles."""

    def __init__(self, horizon: int, width: int = 16, layers: int = 3):
        super().__init__()
        self.horizon, count = horizon, (PAST - 16) // 8 + 2
        self.enter, self.place = nn.Linear(16, width), nn.Parameter(0.02 * torch.randn(count, width))
        layer = nn.TransformerEncoderLayer(width, 4, 128, 0.3, "gelu", batch_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(count * width, horizon * len(LEVELS)))

    def forward(self, past: Tensor) -> Tensor:
        centre, scale = past.mean(-1, keepdim=True), past.std(-1, keepdim=True) + 1e-5
        x = nn.functional.pad((past - centre) / scale, (0, 8), mode="replicate").unfold(-1, 16, 8)
        h = self.body((self.enter(x) + self.place).flatten(0, 1)).flatten(1)
        out = self.head(h).view(*past.shape[:2], self.horizon, len(LEVELS))
        return (out * scale[..., None] + centre[..., None]).permute(3, 0, 1, 2)


def pinball(guess: Tensor, truth: Tensor) -> Tensor:
    """Mean quantile loss of guess (19, ...) for truth (...)."""
    gap = truth - guess
    level = torch.tensor(LEVELS, dtype=guess.dtype).view(-1, *[1] * truth.ndim)
    return torch.maximum(level * gap, (level - 1) * gap).mean()


def train_peer(series: np.ndarray, horizon: int, minutes: float, seed: int, batch: int = 32) -> tuple[PatchTST, int]:
    """(network, steps) after `minutes` of process time on scaled series (N, T): Adam at 1e-3 with a cosine to 0."""
    torch.manual_seed(seed)
    net, rng, steps = PatchTST(horizon), np.random.default_rng(seed), 0
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    data, begin = torch.tensor(series, dtype=torch.float32), time.process_time()
    while (done := (time.process_time() - begin) / (60 * minutes)) < 1:
        starts = rng.integers(0, data.shape[1] - PAST - horizon + 1, batch)
        rows = torch.stack([data[:, s : s + PAST + horizon] for s in starts])
        loss = pinball(net(rows[..., :PAST]), rows[..., PAST:])
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + np.cos(np.pi * done))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
    return net.eval(), steps


def scored(hours: int, method: str, quantiles: np.ndarray, truth: np.ndarray, **more) -> dict:
    """A row of the table, from quantiles (19, K, N, H)."""
    row = {"hours": hours, "method": method, "CRPS": scores.weighted_quantile_loss(quantiles, truth, LEVELS)}
    row |= {"cov 90": float(((truth >= quantiles[0]) & (truth <= quantiles[-1])).mean()), **more}
    print(json.dumps(row), flush=True)
    return row


def apart(records: list[Record], names: list[str]) -> list[Record]:
    """Every channel of every record as a record of its own."""
    return [Record(n, r.times, v[None]) for r in records for n, v in zip(names, r.values, strict=True)]


def run_ett(args) -> None:
    """Line 7: 24, 96 and 720 hours of ETTh1; the network of each of --arms beside."""
    table = pd.read_csv(args.data / "timeseries/ETTh1.csv.gz").rename(columns={"date": "ds"})
    values = table.drop(columns="ds").to_numpy(float)
    clock = pd.to_datetime(table.ds).astype("datetime64[s]").astype("int64").to_numpy(float)
    centre, scale = values[:TRAIN].mean(0)[:, None], values[:TRAIN].std(0)[:, None]
    rows = []
    for horizon in [int(args.only)] if args.only else (24, 96, 720):
        size = PAST + horizon
        first, last = (TRAIN, TEST[0]) if args.validation else TEST
        starts = np.arange(first - PAST, last - size + 1, 24)
        starts = starts[np.linspace(0, len(starts) - 1, min(args.windows, len(starts))).round().astype(int)]
        records = [Record("", clock[s : s + size], values[s : s + size].T) for s in starts]
        future = np.repeat(np.arange(size)[None] >= PAST, values.shape[1], 0)
        truth = np.stack([r.values[:, PAST:] for r in records])

        day = np.stack([r.values[:, PAST - 24 + np.arange(horizon) % 24] for r in records])
        rows.append(scored(horizon, "the last day again (a point)", np.repeat(day[None], len(LEVELS), 0), truth))
        net, steps = train_peer((values[:TRAIN].T - centre) / scale, horizon, args.minutes, args.seed)
        begin = time.process_time()
        past = torch.tensor(np.stack([(r.values[:, :PAST] - centre) / scale for r in records]), dtype=torch.float32)
        with torch.no_grad():
            guess = np.sort(net(past).numpy(), 0)
        more = {"calls": 1, "seconds": time.process_time() - begin, "steps": steps, "trained s": 60 * args.minutes}
        rows.append(scored(horizon, "PatchTST, 19 quantiles", guess * scale + centre, truth, **more))
        for arm in args.arms:
            read = {"window": size, "horizon": horizon, "season": [24, 168], "patch": 24 if horizon > 24 else 12}
            mixing, *traits = arm.split("+")
            read |= {"dim": 64, "mixing": mixing, "floor": False, "instance": "instance" in traits}
            read |= {"dropout": 0.2 if "dropout" in traits else 0.0, "ahead": "ahead" in traits}
            frame, asked, hidden = table[:TRAIN], records, future
            if "apart" in traits:  # every channel a series of its own, as PatchTST has it
                frame = frame.melt("ds", var_name="unique_id", value_name="y")
                asked, hidden = apart(records, list(table.columns[1:])), future[:1]
                read["layout"] = "separate"
            name, batch = f"ett_{horizon}_{arm}", args.batch or (64 if "apart" in traits else 16)
            model, seconds = trained(args, name, frame, read, tasks={"forecast": 1.0}, batch=batch)
            draws, spent = answered(model, asked, [hidden] * len(asked), args.n, args.calls[0])
            draws = draws.reshape(args.n, *truth.shape[:2], size)
            guess = np.quantile(draws[..., PAST:], LEVELS, axis=0)
            more = {"calls": args.calls[0], "seconds": spent, "steps": model.notes.get("steps"), "trained s": seconds}
            rows.append(scored(horizon, f"suffuse, {arm}", guess, truth, **more))
    text = (
        f"ETTh1, 7 channels, {PAST} hours given; the first {TRAIN:,} hours train, hours {first:,} to {last:,} test, at most "
        f"{args.windows} windows a horizon, 24 hours or a multiple apart. Every network trains {args.minutes:g} minutes of "
        f"process time (seed {args.seed}). {args.n} samples. Apart: every channel a series of its own (PatchTST too); instance: "
        "known values shown by their mean and deviation; ahead: starts from a linear forecast fitted in closed form; dropout: "
        ".2 of what the encoder takes in and hands on. CRPS: 19 levels over the sum of |truth|, original units, all channels "
        "together. Published for other protocols (bracketed): PatchTST .190 / .328 / .397, CSDI - / .437 / .528."
    )
    write(args, "ett", "ETTh1, 24, 96 and 720 hours ahead (line 7)", text, rows)
