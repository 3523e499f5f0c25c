"""Time series: generate, impute, forecast, and answer at any time, with one trained model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.diffusion.noise import RBF, OrnsteinUhlenbeck, White
from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.modalities.contract import Modality
from suffuse.modalities.series import frames, linear, reading, scaling, tasks, verbs
from suffuse.modalities.series.panel import Panel, median_step
from suffuse.modalities.series.windows import Windows, collate, scale_record

NOISES = ("white", "ou", "rbf")
MIXINGS = ("attention", "rnn", "both")
READ_OPTIONS = ("target", "id", "time", "known", "static", "layout")


class Series(Modality):
    """Field `series` (B, N, T): N nodes at T real times, scaled per series; context: times, calendar, covariates."""

    name: ClassVar[str] = "series"
    line: Tensor | None = None
    summary: ClassVar[str] = "time series: long or wide frames, CSV, Parquet, arrays; impute, forecast, at any time"
    extra: ClassVar[str] = "series"
    main: ClassVar[str] = "series"
    verbs: ClassVar[dict] = {
        "impute": verbs.impute,
        "forecast": verbs.forecast,
        "at": verbs.at,
        "anomaly": verbs.anomaly,
        "cross_validation": verbs.cross_validation,
        "calibrate": verbs.calibrate,
    }

    # -- reading ------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        return reading.recognises(source)

    @classmethod
    def read(cls, source: Any, **options: Any) -> tuple[Series, Windows]:
        """Options: target, id, time, known, static, layout (see `reading.read_panel`); window and horizon in steps;
        season in steps (one or several); transform none, log or log1p; noise white, ou or rbf with noise_scale in steps;
        floor False lets series that were never negative become so;
        adjacency or positions (an array, or a CSV without header); std, warp of the process; dim, heads, encoder_layers,
        layers, share, use_baseline, profile, patch, mixing, instance, dropout of the network; ahead starts
        forecasts from a linear one, fitted to the pasts of whole windows."""
        columns = {k: options.pop(k) for k in READ_OPTIONS if k in options}
        panel = reading.read_panel(source, **columns)
        config = learn_config(panel, columns, options)
        windows, past = Windows(panel, config), config["window"] - config["horizon"]
        found = linear.fit(windows.records, past, config["horizon"]) if config["ahead"] else None
        if config["ahead"] and found is None:
            raise DataError("option 'ahead' needs at least 20 regular stretches of a window's length to fit a line on")
        room = cls(**config)
        room.line = found
        return room, windows

    def dataset(self, source: Any, **options: Any) -> Windows:
        return Windows(self.panel(source), self.config | {k: v for k, v in options.items() if k in ("window",)})

    def panel(self, source: Any) -> Panel:
        """Read data of the kind this instance was made for, with its nodes in their order; absent nodes are holes."""
        columns = dict(self.config["columns"])
        if self.config["layout"] == "joint":
            columns["layout"] = "joint"
        panel = reading.read_panel(source, **columns)
        return frames.aligned(panel, self.config)

    # -- the model's parts --------------------------------------------------------------------------------------
    def joint(self) -> Joint:
        c = self.config
        noise = {"white": White, "ou": OrnsteinUhlenbeck, "rbf": RBF}[c["noise"]]
        noise = noise() if c["noise"] == "white" else noise(scale=c["noise_scale"])
        return Joint({"series": Gaussian(noise_model=noise, std=c["std"], warp=c["warp"])})

    def network(self) -> nn.Module:
        from suffuse.modalities.series.network import SeriesNetwork

        c = self.config
        bias = None if c["adjacency"] is None else frames.bias_of(c["adjacency"], len(c["nodes"]))
        sizes = {k: c[k] for k in ("dim", "heads", "encoder_layers", "layers", "share")}
        return SeriesNetwork(
            len(c["nodes"]),
            std=c["std"],
            seasons=[s for s in c["seasons"] if s < c["window"]],
            calendar=2 * len(c["periods"]),
            known=len(c["known"]),
            static=len(c["static"]),
            node_bias=bias,
            use_baseline=c["use_baseline"],
            profile=c.get("profile", False),
            patch=c.get("patch", 1),
            mixing=c.get("mixing", "attention"),
            instance=c.get("instance", False),
            dropout=c.get("dropout", 0.0),
            line=self._line(),
            longest=float(c["window"]),
            **sizes,
        )

    def _line(self) -> Tensor | None:
        """The weights just fitted, or room for those that a saved model holds."""
        c = self.config
        if not c.get("ahead", False):
            return None
        return torch.zeros(c["horizon"], c["window"] - c["horizon"]) if self.line is None else self.line

    def parametrisation(self) -> dict[str, str]:
        return {"series": "x0"}

    def path(self, steps: int, grid: Any) -> Any:
        """Grid "series" (the default) spreads steps over noise-to-signal ratios from 40 to .02. What many entries share (the
        level of a window, a common error) stands out of noise far above that of a single entry, so it is decided early, and
        a grid that begins at a ratio of 2 or 3 would lose its spread. Where series move by less than that from one time to
        the next (prices), it goes on to a tenth of their finest moves: what is under the last level comes out smoothed."""
        from suffuse.diffusion.path import Clock

        if isinstance(grid, str) and grid == "series":
            low = min(max(self.config.get("finest", 1.0) / 10, 0.001), 0.02)
            grid = series_grid(steps, self.config["warp"], low=low, rho=5.0 if low == 0.02 else 7.0)
        return Clock(steps, grid)

    # -- training -----------------------------------------------------------------------------------------------
    @property
    def tasks(self) -> dict[str, float]:
        many = {"channels": 0.1} if len(self.config["nodes"]) > 1 else {}
        return {"impute": 0.45, "forecast": 0.35, "generate": 0.1, "points": 0.0, "times": 0.0, **many}

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        return tasks.start(task, batch, random, step, self.config["horizon"])

    def defaults(self) -> dict[str, Any]:
        return {
            "batch": 16 if len(self.config["nodes"]) > 4 else 64,
            "optimiser": "muon",
            "learning_rate": 4e-3,
            "sampling": {"steps": 8, "grid": "series"},
        }

    # -- asking -------------------------------------------------------------------------------------------------
    def request(
        self, n: int, given: Any = None, *, index: Tensor, horizon: int = 0, since: Any = None, **asked: Any
    ) -> Task:
        """given: a frame of at most `window` times whose holes are asked for, followed by `horizon` unknown steps; without
        it, windows from `since` (a time; default: times spread over the training data). Use the verbs for longer frames."""
        if asked:
            raise AskError(f"time series take no '{next(iter(asked))}'; they take given, horizon and since")
        config = self.config
        if given is None:
            if horizon:
                raise AskError("a horizon needs given values: sample(n, given=frame, horizon=steps)")
            return generation(config, n, index, since)
        if isinstance(given, dict) and "series" in given:  # as `edit` hands it in
            given = given["series"]
        if isinstance(given, list):
            if len(given) != 1:
                raise AskError(f"{len(given)} frames at once; give one")
            given = given[0]
        panel = self.panel(given)
        if len(panel.records) > 1:
            raise AskError(
                f"given holds {len(panel.records)} separate series; sample one at a time, or use impute or forecast"
            )
        record = frames.extended(panel.records[0], horizon, config)
        if len(record.times) > config["window"]:
            many = f"given has {len(record.times)} times and the model's window {config['window']}"
            raise AskError(f"{many}; use impute or forecast, which move it")
        x, observed, exists, context = collate([scale_record(record, config)], config)
        context["question"] = torch.zeros(1, dtype=torch.int64)
        levels = (~observed).float()
        spread = {k: v.expand(n, *v.shape[1:]) for k, v in context.items()}
        return Task(
            {"series": x.expand(n, -1, -1)},
            Start({"series": levels.expand(n, -1, -1)}),
            exists={k: v.expand(n, -1, -1) for k, v in exists.items()},
            context=spread,
            index=index,
        )

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[Any]:
        """One long frame (unique_id, ds, variable where there are several, y) a sample."""
        values = frames.unscale(fields["series"], task.context, self.config)
        exists = task.exists.get("series")
        clock = task.context["clock"].expand(len(values), -1).cpu().numpy()
        found = []
        for k, value in enumerate(values):
            keep = slice(None) if exists is None else exists.expand(len(values), -1, -1)[k, 0].cpu().numpy()
            found.append(frames.long_frame(clock[k][keep], value[:, keep], "", self.config))
        return found

    def write(self, samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
        """One table, CSV or Parquet by its suffix (a folder gets samples.csv), with a column `sample`."""
        return frames.write(samples, Path(path))

    def show(self, samples: Sequence[Any], path: Path) -> Path:
        from suffuse.modalities.series import pictures

        return pictures.paths(samples, Path(path))

    # -- quality ------------------------------------------------------------------------------------------------
    def evaluate(self, model: Any, data: Any, **options: Any) -> dict[str, float]:
        from suffuse.modalities.series import quality

        return quality.evaluate(model, self, data, **options)


def series_grid(steps: int, warp: float, high: float = 40.0, low: float = 0.02, rho: float = 5.0) -> Tensor:
    """(steps + 1,) clock times: 1, then equal steps of (sigma / alpha)^(1/rho) down to `low` (EDM 2022, eq. 5), then 0."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    ratio = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    clock = (torch.atan(ratio) * (2 / torch.pi)) ** (1 / warp)
    clock[0] = 1.0
    return torch.cat([clock, torch.zeros(1, dtype=torch.float64)])


