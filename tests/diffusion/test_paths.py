"""Paths: inversion and back, climbing paths, starts between, locked entries; what is refused at construction."""

import pytest
import torch

from suffuse.diffusion.denoiser import Denoiser, scalings
from suffuse.diffusion.path import Clock, Inversion, RePaint, Staircase
from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import events, sample
from suffuse.diffusion.schedule import VE, Cosine, Linear
from suffuse.diffusion.state import Start, Task
from tests.diffusion.oracles import GaussianOracle, MixtureOracle

MEANS = torch.tensor([[1.0, 0.5], [-0.8, 1.1], [0.2, -1.3]], dtype=torch.float64)


def test_inversion_and_back_returns_the_data():
    schedule = Cosine()
    joint, oracle = Joint({"x": Gaussian(schedule)}), MixtureOracle(schedule, MEANS, 0.3)
    data = MEANS + 0.2 * Random(0).normal((2,), torch.arange(3), 0, "x", torch.float64)
    floor = 0.01
    up = Task({"x": data}, Start({"x": torch.full((3, 1), floor, dtype=torch.float64)}))
    latent = sample(oracle, joint, up, Inversion(200, floor=floor, top=0.98), "exact2")["x"]
    down = Task({"x": data}, Start({"x": torch.full((3, 1), 0.98, dtype=torch.float64)}))
    back = sample(oracle, joint, down, Clock(200), "exact2", state={"x": latent})["x"]
    assert (back - data).abs().max() < 0.02
    assert (latent - data).abs().max() > 0.1


def test_edits_start_from_the_given_strength_and_keep_locked_entries():
    schedule = Linear()
    covariance = torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64)
    joint, oracle = Joint({"x": Gaussian(schedule)}), GaussianOracle(schedule, MEANS[0], covariance)
    data = MEANS.repeat(100, 1)
    start = torch.tensor([[0.0, 0.5]], dtype=torch.float64)
    seen = []
    for event in events(oracle, joint, Task({"x": data}, Start({"x": start})), Clock(10), "dpmpp2m"):
        seen.append(float(event.levels["x"].max()))
        assert torch.equal(event.x["x"][:, 0], data[:, 0])
    assert seen[0] == pytest.approx(0.45) and seen[-1] == 0.0
    assert (event.x["x"][:, 1] - data[:, 1]).abs().mean() > 0.05


def test_climbing_path_keeps_the_law():
    """Down and up again with fresh noise leaves the law of an exact denoiser alone."""
    mean, covariance = (
        torch.tensor([0.5, -0.5], dtype=torch.float64),
        torch.tensor([[0.5, 0.3], [0.3, 0.4]], dtype=torch.float64),
    )
    joint = Joint({"x": Gaussian(Cosine())})
    task = Task({"x": torch.zeros(6000, 2, dtype=torch.float64)}, Start({}))
    out = sample(GaussianOracle(Cosine(), mean, covariance), joint, task, RePaint(60, jump=5, repeats=2), "exact2")["x"]
    assert (out.mean(0) - mean).abs().max() < 0.04 and (torch.cov(out.T) - covariance).abs().max() < 0.04


def test_staircase_brings_entries_down_one_after_another():
    path, process = Staircase(12, axis=1, overlap=1.0), Gaussian(Linear())
    plan = path.plan(path.clock(process.schedule, 1.0), process, torch.ones(1, 4, dtype=torch.float64))[:, 0]
    assert torch.equal(plan[0], torch.ones(4, dtype=torch.float64)) and torch.equal(
        plan[-1], torch.zeros(4, dtype=torch.float64)
    )
    moving = ((plan > 1e-9) & (plan < 1 - 1e-9)).sum(1)
    assert int(moving.max()) == 1
    assert bool((plan[:, :-1] <= plan[:, 1:] + 1e-12).all())


