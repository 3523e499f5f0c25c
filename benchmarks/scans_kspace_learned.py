"""Line 5 of the scans room with a model that is shown what was measured: its pseudo-inverse is a known channel, what is missing
from it is asked, and every call's answer is kept out of the measured part of k-space (DDNM). Beside it zero-filling and a U-Net
of equal size, trained as long."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans_clock import Clock
from scans_kspace import lines
from scans_plain import Plain, errors, spread_figures
from tables import table
from torch import Tensor

WIDTH = 64
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
    x: Tensor, sampled: np.ndarray, minutes: float, seed: int, device: str, batch: int, work: Path | None
) -> tuple[Any, int]:
    """A scans model that is shown what was measured (`suffuse.modalities.scans.measured`), trained on the task `reconstruct`; its
    steps."""
    import suffuse
    from suffuse.modalities.scans import Scans, measured
    from suffuse.modalities.scans.modality import CaseRows
    from suffuse.model import Model
    from suffuse.training.recipe import Recipe
    from suffuse.training.trainer import Trainer

    if work is not None and (work / "kspace" / "config.json").is_file():
        model = suffuse.load(work / "kspace")
        return model, model.notes["steps"]
    config = {
        "grid": list(x.shape[2:]), "channels": list(measured.CHANNELS), "mask_classes": 0, "orientation": "RAS",
        "affine": np.eye(4).tolist(), "rule": [0.0, 255.0], "labels": {}, "width": WIDTH,
        "mean": round(float(x.mean()), 6), "std": round(float(x.std()), 6), "typical": [[0.0, 0.0], [255.0, 255.0]],
        "sampled": sampled.astype(int).tolist(),
    }  # fmt: skip
    config["missing"] = measured.gain_of(x, config)
    modality = Scans(**config)
    torch.manual_seed(seed)
    model, both = Model.new(modality), measured.channels(x, config).half()
    data = CaseRows(modality, both, torch.ones((1, 1, 1, 1), dtype=torch.bool), None, None, torch.zeros(len(x)))
    recipe = Recipe.make(
        minutes=minutes, batch=batch, seed=seed, optimiser="muon", learning_rate=3e-3, tasks={"reconstruct": 1.0},
        precision="bf16", compile=False, channels_last=False, preview_every=0.0, device=device,
    )  # fmt: skip
    steps = Trainer(modality, data, model.denoiser, recipe).run().steps
    model.notes = {"recipe": recipe.to_json(), "examples": len(x), "steps": steps, "seconds": 60 * minutes}
    if work is not None:
        model.save(work / "kspace")
    return model, steps


def drawn(model: Any, measured: Tensor, operator: Any, n: int, seed: int, **settings: Any) -> np.ndarray:
    """(n, N, H, W) draws in 0..1 for pseudo-inverses `measured` (N, 1, H, W) of values in 0..1."""
    from suffuse.diffusion.guidance import DDNM
    from suffuse.diffusion.state import Start, Task

    modality, size = model.modality, len(measured)
    x = modality.scale(torch.cat([measured, measured], dim=1))
    asked = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(size, 2, 1, 1)
    nothing = operator.apply(torch.zeros_like(measured)).to(model.device)

    def wrap(denoiser: Any) -> Any:
        return DDNM(denoiser, model.joint, "image", operator, nothing)

    out = []
    for k in range(n):
        index = torch.arange(size) + k * size
        task = Task({"image": x}, Start({"image": asked}), {"image": asked == 0}, index=index)
        made = model.run(task, seed=seed, wrap=wrap, batch=size, precision="bf16", **settings)["image"]
        missing = made[:, 0] * modality.config["std"] / modality.config["missing"]
        out.append((measured[:, 0] + missing).numpy())
    return np.stack(out)


def widened(draws: np.ndarray, factor: float) -> np.ndarray:
    """Draws about their mean, their distances from it `factor` times as large."""
    mean = draws.mean(0)
    return mean + factor * (draws - mean)


def answers(
    sets: dict[str, np.ndarray], minutes: float, draws: int, seed: int, device: str, batch: int, copies: int,
    work: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train both, choose on validation, answer for the test pictures: rows of the table and what the notes need."""
    from suffuse.modalities.scans.operators import KSpace

    sampled = np.broadcast_to(lines(28, 0.25, 3, np.random.default_rng(seed)), (28, 28))
    operator = KSpace(torch.from_numpy(sampled.copy()))
    x = {p: torch.from_numpy(v.astype(np.float32) / 255)[:, None] for p, v in sets.items()}
    y = {p: operator.apply(v) for p, v in x.items()}
    zero = {p: operator.adjoint(v) for p, v in y.items()}
    best = {p: operator.inverse(v) for p, v in y.items()}
    more = changed(x["train"], copies, seed)
    clock = Clock(1.0, device)
    measured = operator.apply(more)
    plain = Plain(1, 1, WIDTH + 4, seed)
    parts = [v.half() for v in (operator.adjoint(measured), more - operator.adjoint(measured))]

    def judge() -> float:
        at = zero["val"][:120].to(device)
        return float(F.mse_loss(at + plain(at), x["val"][:120].to(device)))

    plain.train(*parts, SHARE * minutes, batch, device=device, judge=judge)
    print(f"  plain {plain.steps} steps, {plain.judged}", flush=True)
    model, steps = model_of(more, sampled, SHARE * minutes, seed, device, batch, work)
    print(f"  suffuse {steps} steps after {clock():.1f} minutes", flush=True)
    size = sum(p.numel() for p in model.denoiser.parameters())
    everywhere = {p: np.ones(sets[p].shape, bool) for p in ("val", "test")}
    real = {p: x[p][:, 0].numpy() for p in ("val", "test")}

    def draw(p: str, n: int, calls: int, eta: float, rows: slice = slice(None)) -> np.ndarray:
        return drawn(model, best[p][rows], operator, n, seed, steps=calls, stochasticity=eta)

    trials = {}
    for calls in (1, 5, 10):
        for eta in (0.0, 1.0) if calls > 1 else (0.0,):
            made = draw("val", 8 if calls > 1 else 1, calls, eta, slice(0, 120))
            trials[f"{calls} calls, stochasticity {eta:g}"] = (
                errors(made.mean(0), real["val"][:120], everywhere["val"][:120])[0], calls, eta,
            )  # fmt: skip
    name = max((t for t in trials if trials[t][1] > 1), key=lambda t: trials[t][0])
    _, calls, eta = trials[name]
    made = draw("val", draws, calls, eta, slice(0, 120))
    factors = [float(f) for f in np.linspace(0.8, 2, 13)]
    held = [spread_figures(widened(made, f), real["val"][:120], everywhere["val"][:120])[1] for f in factors]
    factor = factors[int(np.argmin(np.abs(np.array(held) - 0.9)))]
    test, whole, rows = real["test"], everywhere["test"], []
    rows.append(["zero-filling", *errors(zero["test"][:, 0].numpy(), test, whole), "", "", 0, 0.0])
    begun = time.perf_counter()
    with torch.inference_mode():
        guess = zero["test"] + plain(zero["test"].to(device)).float().cpu()
    spent = time.perf_counter() - begun
    rows.append(["zero-filling, then the U-Net", *errors(guess[:, 0].numpy(), test, whole), "", "", 1, spent])
    mended = guess + operator.inverse(y["test"] - operator.apply(guess))
    figures = errors(mended[:, 0].numpy(), test, whole)
    rows.append(["the same, measured part put back", *figures, "", "", 1, spent])
    begun = time.perf_counter()
    one = draw("test", 1, 1, 0.0)[0]
    rows.append(["suffuse, one call", *errors(one, test, whole), "", "", 1, time.perf_counter() - begun])
    begun = time.perf_counter()
    made = draw("test", draws, calls, eta)
    spent = time.perf_counter() - begun
    figures = [*errors(made.mean(0), test, whole), *spread_figures(made, test, whole)]
    rows.append([f"suffuse, mean of {draws} draws", *figures, calls * draws, spent])
    wide = spread_figures(widened(made, factor), test, whole)
    rows.append([f"the same, draws spread {factor:.2g} times", *figures[:2], *wide, calls * draws, spent])
    rows.append(["suffuse, one draw", *errors(made[0], test, whole), "", "", calls, spent / draws])
    chosen = ", ".join(f"{t} {v[0]:.2f}" for t, v in trials.items())
    kept = min(plain.judged, key=lambda s: s[1])
    notes = (
        f"PneumoniaMNIST, {len(test)} test pictures of 28 x 28; 7 of 28 columns of k-space (3 lowest, 4 random, one mask "
        "for all), no noise. suffuse is asked for what the pseudo-inverse lacks, "
        f"{size:,} parameters, {steps} steps; the U-Net: {plain.parameters:,} parameters, "
        f"{plain.steps} steps, of which step {kept[0]} is kept (lowest validation error; the last had "
        f"{-10 * np.log10(plain.judged[-1][1]):.2f} dB); each {SHARE * minutes:.2g} minutes of "
        f"{torch.cuda.get_device_name() + ' shared with other trainings' if device != 'cpu' else 'one CPU core'}, batches of "
        f"{batch}, {copies} changed copies (mirror, shift, contrast) of every training picture for both. Calls and stochasticity "
        f"chosen on 120 validation pictures (dB there: {chosen}), and so the factor that spreads the draws to hold 90 %."
    )
    return {"rows": rows, "notes": notes, "model": model}


def run(data: Path, work: Path, minutes: float, count: int, draws: int, seed: int, device: str) -> None:
    """Answers again only if `work` holds none yet."""
    path = work / f"kspace_learned_{minutes:g}.json"
    if not path.is_file():
        with np.load(data / "medical/medmnist/pneumoniamnist.npz") as file:
            sets = {p: file[f"{p}_images"] for p in ("train", "val", "test")}
        sets["test"] = sets["test"][np.linspace(0, len(sets["test"]) - 1, count).astype(int)]
        work.mkdir(parents=True, exist_ok=True)
        found = answers(sets, minutes, draws, seed, device, 256 if device != "cpu" else 32, 8, work)
        found.pop("model")
        path.write_text(json.dumps(found))
    found = json.loads(path.read_text())
    head = ["answer", "PSNR dB", "MAE", "uncertainty-error correlation", "90 % coverage", "calls", "seconds"]
    title = "Scans 5: a quarter of k-space, by a model that is shown the measurement"
    table("scans_kspace_learned", title, head, found["rows"], found["notes"])