def learn_config(panel: Panel, columns: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Everything the modality keeps, as plain JSON values. Raises DataError on an option that does not fit."""
    known = set(
        "window horizon season transform noise noise_scale adjacency positions std warp dim heads encoder_layers layers share "
        "use_baseline floor profile patch mixing instance dropout ahead".split()
    )
    for name in options:
        if name not in known:
            raise DataError(
                f"time series have no option '{name}'; there are {', '.join(sorted(known | set(READ_OPTIONS)))}"
            )
    transform, noise = options.get("transform", "none"), options.get("noise", "white")
    if transform not in scaling.TRANSFORMS:
        raise DataError(f"transform is '{transform}'; it must be one of {', '.join(scaling.TRANSFORMS)}")
    if noise not in NOISES:
        raise DataError(f"noise is '{noise}'; it must be one of {', '.join(NOISES)}")
    if options.get("mixing", "attention") not in MIXINGS:
        raise DataError(f"mixing is {options['mixing']!r}; it must be one of {', '.join(MIXINGS)}")
    step = median_step(panel.records)
    seasons = _seasons(options["season"]) if "season" in options else scaling.natural_seasons(step, panel.dates)
    longest = max(len(r.times) for r in panel.records)
    typical = int(np.median([len(r.times) for r in panel.records]))
    if longest < 2:
        raise DataError("every series has a single time; at least two are needed")
    horizon = _steps(
        "horizon", options.get("horizon"), max(1, min(seasons[0] if seasons else 24, typical // 3)), longest - 1
    )
    window = _steps(
        "window",
        options.get("window"),
        min(typical, max(2 * horizon, 48) if panel.layout == "joint" else 3 * horizon),
        longest,
    )
    if horizon >= window:
        raise DataError(f"horizon {horizon} must be shorter than window {window}")
    if typical < window:
        warnings.warn(
            f"half of the series are shorter than the window of {window} times; they are padded", stacklevel=4
        )
    config = {
        "layout": panel.layout,
        "nodes": [list(n) for n in panel.nodes],
        "dates": panel.dates,
        "zone": panel.zone,
        "columns": {k: list(v) if isinstance(v, tuple) else v for k, v in columns.items()},
        "known": panel.known,
        "static": panel.static,
        "step": step,
        "span": [min(float(r.times[0]) for r in panel.records), max(float(r.times[-1]) for r in panel.records)],
        "window": window,
        "horizon": horizon,
        "seasons": seasons,
        "transform": transform,
        "scaling": scaling.learn(panel, transform, window),
        "finest": scaling.finest(panel, transform),
        "floors": scaling.floors(panel) if options.get("floor", True) else [None] * len(panel.nodes),
        "noise": noise,
        "noise_scale": float(options.get("noise_scale", max(2.0, window / 12))),
        "adjacency": frames.adjacency(options.get("adjacency"), options.get("positions"), len(panel.nodes)),
        "std": float(options.get("std", 0.5)),
        "warp": float(options.get("warp", 2.0)),
        "dim": int(options.get("dim", 48)),
        "heads": int(options.get("heads", 4)),
        "encoder_layers": int(options.get("encoder_layers", 2)),
        "layers": int(options.get("layers", 2)),
        "share": bool(options.get("share", True)),
        "use_baseline": bool(options.get("use_baseline", True)),
        "profile": bool(options.get("profile", True)),
        "instance": bool(options.get("instance", False)),
        "ahead": bool(options.get("ahead", False)),
        "dropout": _share("dropout", options.get("dropout", 0.0)),
        "patch": _steps("patch", options.get("patch"), 1, window),
        "mixing": options.get("mixing", "attention"),
    }
    config["periods"] = scaling.periods(step, panel.dates, seasons, config["span"][1] - config["span"][0])
    return config


def _seasons(value: Any) -> list[int]:
    values = value if isinstance(value, (list, tuple)) else [] if value in (None, 0) else [value]
    if not all(isinstance(v, (int, np.integer)) and v > 1 for v in values):
        raise DataError(f"season is {value!r}; it must be a whole number of steps above 1, or several")
    return [int(v) for v in values]


def _share(name: str, value: Any) -> float:
    if not 0 <= float(value) < 1:
        raise DataError(f"{name} is {value!r}; it must be at least 0 and under 1")
    return float(value)


def _steps(name: str, value: Any, default: int, most: int) -> int:
    if value is None:
        return default
    if int(value) != value or value < 1:
        raise DataError(f"{name} is {value!r}; it must be a whole number of steps, at least 1")
    if value > most:
        raise DataError(f"{name} is {value} steps and the longest series allows {most}")
    return int(value)


def generation(config: dict[str, Any], n: int, index: Tensor, since: Any) -> Task:
    """Whole windows asked for, on a regular grid of times."""
    length, step = config["window"], config["step"]
    first, last = config["span"]
    if since is None:
        places = max(round((last - first) / step) - length + 1, 1)
        offset = Random(0).integers(places, (), index, 0, "series since").double() * step
        begin = first + offset
    else:
        begin = torch.full((n,), frames.to_time(since, config), dtype=torch.float64)
    clock = begin[:, None] + step * torch.arange(length, dtype=torch.float64)
    pairs = torch.tensor(config["scaling"]["nodes"], dtype=torch.float64)
    context = {
        "times": torch.arange(length, dtype=torch.float32).expand(n, -1),
        "clock": clock,
        "centre": pairs[:, :1].expand(n, -1, -1),
        "scale": pairs[:, 1:].expand(n, -1, -1),
    }
    if config["periods"]:
        phases = scaling.calendar(clock.reshape(-1).numpy(), config["periods"])
        context["calendar"] = torch.from_numpy(phases.reshape(-1, n, length).transpose(1, 0, 2).copy())
    for name, shape in (("known", (1, length)), ("static", (1,))):
        if config[name]:
            context[name] = torch.zeros((n, len(config[name]), *shape))
    x = torch.zeros((n, len(config["nodes"]), length))
    return Task({"series": x}, Start({"series": torch.ones((n, 1, 1))}), context=context, index=index)
