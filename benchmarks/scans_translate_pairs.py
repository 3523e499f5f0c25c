"""Line 4 of the scans room, one model a pair: T1 to T2, and T1 + T2 to CT, beside a regression U-Net of equal size trained as
long on the same patches. Everything that is chosen is chosen on a slab of its own."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans_augment import field, warp
from scans_plain import Plain, errors, gradient_spectrum, spread_figures
from scans_translate import FILES, SLABS, WINDOW, volumes
from tables import table
from torch import Tensor

CHECK = (33, 37)
"""Axial slices that choose steps and spread; like the test slabs, two more on either side are used by nobody."""
PAIRS = ((("t1",), "t2"), (("t1", "t2"), "ct"))
WIDTH = 32
SHARE = 0.17
"""Of the minutes, for each of the four networks."""


def patches(stack: np.ndarray, stride: int, seed: int) -> Tensor:
    """(n, C, 48, 48) float16: overlapping windows of slices (K, C, X, Y) that hold something, their mirror images, and each
    once more turned, scaled and bent a little."""
    found = []
    for x in range(0, stack.shape[2] - WINDOW + 1, stride):
        for y in range(0, stack.shape[3] - WINDOW + 1, stride):
            found.append(stack[:, :, x : x + WINDOW, y : y + WINDOW])
    found = np.concatenate(found)
    plain = torch.from_numpy(found[found[:, 0].mean((1, 2)) > 0.1]).float()
    plain = torch.cat([plain, plain.flip(2)])
    draw, bent = torch.Generator().manual_seed(seed), []
    for part in plain.split(512):
        bent.append(warp(part, field(len(part), (WINDOW, WINDOW), draw, False, 0.2)))
    return torch.cat([plain, *bent]).half()


def model_of(x: Tensor, names: list[str], minutes: float, seed: int, device: str, batch: int) -> tuple[Any, int]:
    """A scans model of the channels `names`, trained to answer the first from the others; its steps."""
    from suffuse.modalities.scans import Scans
    from suffuse.modalities.scans.modality import CaseRows
    from suffuse.model import Model
    from suffuse.training.recipe import Recipe
    from suffuse.training.trainer import Trainer

    config = {
        "grid": [WINDOW, WINDOW], "channels": names, "mask_classes": 0, "orientation": "RAS",
        "affine": np.diag([2.0, 2, 2, 1]).tolist(), "rule": [0.0, 1.0], "labels": {}, "width": WIDTH,
        "mean": round(float(x.float().mean()), 6), "std": round(float(x.float().std()), 6),
        "typical": [[0.0] * len(names), [1.0] * len(names)],
    }  # fmt: skip
    modality = Scans(**config)
    torch.manual_seed(seed)
    model = Model.new(modality)
    data = CaseRows(modality, x, torch.ones((1, 1, 1, 1), dtype=torch.bool), None, None, torch.zeros(len(x)))
    recipe = Recipe.make(
        minutes=minutes, batch=batch, seed=seed, optimiser="muon", learning_rate=3e-3, tasks={"reconstruct": 1.0},
        precision="bf16", compile=False, channels_last=False, preview_every=0.0, device=device,
    )  # fmt: skip
    return model, Trainer(modality, data, model.denoiser, recipe).run().steps


def drawn(model: Any, slices: Tensor, n: int, seed: int, **settings: Any) -> np.ndarray:
    """(n, N, X, Y) draws of the first channel of whole slices (N, C, X, Y) from the others, by overlapping windows; half of the
    draws see the mirror image."""
    from suffuse.diffusion.state import Start, Task

    modality, out = model.modality, []
    for rows in torch.arange(n * len(slices)).split(8 * len(slices)):
        turned = ((rows // len(slices)) % 2 == 1)[:, None, None, None]
        x = modality.scale(slices.repeat(len(rows) // len(slices), 1, 1, 1))
        x = torch.where(turned, x.flip(2), x)
        asked = (torch.arange(x.shape[1]) == 0).float().reshape(1, -1, 1, 1).expand(len(x), -1, 1, 1)
        task = Task({"image": x}, Start({"image": asked}), {"image": asked == 0}, index=rows)
        made = model.run(task, seed=seed, batch=len(x), precision="bf16", **settings)["image"]
        out.append(modality.unscale(torch.where(turned, made.flip(2), made)[:, 0]))
    return torch.cat(out).reshape(n, *slices[:, 0].shape).numpy()


def answers(
    stack: np.ndarray, minutes: float, draws: int, seed: int, device: str, batch: int, stride: int,
    work: Path | None = None, only: list[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Rows of the table and its notes. stack: (K, 3, X, Y) slices of t1, t2, ct in 0..1."""
    from suffuse.modalities.scans.patches import Windows

    near = np.concatenate([np.arange(a - 2, b + 2) for a, b in (*SLABS, CHECK)])
    test = np.concatenate([np.arange(a, b) for a, b in SLABS])
    examples = patches(stack[np.setdiff1d(np.arange(8, 80), near)], stride, seed)
    rows, notes, models = [], [], {}
    for given, asked in (p for p in PAIRS if not only or p[1] in only):
        order = [list(FILES).index(n) for n in (asked, *given)]
        x = examples[:, order].contiguous()
        parts = {p: torch.from_numpy(stack[r][:, order]) for p, r in (("val", np.arange(*CHECK)), ("test", test))}
        truth = {p: v[:, 0].numpy() for p, v in parts.items()}
        inside = {p: stack[r][:, 0] > 0.1 for p, r in (("val", np.arange(*CHECK)), ("test", test))}
        plain = Plain(len(given), 1, WIDTH + 2, seed)

        def one(fields: Any, *rest: Any, plain: Any = plain) -> Any:
            return {"image": plain(fields["image"])}

        def guessed(p: str, plain: Any = plain, parts: Any = parts, one: Any = one) -> Tensor:
            with torch.inference_mode():
                x = parts[p][:, 1:].to(device)
                levels = {"image": torch.zeros(1, 1, 1, 1, device=device)}
                windows = Windows(one, [WINDOW, WINDOW], {"image": 2})
                both = [windows({"image": v}, levels, {})["image"] for v in (x, x.flip(2))]
                return ((both[0] + both[1].flip(2)) / 2).float().cpu()

        def judge(parts: Any = parts, guessed: Any = guessed) -> float:
            return float(F.mse_loss(guessed("val"), parts["val"][:, :1]))

        plain.train(x[:, 1:], x[:, :1], SHARE * minutes, batch, device=device, judge=judge)
        model, steps = model_of(x, [asked, *given], SHARE * minutes, seed, device, batch)
        if work is not None:
            model.notes = {"steps": steps, "seconds": 60 * SHARE * minutes, "recipe": {}}
            model.save(work / "_".join((*given, "to", asked)))
            np.save(work / f"plain_{asked}.npy", guessed("test")[:, 0].numpy())
        models["_".join((*given, "to", asked))] = model
        print(f"  {asked}: plain {plain.steps} steps {plain.judged}, suffuse {steps} steps", flush=True)
        trials = {}
        for calls, eta in ((5, 0.0), (10, 0.0), (10, 1.0)):
            made = drawn(model, parts["val"], 8, seed, steps=calls, stochasticity=eta)
            score = errors(made.mean(0), truth["val"], inside["val"])[0]
            trials[f"{calls} calls, stochasticity {eta:g}"] = (score, calls, eta)
        name = max(trials, key=lambda t: trials[t][0])
        calls, eta = trials[name][1:]
        made = drawn(model, parts["val"], draws, seed, steps=calls, stochasticity=eta)
        factors = [float(f) for f in np.linspace(0.8, 3, 23)]

        def spread(made: np.ndarray, f: float) -> np.ndarray:
            return made.mean(0) + f * (made - made.mean(0))

        held = [spread_figures(spread(made, f), truth["val"], inside["val"])[1] for f in factors]
        factor = factors[int(np.argmin(np.abs(np.array(held) - 0.9)))]
        begun = time.perf_counter()
        guess = guessed("test")[:, 0].numpy()
        found = [("regression U-Net and its mirror image", guess, time.perf_counter() - begun, 2, "", "")]
        begun = time.perf_counter()
        once = drawn(model, parts["test"], 2, seed, steps=1).mean(0)
        found.append(("one call and its mirror image", once, time.perf_counter() - begun, 2, "", ""))
        begun = time.perf_counter()
        made = drawn(model, parts["test"], draws, seed, steps=calls, stochasticity=eta)
        spent = time.perf_counter() - begun
        figures = spread_figures(made, truth["test"], inside["test"])
        found.append((f"mean of {draws} samples", made.mean(0), spent, calls * draws, *figures))
        wide = spread_figures(spread(made, factor), truth["test"], inside["test"])
        found.append((f"the same, samples spread {factor:.2g} times", made.mean(0), spent, calls * draws, *wide))
        found.append(("one sample", made[0], spent / draws, calls, "", ""))
        spectrum = gradient_spectrum(truth["test"])
        for name, image, seconds, used, *calibrated in found:
            gap = float(np.abs(gradient_spectrum(image) - spectrum).mean())
            line = [f"{' + '.join(given)} to {asked}", name, *errors(image, truth["test"], inside["test"])]
            rows.append([*line, gap, *calibrated, used, seconds])
            print(rows[-1], flush=True)
        kept = min(plain.judged, key=lambda s: s[1])[0]
        size = sum(p.numel() for p in model.denoiser.parameters())
        tried = ", ".join(f"{t} {v[0]:.2f}" for t, v in trials.items())
        notes.append(
            f"To {asked}: suffuse {size:,} parameters, {steps} steps; U-Net {plain.parameters:,} parameters, {plain.steps} "
            f"steps, of which step {kept} is kept; dB of the mean of 8 on the choosing slab: {tried}."
        )
    where = f"{torch.cuda.get_device_name()} shared with other trainings" if device != "cpu" else "one CPU core"
    text = (
        f"MNI152 T1 and T2 and the CT template on one grid: averages of groups, no patient. Axial slices {SLABS} (ends left "
        f"out) are held out, {CHECK} choose the U-Net's step, calls, stochasticity and the factor that spreads the samples "
        f"about their mean to hold 90 %; two more on either side used by nobody. {len(examples)} patches (half of them turned, "
        f"scaled, bent), batches of {batch}, {SHARE * minutes:.2g} minutes of {where} for every network. Intensities in units "
        "of each volume's 1st to 99.5th percentile, over cells where T1 is above .1. Whole slices, by overlapping windows, for "
        "both, the mirror image's answer averaged in (half of the samples see it). "
        "Gap: mean absolute difference of log power of the gradient's magnitude over radial frequencies. One training "
        "seed. Suffuse counts its embeddings of noise levels and is trained by Muon with averaged weights, the U-Net by AdamW. "
    )
    return {"rows": rows, "notes": text + " ".join(notes), "models": models}


