"""Recipes: JSON out and in, wrong settings refused in one sentence, the plan of the learning rate."""

import pytest

from suffuse.errors import AskError
from suffuse.training.budget import Budget, Clock
from suffuse.training.recipe import Recipe


def test_json_goes_out_and_in(tmp_path):
    recipe = Recipe(minutes=5, tasks={"generate": 2, "label": 1}, optimiser="muon", betas=(0.9, 0.95))
    recipe.write(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == recipe
    assert Recipe.make(**recipe.to_json()) == recipe


@pytest.mark.parametrize(
    "settings, word",
    [
        ({}, "minutes or steps"),
        ({"minutes": 1, "steps": 5}, "exactly one"),
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"minutes": float("nan")}, "minutes"),
        ({"minutes": -1}, "minutes"),
        ({"steps": 5, "batch": 0}, "batch"),
        ({"steps": 5, "batch": True}, "batch"),
        ({"steps": 5, "learning_rate": 0}, "learning_rate"),
        ({"steps": 5, "learning_rate": "fast"}, "learning_rate"),
        ({"steps": 5, "warm_up": 0.6, "decay": 0.6}, "warm_up"),
        ({"steps": 5, "optimiser": "sgd"}, "adamw, muon"),
        ({"steps": 5, "precision": "fp16"}, "fp32"),
        ({"steps": 5, "tasks": {}}, "tasks"),
        ({"steps": 5, "tasks": {"a": -1.0}}, "tasks"),
        ({"steps": 5, "tracked": (0.1, 0.05)}, "tracked"),
        ({"steps": 5, "average": 0.5}, "average"),
        ({"steps": 5, "seed": -1}, "seed"),
        ({"steps": 5, "learning_rates": 1e-3}, "did you mean learning_rate"),
    ],
)
def test_wrong_settings_get_one_sentence(settings, word):
    with pytest.raises(AskError) as caught:
        Recipe.make(**settings)
    assert word in str(caught.value) and "\n" not in str(caught.value)


def test_unreadable_recipe(tmp_path):
    (tmp_path / "recipe.json").write_text("[1")
    with pytest.raises(AskError, match="JSON"):
        Recipe.load(tmp_path / "recipe.json")


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt"])
def test_rate_rises_stays_and_falls(shape):
    recipe = Recipe(steps=100, learning_rate=1.0, warm_up=0.1, decay=0.5, shape=shape)
    assert 0 < recipe.rate(0) < 0.01 and recipe.rate(0.05) == pytest.approx(0.5)
    assert recipe.rate(0.1) == recipe.rate(0.49) == 1.0
    assert recipe.rate(1.0) == pytest.approx(0, abs=1e-9)
    tail = [recipe.rate(0.5 + 0.05 * k) for k in range(11)]
    assert all(a > b for a, b in zip(tail, tail[1:]))
    assert Recipe(steps=5, warm_up=0, decay=0).rate(1.0) == 2e-3


class Watch(Clock):
    now = 0.0

    def seconds(self):
        return self.now


def test_minutes_plan_the_whole_run():
    watch = Watch()
    budget = Budget(Recipe(minutes=2), watch, used=30.0)
    assert budget.progress(0) == pytest.approx(0.25)
    watch.now = 30.0
    assert budget.progress(7) == pytest.approx(0.5)
    watch.now = 500.0
    assert budget.progress(8) == 1.0
    assert Budget(Recipe(steps=8), watch).progress(2) == 0.25


def test_clock_counts_work_and_not_waiting():
    import time

    clock = Clock(1)
    time.sleep(0.15)
    assert clock.seconds() < 0.1
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert 0.09 < clock.seconds() < 0.25
