"""Flow maps: the effective clean prediction in closed form, and a distilled toy against its teacher."""

import math

import pytest
import torch

from suffuse.diffusion.denoiser import Denoiser
from suffuse.diffusion.objectives.few_step import (
    Trajectory,
    _later,
    effective_clean,
    flow_map_loss,
    follow,
    question,
    segments,
)
from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import sample
from suffuse.diffusion.schedule import VE, Cosine, Linear
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError
from suffuse.training.distil import conditions, distill
from tests.training.toy import Moons, Toy, trainer


def exact(process, variance):
    """The denoiser of N(0, variance) data."""

    def denoiser(x, levels, context, targets=None):
        alpha, sigma = process.schedule.alpha(levels["x"]), process.schedule.sigma(levels["x"])
        return {"x": alpha * variance / (alpha**2 * variance + sigma**2) * x["x"]}

    return denoiser


@pytest.mark.parametrize("schedule", [Cosine(), Linear(), VE(20.0, 3.0)])
def test_effective_clean_of_gaussian_data_is_known(schedule):
    """The ODE scales x by the ratio of total deviations, so the D between any two levels has a closed form."""
    variance, process = 0.3, Gaussian(schedule)
    joint = Joint({"x": process})
    batch = Batch({"x": torch.zeros(64, 3)}, index=torch.arange(64))
    task = question(joint, batch, Start({"x": torch.full((1, 1), 0.9)}))
    path = follow(exact(process, variance), joint, task, Clock(128), "dpmpp2m", Random(0))
    assert len(path) == 128 and len(path.x) == 129

    def total(k):
        level = path.levels[k]["x"].double()
        return (schedule.alpha(level) ** 2 * variance + schedule.sigma(level) ** 2).sqrt()

    for first, second in [(0, 128), (0, 64), (64, 128), (32, 40)]:
        now, then = path.levels[first]["x"], path.levels[second]["x"]
        got = effective_clean(process, path.x[first]["x"], path.x[second]["x"], now, then)
        share = schedule.sigma(then.double()) / schedule.sigma(now.double())
        gain = schedule.alpha(then.double()) - schedule.alpha(now.double()) * share
        wanted = (total(second) / total(first) - share) / gain * path.x[first]["x"]
        assert torch.allclose(got.double(), wanted, atol=0.02, rtol=0.02)


def test_steps_with_effective_clean_land_on_the_trajectory():
    process = Gaussian(Cosine())
    joint = Joint({"x": process})
    task = question(joint, Batch({"x": torch.zeros(8, 2)}, index=torch.arange(8)), Start({}))
    path = follow(exact(process, 0.5), joint, task, Clock(16), "dpmpp2m", Random(3))

    def map_(x, levels, context, targets=None):
        k = next(i for i, v in enumerate(path.levels) if torch.allclose(v["x"], levels["x"]))
        j = next(i for i, v in enumerate(path.levels) if torch.allclose(v["x"], targets["x"]))
        return {"x": effective_clean(process, path.x[k]["x"], path.x[j]["x"], path.levels[k]["x"], path.levels[j]["x"])}

    for calls in (1, 2, 4, 8):
        out = sample(map_, joint, task, Clock(calls), "ddim", Random(3))
        assert torch.allclose(out["x"], path.x[-1]["x"], atol=1e-4)
    x = torch.randn(4, 2)
    same = torch.full((4, 1), 0.5)
    assert torch.equal(effective_clean(process, x, x, same, same), x)


def test_perfect_students_have_no_loss_and_known_entries_carry_none():
    process = Gaussian(Cosine())
    joint = Joint({"x": process})
    level = torch.tensor([[0.0, 1.0, 1.0]]).expand(8, 3)
    held = torch.tensor([[False, False, True]]).expand(8, 3)
    batch = Batch({"x": torch.randn(8, 3)}, index=torch.arange(8))
    task = question(joint, batch, Start({"x": level}, {"x": held}))
    path = follow(exact(process, 0.5), joint, task, Clock(8), "ddim", Random(1))
    assert torch.equal(path.x[-1]["x"][:, 0], batch.x["x"][:, 0])
    truth = path.x[-1]["x"].clone()

    def student(x, levels, context, targets):
        wrong = torch.tensor([9.0, 0.0, 9.0])
        return {"x": truth + wrong}

    loss = flow_map_loss(student, joint, task, path, [(0, 8)])
    assert loss.total.item() < 1e-8 and loss.parts["x"][1].item() == 8


