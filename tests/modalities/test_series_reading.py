"""Reading time series: every accepted form, and one sentence for every kind of bad input."""

import numpy as np
import pandas as pd
import pytest
import torch

from suffuse.errors import DataError
from suffuse.modalities.series import Series, frames, reading, scaling
from suffuse.modalities.series.reading import read_panel


def long(ids=("a", "b"), size=30, freq="h"):
    ds = pd.date_range("2024-01-01", periods=size, freq=freq)
    rng = np.random.default_rng(0)
    parts = [pd.DataFrame({"unique_id": i, "ds": ds, "y": rng.normal(size=size) + k}) for k, i in enumerate(ids)]
    return pd.concat(parts, ignore_index=True)


def test_a_long_frame_is_a_joint_panel():
    frame = long()
    panel = read_panel(frame)
    assert panel.layout == "joint" and panel.nodes == [("a", "y"), ("b", "y")] and panel.dates
    record = panel.records[0]
    np.testing.assert_allclose(record.values[1], frame.y[30:])
    assert record.times[1] - record.times[0] == 3600
    assert record.times[0] == pd.Timestamp("2024-01-01").timestamp()


def test_many_ids_of_different_times_are_separate_series():
    frame = pd.concat([long(("a",), 10), long(("b",), 10).assign(ds=pd.date_range("2025-05-05", periods=10, freq="D"))])
    panel = read_panel(frame)
    assert panel.layout == "separate" and [r.id for r in panel.records] == ["a", "b"] and panel.nodes == [("", "y")]


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_files_and_wide_frames(tmp_path, kind):
    wide = pd.DataFrame(
        {"date": pd.date_range("2024-01-01", periods=5, freq="D"), "x": [1, 2, None, 4, 5], "z": range(5)}
    )
    path = tmp_path / f"data.{kind}"
    wide.to_parquet(path) if kind == "parquet" else wide.to_csv(path, index=False)
    assert Series.recognises(path) >= 0.8 and Series.recognises(str(path)) >= 0.8
    panel = read_panel(path)
    assert panel.nodes == [("x", "y"), ("z", "y")]
    np.testing.assert_array_equal(np.isnan(panel.records[0].values), [[0, 0, 1, 0, 0], [0] * 5])


def test_arrays_with_times_and_mask():
    values = np.arange(12.0).reshape(6, 2)
    mask = np.ones((6, 2), bool)
    mask[2, 1] = False
    panel = read_panel({"values": values, "times": [0, 1, 2.5, 4, 8, 9], "mask": mask})
    assert np.isnan(panel.records[0].values[1, 2]) and panel.records[0].times[2] == 2.5
    many = read_panel(np.zeros((3, 6, 2)) + values)
    assert many.layout == "separate" and len(many.records) == 3


def test_covariates_known_ahead_and_static():
    frame = long().assign(promo=lambda f: np.arange(len(f)) % 2, size=lambda f: (f.unique_id == "b") * 2.0)
    panel = read_panel(frame, known=["promo"], static=["size"])
    assert panel.records[0].known.shape == (1, 2, 30) and panel.records[0].static.tolist() == [[0.0, 2.0]]


def test_irregular_times_are_kept():
    frame = pd.DataFrame(
        {"ds": pd.to_datetime(["2024-01-01 00:00", "2024-01-01 00:07", "2024-01-03 11:00"]), "y": [1, 2, 3.0]}
    )
    np.testing.assert_allclose(np.diff(read_panel(frame).records[0].times), [420, 2 * 86400 + 10 * 3600 + 53 * 60])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: pd.concat([f, f.iloc[:1]]), "two rows at the same time"),
        (lambda f: f.assign(y=["oops" if k == 3 else "1" for k in range(len(f))]), "holds text ('oops' at row 3)"),
        (lambda f: f.assign(y=np.where(f.index == 4, np.inf, 1.0)), "infinite value at row 4"),
        (lambda f: f.assign(y=np.nan), "every value is empty"),
        (lambda f: f.assign(y=f.y.where(f.unique_id == "a")), "series 'b' has no value"),
        (lambda f: f.assign(ds=["hello"] * len(f)), "neither a date nor a number"),
        (lambda f: f.assign(ds=f.ds.where(f.index != 5)), "empty time at row 5"),
        (lambda f: f.iloc[:0], "no rows"),
        (lambda f: f.rename(columns={"y": "unique_id"}).set_axis(["unique_id", "ds", "ds"], axis=1), "two columns"),
        (
            lambda f: f.assign(ds=f.ds.astype(str) + np.where(f.index == 2, "+01:00", "")),
            "with and without a time zone",
        ),
    ],
)
def test_bad_frames_get_one_sentence(change, words):
    with pytest.raises(DataError) as error:
        read_panel(change(long()))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_unsorted_times_are_sorted_and_told():
    frame = long(("a",))
    with pytest.warns(UserWarning, match="sorted"):
        panel = read_panel(frame.sample(frac=1, random_state=0))
    np.testing.assert_allclose(panel.records[0].values[0], frame.y)


