"""The loop: it learns, guards, stops, resumes, follows its tasks; and what surrounds it."""

import math
import os
import signal

import pytest
import torch

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start
from suffuse.errors import AskError, ModelError, TrainingError
from suffuse.training import machine
from suffuse.training.averaging import exponent, profile
from suffuse.training.feed import Feed, Order
from suffuse.training.recipe import Recipe
from suffuse.training.tasks import mixed_start, mixture
from suffuse.training.trainer import Interrupted
from tests.training.toy import Moons, Toy, trainer


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights_of(run):
    return torch.cat([p.detach().flatten() for p in run.network.parameters()])


def test_learns_and_leaves_everything_on_disk(tmp_path):
    seen = []
    run = trainer(Recipe(steps=120, batch=64, snapshots=4, preview_every=0.25), tmp_path, preview=seen.append)
    outcome = run.run()
    loss = outcome.curve.column("loss")
    assert loss[-1] < 0.85 * loss[0] and outcome.steps == 120 and outcome.skipped == 0
    assert seen == [30, 60, 90, 120]
    assert (
        (tmp_path / "loss.csv")
        .read_text()
        .startswith("step,seconds,loss,gradient,rate,skipped,loss.point,loss.label\n20,")
    )
    assert (tmp_path / "loss.png").stat().st_size > 500
    assert len(list((tmp_path / "averages").iterdir())) == 8
    again = trainer(run.recipe, tmp_path, resume=True)
    assert again.run().steps == 120 and torch.equal(weights_of(run), weights_of(again))


def test_final_weights_are_the_average_of_the_recipe(tmp_path):
    path = []
    run = trainer(Recipe(steps=40, batch=8, average=0.12, snapshots=10), tmp_path)
    once = run._one_step

    def watched():
        out = once()
        path.append(weights_of(run).double())
        return out

    run._one_step = watched
    run.run()
    share = torch.tensor(profile(exponent(0.12), 40))
    wanted = (share[:, None] * torch.stack(path)).sum(0)
    assert (weights_of(run) - wanted).norm() < 0.05 * (path[-1] - wanted).norm()
    run.adopt(0.0)
    assert torch.equal(weights_of(run).double(), path[-1])


def test_interrupted_run_saves_and_goes_on(tmp_path):
    recipe = Recipe(steps=30, batch=8, log_every=1)
    whole = trainer(recipe)
    whole.run()
    run = trainer(recipe, tmp_path)
    once = run._one_step

    def stop_at_twelve():
        if run.step == 11:
            os.kill(os.getpid(), signal.SIGINT)
        return once()

    run._one_step = stop_at_twelve
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="step 12.*--resume"):
        run.run()
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(AskError, match="unfinished run.*--resume"):
        trainer(recipe, tmp_path)
    again = trainer(recipe, tmp_path, resume=True)
    assert again.step == 12
    again.run()
    assert torch.equal(weights_of(whole), weights_of(again))
    assert whole.curve.column("loss") == again.curve.column("loss")
    assert trainer(recipe, tmp_path).step == 0 and not (tmp_path / "checkpoints").exists()  # a finished one makes room


def test_non_finite_steps_are_skipped_and_told():
    lines = []
    run = trainer(Recipe(steps=25, batch=8, log_every=1), count=64, bad=(5,), tell=lines.append)
    outcome = run.run()
    assert 0 < outcome.skipped < 10 and len(lines) == outcome.skipped and "not finite" in lines[0]
    assert torch.isfinite(weights_of(run)).all() and run.averages.count == 25 - outcome.skipped
    assert any(math.isnan(v) for v in outcome.curve.column("loss"))


def test_ten_non_finite_steps_end_the_run_with_the_good_state_kept(tmp_path):
    run = trainer(Recipe(steps=50, batch=8), tmp_path, count=16)
    once = run._one_step

    def spoil():
        if run.step == 6:
            run.dataset.points[:] = float("nan")
        return once()

    run._one_step = spoil
    with pytest.raises(TrainingError) as caught:
        run.run()
    assert "\n" not in str(caught.value) and "10 steps in a row" in str(caught.value)
    state = run.checkpoints.read()
    assert state.step in (16, 17) and state.values["updates"] == state.step - 10  # a batch may have been read ahead
    assert all(torch.isfinite(v).all() for k, v in state.tensors.items() if k.startswith("network."))


def test_minutes_end_the_run_and_its_rate():
    outcome = trainer(Recipe(minutes=0.5 / 60, batch=8, log_every=1)).run()
    rates, seconds = outcome.curve.column("rate"), outcome.curve.column("seconds")
    assert 0.4 < seconds[-1] < 1.5 and rates[-1] < 0.2 * max(rates) and rates[0] < max(rates)


def test_resuming_something_else_is_refused(tmp_path):
    trainer(Recipe(steps=3, batch=8), tmp_path).run()
    with pytest.raises(AskError, match="learning_rate"):
        trainer(Recipe(steps=3, batch=8, learning_rate=0.1), tmp_path, resume=True)
    with pytest.raises(AskError, match="examples"):
        trainer(Recipe(steps=3, batch=8), tmp_path, count=99, resume=True)
    longer = trainer(Recipe(steps=6, batch=8), tmp_path, resume=True)
    assert longer.run().steps == 6
    wrong = next((tmp_path / "checkpoints" / "step-00000006").glob("*.safetensors"))
    wrong.write_bytes(wrong.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match="hash"):
        trainer(Recipe(steps=6, batch=8), tmp_path, resume=True)


