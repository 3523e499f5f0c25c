"""Line 5 of the scans room where masks differ from picture to picture, as they do between examinations: one model for any mask.

A Gaussian process answers for each mask in closed form (`scans_kspace_start`); the diffusion model is shown that answer and the
measurement's pseudo-inverse, and is asked for what the answer lacks. Beside it zero-filling and U-Nets of equal size trained as
long, one of which is told the mask.
"""

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
from scans_kspace_learned import PARTS, WIDTH, changed, drawn, judged, model_of
from scans_kspace_start import KernelStart
from scans_plain import Plain, errors
from tables import table
from torch import Tensor

from suffuse.modalities.scans.operators import KSpace

LEARNT, EACH = 24, 8
"""Masks on which the diffusion model is trained; pictures that share a mask in validation and test."""
START = {"width": 6.0, "ridge": 3e-3}


def masks(count: int, seed: int) -> Tensor:
    """(count, 1, 28, 28) bool, one in four columns of k-space each."""
    rng = np.random.default_rng(seed)
    drawn = torch.from_numpy(np.stack([lines(28, 0.25, 3, rng) for _ in range(count)]))
    return drawn[:, None, None, :].expand(count, 1, 28, 28)


def started(train: Tensor, x: Tensor, sampled: Tensor) -> Tensor:
    """What the Gaussian process makes of pictures x (N, 1, H, W) measured with masks (N, 1, H, W), `EACH` pictures a mask."""
    out = []
    for first in range(0, len(x), EACH):
        start = KernelStart(train, KSpace(sampled[first, 0]), **START)
        out.append(start(x[first : first + EACH]))
    return torch.cat(out)


def plain_answers(sets: dict[str, Tensor], held: dict[str, Tensor], minutes: float, seed: int) -> Any:
    """Rows of zero-filling and of U-Nets that see a mask of its own for each of 8 changed copies of every picture."""
    zero = {p: KSpace(held[p]).adjoint(KSpace(held[p]).apply(sets[p])) for p in ("val", "test")}
    real, whole = sets["test"][:, 0].numpy(), np.ones(sets["test"][:, 0].shape, bool)
    rows: list[list[Any]] = [["zero-filling", *errors(zero["test"][:, 0].numpy(), real, whole), "", "", 0, 0.0]]
    more, told = changed(sets["train"], 8, seed), []
    sampled = masks(len(more), seed + 1)
    filled = KSpace(sampled).adjoint(KSpace(sampled).apply(more))
    for shown in (False, True):

        def inputs(z: Tensor, m: Tensor, shown: bool = shown) -> Tensor:
            return torch.cat([z, m.to(z.dtype) - 0.5], dim=1) if shown else z

        plain = Plain(1 + shown, 1, WIDTH + 4, seed)

        def judge(plain: Any = plain, inputs: Any = inputs) -> float:
            return float(F.mse_loss(zero["val"] + plain(inputs(zero["val"], held["val"])), sets["val"]))

        plain.train(inputs(filled.half(), sampled), (more - filled).half(), minutes, 32, judge=judge)
        begun = time.perf_counter()
        with torch.inference_mode():
            guess = zero["test"] + plain(inputs(zero["test"], held["test"])).float()
        spent = time.perf_counter() - begun
        name = "zero-filling, then the U-Net" + (", told the mask" if shown else "")
        rows.append([name, *errors(guess[:, 0].numpy(), real, whole), "", "", 1, spent])
        operator = KSpace(held["test"])
        mended = guess + operator.inverse(operator.apply(sets["test"] - guess))
        rows.append(["the same, measured part put back", *errors(mended[:, 0].numpy(), real, whole), "", "", 1, spent])
        step, error = min(plain.judged, key=lambda s: s[1])
        told.append(f"{plain.steps} steps, of which step {step} is kept ({-10 * np.log10(error):.2f} dB on validation)")
        print(rows[-2], rows[-1], told[-1], flush=True)
    return rows, (
        f"The U-Net: {plain.parameters:,} parameters, {minutes:g} minutes, 8 changed copies of every picture, each with a mask "
        f"of its own; {told[0]}; told the mask: {told[1]}. "
    )


