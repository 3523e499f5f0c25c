"""Claims about irregular times: PhysioNet 2012 set-a (line 5)."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from series_common import trained, write

from suffuse.metrics import probabilistic as scores
from suffuse.modalities.series import asking, quality
from suffuse.modalities.series.panel import Record

CHANNELS = (
    "DiasABP HR Na Lactate NIDiasABP PaO2 WBC pH Albumin ALT Glucose SaO2 Temp AST Bilirubin HCO3 BUN RespRate Mg HCT SysABP "
    "FiO2 K GCS Cholesterol NISysABP TroponinT MAP TroponinI PaCO2 Platelets Urine NIMAP Creatinine ALP"
).split()
"""The 35 channels of CSDI's experiment."""
SHARES = (0.1, 0.5, 0.9)
NOISES = ("white", "ou", "rbf")


def physionet(data: Path) -> pd.DataFrame:
    """PhysioNet 2012 set-a (ODC-BY): 4,000 stays of 48 hours as a wide frame per stay, times in minutes as recorded; two
    values of one channel in one minute keep the last; negative temperatures become 0."""
    parts = []
    with tarfile.open(data / "timeseries/physionet2012/set-a.tar.xz") as tar:
        for member in tar:
            if not member.name.endswith(".txt"):
                continue
            table = pd.read_csv(io.BytesIO(tar.extractfile(member).read()))
            parts.append(table.assign(unique_id=Path(member.name).stem))
    table = pd.concat(parts, ignore_index=True)
    table = table[table.Parameter.isin(CHANNELS)]
    clock = table.Time.str.split(":", expand=True).astype(int)
    table["ds"] = 60.0 * clock[0] + clock[1]
    table["Value"] = table.Value.clip(lower=0)
    wide = table.pivot_table(index=["unique_id", "ds"], columns="Parameter", values="Value", aggfunc="last")
    return wide.reindex(columns=CHANNELS).reset_index()


def hidden_entries(record: Record, share: float, kind: str, rng: np.random.Generator) -> np.ndarray:
    """(N, T) bool: a share of the measured entries ("imputation") or of the measured times ("interpolation")."""
    seen = np.isfinite(record.values)
    if kind == "interpolation":
        times = np.flatnonzero(seen.any(0))
        chosen = rng.permutation(times)[: max(1, round(share * len(times)))]
        return seen & np.isin(np.arange(seen.shape[1]), chosen)
    places = np.flatnonzero(seen)
    mask = np.zeros(seen.size, bool)
    mask[rng.permutation(places)[: max(1, round(share * len(places)))]] = True
    return mask.reshape(seen.shape)


def simple(record: Record) -> np.ndarray:
    """Linear interpolation in time of each channel, 0 (the mean) where it has no value."""
    centred = record.values.copy()
    centred[~np.isfinite(centred).any(1)] = 0.0
    return quality.linear(centred, record.times)


def picked(values: list[np.ndarray], masks: list[np.ndarray], centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The hidden entries of all records, standardised: (..., M) of values (..., N, T)."""
    return np.concatenate([((v - centre) / scale)[..., h] for v, h in zip(values, masks, strict=True)], -1)


def run_physionet(args) -> None:
    """Line 5: imputation and interpolation at true minutes, three kinds of noise."""
    cache = Path(args.work) / "physionet.parquet"
    if not cache.exists():
        physionet(args.data).to_parquet(cache)
    frame = pd.read_parquet(cache)
    ids = np.random.default_rng(args.seed).permutation(frame.unique_id.unique())
    train, rows = frame[frame.unique_id.isin(ids[: int(0.8 * len(ids))])], []
    centre, scale = train[CHANNELS].mean().to_numpy()[:, None], train[CHANNELS].std().to_numpy()[:, None]
    low, high = train[CHANNELS].quantile(0.0005), train[CHANNELS].quantile(0.9995)
    train = train.assign(**train[CHANNELS].clip(low, high, axis=1))
    test = [frame[frame.unique_id == k] for k in ids[int(0.8 * len(ids)) :][: args.windows]]
    records = [Record(t.unique_id.iloc[0], t.ds.to_numpy(), t[CHANNELS].to_numpy().T) for t in test]
    ends = low.to_numpy()[:, None], high.to_numpy()[:, None]
    steps, spent_training = {}, {}
    for noise in [args.only] if args.only else NOISES:
        read = {"window": 72, "horizon": 12, "season": 0, "transform": "log1p", "patch": 8, "noise": noise}
        read |= {"noise_scale": 8.0, "dim": 64, "layout": "separate"}
        tasks = {"points": 0.6, "times": 0.4}
        model, seconds = trained(args, f"physionet_{noise}", train, read, tasks=tasks, batch=args.batch or 16)
        steps[noise], spent_training[noise] = model.notes.get("steps"), round(seconds)
        for kind in ("imputation", "interpolation"):
            for share in SHARES:
                rng = np.random.default_rng(args.seed)
                masks = [hidden_entries(r, share, kind, rng) for r in records]
                questions = [
                    Record(r.id, r.times, np.where(h, np.nan, np.clip(r.values, ends[0], ends[1])))
                    for r, h in zip(records, masks, strict=True)
                ]
                begin = time.process_time()
                filled = asking.fill(model, questions, args.n, steps=args.calls[0], asked=masks)
                spent = time.process_time() - begin
                truth = picked([r.values for r in records], masks, centre, scale)
                draws = picked([f.values for f in filled], masks, centre, scale)
                line = np.concatenate(
                    [
                        simple(Record(q.id, q.times, (q.values - centre) / scale))[h]
                        for q, h in zip(questions, masks, strict=True)
                    ]
                )
                rows.append({
                    "task": kind, "hidden": f"{share:.0%}", "noise": noise, "calls": args.calls[0],
                    "CRPS": scores.normalised_crps(draws, truth),
                    "MAE": float(np.abs(np.median(draws, 0) - truth).mean()),
                    "cov 90": scores.coverage(draws, truth, 0.9)[0],
                    "CRPS linear": scores.normalised_crps(line[None], truth), "seconds": spent,
                })  # fmt: skip
                print(json.dumps(rows[-1]), flush=True)
    text = (
        "PhysioNet 2012 set-a, 35 channels, true minutes kept (CSDI's figures are of hourly bins, where a stay has at most one "
        f"value a channel and hour). 80 % of the stays train; steps {steps}, process seconds {spent_training}; "
        f"{len(records)} of the other stays test. Given values are clipped to the middle 99.9 % of the channel, truths are not. "
        "Imputation hides a share of the measured values at random, interpolation a share of the measured minutes, all channels "
        f"of them; the same masks for every noise. {args.n} samples. CRPS, MAE as CSDI's: values standardised per channel (raw "
        "moments), quantile loss at .05 to .95 over the sum of |truth|. OU and RBF have a length of 8 median steps. Published "
        "(bracketed): CSDI .238 / .330 / .522 imputation, .380 / .418 / .556 interpolation."
    )
    write(args, "physionet", "PhysioNet 2012, irregular times (line 5)", text, rows)
