"""The demo of time series: Beijing's air with holes filled and the next day forecast, and new stock paths."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.demo.pieces import table
from suffuse.demo.report import Report


def demo(report: Report, folder: Path) -> None:
    """Fill holes, forecast, answer between the hours (zoo model `air`); generate and compare spectra (`stocks`)."""
    report.room(
        "Time series",
        "The models air (PM2.5 of 12 stations in Beijing, hourly; UCI Beijing Multi-Site Air Quality, Song Chen, CC BY 4.0) "
        "and stocks (six daily columns; stock_data of the TimeGAN repository, Apache-2.0). The weeks shown were not trained on.",
    )
    _air(report, folder)
    _stocks(report, folder)


def _real(name: str, file: str) -> Any:
    import pandas as pd

    with resources.as_file(resources.files("suffuse.zoo") / name / "samples" / file) as path:
        frame = pd.read_csv(path)
    return frame.assign(ds=pd.to_datetime(frame.ds)) if "ds" in frame else frame


def _air(report: Report, folder: Path) -> None:
    import pandas as pd

    import suffuse
    from suffuse.metrics import probabilistic
    from suffuse.modalities.series import pictures, quality

    model = suffuse.load("air")
    real = _real("air", "december.csv")
    hours = np.sort(real.ds.unique())
    window = model.modality.config["window"]
    week = real[real.ds < hours[window]].reset_index(drop=True)

    shape = (week.unique_id.nunique(), window)
    hidden = quality.hide_blocks(shape, 0.3, np.random.default_rng(1), (6, 18)).reshape(-1)
    holes = week.assign(y=week.y.where(~hidden))
    with report.watch(model) as seen:
        filled = model.impute(holes, n=50, steps=8, samples=True)
    truth = week.y.where(hidden).to_numpy()
    draws = filled[[c for c in filled if c.startswith("sample_")]].to_numpy().T
    line = quality.linear(holes.y.to_numpy().reshape(shape), np.arange(window, dtype=float)).reshape(1, -1)
    picture = pictures.fan(filled, folder / "holes.png", truth=week.assign(y=truth), history=holes)
    report.item(
        "Fill the holes",
        "30 % of the hours of every station are hidden in blocks: what were they, and how sure is that?",
        "model.impute(frame)",
        picture,
        calls=seen.calls,
        seconds=seen.seconds,
        quality=_scores(probabilistic, draws, truth),
        real={
            "CRPS": f"{probabilistic.normalised_crps(line, truth):.3f} (linear interpolation)",
            "inside 90 % band": 0.9,
        },
        note="Bands: central 50, 80 and 90 %. Dots: the truth, which the model did not see. 50 samples.",
    )

    horizon = model.modality.config["horizon"]
    past = real[real.ds < hours[window]]
    future = real[(real.ds >= hours[window]) & (real.ds < hours[window + horizon])]
    with report.watch(model) as seen:
        ahead = model.forecast(past, horizon, n=50, steps=8, samples=True)
    future = future.sort_values(["unique_id", "ds"])
    draws = ahead.sort_values(["unique_id", "ds"])[[c for c in ahead if c.startswith("sample_")]].to_numpy().T
    values = np.concatenate(
        [past.pivot(index="unique_id", columns="ds", values="y").to_numpy(), np.zeros((shape[0], horizon))], 1
    )
    naive = quality.seasonal(values, horizon, quality.first(model.modality.config["seasons"])).reshape(1, -1)
    report.item(
        f"Forecast {horizon} hours",
        "The last two days are known: how does the air develop?",
        f"model.forecast(frame, {horizon})",
        pictures.fan(ahead, folder / "forecast.png", truth=future, history=past),
        calls=seen.calls,
        seconds=seen.seconds,
        quality=_scores(probabilistic, draws, future.y.to_numpy()),
        real={
            "CRPS": f"{probabilistic.normalised_crps(naive, future.y.to_numpy()):.3f} (the same hours a day before)",
            "inside 90 % band": 0.9,
        },
    )

    times = pd.date_range(hours[10], periods=5, freq="15min")
    with report.watch(model) as seen:
        between = model.at(week[week.ds < hours[window - 6]], list(times), n=30, steps=8)
    rows = between[between.unique_id == between.unique_id.iloc[0]]
    report.item(
        "Between the hours",
        "What was it at a quarter past, half past, a quarter to?",
        "model.at(frame, times)",
        table(
            [[str(r.ds), *(round(r[c], 1) for c in ("q0.05", "q0.5", "q0.95"))] for _, r in rows.iterrows()],
            ["time", "5 %", "median", "95 %"],
        ),
        calls=seen.calls,
        seconds=seen.seconds,
    )


def _stocks(report: Report, folder: Path) -> None:
    import suffuse
    from suffuse.metrics import series as scores
    from suffuse.modalities.series import pictures

    model = suffuse.load("stocks")
    with report.watch(model) as seen:
        made = model.sample(64, since=0)
    names = [n[0] for n in model.modality.config["nodes"]]
    length = model.modality.config["window"]
    new = np.stack([m.y.to_numpy().reshape(len(names), length).T for m in made])
    real = _real("stocks", "windows.csv")[names].to_numpy().reshape(-1, length, len(names))
    half = len(real) // 2
    report.item(
        f"New stock paths of {length} days",
        "Six columns (open, high, low, close, adjusted close, volume) that move like the real ones.",
        "model.sample(64, since=0)",
        pictures.paths(made[:12], folder / "stocks.png"),
        calls=seen.calls,
        seconds=seen.seconds,
        quality={
            "spectrum distance": scores.power_spectrum_distance(np.log(real), np.log(new.clip(1e-9))),
            "correlational score": scores.correlational_score(np.log(real), np.log(new.clip(1e-9))),
        },
        real={
            "spectrum distance": scores.power_spectrum_distance(np.log(real[:half]), np.log(real[half:])),
            "correlational score": scores.correlational_score(np.log(real[:half]), np.log(real[half:])),
        },
    )


def _scores(probabilistic: Any, draws: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    inside, _ = probabilistic.coverage(draws, truth, 0.9)
    return {"CRPS": probabilistic.normalised_crps(draws, truth), "inside 90 % band": inside}