def suffuse_answers(
    sets: dict[str, Tensor], held: dict[str, Tensor], minutes: float, draws: int, seed: int, work: Path
) -> Any:
    """Rows of the start and of suffuse, and their note. The start's and the network's training share the minutes."""
    clock, train = Clock(1.0, "cpu"), sets["train"]
    starts, shown = [], []
    for mask in masks(LEARNT, seed + 2):
        operator = KSpace(mask[0])
        starts.append(KernelStart(train, operator, **START).training)
        shown.append(operator.inverse(operator.apply(train)))
    fitted = clock()
    print(f"  starts of {LEARNT} masks after {fitted:.1f} minutes", flush=True)
    x = train.repeat(LEARNT, 1, 1, 1)
    model, steps = model_of(x, torch.cat(starts), torch.cat(shown), minutes - fitted, seed, "cpu", 32, work)
    size = sum(p.numel() for p in model.denoiser.parameters())
    print(f"  suffuse {steps} steps after {clock():.1f} minutes", flush=True)
    begun = time.perf_counter()
    first = {p: started(train, sets[p], held[p]) for p in ("val", "test")}
    waited = (time.perf_counter() - begun) * len(sets["test"]) / (len(sets["val"]) + len(sets["test"]))
    real = {p: sets[p][:, 0].numpy() for p in first}

    def draw(p: str, n: int, setting: tuple[int, float, str, str]) -> np.ndarray:
        operator = KSpace(held[p])
        settings = dict(zip(("steps", "stochasticity", "grid", "solver"), setting, strict=True))
        return drawn(model, first[p], operator.inverse(operator.apply(sets[p])), operator, n, seed, **settings)

    rows, tried = judged(draw, first["test"], real, draws, waited)
    return rows, (
        f"suffuse: {size:,} parameters, {steps} steps; of its {minutes:g} minutes {fitted:.2g} went into the starts of {LEARNT} "
        "masks for all training pictures, each foretold from all others; no changed copies. A start for a new mask is solved for "
        f"anew (counted in the seconds). Sampling and the factor that spreads the draws to hold 90 % are chosen on "
        f"{len(sets['val'])} validation pictures (dB there, mean of 6 draws: {tried}). "
    )


def run(data: Path, work: Path, minutes: float, count: int, draws: int, seed: int) -> None:
    """Answers again only what `work` holds none of yet."""
    work.mkdir(parents=True, exist_ok=True)
    with np.load(data / "medical/medmnist/pneumoniamnist.npz") as file:
        sets = {p: torch.from_numpy(file[f"{p}_images"].astype(np.float32) / 255)[:, None] for p in PARTS}
    for part, size in (("val", 96), ("test", count)):
        sets[part] = sets[part][np.linspace(0, len(sets[part]) - 1, size).astype(int)]
    held = {
        p: masks(-(-len(sets[p]) // EACH), seed + 10 + k).repeat_interleave(EACH, dim=0)[: len(sets[p])]
        for k, p in enumerate(("val", "test"))
    }
    found = []
    for part in ("plain", "suffuse"):
        path = work / f"kspace_masks_{part}_{minutes:g}.json"
        if not path.is_file():
            if part == "plain":
                answer = plain_answers(sets, held, minutes, seed)
            else:
                answer = suffuse_answers(sets, held, minutes, draws, seed, work / "masks")
            path.write_text(json.dumps(answer))
        found.append(json.loads(path.read_text()))
    notes = (
        f"PneumoniaMNIST, {count} test pictures of 28 x 28; 7 of 28 columns of k-space (3 lowest, 4 random, a new mask every "
        f"{EACH} pictures, none of them seen in training but by chance), no noise. Minutes of one CPU core, batches of 32. "
    )
    head = ["answer", "PSNR dB", "MAE", "uncertainty-error correlation", "90 % coverage", "calls", "seconds"]
    title = "Scans 5: a quarter of k-space, masks that differ"
    table("scans_kspace_masks", title, head, found[0][0] + found[1][0], notes + found[0][1] + found[1][1])
