"""The training loop: one for every modality, on one process or many, resumable at any step."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.diffusion.random import Random
from suffuse.errors import AskError, DataError, ModelError, TrainingError
from suffuse.modalities.contract import Dataset, Modality
from suffuse.training import machine
from suffuse.training.budget import Budget, Clock
from suffuse.training.checkpoint import Checkpoints, State
from suffuse.training.curve import Curve
from suffuse.training.feed import Feed
from suffuse.training.network_averages import NetworkAverages
from suffuse.training.optimiser import Optimiser
from suffuse.training.recipe import Recipe
from suffuse.training.surroundings import progress_bar, steady, stopping
from suffuse.training.tasks import mixed_start, mixture

PATIENCE = 10
"""Non-finite steps in a row that end a run."""
DRAW_EVERY = 15.0
"""Seconds between pictures of the loss curve."""
MAY_CHANGE = ("minutes", "steps", "preview_every", "checkpoint_every", "log_every", "device", "average")
"""Settings that may differ when a run is resumed."""


class Interrupted(KeyboardInterrupt):
    """A run that was stopped by Ctrl-C or a termination signal; its message says how to go on."""


@dataclass
class Outcome:
    """What a finished run reports. The denoiser it was given holds the averaged weights."""

    steps: int
    seconds: float
    skipped: int
    waiting: float
    choice: dict[str, bool]
    curve: Curve = field(repr=False, default_factory=Curve)


class Trainer:
    """Trains `denoiser.network` on a data set.

    folder: where checkpoints, stored averages, loss.csv and loss.png go; None keeps nothing on disk.
    objective: like `suffuse.diffusion.objectives.denoising.denoising_loss` (the default).
    preview: called with the step, rank 0 only, while the denoiser holds averaged weights.
    tell: called with one line for a person, now and then.
    """

    def __init__(
        self,
        modality: Modality,
        dataset: Dataset,
        denoiser: Any,
        recipe: Recipe,
        folder: Path | str | None = None,
        *,
        objective: Callable[..., Any] | None = None,
        preview: Callable[[int], None] | None = None,
        resume: bool = False,
        progress: bool = False,
        tell: Callable[[str], None] = lambda line: None,
    ):
        if len(dataset) == 0:
            raise DataError("The data set holds no example to train on.")
        if objective is None:
            from suffuse.diffusion.objectives.denoising import denoising_loss as objective
        self.modality, self.dataset, self.denoiser, self.recipe = modality, dataset, denoiser, recipe
        self.objective, self.preview, self.progress, self.tell = objective, preview, progress, tell
        self.checkpoints = None if folder is None else Checkpoints(folder)
        self.tasks = mixture(modality, recipe.tasks)
        self.network: nn.Module = denoiser.network
        self.random = Random(recipe.seed)
        self.curve = Curve(tuple(denoiser.joint))
        self.step, self.skipped, self.in_a_row = 0, 0, 0
        self.used = 0.0
        self._asked_to_stop, self._stop = False, False
        self._drawn = 0.0
        self._device()
        own = (recipe.average,) if folder is None and recipe.average not in (0, *recipe.tracked) else ()
        self.averages = NetworkAverages(self.network, (*recipe.tracked, *own), self.checkpoints)
        self.optimiser = Optimiser(self.network, recipe.optimiser, recipe.betas, recipe.momentum, recipe.weight_decay)
        self.choice: machine.Choice | None = None
        if resume and self.checkpoints is not None:
            state = self.checkpoints.read()
            if state is not None:
                self._restore(state)
        elif self.checkpoints is not None and self.main:
            self._make_room()

    # -- setting up -----------------------------------------------------------------------------------------------
    def _device(self) -> None:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        wanted = self.recipe.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            kind = torch.device(wanted).type
        except RuntimeError:
            raise AskError(f"{wanted!r} is no device; use cpu, cuda or mps.") from None
        if kind == "cuda" and not torch.cuda.is_available():
            raise AskError("No CUDA device is at hand; leave the device out or use cpu.")
        handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
        self.accelerator = Accelerator(cpu=kind == "cpu", kwargs_handlers=handlers)
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.main = self.accelerator.is_main_process
        self.device = self.accelerator.device if self.world > 1 else torch.device(wanted)
        if self.world > self.recipe.batch:
            raise AskError(f"A batch of {self.recipe.batch} is too small for {self.world} processes; use a larger one.")
        self._usual_threads = torch.get_num_threads()
        if self.recipe.threads is not None:
            torch.set_num_threads(self.recipe.threads)
        self.denoiser.to(self.device)

    def _make_room(self) -> None:
        """Forget a finished run of this folder; an unfinished one is not thrown away unasked."""
        place = self.checkpoints
        steps = place.steps()
        if steps and not place.finished():
            raise AskError(
                f"{place.folder} holds an unfinished run (at step {steps[-1]}); add --resume to go on with it, "
                f"or remove {place.root} to start afresh."
            )
        place.clear()

    def _restore(self, state: State) -> None:
        values = state.values
        theirs, ours = values["recipe"], self.recipe.to_json()
        for name, value in ours.items():
            if name not in MAY_CHANGE and theirs.get(name) != value:
                raise AskError(
                    f"The run in {self.checkpoints.folder} had {name} = {theirs.get(name)!r}, and now it is {value!r}; "
                    f"resume with the same settings or train into a new folder."
                )
        if values["examples"] != len(self.dataset):
            raise AskError(
                f"The run in {self.checkpoints.folder} was trained on {values['examples']} examples and is resumed on "
                f"{len(self.dataset)}; give the same data or train into a new folder."
            )
        if values["threads"] != torch.get_num_threads() and self.device.type == "cpu":
            if self.recipe.threads is None:
                torch.set_num_threads(values["threads"])

        def part(prefix: str) -> dict[str, Tensor]:
            return {name[len(prefix) :]: value for name, value in state.tensors.items() if name.startswith(prefix)}

        try:
            self.network.load_state_dict(part("network."))
            self.averages.load(part("average."), values["updates"])
        except (RuntimeError, KeyError) as error:
            line = " ".join(str(error).split())[:160]
            raise ModelError(f"The checkpoint {state.folder} belongs to another network ({line}).") from None
        self.optimiser.load(part("optimiser."))
        self.curve.load(state.tensors["curve"])
        self.step, self.used, self.averages.stored = state.step, values["seconds"], list(values["averages"])
        self.skipped, self.in_a_row = values["skipped"], 0
        self.choice = machine.Choice(**values["choice"])

    def _choose(self) -> machine.Choice:
        """How the network is run: as the recipe says, else as measured; a run of fixed steps on a CPU stays plain."""
        recipe = self.recipe
        settle = machine.Choice(bool(recipe.precision == "bf16"), bool(recipe.channels_last), bool(recipe.compile))
        open_to = []
        if recipe.precision == "auto":
            if self.device.type == "cuda":
                settle = machine.Choice(torch.cuda.is_bf16_supported(), settle.channels_last, settle.compile)
            else:
                open_to.append("bf16")
        if recipe.channels_last is None:
            open_to.append("channels_last")
        if recipe.threads is None and self.device.type == "cpu":
            open_to.append("threads")
        choice = settle
        if open_to and self.world == 1 and recipe.minutes is not None and recipe.minutes >= 1:
            run = self._timed(self.feed.read(0))
            seconds = min(4.0, 0.01 * 60 * recipe.minutes)
            choice = machine.choose(
                run, self.network, self.device, recipe.batch, "train", settle, tuple(open_to), seconds=seconds
            )
            if recipe.compile is None and machine.worth_compiling(60 * recipe.minutes, self.device):
                tried = dataclasses.replace(choice, compile=True)
                times = machine.measure({"eager": run(choice), "compiled": run(tried)})
                choice = tried if machine.fastest(times, "eager") == "compiled" else choice
        return choice

    def _timed(self, batch: Any) -> Callable[[machine.Choice], Callable[[], Any]]:
        """For a choice: a call that runs one loss and its gradients on a copy of the network."""
        import copy

        index = batch.index
        start = mixed_start(self.modality, self.tasks, batch, self.random, 0).to(self.device)
        batch = batch.to(self.device)

        def make(choice: machine.Choice) -> Callable[[], Any]:
            denoiser = copy.deepcopy(self.denoiser)
            denoiser.network = choice.place(denoiser.network)
            if choice.compile:
                denoiser.network = machine.compiled(denoiser.network)

            def call() -> None:
                with choice.autocast(self.device):
                    loss = self.objective(denoiser, denoiser.joint, batch, start, self.random, 0, index)
                loss.total.backward()
                for value in denoiser.parameters():
                    value.grad = None
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)

            return call

        return make

    # -- the loop -------------------------------------------------------------------------------------------------
    def run(self) -> Outcome:
        """Train to the end of the recipe. The denoiser then holds the averaged weights.

        Raises `Interrupted` after Ctrl-C or SIGTERM (state saved), `TrainingError` after ten non-finite steps in a row
        (last good state saved), `DataError` when the disk is full (the previous checkpoint stays).
        """
        try:
            return self._run()
        finally:
            torch.set_num_threads(self._usual_threads)

    def _run(self) -> Outcome:
        self.feed = Feed(self.dataset, self.recipe.batch, self.recipe.seed, self.rank, self.world)
        self.denoiser.train()
        with steady(self.device):
            clock = Clock(torch.get_num_threads(), wall=self.device.type != "cpu")
            if self.choice is None:
                self.choice = self._choose()
            if self.choice.threads is not None:
                torch.set_num_threads(self.choice.threads)
                clock.threads = self.choice.threads
            self.budget = Budget(self.recipe, clock, self.used)
            self._wrap()
            begun, saved = time.perf_counter(), time.perf_counter()
            self._window: list[list[float]] = []
            try:
                with progress_bar(self.progress and self.main, self._done) as bar, stopping(self._note_stop):
                    while not self._finished():
                        progress = self._one_step()
                        self._after(progress)
                        bar(self._done, self.step, self.curve.rows[-1][2] if self.curve.rows else math.nan)
                        if self._stop:
                            break
                        if time.perf_counter() - saved > self.recipe.checkpoint_every:
                            self.save()
                            saved = time.perf_counter()
            finally:
                self.feed.close()
                self._unwrap()
            wall = time.perf_counter() - begun
        self.save()
        if self._stop:
            folder = None if self.checkpoints is None else self.checkpoints.folder
            where = "" if folder is None else f"; state saved in {folder}, go on with --resume"
            raise Interrupted(f"Stopped after step {self.step}{where}.")
        self.averages.conclude()
        self.adopt(self.recipe.average)
        self.denoiser.eval()
        share = self.feed.waited / wall if wall > 0 else 0.0
        return Outcome(self.step, self.used, self.skipped, share, self.choice.to_json(), self.curve)

    def _note_stop(self, name: str) -> None:
        """A signal came; the run ends with the first step before which every process knows it."""
        self._asked_to_stop = True

    def _finished(self) -> bool:
        if self.recipe.steps is not None:
            return self.step >= self.recipe.steps
        return self._shared_progress >= 1

    def _one_step(self) -> float:
        """One step of the optimiser (or a skipped one); returns the share of the run done before it."""
        batch = self.feed.get(self.step)
        index = batch.index  # starts and levels are drawn where launching is cheap, and the batch moves after that
        start = mixed_start(self.modality, self.tasks, batch, self.random, self.step).to(self.device)
        batch = batch.to(self.device)
        with self.choice.autocast(self.device):
            loss = self.objective(self.denoiser, self.denoiser.joint, batch, start, self.random, self.step, index)
        progress = self.budget.progress(self.step)
        total, fields, progress = self._agree(loss, progress)
        total.backward()
        norm, value, *fields = self._read(total, fields)
        rate = self.recipe.rate(progress)
        good = math.isfinite(norm) and math.isfinite(value)
        if good:
            self._clip(norm)
            self.optimiser.step(rate)
            self.averages.follow()
            self.in_a_row = 0
        else:
            self.skipped += 1
            self.in_a_row += 1
            if self.main:
                self.tell(f"Step {self.step + 1}: the loss or its gradient is not finite; the step is skipped.")
        self.optimiser.zero_grad()
        self.step += 1
        self._shared_progress = progress
        self._window.append([value, norm, rate, *fields])
        if self.in_a_row >= PATIENCE:
            self._give_up()
        return progress

    def _agree(self, loss: Any, progress: float) -> tuple[Tensor, Tensor, float]:
        """The loss normalised over all processes, scaled so that DDP's mean of gradients is the global gradient."""
        names = self.curve.fields
        if self.world == 1:
            self._stop = self._asked_to_stop
            nothing = loss.total.new_zeros(())
            return loss.total, torch.stack([loss.fields.get(name, nothing).float() for name in names]), progress
        nothing = (loss.total.new_zeros(()), loss.total.new_zeros(()))
        parts = [loss.parts.get(name, nothing) for name in names]
        own = [progress if self.main else 0.0, 1.0 if self._asked_to_stop else 0.0]
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        message = torch.stack([p[0].detach().to(kind) for p in parts] + [p[1].to(kind) for p in parts])
        message = torch.cat([message, torch.tensor(own, dtype=kind, device=self.device)])
        shared = self.accelerator.reduce(message, "sum")
        n = len(names)
        whole = shared[n : 2 * n].clamp(min=1)
        shares = [self.denoiser.joint.weights.get(name, 1.0) for name in names]
        terms = [w * p[0] / count.to(p[0].dtype) for w, p, count in zip(shares, parts, whole, strict=True)]
        self._stop = bool(shared[-1] > 0)
        return torch.stack(terms).sum() * self.world, shared[:n] / whole, float(shared[-2])

    def _read(self, total: Tensor, fields: Tensor) -> list[float]:
        """The gradient's norm, the loss and each field's own, fetched from the device in one wait."""
        grads = [p.grad for p in self.optimiser.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads) if grads else total.new_zeros(())
        value = total.detach()
        if self.world > 1:
            value = self.accelerator.reduce(value.clone(), "mean")
        return torch.cat([torch.stack([norm.float(), value.float()]), fields.detach().float()]).tolist()

    def _clip(self, norm: float) -> None:
        if self.recipe.clip > 0 and norm > self.recipe.clip:
            grads = [p.grad for p in self.optimiser.parameters() if p.grad is not None]
            torch._foreach_mul_(grads, self.recipe.clip / (norm + 1e-6))

    def _after(self, progress: float) -> None:
        """Logging, stored averages and previews that are due."""
        if self.step % self.recipe.log_every == 0 or self._finished():
            self._log()
        done = self.step / self.recipe.steps if self.recipe.steps is not None else progress
        count = self.recipe.snapshots
        if self.checkpoints is not None and self.main:
            if int(done * count + 1e-9) > int(self._done * count + 1e-9):
                self.averages.store(self.step)
        every = self.recipe.preview_every
        if self.preview is not None and self.main and every > 0:
            if int(done / every + 1e-9) > int(self._done / every + 1e-9):
                self._preview()
        self._done = done

    def _log(self) -> None:
        if not self._window:
            return
        columns = list(zip(*self._window, strict=True))

        def mean(values: tuple[float, ...]) -> float:
            finite = [v for v in values if math.isfinite(v)]
            return sum(finite) / len(finite) if finite else math.nan

        self._window = []
        loss, norm, rate, *fields = columns
        row = [self.step, self.budget.used, mean(loss), mean(norm), rate[-1], self.skipped, *(mean(f) for f in fields)]
        self.curve.add(row)

    def _preview(self) -> None:
        try:
            with self.averages.adopted(self.recipe.average):
                self.denoiser.eval()
                self.preview(self.step)
        except Exception as error:  # a picture must not end a run
            self.tell(f"No preview at step {self.step}: {error}")
        finally:
            self.denoiser.train()

    def _give_up(self) -> None:
        where = "" if self.checkpoints is None else f" The last good state is in {self.checkpoints.folder}."
        self.save()
        raise TrainingError(
            f"The loss was not finite for {PATIENCE} steps in a row (step {self.step}); "
            f"lower learning_rate, or look for extreme values in the data.{where}"
        )

    # -- weights and state ----------------------------------------------------------------------------------------
    def adopt(self, width: float) -> None:
        """Put weights averaged with relative width `width` into the network; 0 is the last weights."""
        self.averages.adopt(width)

    def save(self) -> None:
        """Write a checkpoint and the loss curve (rank 0; nothing without a folder)."""
        self.used = self.budget.used
        if self.checkpoints is None or not self.main:
            return
        values = {
            "recipe": self.recipe.to_json(),
            "modality": self.modality.name,
            "examples": len(self.dataset),
            "threads": torch.get_num_threads(),
            "updates": self.averages.count,
            "seconds": self.used,
            "skipped": self.skipped,
            "finished": self._finished(),
            "choice": self.choice.to_json(),
            "averages": self.averages.stored,
        }
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.averages.tensors().items()}
        tensors |= {f"optimiser.{k}": v for k, v in self.optimiser.tensors().items()}
        if self._window and self._finished():
            self._log()
        tensors["curve"] = self.curve.tensor()
        self.checkpoints.write(self.step, values, tensors)
        now = time.perf_counter()
        if self._finished() or self._stop or now - self._drawn > DRAW_EVERY:
            self.curve.write(self.checkpoints.folder)
            self._drawn = now

    # -- surroundings ---------------------------------------------------------------------------------------------
    def _wrap(self) -> None:
        self.choice.place(self.network)
        self.optimiser.settle()
        self.averages.settle(self.averages.parameters())
        self._shared_progress = self.budget.progress(self.step)
        self._done = self._shared_progress
        network = machine.compiled(self.network) if self.choice.compile else self.network
        if self.world > 1:
            network = self.accelerator.prepare(network)
        self.denoiser.network = network

    def _unwrap(self) -> None:
        self.denoiser.network = self.network