def test_segments_cover_the_trajectory():
    assert segments((1, 2, 4), 8, 0) == [(0, 8), (0, 4), (4, 8), (0, 2), (4, 6)]
    assert segments((1, 2, 4), 8, 3, 1) == [(0, 8), (4, 8), (6, 8)]
    assert segments((8,), 3, 1, 1) == [(1, 2)]
    assert {pair for step in range(8) for pair in segments((8,), 16, step)} == {(k, k + 2) for k in range(0, 16, 2)}


def test_tokens_learn_from_the_moment_they_were_opened():
    process = Categorical(3)
    null = 3
    tokens = [[null, null, null], [0, null, null], [0, 2, null]]
    path = Trajectory([{"t": torch.tensor([row])} for row in tokens], [], [])
    path.clean = [{"t": torch.full((1, 3, 3), float(k))} for k in range(2)]
    assert _later(path, "t", process, 0, 2)[0, :, 0].tolist() == [0.0, 1.0, 1.0]
    assert _later(path, "t", process, 0, 1)[0, :, 0].tolist() == [0.0, 0.0, 0.0]


def test_guidance_holds_back_what_was_given():
    joint = Toy().joint()
    batch = Moons(4).batch(torch.arange(4))
    given = Task(batch.x, Start({"label": torch.tensor([[0.0], [1], [1], [1]])}))
    classify = Task(batch.x, Start({"point": torch.zeros(4, 2), "label": torch.ones(4, 1)}))
    assert conditions(joint, "point", given) == ["label"] and conditions(joint, "point", classify) == []


class Holder:
    """The little of a model that distillation needs."""

    def __init__(self, modality, denoiser, settings, notes):
        self.modality, self.denoiser, self.settings, self.notes = modality, denoiser, settings, notes
        self.joint = denoiser.joint


def test_a_distilled_toy_beats_its_teacher_at_few_calls():
    from suffuse.training.recipe import Recipe

    torch.set_num_threads(1)
    run = trainer(Recipe(steps=300, batch=128, learning_rate=5e-3, tasks={"by_label": 1.0}))
    run.run()
    net = run.network
    with torch.no_grad():
        net.unused.weight.zero_()
        net.unused.bias.zero_()

    class Student(type(net)):
        def forward(self, x, levels, context, targets=None):
            label = torch.nn.functional.one_hot(x["label"][:, 0], 3).float()
            level = [v.expand(len(label), 1) for v in (levels["point"][:, :1], levels["label"])]
            h = self.into(torch.cat([x["point"], label, *level], 1))
            if targets is not None:
                h = h + self.unused(targets["point"][:, :1].expand(len(h), 1))
            out = self.out(self.middle(h))
            return {"point": out[:, :2], "label": out[:, None, 2:]}

    network = Student()
    network.load_state_dict(net.state_dict())
    settings = {"grid": "uniform", "guidance": 1.0}
    teacher = Holder(Toy(), Denoiser(network, Toy().joint()), settings, {})
    made = distill(teacher, Moons(), steps=250, batch=32, points=8, learning_rate=4e-3, tasks={"by_label": 1.0})
    assert made.denoiser.flow_map and made.settings["steps"] == 2 and not teacher.denoiser.flow_map
    batch = Moons().batch(torch.arange(200))
    task = Task(batch.x, Start({"label": torch.zeros(200, 1)}), index=torch.arange(200))

    def solve(model, calls, solver):
        with torch.no_grad():
            return sample(model.denoiser, model.joint, task, Clock(calls), solver, Random(9))["point"]

    truth = solve(teacher, 64, "dpmpp2m")
    for calls in (1, 2):
        ours = (solve(made, calls, "ddim") - truth).square().mean().sqrt()
        theirs = min((solve(teacher, calls, s) - truth).square().mean().sqrt() for s in ("ddim", "dpmpp2m"))
        assert ours < 0.7 * theirs, (calls, ours, theirs)
    assert not math.isnan(float(ours))
    with pytest.raises(AskError, match="distilled already"):
        distill(made, Moons(), steps=2)
    with pytest.raises(AskError, match="multiple"):
        distill(teacher, Moons(), steps=2, points=10)
