"""Time series: fields, tasks, the inner baseline, and the verbs on a small trained model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import suffuse
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Start
from suffuse.errors import AskError, DataError
from suffuse.metrics import probabilistic
from suffuse.modalities.series import Series, asking, conformal, scaling, tasks
from suffuse.modalities.series.baseline import baseline
from suffuse.modalities.series.modality import series_grid
from suffuse.modalities.series.network import SeriesNetwork, first_rows, neighbours, pooled
from suffuse.modalities.series.panel import Record

DAYS = pd.date_range("2024-01-01", periods=400, freq="h")


def waves(size=400):
    """Two stations that share a daily wave and a slow AR(1) disturbance."""
    rng = np.random.default_rng(0)
    shared = np.zeros(size)
    for k in range(1, size):
        shared[k] = 0.95 * shared[k - 1] + 0.3 * rng.normal()
    hours = np.arange(size)
    wave = 20 + 4 * np.sin(2 * np.pi * hours / 24)
    parts = []
    for id, gain in (("east", 1.0), ("west", 1.5)):
        y = wave + gain * shared + 0.2 * rng.normal(size=size)
        parts.append(pd.DataFrame({"unique_id": id, "ds": DAYS[:size], "y": y}))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    read = {"window": 24, "horizon": 6, "dim": 16, "heads": 2, "encoder_layers": 1, "layers": 1}
    return suffuse.train(waves(), steps=150, batch=16, read=read, precision="fp32", compile=False)


def holes(frame, first=100, last=106):
    return frame.assign(y=frame.y.where(~frame.ds.isin(DAYS[first:last]) | (frame.unique_id == "west")))


# -- baseline -------------------------------------------------------------------------------------------------------
def test_the_baseline_is_linear_interpolation_in_real_time():
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 20, 15))
    values, known = rng.normal(size=(3, 15)), rng.uniform(size=(3, 15)) < 0.4
    known[:, [2, 9]] = True
    got = baseline(
        *(torch.tensor(a[None], dtype=t) for a, t in ((values * known, torch.float64), (known, torch.bool))),
        torch.tensor(times[None]),
    )
    for k in range(3):
        np.testing.assert_allclose(got.linear[0, k], np.interp(times, times[known[k]], values[k][known[k]]), atol=1e-9)
    nothing = baseline(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4, dtype=torch.bool), torch.arange(4.0)[None])
    assert (nothing.linear == 0).all() and not nothing.has_left.any() and not nothing.has_mean.any()


def test_the_mean_over_nodes_follows_the_neighbours():
    near = neighbours(torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]))
    x = torch.tensor([[[1.0, 1], [3, 3], [9, 9]]])
    known = torch.tensor([[[False, True], [True, True], [True, True]]])
    got = baseline(x * known, known, torch.arange(2.0)[None], near=near)
    torch.testing.assert_close(got.mean[0, :2, 0], torch.tensor([3.0, 9.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(got.mean[0, 2], torch.tensor([3.0, 2.0]), atol=1e-4, rtol=0)


def test_the_seasonal_value_is_that_of_the_fewest_seasons_ago():
    x = torch.arange(12.0)[None, None]
    known = torch.ones_like(x, dtype=torch.bool)
    known[..., 6:] = False
    got = baseline(x * known, known, torch.arange(12.0)[None], seasons=[4])
    assert got.seasonal[0, 0, 6:, 0].tolist() == [2, 3, 4, 5, 2, 3] and got.has_season[0, 0, 6:].all()
    holed = known.clone()
    holed[..., 2] = False
    far = baseline(x * holed, holed, torch.arange(12.0)[None], seasons=[4])
    assert far.seasonal[0, 0, :, 0].tolist() == [4, 5, 0, 0, 0, 1, 0, 3, 4, 5, 0, 3]
    assert far.has_season[0, 0, :, 0].tolist() == [True, True, False, False] + [True, True, False, True] * 2
    assert got.profile[0, 0, 6:, 0].tolist() == [2, 3, 2, 3, 2, 3] and got.has_profile.all()
    assert got.own[0, 0].tolist() == [2.5] * 12 and torch.allclose(got.spread, torch.arange(6.0).std(correction=0))
    warped = baseline(x * known, known, torch.arange(12.0)[None] ** 1.5, seasons=[4])
    assert not warped.has_season.any() and not warped.has_profile.any()


def test_an_untrained_network_repeats_known_entries_and_stays_near_its_baseline():
    net = SeriesNetwork(2, named=False, seasons=[3, 5], dim=16, heads=2)
    x = torch.linspace(-1, 1, 9).expand(1, 2, 9).clone()
    level = torch.zeros(1, 2, 9)
    level[..., 3:6] = 1.0
    c_in = torch.where(level == 0, 1 / net.std, 1.0)
    clean = net({"series": x * c_in}, {"series": level}, {"times": torch.arange(9.0)[None]})["series"] * net.std
    torch.testing.assert_close(clean[level == 0], x[level == 0])
    assert (clean[level == 1] - x[level == 1]).abs().max() < 0.3


def test_the_preconditioning_is_exact_for_a_gaussian_residual():
    """With a zero network the prediction is the posterior mean of x0 ~ N(b, s^2): c_skip of EDM around the baseline."""
    net = SeriesNetwork(1, dim=16, heads=2, use_baseline=False)
    t = torch.full((1, 1, 4), 0.4)
    alpha, sigma = torch.cos(t * torch.pi / 2), torch.sin(t * torch.pi / 2)
    noisy = torch.tensor([[[0.3, -1.0, 2.0, 0.0]]])
    c_in = 1 / torch.sqrt(alpha**2 * net.std**2 + sigma**2)
    clean = net({"series": c_in * noisy}, {"series": t}, {"times": torch.arange(4.0)[None]})["series"] * net.std
    torch.testing.assert_close(clean, alpha * noisy / (alpha**2 + sigma**2))


@pytest.mark.parametrize("mixing", ["attention", "rnn", "both"])
def test_patches_repeat_known_entries_and_see_times_within_them(mixing):
    torch.manual_seed(0)
    net = SeriesNetwork(2, named=False, dim=16, heads=2, patch=4, mixing=mixing)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, level = torch.linspace(-1, 1, 18).view(1, 2, 9), torch.zeros(1, 2, 9)
    level[..., 3:6] = 0.5
    times = torch.tensor([[0.0, 1, 2, 3, 4.5, 5, 6, 7, 9]])
    clean = net({"series": x}, {"series": level}, {"times": times})["series"] * net.std
    torch.testing.assert_close(clean[level == 0], x[level == 0] * net.std)
    moved = times.clone()
    moved[0, 4] = 4.2
    other = net({"series": x}, {"series": level}, {"times": moved})["series"] * net.std
    assert (other - clean)[level > 0].abs().min() > 1e-6
    exists = torch.arange(9) < 7
    shorter = net({"series": x[..., :7]}, {"series": level[..., :7]}, {"times": times[:, :7]})["series"]
    padded = net({"series": x * exists}, {"series": level}, {"times": times, "exists:series": exists.expand(1, 2, 9)})
    assert shorter.isfinite().all() and padded["series"].isfinite().all()


def test_with_instance_normalisation_an_answer_follows_the_level_of_what_is_given():
    """Known entries of a node moved by b move the answer by b, as never without the option (Kim et al. 2022)."""
    x, level = torch.linspace(-1, 1, 18).view(1, 2, 9).sin(), torch.zeros(1, 2, 9)
    level[..., 5:] = 1.0
    moved = x + torch.where(level == 0, torch.tensor([[[3.0], [-7.0]]]), 0.0)
    gaps = {}
    for instance in (True, False):
        torch.manual_seed(0)
        net = SeriesNetwork(2, named=False, seasons=[3], dim=16, heads=2, instance=instance)
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.1 * torch.randn_like(p))
        unit = torch.where(level == 0, 1 / net.std, 1.0)
        answers = [net({"series": v * unit}, {"series": level}, {"times": torch.arange(9.0)[None]}) for v in (x, moved)]
        gaps[instance] = (answers[1]["series"] - answers[0]["series"]) * net.std
    wanted = torch.tensor([[[3.0], [-7.0]]]).expand(1, 2, 9)
    torch.testing.assert_close(gaps[True], wanted, atol=2e-4, rtol=0)
    assert (gaps[False] - wanted)[level == 1].abs().max() > 0.3


def test_questions_group_only_equal_neighbouring_runs():
    assert first_rows(torch.tensor([5, 5, 7, 7]), 4).tolist() == [0, 2]
    assert first_rows(torch.tensor([5, 5, 5, 7]), 4).tolist() == [0, 1, 2, 3]
    assert first_rows(None, 3).tolist() == [0, 1, 2]


# -- training tasks -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("task", tasks.TASKS)
def test_tasks_hide_something_and_depend_on_the_example_alone(task):
    series, data = Series.read(holes(waves()), window=24, horizon=6)
    index = torch.arange(40, 60)
    batch = data.batch(index)
    start = series.start(task, batch, Random(3), 7)
    level = start.levels["series"].expand_as(batch.x["series"])
    assert (
        isinstance(start, Start) and level.flatten(1).amax(1).eq(1).all() and set(level.unique().tolist()) <= {0.0, 1.0}
    )
    alone = series.start(task, data.batch(index[5:6]), Random(3), 7).levels["series"].expand(1, 2, 24)
    assert torch.equal(alone[0], level[5])
    if task == "forecast":
        assert (level[..., -1] == 1).all() and (level[..., :18] == 0).float().mean() > 0.8


def test_unknown_entries_that_are_not_asked_stay_open(model):
    series = model.modality
    record = series.panel(holes(waves())).records[0]
    open_too = record.values.copy()
    open_too[1, 50:60] = np.nan
    asked = np.isnan(open_too)
    asked[0] = False
    (filled,) = asking.fill(model, [Record("", record.times, open_too)], 3, asked=[asked], steps=3)
    assert np.isfinite(filled.values[:, 1]).all() and (filled.asked == asked).all()
    assert np.isnan(filled.values[:, 0, 100:106]).all() and np.isfinite(filled.values[:, 0, :100]).all()


def test_holes_are_unobserved_and_patterns_are_copied():
    series, data = Series.read(holes(waves()), window=24, horizon=6)
    batch = data.batch(torch.tensor([90]))
    hidden = ~batch.observed["series"][0]
    assert hidden[0, 10:16].all() and hidden.sum() == 6 and torch.isfinite(batch.x["series"]).all()
    assert batch.context["pattern"].dtype == torch.bool


# -- the model ------------------------------------------------------------------------------------------------------
def test_impute_fills_holes_and_keeps_the_rest(model):
    frame = waves()
    out = model.impute(holes(frame), n=40)
    assert out.asked.sum() == 6 and np.isfinite(out.y).all() and len(out) == len(frame)
    kept = ~out.asked
    np.testing.assert_allclose(out.y[kept], frame.y[kept])
    truth, known = frame.y[out.asked].to_numpy(), out[out.asked]
    assert (known["q0.05"] < known["q0.95"]).all()
    assert np.abs(known.y - truth).mean() < 2.5
    assert (out["q0.05"] <= out["q0.5"]).all() and list(out.ds) == list(frame.ds)


def test_forecast_rolls_out_and_tells(model):
    frame = waves()
    with pytest.warns(UserWarning, match="longer than the 6 steps"):
        out = model.forecast(frame, 14, n=20, samples=True)
    assert len(out) == 28 and out.ds.min() == DAYS[-1] + pd.Timedelta("1h") and np.isfinite(out.iloc[:, 2:]).all().all()
    assert {"sample_0", "sample_19", "q0.5", "mean"} <= set(out)
    assert len(model.forecast(frame, n=4)) == 12


def test_samples_do_not_depend_on_how_many_are_drawn(model):
    frame = waves()
    a = model.forecast(frame, 6, n=12, samples=True)
    b = model.forecast(frame, 6, n=5, samples=True)
    np.testing.assert_allclose(a["sample_4"], b["sample_4"], rtol=1e-4)


def test_at_any_time(model):
    out = model.at(waves(), [DAYS[50] + pd.Timedelta("25min"), "2024-01-17 19:30"], n=20)
    assert len(out) == 4 and sorted(out.ds.unique())[0] == DAYS[50] + pd.Timedelta("25min")
    near = waves().query("unique_id == 'east'").y.iloc[50]
    assert abs(out["q0.5"].iloc[0] - near) < 3


def test_anomaly_finds_a_planted_outlier(model):
    frame = waves(96)
    frame.loc[40, "y"] += 15
    out = model.anomaly(frame, n=30, folds=3)
    assert out.surprise.idxmax() == 40 and out.p.iloc[40] == out.p.min() and len(out) == len(frame)


def test_cross_validation_has_truth_and_cutoffs(model):
    frame = waves()
    out = model.cross_validation(frame, 6, 2, n=10)
    assert len(out) == 2 * 2 * 6 and out.cutoff.nunique() == 2 and out.cutoff.max() == DAYS[-7]
    last = out[(out.unique_id == "west") & (out.cutoff == out.cutoff.max())]
    np.testing.assert_allclose(last.y, frame.y[frame.unique_id == "west"].iloc[-6:])
    assert (last.ds > last.cutoff).all()


def test_sample_generates_and_continues(model):
    new = model.sample(2, since="2024-03-01")
    assert len(new) == 2 and len(new[0]) == 48 and new[0].ds.min() == pd.Timestamp("2024-03-01")
    assert not np.allclose(new[0].y, new[1].y)
    head = waves(18)
    more = model.sample(2, given=head, horizon=6)
    np.testing.assert_allclose(more[0].query("unique_id == 'east'").y.iloc[:18], head.y.iloc[:18], rtol=1e-5)
    assert np.isfinite(more[1].y).all()


def test_edit_stays_near_at_small_strength(model):
    head = waves(24)
    near, far = (model.edit(head, strength=s)[0].y.to_numpy() for s in (0.05, 0.95))
    assert 0 < 2 * np.abs(near - head.y).mean() < np.abs(far - head.y).mean()
    with pytest.raises(AskError, match="give one"):
        model.edit([head, head], strength=0.5)


def test_saving_loading_and_writing(model, tmp_path):
    again = suffuse.load(model.save(tmp_path / "m"))
    a, b = (m.forecast(waves(), n=3, samples=True)["sample_1"] for m in (model, again))
    np.testing.assert_allclose(a, b)
    samples = model.sample(2)
    for name in ("a.csv", "a.parquet"):
        (path,) = model.modality.write(samples, tmp_path / name)
        table = pd.read_csv(path) if name.endswith("csv") else pd.read_parquet(path)
        assert table["sample"].nunique() == 2 and len(table) == 96
    with pytest.raises(AskError, match="csv"):
        model.modality.write(samples, tmp_path / "a.xls")
    assert model.modality.show(samples, tmp_path / "a.png").stat().st_size > 1000


def test_an_absent_station_is_a_hole_and_not_answered(model):
    with pytest.warns(UserWarning, match="1 series of the model are absent"):
        out = model.forecast(waves().query("unique_id == 'west'"), 4, n=3)
    assert set(out.unique_id) == {"west"} and len(out) == 4


def test_bad_questions_get_one_sentence(model):
    frame = waves()
    for ask, words in (
        (lambda: model.forecast(frame.replace("west", "north"), 3), "does not know the series 'north'"),
        (lambda: model.forecast(frame, 0), "at least 1"),
        (lambda: model.forecast(frame, 3, n=0), "at least 1"),
        (lambda: model.forecast(frame, 3, quantiles=[1.2]), "between 0 and 1"),
        (lambda: model.forecast(frame, 3, quantiles="low"), "between 0 and 1"),
        (lambda: model.forecast(frame, "soon"), "whole number"),
        (lambda: model.at(frame, ["never"]), "no date"),
        (lambda: model.forecast(frame.assign(ds=range(800)), 3), "times are numbers"),
        (lambda: model.cross_validation(frame, 200, 5), "do not fit"),
        (lambda: model.sample(1, given=frame), "use impute or forecast"),
        (lambda: model.sample(1, horizon=3), "needs given"),
        (lambda: model.sample(1, colour=3), "'colour'"),
        (lambda: model.anomaly(frame, folds=1), "at least 2"),
        (lambda: model.forecast(frame, 3, stps=2), "no setting 'stps'"),
    ):
        with pytest.raises((AskError, DataError), match=words):
            ask()


def test_covariates_known_ahead_must_be_given():
    frame = waves(60).assign(promo=lambda f: (f.ds.dt.hour == 9) * 1.0)
    read = {"window": 16, "horizon": 4, "known": ["promo"], "dim": 8, "heads": 1, "encoder_layers": 1, "layers": 1}
    model = suffuse.train(frame, steps=2, batch=4, read=read, precision="fp32", compile=False)
    with pytest.raises(AskError, match="known ahead"):
        model.forecast(frame, 4)
    ahead = pd.DataFrame({"ds": pd.date_range(DAYS[60], periods=4, freq="h"), "promo": [0, 1, 0, 0.0]})
    future = pd.concat([ahead.assign(unique_id=i) for i in ("east", "west")])
    assert len(model.forecast(frame, 4, future=future, n=3)) == 8
    with pytest.raises(AskError, match="no row at"):
        model.forecast(frame, 4, future=future[future.ds < future.ds.max()])


def test_separate_series_irregular_times_and_unknown_ids():
    rng = np.random.default_rng(2)
    frames = []
    for k in range(4):
        ds = np.sort(rng.choice(200, 12 + 5 * k, replace=False)) / 4
        frames.append(
            pd.DataFrame(
                {
                    "unique_id": f"p{k}",
                    "ds": ds,
                    "hr": 60 + rng.normal(size=len(ds)),
                    "bp": np.where(rng.uniform(size=len(ds)) < 0.5, np.nan, 90.0 + ds),
                }
            )
        )
    frame = pd.concat(frames)
    read = {"window": 20, "horizon": 4, "dim": 8, "heads": 1, "encoder_layers": 1, "layers": 1, "layout": "separate"}
    with pytest.warns(UserWarning, match="padded"):
        model = suffuse.train(frame, steps=3, batch=4, read=read, precision="fp32", compile=False)
    new = frame.replace("p3", "stranger")
    out = model.impute(new[new.unique_id == "stranger"], n=4)
    assert set(out.variable) == {"hr", "bp"} and np.isfinite(out.y).all() and set(out.unique_id) == {"stranger"}
    assert len(model.sample(2)) == 2


def test_the_shared_shift_is_the_posterior_mean_of_what_entries_share():
    """Averages see below the noise of an entry: with 400 entries and noise 5, the common shift is found to about .2."""
    torch.manual_seed(0)
    alpha, sigma = torch.full((1, 4, 100), 0.2), torch.full((1, 4, 100), 1.0)
    residual = 0.2 * 1.5 + torch.randn(1, 4, 100)
    active = torch.ones(1, 4, 100, dtype=torch.bool)
    node, time, everything = pooled(residual, alpha, sigma, torch.ones_like(alpha), active)
    mean = residual.mean()
    torch.testing.assert_close(everything[0, 0, 0], 0.2 * mean / (0.04 + 1 / 400))
    assert abs(everything[0, 0, 0] - 1.5) < 0.5 and node.shape == time.shape == residual.shape
    assert all((p == 0).all() for p in pooled(residual, alpha, sigma, torch.ones_like(alpha), ~active))


def test_the_grid_begins_where_a_shared_level_is_decided():
    clock = series_grid(8, 2.0)
    ratio = torch.tan(clock**2 * torch.pi / 2)
    assert clock[0] == 1 and clock[-1] == 0 and (torch.diff(clock) < 0).all()
    assert 8 < ratio[1] < 40 and abs(ratio[-2] - 0.02) < 1e-6


def test_the_grid_ends_below_the_finest_moves():
    """A walk over a wide range: ending at the usual level would smooth its steps; a series of noise keeps the usual grid."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=4000))
    ends = []
    for y in (walk, rng.normal(size=4000)):
        frame = pd.DataFrame({"ds": np.arange(4000), "y": y})
        room, _ = Series.read(frame, window=24, horizon=6)
        clock = room.path(8, "series").grid
        ends.append(float(torch.tan(clock[-2] ** room.config["warp"] * torch.pi / 2)))
    assert room.config["finest"] == 1
    assert abs(ends[0] - np.diff(walk).std() / walk.std() / 10) < 1e-6
    assert abs(ends[1] - 0.02) < 1e-6


