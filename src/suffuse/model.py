"""What a person holds: a trained model that samples, completes, edits, predicts and saves; and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse.caching import reused_blocks
from suffuse.diffusion.denoiser import Denoiser
from suffuse.diffusion.grids import GRIDS
from suffuse.diffusion.guidance import ClassifierFree
from suffuse.diffusion.path import Path as DiffusionPath
from suffuse.diffusion.process import full_levels
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import Event
from suffuse.diffusion.sampling import events as engine_events
from suffuse.diffusion.solver import SOLVERS, Solver
from suffuse.diffusion.state import Batch, Fields, Task
from suffuse.errors import AskError, ModelError
from suffuse.modalities import registry
from suffuse.modalities.contract import Modality, is_dataset
from suffuse.precision import in_precision
from suffuse.progress import follow
from suffuse.storage import check_counts, locate, read_config, read_weights, save_folder
from suffuse.tuning import tune, tuned_solver

SETTINGS: dict[str, Any] = {
    "steps": 10,
    "guidance": 1.0,
    "interval": [0.0, 1.0],
    "solver": "dpmpp2m",
    "grid": "uniform",
    "stochasticity": 0.0,
    "precision": "fp32",
}
"""Sampling settings and their defaults; a modality's `defaults()["sampling"]` and a tuned model's own come before them."""


class Model:
    """A trained model of one kind of data.

    modality: the kind of data, with what was learnt about it (shapes, classes, scaling). denoiser: the network as a prediction
    of clean samples. settings: this model's sampling defaults. Sugar verbs of the modality are methods: `model.forecast(...)`.
    """

    def __init__(
        self,
        modality: Modality,
        denoiser: Denoiser,
        settings: dict[str, Any] | None = None,
        notes: dict[str, Any] | None = None,
    ):
        self.modality, self.denoiser = modality, denoiser.eval()
        self.joint = denoiser.joint
        self.settings = SETTINGS | modality.defaults().get("sampling", {}) | (settings or {})
        self.notes = notes or {}
        self.folder: Path | None = None

    @classmethod
    def new(cls, modality: Modality) -> Model:
        """An untrained model of a kind of data."""
        return cls(modality, Denoiser(modality.network(), modality.joint(), modality.parametrisation()))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            verb = type(self.__dict__["modality"]).verbs.get(name) if "modality" in self.__dict__ else None
            if verb is not None:
                return partial(verb, self)
        raise AttributeError(f"this model has no '{name}'")

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    def to(self, device: str | torch.device) -> Model:
        self.denoiser.to(device)
        return self

    # -- asking -------------------------------------------------------------------------------------------------
    def sample(
        self,
        n: int = 1,
        given: Any = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        interval: tuple[float, float] | None = None,
        seed: int = 0,
        start: int = 0,
        batch: int = 64,
        solver: str | Solver | None = None,
        grid: str | None = None,
        stochasticity: float | None = None,
        path: DiffusionPath | None = None,
        precision: str | None = None,
        reuse: int = 1,
        progress: bool | Callable[[int, int], None] = False,
        **asked: Any,
    ) -> list[Any]:
        """n samples, as the ecosystem's own objects. What is given is kept, the rest is drawn.

        steps: network calls at most (default: the model's own). guidance: classifier-free weight on given conditions, 1 is off;
        interval: the levels between which it works. solver, grid, stochasticity: how the levels come down (default: the model's
        own). seed, start: sample k is the same whatever the batch: `sample(1, start=7)` equals `sample(64)[7]`. precision:
        'fp32' (default: the same bits on every run), 'bf16', or 'auto', which times both here once and remembers. reuse: the
        inner blocks of a transformer compute in every `reuse`-th call only (faster, other samples). Further keywords are the
        modality's. Raises `AskError`.
        """
        check_counts(n=n, batch=batch)
        task = self.modality.request(n, given, index=self._index(n, start), **asked)
        fields = self.run(
            task,
            steps=steps,
            guidance=guidance,
            interval=interval,
            seed=seed,
            batch=batch,
            solver=solver,
            grid=grid,
            stochasticity=stochasticity,
            path=path,
            precision=precision,
            reuse=reuse,
            progress=progress,
        )
        return self.modality.decode(fields, task)

    def batches(
        self,
        n: int,
        given: Any = None,
        *,
        start: int = 0,
        batch: int = 64,
        progress: bool | Callable[[int, int], None] = False,
        **settings: Any,
    ) -> Iterator[list[Any]]:
        """The samples of `sample`, a batch at a time as they are made: memory does not grow with n. given: what all of them
        share; files and lists, which may hold one condition a sample, are read whole, so that memory grows with them."""
        check_counts(n=n, batch=batch)
        if not _shared(given):
            made = self.sample(n, given, start=start, batch=batch, progress=progress, **settings)
            yield from (made[first : first + batch] for first in range(0, n, batch))
            return
        firsts = range(0, n, batch)
        with follow(progress) as report:
            for k, first in enumerate(firsts):

                def overall(done: int, total: int, k: int = k) -> None:
                    report(k * total + done, len(firsts) * total)

                yield self.sample(
                    min(batch, n - first), given, start=start + first, batch=batch, progress=overall, **settings
                )

    def run(
        self, task: Task, *, batch: int = 64, progress: bool | Callable[[int, int], None] = False, **settings: Any
    ) -> Fields:
        """A task in, its fields out, in batches. settings: as `events` takes them. What verbs build on."""
        outs: list[Fields] = []
        starts, order = range(0, len(task), batch), self.modality.batching(task)
        with follow(progress) as report:
            for number, first in enumerate(starts):
                chosen = slice(first, first + batch)
                part = self.modality.trimmed(task.rows(chosen if order is None else order[chosen]))
                x = part.x
                for event in self.events(part, **settings):
                    x = event.x
                    report(number * event.steps + event.step, len(starts) * event.steps)
                outs.append({k: _padded(v.cpu(), task.x[k].shape[1:]) for k, v in x.items()})
        made = {k: torch.cat([o[k] for o in outs]) for k in outs[0]}
        return made if order is None else {k: v[order.argsort()] for k, v in made.items()}

    def events(
        self,
        task: Task,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        interval: tuple[float, float] | None = None,
        seed: int = 0,
        solver: str | Solver | None = None,
        grid: str | None = None,
        stochasticity: float | None = None,
        path: DiffusionPath | None = None,
        precision: str | None = None,
        reuse: int = 1,
        wrap: Callable[..., Any] | None = None,
        adjust: Callable[[Fields, Fields, int], Fields] | None = None,
        state: Fields | None = None,
    ) -> Iterator[Event]:
        """One event a network call, as it happens; stop with `break`. interval: levels between which guidance works; grid: name
        of the time grid (default: the model's own). reuse: as in `sample`. wrap: denoiser -> denoiser, put outside the guidance
        (such as a `DDNM`). adjust, state: as `suffuse.diffusion.sampling.events` takes them."""
        tuned = self._tuned(steps) if path is None and grid is None else None
        chosen = self._solver(solver, tuned)
        path = self._path(steps, path, grid, tuned)
        weight = self.settings["guidance"] if guidance is None else guidance
        if not isinstance(weight, (int, float)) or isinstance(weight, bool) or not 0 <= weight < 1e4:
            raise AskError(f"guidance must be a number of at least 0, not {weight!r}")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise AskError(f"seed must be a whole number of at least 0, not {seed!r}")
        task = self.modality.drawn_first(self, task, seed, wrap is None and adjust is None and state is None)
        task = task.to(self.device)
        denoiser: Any = in_precision(self.denoiser, precision or self.settings["precision"], task)
        if weight != 1.0:
            within = tuple(self.settings["interval"] if interval is None else interval)
            denoiser = ClassifierFree(denoiser, self.joint, float(weight), self._conditions(task), within)
        denoiser = self.modality.wrap(denoiser, task)
        adjust = adjust or self.modality.adjust(task)
        if wrap is not None:
            denoiser = wrap(denoiser)
        if stochasticity is not None:
            eta = stochasticity
        else:
            eta = 0.0 if tuned and solver is None else self.settings["stochasticity"]
        gradients = getattr(denoiser, "needs_gradients", False)
        mode = torch.no_grad() if gradients else torch.inference_mode()
        with mode, reused_blocks(self.denoiser.network, reuse):
            yield from engine_events(denoiser, self.joint, task, path, chosen, Random(seed), eta, adjust, state)

    def edit(
        self,
        x: Any,
        strength: float = 0.6,
        given: Any = None,
        mask: Any = None,
        *,
        n: int | None = None,
        seed: int = 0,
        start: int = 0,
        **settings: Any,
    ) -> list[Any]:
        """Noise `x` to level `strength` and bring it back (SDEdit, Meng et al. 2022), under what is `given`; within `mask`
        only, where one is. x: one object or a list. Raises `AskError`."""
        if not isinstance(strength, (int, float)) or not 0 <= strength <= 1:
            raise AskError(f"strength must lie in [0, 1], not {strength!r}")
        objects = self.modality.objects(x)
        n = len(objects) if n is None else n
        main = self.modality.main
        task = self.modality.request(n, {**(given or {}), main: x}, index=self._index(n, start))
        like = task.x[main]
        where = (
            torch.ones_like(like[:, :1] if like.ndim > 2 else like, dtype=torch.bool)
            if mask is None
            else self.modality.mask(mask, task)
        )
        task.start.levels[main] = torch.where(where, float(strength), 0.0)
        task.given[main] = ~where
        return self.modality.decode(self.run(task, seed=seed, **settings), task)

    def restore(
        self,
        measurement: Any,
        operator: Any,
        *,
        noise: float = 0.0,
        method: str = "pigdm",
        n: int = 1,
        given: Any = None,
        seed: int = 0,
        start: int = 0,
        **settings: Any,
    ) -> list[Any]:
        """Samples of x given y = A x + noise, on the modality's main field.

        measurement: (n or 1, ...) y in model units, or what the modality's `measured` reads, such as a file. operator: has
        `apply`, `adjoint`, `inverse` (linear; see `suffuse.diffusion.operators`), or is any differentiable callable (method
        'dps'), or a name the modality knows, such as 'downsample:4'. noise: its deviation, in the measurement's units.
        method: 'pigdm', 'ddnm' or 'dps'. PiGDM runs at stochasticity 2 unless told otherwise: fresh noise mends what its
        Gaussian approximation gets wrong, in equal steps of the clock (pictures, 10 calls: +.2 dB against 1, +.7 dB
        against 0). Raises `AskError`.
        """
        from suffuse.diffusion import guidance as wrappers

        methods = {"pigdm": wrappers.PiGDM, "ddnm": wrappers.DDNM, "dps": wrappers.DPS}
        if method not in methods:
            raise AskError(f"there is no restoration method '{method}'; there are {', '.join(methods)}")
        main = self.modality.main
        measurement, operator, noise, shape = self.modality.measured(measurement, operator, noise)
        task = self.modality.request(n, given, index=self._index(n, start), **shape)
        y = measurement.to(self.device).expand(n, *measurement.shape[1:])
        rest = {} if method == "dps" else {"noise": noise}

        def wrap(denoiser: Any) -> Any:
            return methods[method](denoiser, self.joint, main, operator, y, **rest)

        if method == "pigdm":
            settings = {"stochasticity": 2.0, "solver": "dpmpp2m", "grid": "uniform", **settings}
        return self.modality.decode(self.run(task, seed=seed, wrap=wrap, batch=n, **settings), task)

    @torch.inference_mode()
    def predict(self, x: Any, field: str, *, batch: int = 256) -> Tensor:
        """One call: the expected value of `field` given everything else of x. Categorical fields answer class probabilities
        (n, ..., K), Gaussian fields their mean in model units. x: anything `modality.dataset` reads, or a data set."""
        if field not in self.joint.processes:
            raise AskError(f"this model has no field '{field}'; it has {', '.join(self.joint)}")
        data = self._data(x)
        outs = []
        for rows in torch.arange(len(data)).split(batch):
            clean = self._clean_at(data.batch(rows).to(self.device), {field: 1.0})[field]
            outs.append((torch.softmax(clean, -1) if self.joint[field].categorical else clean).cpu())
        return torch.cat(outs)

    def log_likelihood(self, x: Any, **options: Any) -> Tensor:
        """Bits per dimension of each example (lower is likelier), (n,): probability-flow ODE for Gaussian fields, ELBO for
        categorical ones. x: anything `modality.dataset` reads, or a data set."""
        from suffuse.diffusion.likelihood import bits

        data = self._data(x)
        return torch.cat(
            [
                bits(self.denoiser, self.joint, data.batch(rows).to(self.device), self.modality.main, **options)
                for rows in torch.arange(len(data)).split(64)
            ]
        )

    @torch.inference_mode()
    def features(self, x: Any, level: float = 0.2, *, batch: int = 256) -> Tensor:
        """(n, D) features of the network at a noise level of the main field. Raises `AskError` for networks that give none."""
        network: Any = self.denoiser.network
        if not hasattr(network, "features"):
            raise AskError(f"the network of this {self.modality.name} model gives no features")
        data = self._data(x)
        outs: list[Tensor] = []
        handle_inputs: list[Any] = []
        hook = network.register_forward_pre_hook(lambda module, inputs: handle_inputs.append(inputs))
        try:
            for rows in torch.arange(len(data)).split(batch):
                self._clean_at(data.batch(rows).to(self.device), {self.modality.main: level})
                outs.append(network.features(*handle_inputs[-1][:3]).cpu())
                handle_inputs.clear()
        finally:
            hook.remove()
        return torch.cat(outs)

    def evaluate(self, source: Any, **options: Any) -> dict[str, float]:
        """Figures of quality on data, each beside real against real."""
        data = self._data(source)
        return self.modality.evaluate(self, data, **options)

    # -- faster, same calls afterwards --------------------------------------------------------------------------
    def tune(self, calls: int = 8, **options: Any) -> Model:
        """Find time grid and solver for this model and number of calls; used by default afterwards. Minutes, no retraining."""
        return tune(self, calls, **options)

    def distill(self, source: Any, minutes: float = 5.0, **options: Any) -> Model:
        """A few-step model that learnt the effective clean prediction between levels. source: the training data."""
        from suffuse.training.distil import distill

        return distill(self, source, minutes=minutes, **options)

    # -- keeping ------------------------------------------------------------------------------------------------
    def save(self, folder: str | Path, *, half: bool = False, card: str | None = None) -> Path:
        """Write `model.safetensors`, `config.json` and a card. half: 16-bit weights."""
        tensors = {
            k: (v.half() if half and v.is_floating_point() else v).detach().cpu()
            for k, v in self.denoiser.network.state_dict().items()
        }
        config = {
            "modality": self.modality.name,
            "data": self.modality.config,
            "settings": self.settings,
            "flow_map": self.denoiser.flow_map,
            "notes": self.notes,
        }
        from suffuse.card import write_card

        self.folder = save_folder(folder, tensors, config, card or write_card(self))
        return self.folder

    def push_to_hub(self, name: str, **options: Any) -> str:
        """Upload the model folder to the Hugging Face Hub as `name` (owner/name); returns its address."""
        import tempfile

        from huggingface_hub import HfApi

        api = HfApi()
        address = api.create_repo(name, exist_ok=True, **options)
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder) / "model")
            api.upload_folder(repo_id=name, folder_path=str(Path(folder) / "model"))
        return str(address)

    # -- inside -------------------------------------------------------------------------------------------------
    def _data(self, source: Any) -> Any:
        """An open data set as it is; anything else as the modality reads it."""
        return source if is_dataset(source) else self.modality.dataset(source)

    def _index(self, n: int, start: int) -> Tensor:
        check_counts(n=n)
        if isinstance(start, bool) or not isinstance(start, int) or start < 0:
            raise AskError(f"start must be a whole number of at least 0, not {start!r}")
        return torch.arange(start, start + n)

    def _tuned(self, steps: int | None) -> dict[str, Any] | None:
        """The tuned grid and weights for a number of steps, where there are."""
        return self.settings.get("tuned", {}).get(str(self.settings["steps"] if steps is None else steps))

    def _path(
        self, steps: int | None, path: DiffusionPath | None, grid: str | None, tuned: dict[str, Any] | None
    ) -> DiffusionPath:
        if path is not None:
            if steps is not None:
                raise AskError("give either steps or a path, not both")
            return path
        count = self.settings["steps"] if steps is None else steps
        check_counts(steps=count)
        if grid is not None and grid not in GRIDS:
            raise AskError(
                f"there is no time grid '{grid}'{registry.nearest(grid, GRIDS)}; there are {', '.join(GRIDS)}"
            )
        times = torch.tensor(tuned["grid"], dtype=torch.float64) if tuned else grid or self.settings["grid"]
        return self.modality.path(count, times)

    def _solver(self, name: str | Solver | None, tuned: dict[str, Any] | None) -> Solver:
        if isinstance(name, Solver):
            return name
        if self.denoiser.flow_map:
            name = "ddim"
        elif name is None and tuned:
            return tuned_solver(tuned)
        name = name or self.settings["solver"]
        if name not in SOLVERS:
            raise AskError(
                f"there is no solver '{name}'{registry.nearest(name, SOLVERS)}; there are {', '.join(SOLVERS)}"
            )
        return SOLVERS[name]

    def _conditions(self, task: Task) -> list[str]:
        """Fields that are given as a whole: what classifier-free guidance holds back."""
        levels = full_levels(self.joint, task.x, task.start.levels)
        held = {n for n, mask in task.start.held.items() if bool(mask.any())}
        return [n for n in self.joint if bool((levels[n] == 0).all()) and n not in held and n not in self.modality.unguided]

    def _clean_at(self, batch: Batch, levels: dict[str, float]) -> Fields:
        """The clean prediction with the named fields noised to a level and everything else as it is."""
        context = dict(batch.context) | {f"exists:{n}": m for n, m in batch.exists.items()}
        start: Fields = {}
        held: Fields = {}
        for name, value in batch.x.items():
            level = torch.full((len(batch),) + (1,) * (value.ndim - 1), levels.get(name, 0.0), device=value.device)
            if name in batch.observed and name not in levels:
                held[name] = ~batch.observed[name]
                level = torch.where(held[name], torch.ones_like(level), level)
            start[name] = level
        index = torch.arange(len(batch), device=self.device)
        noise = self.joint.noise(batch.x, context, Random(0), index, 0)
        x = self.joint.corrupt(batch.x, noise, start)
        x = self.joint.null(x, held)
        return self.denoiser(x, start, context)


def _shared(given: Any) -> bool:
    """Whether what is given is surely one condition for all samples: nothing, or numbers and words that name no file."""
    if given is None or isinstance(given, (bool, int, float)):
        return True
    if isinstance(given, str):
        return not Path(given).exists()
    return isinstance(given, dict) and all(_shared(value) for value in given.values())


def _padded(x: Tensor, shape: torch.Size) -> Tensor:
    """(B, ...) padded with zeros to (B, *shape)."""
    if x.shape[1:] == shape:
        return x
    return F.pad(x, [k for wanted, has in zip(shape[::-1], x.shape[:0:-1], strict=True) for k in (0, wanted - has)])


def load(name: str | Path, device: str | None = None) -> Model:
    """A zoo name, a folder, or a Hub id. Nothing is unpickled. Raises `ModelError` with one sentence."""
    folder = locate(name)
    config = read_config(folder)
    tensors = read_weights(folder, config)
    try:
        modality = registry.find(config["modality"])(**config["data"])
        model = Model.new(modality)
        model.settings |= config.get("settings", {})
        model.notes = config.get("notes", {})
        model.denoiser.flow_map = bool(config.get("flow_map", False))
        model.denoiser.network.load_state_dict(
            {k: v.float() if v.dtype in (torch.float16, torch.bfloat16) else v for k, v in tensors.items()}
        )
    except (RuntimeError, TypeError, KeyError, ValueError, AttributeError) as error:
        line = " ".join(str(error).split())[:200]
        raise ModelError(f"{folder} does not hold a working {config['modality']} model: {line}") from None
    model.folder = folder
    model.denoiser.eval()
    return model.to(device) if device else model