def test_without_a_clip_large_gradients_pass():
    clipped, free = (trainer(Recipe(steps=1, batch=8, clip=c, warm_up=0)) for c in (1e-6, 0.0))
    for run in (clipped, free):
        run.optimiser.step = lambda rate, run=run: setattr(
            run, "seen", sum(p.grad.norm() ** 2 for p in _with_grad(run))
        )
        run.run()
    assert clipped.seen <= 1.001e-12 and free.seen > 1e-4


def _with_grad(run):
    return [p for p in run.network.parameters() if p.grad is not None]


# -- what surrounds the loop ----------------------------------------------------------------------------------


def test_order_visits_everything_once_an_epoch_and_differs_by_epoch_and_seed():
    order = Order(37, seed=3)
    stream = order.at(torch.arange(37 * 3)).reshape(3, 37)
    assert all(sorted(row.tolist()) == list(range(37)) for row in stream)
    assert not torch.equal(stream[0], stream[1]) and not torch.equal(stream[0], Order(37, 4).epoch(0))
    assert torch.equal(Order(37, 3).at(torch.arange(50, 90)), order.at(torch.arange(50, 90)))


def test_processes_share_one_global_batch():
    whole = Feed(Moons(50), 12, 0).read(7)
    parts = [Feed(Moons(50), 12, 0, rank, 3).read(7) for rank in range(3)]
    assert torch.equal(torch.cat([p.x["point"] for p in parts]), whole.x["point"])
    assert torch.cat([p.index for p in parts]).tolist() == list(range(84, 96))


def test_slow_reading_moves_to_a_thread_and_gives_the_same():
    import threading
    import time

    readers = []

    class Slow(Moons):
        def batch(self, indices):
            time.sleep(0.004)
            readers.append(threading.current_thread().name)
            return super().batch(indices)

    feed, plain = Feed(Slow(50), 4, 0), Feed(Moons(50), 4, 0)
    for step in range(20):
        assert torch.equal(feed.get(step).x["point"], plain.read(step).x["point"])
    feed.close()
    assert set(readers[:5]) == {"MainThread"} and all(name.startswith("suffuse-feed") for name in readers[5:20])
    quick = Feed(Moons(50), 4, 0)
    quick._since -= 10.0  # as if the steps took long
    for step in range(20):
        quick.get(step)
    assert quick._thread is None


class Mixed(Toy):
    tasks = {"generate": 1.0, "by_label": 1.0, "inpaint": 1.0, "never": 0.0}

    def start(self, task, batch, random, step):
        if task == "never":
            raise AssertionError
        if task == "inpaint":
            n = len(batch)
            levels = torch.tensor([[0.0, 1.0]]).expand(n, 2)
            return Start(
                {"point": levels}, {"label": torch.ones(n, 1, dtype=torch.bool)}, torch.ones(n, dtype=torch.bool)
            )
        return super().start(task, batch, random, step)


def test_each_example_gets_the_start_of_its_own_task():
    data, modality = Moons(64), Mixed()
    tasks = mixture(modality, None)
    assert "never" not in tasks
    batch = data.batch(torch.arange(64))
    start = mixed_start(modality, tasks, batch, Random(1), 5)
    whole = {name: modality.start(name, batch, Random(1), 5) for name in tasks}
    kinds = []
    for row in range(64):
        level = start.levels["point"][row].expand(2).tolist(), start.levels["label"][row].item()
        if start.exact[row]:
            assert level == ([0.0, 1.0], 1.0) and start.held["label"][row].item()
            kinds.append("inpaint")
        elif level[1] == 0:
            assert level[0] == [1.0, 1.0] and not start.held["label"][row].item()
            kinds.append("by_label")
        else:
            assert level == ([1.0, 1.0], 1.0)
            assert start.held["label"][row].item() == whole["generate"].held["label"][row].item()
            kinds.append("generate")
    assert set(kinds) == {"generate", "by_label", "inpaint"}
    half = Batch({k: v[32:] for k, v in batch.x.items()}, index=batch.index[32:])
    later = mixed_start(modality, tasks, half, Random(1), 5)
    assert torch.equal(later.levels["point"].expand(32, 2), start.levels["point"][32:].expand(32, 2))
    with pytest.raises(AskError, match="generate"):
        mixture(modality, {"paint": 1.0})


def test_choice_is_measured_remembered_and_never_slower(tmp_path, monkeypatch):
    monkeypatch.setenv("SUFFUSE_CACHE", str(tmp_path))
    calls = []

    def run(choice):
        def call():
            import time

            calls.append(choice)
            time.sleep(0.002 if choice.bf16 else 0.03)

        return call

    network, cpu = torch.nn.Conv2d(3, 3, 3), torch.device("cpu")
    assert machine.choose(run, network, cpu, 8, "train").bf16
    count = len(calls)
    assert machine.choose(run, network, cpu, 8, "train").bf16 and len(calls) == count
    assert machine.fastest({"plain": 1.0, "other": 0.97}, "plain") == "plain"
    assert machine.fastest({"plain": 1.0, "other": 0.90}, "plain") == "other"

    def broken():
        raise RuntimeError("not on this machine")

    slow = {name: (lambda: __import__("time").sleep(0.01)) for name in ("plain", "other")}
    assert machine.measure(slow, seconds=0.001).keys() == {"plain"}
    assert machine.measure({"plain": lambda: None, "bad": broken}).keys() == {"plain"}
    torch.set_num_threads(2)

    def counted(choice):
        import time

        return lambda: time.sleep(0.03 * torch.get_num_threads() - 0.028)

    assert machine.choose(counted, network, cpu, 9, "train", open_to=("threads",), cache=False).threads == 1
    assert torch.get_num_threads() == 2
    layout = machine.Choice(channels_last=True).place(torch.nn.Conv2d(8, 8, 3)).weight
    assert layout.is_contiguous(memory_format=torch.channels_last)
