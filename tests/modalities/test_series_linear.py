"""The linear forecast that a model of series may start from."""

import numpy as np
import pandas as pd
import pytest
import torch

from suffuse.errors import DataError
from suffuse.modalities.series import Series, linear
from suffuse.modalities.series.network import SeriesNetwork


def waves(times):
    """Two sines, which obey an exact linear recurrence."""
    return 3 + np.sin(2 * np.pi * times / 12) + 0.5 * np.sin(2 * np.pi * times / 7 + 1)


def read(frame, **options):
    return Series.read(frame, window=60, horizon=20, ahead=True, **options)


def test_the_future_of_sines_is_found_and_stands_behind_the_last_known_entry():
    t = np.arange(900)
    room, windows = read(pd.DataFrame({"ds": t, "y": waves(t)}))
    assert room.line.shape == (20, 40)
    x = torch.from_numpy(windows.records[0].values[None, :, 100:160])
    for origin in (40, 52):
        known = (torch.arange(60) < origin).expand_as(x)
        filled = torch.where(known, x, x[..., origin - 1 : origin])
        line, found = linear.ahead(filled, known, torch.arange(60.0)[None], room.line)
        assert found[0, 0].tolist() == [origin <= k < origin + 20 for k in range(60)]
        assert (line - x)[found].abs().max() < 0.02 and (filled - x)[found].abs().max() > 1
        assert (line[~found] == 0).all()


def test_too_little_past_or_irregular_times_have_no_line():
    weight, x = torch.ones(20, 40), torch.randn(1, 1, 60)
    known = (torch.arange(60) < 39).expand_as(x)
    assert not linear.ahead(x, known, torch.arange(60.0)[None], weight)[1].any()
    known = (torch.arange(60) < 45).expand_as(x)
    assert linear.ahead(x, known, torch.arange(60.0)[None], weight)[1].sum() == 15
    assert not linear.ahead(x, known, (torch.arange(60.0) ** 1.1)[None], weight)[1].any()


def test_the_ridge_grows_where_the_past_says_nothing():
    noise = pd.DataFrame({"ds": np.arange(300), "y": np.random.default_rng(0).normal(size=300)})
    assert read(noise)[0].line.abs().max() < 0.05


def test_an_untrained_network_starts_from_the_line():
    t = np.arange(900)
    room, windows = read(pd.DataFrame({"ds": t, "y": waves(t)}))
    x = torch.from_numpy(windows.records[0].values[None, :, 100:160])
    level = torch.cat([torch.zeros(1, 1, 40), torch.ones(1, 1, 20)], -1)
    gaps = {}
    for line in (room.line, None):
        torch.manual_seed(0)
        net = SeriesNetwork(1, named=False, dim=16, heads=2, line=line)
        asked = torch.where(level == 0, x / net.std, 0)
        clean = net({"series": asked}, {"series": level}, {"times": torch.arange(60.0)[None]})["series"] * net.std
        gaps[line is None] = (clean - x)[level == 1].abs().mean()
    assert gaps[False] < 0.3 * gaps[True]


def test_a_saved_model_keeps_its_line():
    t = np.arange(900)
    room, _ = read(pd.DataFrame({"ds": t, "y": waves(t)}))
    state = room.network().state_dict()
    again = Series(**room.config).network()
    assert again.line.abs().max() == 0
    again.load_state_dict(state)
    torch.testing.assert_close(again.line, room.line)


def test_irregular_data_are_refused_in_one_sentence():
    t = np.cumsum(np.random.default_rng(0).uniform(0.2, 2, 300))
    with pytest.raises(DataError, match="'ahead' needs at least 20 regular stretches"):
        read(pd.DataFrame({"ds": t, "y": waves(t)}))