def test_dropout_acts_in_training_alone():
    torch.manual_seed(0)
    net = SeriesNetwork(1, named=False, dim=16, heads=2, dropout=0.5)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    asked = (
        {"series": torch.ones(1, 1, 9)},
        {"series": torch.full((1, 1, 9), 0.5)},
        {"times": torch.arange(9.0)[None]},
    )
    trained = [net.train()(*asked)["series"] for _ in range(2)]
    still = [net.eval()(*asked)["series"] for _ in range(2)]
    assert not torch.allclose(*trained)
    torch.testing.assert_close(*still)


def test_conformal_factors_of_too_narrow_a_gaussian():
    """Draws of half the right width need a factor of 2 at every level."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=6000)
    truth = centre + rng.normal(size=6000)
    pairs = conformal.factors(centre + 0.5 * rng.normal(size=(400, 6000)), truth)
    np.testing.assert_allclose([f for _, f in pairs], 2, rtol=0.08)
    rows = conformal.report(centre + 0.5 * rng.normal(size=(400, 6000)), truth, pairs)
    for row in rows:
        assert row["coverage_conformal"] == pytest.approx(row["level"], abs=0.03) and row["coverage"] < row["level"]
    with pytest.raises(DataError, match="too few"):
        conformal.factors(centre[None, :5], truth[:5])


def test_calibrating_a_model(model):
    with pytest.raises(AskError, match="no conformal correction"):
        model.forecast(waves(), 3, conformal=True)
    table = model.calibrate(waves(), n=20)
    assert set(table.task) == {"impute", "forecast"} and table.coverage_conformal.between(0, 1).all()
    plain, fixed = (model.forecast(waves(), 3, n=20, conformal=c) for c in (False, True))
    factor = dict(map(tuple, model.settings["conformal"]["forecast"]))[0.9]
    widths = [t["q0.95"] - t["q0.05"] for t in (plain, fixed)]
    np.testing.assert_allclose(widths[1], factor * widths[0], rtol=1e-6)
    np.testing.assert_allclose(plain["q0.5"], fixed["q0.5"])


def test_evaluate_gives_scores_beside_simple_methods(model):
    figures = model.evaluate(waves(), windows=6, n=20)
    assert {"impute_crps", "impute_crps_simple", "forecast_crps", "forecast_coverage90"} <= set(figures)
    assert 0 < figures["impute_crps"] < 1.2 * figures["impute_crps_simple"]


def test_series_that_were_never_negative_stay_so():
    config = {"transform": "none", "floors": [0.0, None]}
    values = scaling.original(np.full((5, 2, 3), -2.0), np.ones((2, 1)), np.ones((2, 1)), config)
    assert (values[:, 0] == 0).all() and (values[:, 1] == -1).all()
    dry = waves(60).assign(y=lambda f: (f.y - 25).clip(lower=0))
    for floor, expected in ((True, [0.0, 0.0]), (False, [None, None])):
        assert Series.read(dry, window=8, horizon=2, floor=floor)[0].config["floors"] == expected
    assert Series.read(waves(60).assign(y=lambda f: f.y - 20), window=8, horizon=2)[0].config["floors"] == [None, None]


# -- the models that ship -------------------------------------------------------------------------------------------
def test_the_air_model_beats_the_day_before_on_a_month_it_never_saw():
    model = suffuse.load("air")
    window, horizon = model.modality.config["window"], model.modality.config["horizon"]
    real = pd.read_csv(Path(suffuse.__file__).parent / "zoo/air/samples/december.csv", parse_dates=["ds"])
    hours = np.sort(real.ds.unique())
    past = real[real.ds < hours[window]]
    out = model.forecast(past, n=24, steps=5, samples=True)
    truth = real[(real.ds >= hours[window]) & (real.ds < hours[window + horizon])].sort_values(["unique_id", "ds"])
    assert list(out.unique_id) == list(truth.unique_id) and (out.ds.to_numpy() == truth.ds.to_numpy()).all()
    draws = out[[c for c in out if c.startswith("sample_")]].to_numpy().T
    before = past[past.ds >= hours[window - horizon]].sort_values(["unique_id", "ds"]).y.ffill().to_numpy()
    ours, naive = (probabilistic.normalised_crps(x, truth.y.to_numpy()) for x in (draws, before[None]))
    assert ours < 0.8 * naive and draws.min() >= 0
    assert 0.6 < probabilistic.coverage(draws, truth.y.to_numpy(), 0.9)[0] <= 1


def test_the_stocks_model_makes_ordered_prices():
    model = suffuse.load("stocks")
    made = model.sample(16, since=0, steps=12)
    table = pd.concat(made).groupby("unique_id").y
    assert set(table.groups) == {"Open", "High", "Low", "Close", "Adj_Close", "Volume"}
    high, low = (np.stack([m.y[m.unique_id == n] for m in made]) for n in ("High", "Low"))
    assert np.isfinite(high).all() and (high > low).mean() > 0.75
    assert (high.max(1) / high.min(1)).mean() < 1.6