def test_held_fields_are_marginalised_and_stay():
    seen = []

    def denoiser(x, levels, context, targets=None):
        seen.append((x["label"].clone(), levels["label"].clone()))
        return {"x": torch.zeros_like(x["x"]), "label": torch.zeros(2, 1, 3)}

    joint = Joint({"x": Gaussian(), "label": Categorical(3)})
    task = Task(
        {"x": torch.zeros(2, 1), "label": torch.ones(2, 1, dtype=torch.long)},
        Start({}, {"label": torch.ones(2, 1, dtype=torch.bool)}),
    )
    out = sample(denoiser, joint, task, Clock(4))
    assert all(bool((label == 3).all()) and bool((level == 1).all()) for label, level in seen)
    assert bool((out["label"] == 3).all())


def test_stopping_early_is_break():
    calls = 0

    def denoiser(x, levels, context, targets=None):
        nonlocal calls
        calls += 1
        return {"x": torch.zeros_like(x["x"])}

    for event in events(denoiser, Joint({"x": Gaussian()}), Task({"x": torch.zeros(1, 2)}, Start({})), Clock(10)):
        if event.step == 3:
            break
    assert calls == 3


@pytest.mark.parametrize(("kind", "schedule"), [("eps", Cosine()), ("eps", Linear()), ("v", VE()), ("noise", Linear())])
def test_invalid_predictions_are_refused_at_construction(kind, schedule):
    with pytest.raises(ValueError, match="prediction"):
        Denoiser(torch.nn.Identity(), Joint({"x": Gaussian(schedule)}), {"x": kind})


@pytest.mark.parametrize(
    ("kind", "schedule"),
    [
        (k, s)
        for s in (Cosine(), Linear(), VE())
        for k in ("edm", "x0", "eps", "v", "velocity")
        if not (k == "eps" and s != VE()) and not (k == "v" and s == VE())
    ],
)
def test_every_prediction_recovers_the_clean_sample(kind, schedule):
    """A network that answers its target exactly gives back x0, at every level."""
    process = Gaussian(schedule, std=0.7)
    t = torch.linspace(0.01, 1.0, 40, dtype=torch.float64)
    x0, eps = torch.sin(torch.arange(40.0)).double(), torch.cos(3 * torch.arange(40.0)).double()
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    x = alpha * x0 + sigma * eps
    c_in, c_skip, c_out = scalings(kind, process, t)
    da, ds = schedule.slopes(t)
    raw = {"eps": eps, "v": alpha * eps - sigma * x0, "velocity": da * x0 + ds * eps, "x0": x0 / 0.7}.get(kind)
    if raw is None:
        raw = (x0 - c_skip * x) / c_out
        assert torch.allclose(c_in, 1 / torch.sqrt(alpha**2 * 0.49 + sigma**2))
        # EDM's weighting: at data of deviation s the target has unit variance
        assert torch.allclose((1 - c_skip * alpha) ** 2 * 0.49 + (c_skip * sigma) ** 2, c_out**2)
    assert torch.allclose(c_skip * x + c_out * raw, x0, atol=1e-9)


def test_random_is_a_function_of_its_arguments():
    random, index = Random(7), torch.tensor([3, 2**33, 5])
    a = random.normal((5, 3), index, 4, "x")
    assert torch.equal(a[2], random.normal((5, 3), torch.tensor([5]), 4, "x")[0])
    assert not torch.equal(a, random.normal((5, 3), index, 5, "x"))
    assert not torch.equal(a, random.normal((5, 3), index, 4, "y"))
    assert not torch.equal(a, Random(8).normal((5, 3), index, 4, "x"))
    big = random.normal((4,), torch.arange(50_000), 0, "x")
    assert abs(big.mean()) < 0.01 and abs(big.std() - 1) < 0.01 and abs((big**4).mean() - 3) < 0.1
    u = random.uniform((3,), torch.arange(50_000), 0, "u")
    assert 0 < u.min() and u.max() < 1 and abs(u.mean() - 0.5) < 0.01


def test_philox_known_answer():
    """Known-answer vectors of Random123's philox4x32-10."""
    from suffuse.diffusion.random import philox

    def words(*values):
        return [torch.tensor([v]) for v in values]

    zero = [int(w) for w in philox(words(0, 0, 0, 0), (0, 0))]
    assert zero == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = [int(w) for w in philox(words(*[0xFFFFFFFF] * 4), (0xFFFFFFFF, 0xFFFFFFFF))]
    assert ones == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