def run(
    data: Path, work: Path, minutes: float, draws: int, seed: int, device: str, only: list[str] | None = None
) -> None:
    """Answers again only for the pairs of which `work` holds none yet. only: what is asked, such as ct; no other is run."""
    work.mkdir(parents=True, exist_ok=True)
    stack, rows, notes = None, [], []
    for _, asked in PAIRS:
        path = work / f"translate_{asked}.json"
        if not path.is_file() and (not only or asked in only):
            if stack is None:
                stack = np.stack(list(volumes(data).values()), axis=1).astype(np.float32)
            batch = 128 if device != "cpu" else 32
            found = answers(stack, minutes, draws, seed, device, batch, 6, work, [asked])
            path.write_text(json.dumps({k: found[k] for k in ("rows", "notes")}))
        if path.is_file():
            found = json.loads(path.read_text())
            rows += found["rows"]
            notes.append(found["notes"])
        else:
            notes.append(f"To {asked}: not run.")
    head = ["task", "answer", "PSNR dB", "MAE", "gap of gradient spectra"]
    head += ["uncertainty-error correlation", "90 % coverage", "calls", "seconds"]
    title = "Scans 4: one modality turned into another, one model a pair"
    table("scans_translate_pairs", title, head, rows, "\n\n".join(notes))