def test_time_zones():
    frame = long(("a",), 4)
    mixed = frame.assign(ds=[f"2024-01-01 0{2 * k}:00:00+0{k % 2}:00" for k in range(4)])
    with pytest.warns(UserWarning, match="mixes time zones"):
        panel = read_panel(mixed)
    np.testing.assert_allclose(np.diff(panel.records[0].times), [3600, 3 * 3600, 3600])
    zoned = frame.assign(ds=frame.ds.dt.tz_localize("Asia/Shanghai"))
    panel = read_panel(zoned)
    assert panel.zone == "Asia/Shanghai"
    assert panel.records[0].times[0] == pd.Timestamp("2023-12-31 16:00").timestamp()
    back = frames.to_ds(panel.records[0].times, {"dates": True, "zone": panel.zone})
    assert list(back) == list(zoned.ds)


def test_a_text_column_beside_numbers_is_left_out_and_told():
    wide = pd.DataFrame({"date": pd.date_range("2024", periods=4), "x": range(4), "wind": list("NSEW")})
    with pytest.warns(UserWarning, match="'wind' holds text"):
        assert read_panel(wide).nodes == [("", "x")]


def test_a_constant_series_trains_on_unit_scale():
    series, data = Series.read(long(("a",)).assign(y=5.0), window=8, horizon=2)
    assert series.config["scaling"]["nodes"] == [[5.0, 1.0]]
    assert (data.batch(torch.arange(2)).x["series"] == 0).all()


def test_scaling_and_transforms_invert():
    frame = long().assign(y=lambda f: np.exp(f.y))
    series, data = Series.read(frame, transform="log", window=8, horizon=2)
    batch = data.batch(torch.tensor([3]))
    values = frames.unscale(batch.x["series"], batch.context, series.config)
    np.testing.assert_allclose(values[0, 0], frame.y[3:11], rtol=1e-5)
    with pytest.raises(DataError, match="above 0"):
        Series.read(long(), transform="log")
    x = np.array([0.5, 3.0])
    np.testing.assert_allclose(scaling.backward(scaling.forward(x, "log1p"), "log1p"), x)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"adjacency": np.eye(3)}, "3 x 3 and there are 2 series"),
        ({"positions": np.zeros((5, 2))}, "5 positions and 2 series"),
        ({"adjacency": np.full((2, 2), np.nan)}, "empty or infinite"),
        ({"window": 99}, "longest series allows 30"),
        ({"horizon": 8, "window": 8}, "shorter than window"),
        ({"horizon": 0}, "at least 1"),
        ({"transform": "sqrt"}, "must be one of"),
        ({"noise": "pink"}, "must be one of"),
        ({"windw": 3}, "no option 'windw'"),
        ({"season": "day"}, "whole number of steps"),
        ({"target": "z"}, "no column 'z'"),
        ({"layout": "both"}, "'joint' or 'separate'"),
    ],
)
def test_bad_options_get_one_sentence(options, words):
    with pytest.raises(DataError, match=words):
        Series.read(long(), **options)


def test_a_missing_or_broken_file(tmp_path):
    with pytest.raises(DataError, match="no file"):
        read_panel(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match="cannot be read"):
        read_panel(tmp_path / "bad.parquet")


def test_recognising_leaves_other_data_alone(tmp_path):
    smiles = tmp_path / "molecules.csv"
    smiles.write_text("smiles,name\nCCO,ethanol\nC,methane\n")
    assert reading.recognises(smiles) == 0
    assert reading.recognises("no such file") == 0 and reading.recognises(3) == 0
    assert reading.recognises(long()) > 0.9


def test_seasons_follow_from_dates():
    assert scaling.natural_seasons(3600, True) == [24, 168] and scaling.natural_seasons(86400, True) == [7]
    assert scaling.natural_seasons(3600, False) == [] and scaling.natural_seasons(7 * 86400, True) == [52]
    assert scaling.periods(3600.0, True, [24], 1e8)[:2] == [86400.0, 7 * 86400.0]
    year = 365.2425 * 86400
    assert year not in scaling.periods(3600.0, True, [24], 4 * year), "four years would teach dates, not seasons"
    assert year in scaling.periods(86400.0, True, [7], 20 * year)
