"""The data sets of the time-series benchmarks, read from --data."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd

TEST_MONTHS = (3, 6, 9, 12)
"""Months of the Beijing stations that no model sees."""

STATIONS = {
    "Aotizhongxin": (39.982, 116.397), "Changping": (40.217, 116.230), "Dingling": (40.292, 116.220),
    "Dongsi": (39.929, 116.417), "Guanyuan": (39.929, 116.339), "Gucheng": (39.914, 116.184), "Huairou": (40.328, 116.628),
    "Nongzhanguan": (39.937, 116.461), "Shunyi": (40.127, 116.655), "Tiantan": (39.886, 116.407),
    "Wanliu": (39.987, 116.287), "Wanshouxigong": (39.878, 116.352),
}  # fmt: skip
"""Latitude and longitude of the Beijing stations, to about a kilometre."""


def beijing(data: Path, columns: tuple[str, ...] = ("PM2.5",)) -> pd.DataFrame:
    """Beijing multi-site air quality (UCI, CC BY 4.0): 12 stations, hourly, 2013-03 to 2017-02, as a long frame."""
    parts = []
    with tarfile.open(data / "timeseries/PRSA_Data_20130301-20170228.tar.xz") as tar:
        for member in sorted(tar.getnames()):
            if member.endswith(".csv"):
                table = pd.read_csv(io.BytesIO(tar.extractfile(member).read()), low_memory=False)
                ds = pd.to_datetime(table[["year", "month", "day", "hour"]])
                parts.append(pd.DataFrame({"unique_id": table.station, "ds": ds, **{c: table[c] for c in columns}}))
    frame = pd.concat(parts, ignore_index=True)
    return frame.rename(columns={"PM2.5": "y"}) if columns == ("PM2.5",) else frame


def italian(data: Path) -> pd.DataFrame:
    """Italian air quality (UCI, CC BY 4.0): 13 hourly channels, -200 marks a gap; without NMHC, which is mostly gaps."""
    table = pd.read_csv(data / "timeseries/AirQualityUCI.csv.gz").replace(-200, np.nan)
    table["ds"] = pd.to_datetime(table.pop("Datetime"), format="%d/%m/%Y %H:%M:%S")
    return table.drop(columns=["NMHC(GT)"]).drop_duplicates("ds").reset_index(drop=True)


def m4_hourly(data: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The 414 hourly series of the M4 competition: (training values of each, the 48 hours that follow (414, 48))."""
    folder = data / "timeseries/m4_hourly"
    train = pd.read_csv(folder / "Hourly-train.csv.gz").iloc[:, 1:].to_numpy(float)
    test = pd.read_csv(folder / "Hourly-test.csv.gz").iloc[:, 1:].to_numpy(float)
    return [line[np.isfinite(line)] for line in train], test


def los(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Los-loop (a week of METR-LA, 2012-03-01, five minutes): speeds (2016, 207) in miles an hour, adjacency (207, 207)."""
    folder = data / "timeseries/metr_la_week"
    speeds = pd.read_csv(folder / "los_speed.csv.gz").to_numpy(float)
    return speeds, pd.read_csv(folder / "los_adj.csv.gz", header=None).to_numpy(float)
