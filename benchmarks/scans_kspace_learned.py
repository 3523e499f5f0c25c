"""Line 5 of the scans room with a model that is shown what was measured: its pseudo-inverse and a Gaussian process mean given it
are known channels, what that mean lacks is asked, and every call's answer is kept out of the measured part of k-space (DDNM).
Beside it zero-filling and a U-Net of equal size, trained as long."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans_clock import Clock
from scans_kspace import lines
from scans_kspace_start import chosen_start
from scans_plain import Plain, errors, spread_figures
from tables import table
from torch import Tensor

WIDTH, PARTS = 64, ("train", "val", "test")
TRIALS = ((5, 0.0, "uniform", "dpmpp2m"), (10, 0.0, "uniform", "dpmpp2m"), (10, 0.0, "rho3", "deis2"))
TRIALS += ((10, 1.0, "rho3", "dpmpp2m"),)
SHARE = 0.34
"""Of the minutes, for each of the two networks."""


def changed(x: Tensor, copies: int, seed: int) -> Tensor:
    """(copies * N, 1, H, W): mirror images, shifts of up to 2 cells, contrast; the first N as they are."""
    draw, out = torch.Generator().manual_seed(seed), [x]
    for _ in range(copies - 1):
        padded, high, wide = F.pad(x, (2, 2, 2, 2), mode="reflect"), *x.shape[2:]
        dy, dx = (int(v) for v in torch.randint(0, 5, (2,), generator=draw))
        one = padded[:, :, dy : dy + high, dx : dx + wide]
        flip = torch.rand(len(x), 1, 1, 1, generator=draw) < 0.5
        gain = 0.85 + 0.3 * torch.rand(len(x), 1, 1, 1, generator=draw)
        out.append((torch.where(flip, one.flip(3), one) * gain).clamp(0, 1))
    return torch.cat(out)


def model_of(
    x: Tensor, start: Tensor, shown: Tensor, minutes: float, seed: int, device: str, batch: int, work: Path | None
) -> tuple[Any, int]:
    """A scans model of three channels: what `start` lacks of x, widened to the deviation of a picture, `start` and the
    pseudo-inverse `shown`; trained on the task `reconstruct`, the first from the others; its steps."""
    import suffuse
    from suffuse.modalities.scans import Scans
    from suffuse.modalities.scans.modality import CaseRows
    from suffuse.model import Model
    from suffuse.training.recipe import Recipe
    from suffuse.training.trainer import Trainer

    if work is not None and (work / "kspace" / "config.json").is_file():
        model = suffuse.load(work / "kspace")
        return model, model.notes["steps"]
    gain = round(float(x.std() / (x - start).std()), 4)
    config = {
        "grid": list(x.shape[2:]), "channels": ["missing", "start", "measured"], "mask_classes": 0, "orientation": "RAS",
        "affine": np.eye(4).tolist(), "rule": [0.0, 255.0], "labels": {}, "width": WIDTH, "missing": gain, "warp": 1.0,
        "mean": round(float(x.mean()), 6), "std": round(float(x.std()), 6), "typical": [[0.0] * 3, [255.0] * 3],
    }  # fmt: skip
    modality = Scans(**config)
    torch.manual_seed(seed)
    model = Model.new(modality)
    model.joint.processes["image"] = replace(model.joint["image"], weighting="x0")  # what is wanted is a mean
    rows = torch.cat([config["mean"] + gain * (x - start), start, shown], dim=1).half()
    data = CaseRows(modality, rows, torch.ones((1, 1, 1, 1), dtype=torch.bool), None, None, torch.zeros(len(x)))
    recipe = Recipe.make(
        minutes=minutes, batch=batch, seed=seed, optimiser="muon", learning_rate=3e-3, tasks={"reconstruct": 1.0},
        precision="bf16", compile=False, channels_last=False, preview_every=0.0, device=device,
    )  # fmt: skip
    steps = Trainer(modality, data, model.denoiser, recipe).run().steps
    model.notes = {"recipe": recipe.to_json(), "examples": len(x), "steps": steps, "seconds": 60 * minutes}
    if work is not None:
        model.save(work / "kspace")
    return model, steps


def drawn(model: Any, start: Tensor, shown: Tensor, operator: Any, n: int, seed: int, **settings: Any) -> np.ndarray:
    """(n, N, H, W) draws in 0..1 for starts and pseudo-inverses (N, 1, H, W) of values in 0..1."""
    from suffuse.diffusion.guidance import DDNM
    from suffuse.diffusion.state import Start, Task

    modality, size = model.modality, len(start)
    x = modality.scale(torch.cat([start, start, shown], dim=1))
    asked = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1).expand(size, 3, 1, 1)
    nothing = operator.apply(torch.zeros_like(start)).to(model.device)

    def wrap(denoiser: Any) -> Any:
        return DDNM(denoiser, model.joint, "image", operator, nothing)

    out = []
    for k in range(n):
        index = torch.arange(size) + k * size
        task = Task({"image": x}, Start({"image": asked}), {"image": asked == 0}, index=index)
        made = model.run(task, seed=seed, wrap=wrap, batch=size, precision="bf16", **settings)["image"]
        missing = made[:, 0] * modality.config["std"] / modality.config["missing"]
        out.append((start[:, 0] + missing).numpy())
    return np.stack(out)


def widened(draws: np.ndarray, factor: float) -> np.ndarray:
    """Draws about their mean, their distances from it `factor` times as large."""
    mean = draws.mean(0)
    return mean + factor * (draws - mean)


def judged(
    draw: Any, start: Tensor, real: dict[str, np.ndarray], draws: int, waited: float | None = None
) -> tuple[list[list[Any]], str]:
    """Rows of the start, of one call, of the mean of draws, of draws spread to hold 90 % and of one draw, and what was tried on
    validation.

    draw(part, n, (calls, stochasticity, grid, solver)) -> (n, N, H, W); of `TRIALS` the setting of the best mean of 6 is taken.
    start: (N, 1, H, W) of the test pictures. waited: seconds that the start took, which every answer had to wait for.
    """
    whole = {p: np.ones(r.shape, bool) for p, r in real.items()}
    found: dict[str, Any] = {}
    for setting in TRIALS:
        score = errors(draw("val", 6, setting).mean(0), real["val"], whole["val"])[0]
        found[f"{setting[0]} calls, stochasticity {setting[1]:g}, {setting[2]}, {setting[3]}"] = (score, setting)
        print("  ", setting, score, flush=True)
    _, best = max(found.values(), key=lambda t: t[0])
    calls, made = best[0], draw("val", draws, best)
    factors = [float(f) for f in np.linspace(0.8, 2.6, 19)]
    held = [spread_figures(widened(made, f), real["val"], whole["val"])[1] for f in factors]
    factor = factors[int(np.argmin(np.abs(np.array(held) - 0.9)))]
    test, inside = real["test"], whole["test"]
    first = errors(start[:, 0].numpy(), test, inside)
    rows = [["start: kernel ridge regression", *first, "", "", 0, "" if waited is None else waited]]
    waited = waited or 0.0
    begun = time.perf_counter()
    one = draw("test", 1, (1, 0.0, "uniform", "dpmpp2m"))[0]
    rows.append(["suffuse, one call", *errors(one, test, inside), "", "", 1, waited + time.perf_counter() - begun])
    begun = time.perf_counter()
    made = draw("test", draws, best)
    spent = time.perf_counter() - begun
    figures = [*errors(made.mean(0), test, inside), *spread_figures(made, test, inside)]
    rows.append([f"suffuse, mean of {draws} draws", *figures, calls * draws, waited + spent])
    wide = spread_figures(widened(made, factor), test, inside)
    rows.append([f"the same, draws spread {factor:.2g} times", *figures[:2], *wide, calls * draws, waited + spent])
    rows.append(["suffuse, one draw", *errors(made[0], test, inside), "", "", calls, waited + spent / draws])
    return rows, ", ".join(f"{t} {v[0]:.2f}" for t, v in found.items())


def plain_answers(sets: dict[str, Tensor], operator: Any, minutes: float, seed: int, device: str, batch: int) -> Any:
    """Rows of zero-filling and the U-Net, and its note. Trained without changed copies and with 8; kept is what is better on
    validation pictures."""
    x, rows, tried = sets, [], []
    zero = {p: operator.adjoint(operator.apply(v)) for p, v in x.items()}
    real, whole = x["test"][:, 0].numpy(), np.ones(x["test"][:, 0].shape, bool)
    rows.append(["zero-filling", *errors(zero["test"][:, 0].numpy(), real, whole), "", "", 0, 0.0])
    for copies in (1, 8):
        more = changed(x["train"], copies, seed)
        filled = operator.adjoint(operator.apply(more))
        plain = Plain(1, 1, WIDTH + 4, seed)

        def judge(plain: Any = plain) -> float:
            at = zero["val"][:120].to(device)
            return float(F.mse_loss(at + plain(at), x["val"][:120].to(device)))

        plain.train(filled.half(), (more - filled).half(), SHARE * minutes, batch, device=device, judge=judge)
        print(f"  plain, {copies} copies: {plain.steps} steps, {plain.judged}", flush=True)
        begun = time.perf_counter()
        with torch.inference_mode():
            guess = zero["test"] + plain(zero["test"].to(device)).float().cpu()
        spent = time.perf_counter() - begun
        name = f"zero-filling, then the U-Net ({copies} {'copies' if copies > 1 else 'copy'} of each picture)"
        rows.append([name, *errors(guess[:, 0].numpy(), real, whole), "", "", 1, spent])
        mended = guess + operator.inverse(operator.apply(x["test"] - guess))
        rows.append(["the same, measured part put back", *errors(mended[:, 0].numpy(), real, whole), "", "", 1, spent])
        step, error = min(plain.judged, key=lambda s: s[1])
        tried.append(
            f"{plain.steps} steps, of which step {step} is kept ({-10 * np.log10(error):.2f} dB on validation)"
        )
    return rows, (
        f"The U-Net: {plain.parameters:,} parameters, {SHARE * minutes:.2g} minutes; 1 copy: {tried[0]}; 8 copies: {tried[1]}. "
    )


def suffuse_answers(
    sets: dict[str, Tensor], operator: Any, minutes: float, draws: int, seed: int, device: str, batch: int, work: Path
) -> Any:
    """Rows of the start and of suffuse, and their note."""
    x, clock = sets, Clock(1.0, device)
    start, how = chosen_start(x["train"], operator)
    fitted = clock()
    shown = {p: operator.inverse(operator.apply(v)) for p, v in x.items()}
    first = {p: start(x[p]) for p in ("val", "test")}
    model, steps = model_of(
        x["train"], start.training, shown["train"], SHARE * minutes - fitted, seed, device, batch, work
    )
    print(f"  suffuse {steps} steps after {clock():.1f} minutes", flush=True)
    size = sum(p.numel() for p in model.denoiser.parameters())
    real = {p: x[p][:, 0].numpy() for p in ("val", "test")}
    real["val"] = real["val"][:120]

    def draw(p: str, n: int, setting: tuple[int, float, str, str]) -> np.ndarray:
        rows, names = slice(0, len(real[p])), ("steps", "stochasticity", "grid", "solver")
        settings = dict(zip(names, setting, strict=True))
        return drawn(model, first[p][rows], shown[p][rows], operator, n, seed, **settings)

    rows, tried = judged(draw, first["test"], real, draws)
    return rows, (
        f"suffuse ({size:,} parameters, {steps} steps in {SHARE * minutes:.2g} minutes, of which {fitted:.2g} for the start) is "
        f"shown the pseudo-inverse and a start, a Gaussian process's mean given the measurement ({how}), and asked for what "
        "the start lacks; noise levels are drawn evenly and weigh alike; "
        f"no changed copies. How it is sampled is chosen on 120 validation pictures (dB there: {tried}), and so "
        "the factor that spreads the draws to hold 90 %. "
    )


def run(data: Path, work: Path, minutes: float, count: int, draws: int, seed: int, device: str) -> None:
    """Answers again only what `work` holds none of yet."""
    from suffuse.modalities.scans.operators import KSpace

    work.mkdir(parents=True, exist_ok=True)
    batch = 256 if device != "cpu" else 32
    sampled = np.broadcast_to(lines(28, 0.25, 3, np.random.default_rng(seed)), (28, 28))
    operator = KSpace(torch.from_numpy(sampled.copy()))
    with np.load(data / "medical/medmnist/pneumoniamnist.npz") as file:
        sets = {p: torch.from_numpy(file[f"{p}_images"].astype(np.float32) / 255)[:, None] for p in PARTS}
    sets["test"] = sets["test"][np.linspace(0, len(sets["test"]) - 1, count).astype(int)]
    found = []
    for part in ("suffuse", "plain"):
        path = work / f"kspace_{part}_{minutes:g}.json"
        if not path.is_file():
            if part == "plain":
                answer = plain_answers(sets, operator, minutes, seed, device, batch)
            else:
                answer = suffuse_answers(sets, operator, minutes, draws, seed, device, batch, work)
            path.write_text(json.dumps(answer))
        found.append(json.loads(path.read_text()))
    where = torch.cuda.get_device_name() + " shared with other trainings" if device != "cpu" else "one CPU core"
    notes = (
        f"PneumoniaMNIST, {count} test pictures of 28 x 28; 7 of 28 columns of k-space (3 lowest, 4 random, one mask for all), "
        f"no noise. Minutes of {where}, batches of {batch}. "
    )
    head = ["answer", "PSNR dB", "MAE", "uncertainty-error correlation", "90 % coverage", "calls", "seconds"]
    title = "Scans 5: a quarter of k-space, by a model that is shown the measurement"
    table("scans_kspace_learned", title, head, found[1][0] + found[0][0], notes + found[0][1] + found[1][1])
