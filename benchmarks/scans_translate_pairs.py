"""Line 4 of the scans room, one model a pair: T1 to T2, and T1 + T2 to CT, beside a regression U-Net of equal size trained as
long on the same patches. Everything that is chosen is chosen on a slab of its own (`scans_translate_choice`)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scans_augment import field, warp
from scans_plain import Plain, errors, spread_figures
from scans_translate import FILES, SLABS, WINDOW, volumes
from scans_translate_choice import chosen, distance, smoothed_correlation, spread
from tables import table
from torch import Tensor

CHECK = (33, 37)
"""Axial slices that choose steps and spread; like the test slabs, two more on either side are used by nobody."""
PAIRS = ((("t1",), "t2"), (("t1", "t2"), "ct"))
TEXT = (
    f"MNI152 T1 and T2 and the CT template on one grid: averages of groups, no patient. Axial slices {SLABS} (ends left out) are "
    f"held out, {CHECK} choose the U-Net's step, how samples are drawn, over how many cells their variance is smoothed before it "
    "is compared with the error, and the factor that spreads them about their mean to hold 90 %; two more slices on either side "
    "are used by nobody. Intensities in units of each volume's 1st to 99.5th percentile, over cells where T1 is above .1. Whole "
    "slices, by overlapping windows, for both, the mirror image's answer averaged in (half of the samples see it). Gap: mean "
    "absolute difference of log power of the gradient's magnitude over radial frequencies. One training seed. Suffuse counts its "
    "embeddings of noise levels and is trained by Muon with averaged weights, the U-Net by AdamW."
)
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


def drawn(model: Any, slices: Tensor, n: int, seed: int, contrast: float = 0.0, **settings: Any) -> np.ndarray:
    """(n, N, X, Y) draws of the first channel of whole slices (N, C, X, Y) from the others, by overlapping windows; half of the
    draws see the mirror image. contrast: each draw sees its inputs to a power of its own, of this deviation of the logarithm
    (augmentation at test time as uncertainty: Wang et al. 2019)."""
    from suffuse.diffusion.state import Start, Task

    modality, out = model.modality, []
    power = torch.exp(contrast * torch.randn(n, generator=torch.Generator().manual_seed(seed + 5)))
    for rows in torch.arange(n * len(slices)).split(8 * len(slices)):
        turned = ((rows // len(slices)) % 2 == 1)[:, None, None, None]
        x = slices.repeat(len(rows) // len(slices), 1, 1, 1).clone()
        x[:, 1:] = x[:, 1:].clamp(min=0) ** power[rows // len(slices)][:, None, None, None]
        x = modality.scale(x)
        x = torch.where(turned, x.flip(2), x)
        asked = (torch.arange(x.shape[1]) == 0).float().reshape(1, -1, 1, 1).expand(len(x), -1, 1, 1)
        task = Task({"image": x}, Start({"image": asked}), {"image": asked == 0}, index=rows)
        made = model.run(task, seed=seed, batch=len(x), precision="bf16", **settings)["image"]
        out.append(modality.unscale(torch.where(turned, made.flip(2), made)[:, 0]))
    return torch.cat(out).reshape(n, *slices[:, 0].shape).numpy()


def of_size(inputs: int, size: int, seed: int) -> tuple[Plain, int]:
    """The smallest regression U-Net of one answer with at least `size` parameters, and its width."""
    for width in range(24, 80):
        plain = Plain(inputs, 1, width, seed)
        if plain.parameters >= size:
            return plain, width
    raise ValueError(f"no U-Net of {size} parameters")


def networks(
    examples: Tensor, val: Tensor, names: list[str], minutes: float, seed: int, device: str, batch: int, work: Path
) -> tuple[Any, Any, dict[str, Any]]:
    """(suffuse, the U-Net's answer for whole slices as a function, what is to be told of both), trained once and kept in `work`.

    examples, val: (N, C, X, Y), the first channel asked. Each is trained for `minutes`.
    """
    import suffuse
    from suffuse.modalities.scans.patches import Windows

    folder, asked = work / "_".join((*names[1:], "to", names[0])), names[0]
    if (folder / "config.json").is_file():
        model = suffuse.load(folder)
    else:
        model, steps = model_of(examples, names, minutes, seed, device, batch)
        model.notes = {"steps": steps, "seconds": 60 * minutes, "recipe": {}}
        model.save(folder)
    plain, width = of_size(len(names) - 1, sum(p.numel() for p in model.denoiser.parameters()), seed)

    def one(fields: Any, *rest: Any) -> Any:
        return {"image": plain(fields["image"])}

    def guessed(slices: Tensor) -> Tensor:
        with torch.inference_mode():
            x, levels = slices[:, 1:].to(device), {"image": torch.zeros(1, 1, 1, 1, device=device)}
            windows = Windows(one, [WINDOW, WINDOW], {"image": 2})
            both = [windows({"image": v}, levels, {})["image"] for v in (x, x.flip(2))]
            return ((both[0] + both[1].flip(2)) / 2).float().cpu()

    kept, told = work / f"plain_{asked}.safetensors", work / f"plain_{asked}.json"
    if kept.is_file():
        plain.net.load_state_dict(load_file(kept))
        plain.net.eval()
    else:

        def judge() -> float:
            return float(F.mse_loss(guessed(val), val[:, :1]))

        plain.train(examples[:, 1:], examples[:, :1], minutes, batch, device=device, judge=judge)
        save_file(plain.net.state_dict(), kept)
        told.write_text(json.dumps({"width": width, "steps": plain.steps, "judged": plain.judged}))
    return model, guessed, json.loads(told.read_text()) | {"parameters": plain.parameters}


def answers(
    stack: np.ndarray, minutes: float, draws: int, seed: int, device: str, batch: int, stride: int, work: Path,
    asked: str,
) -> dict[str, Any]:  # fmt: skip
    """Rows of the table and its notes for one pair. stack: (K, 3, X, Y) slices of t1, t2, ct in 0..1."""
    given = next(g for g, a in PAIRS if a == asked)
    near = np.concatenate([np.arange(a - 2, b + 2) for a, b in (*SLABS, CHECK)])
    order = [list(FILES).index(n) for n in (asked, *given)]
    x = patches(stack[np.setdiff1d(np.arange(8, 80), near)], stride, seed)[:, order].contiguous()
    slices = {"val": np.arange(*CHECK), "test": np.concatenate([np.arange(a, b) for a, b in SLABS])}
    parts = {p: torch.from_numpy(stack[r][:, order]) for p, r in slices.items()}
    truth, inside = {p: v[:, 0].numpy() for p, v in parts.items()}, {p: stack[r][:, 0] > 0.1 for p, r in slices.items()}
    model, guessed, told = networks(x, parts["val"], [asked, *given], SHARE * minutes, seed, device, batch, work)

    def draw(p: str, n: int, **settings: Any) -> np.ndarray:
        return drawn(model, parts[p], n, seed, **settings)

    plain = guessed(parts["val"])[:, 0].numpy()
    setting, smooth, factor, tried = chosen(draw, plain, truth["val"], inside["val"], draws)
    real, where, rows, line = truth["test"], inside["test"], [], f"{' + '.join(given)} to {asked}"

    def row(name: str, image: np.ndarray, seconds: float, used: int, figures: Any = ("", "")) -> None:
        rows.append([line, name, *errors(image, real, where), distance(image, real), *figures, used, seconds])
        print(rows[-1], flush=True)

    begun = time.perf_counter()
    guess = guessed(parts["test"])[:, 0].numpy()
    row("regression U-Net and its mirror image", guess, time.perf_counter() - begun, 2)
    begun = time.perf_counter()
    row("one call and its mirror image", draw("test", 2, steps=1).mean(0), time.perf_counter() - begun, 2)
    begun = time.perf_counter()
    made = draw("test", draws, **setting)
    spent, calls = time.perf_counter() - begun, setting["steps"]
    row(f"mean of {draws} samples", made.mean(0), spent, calls * draws, spread_figures(made, real, where))
    _, held = spread_figures(spread(made, factor), real, where)
    figures = smoothed_correlation(made, real, where, smooth), held
    name = f"the same, samples spread {factor:.2g} times, deviations smoothed over {smooth:g} cells"
    row(name, made.mean(0), spent, calls * draws, figures)
    row("one sample", made[0], spent / draws, calls)
    kept, error = min(told["judged"], key=lambda s: s[1])
    size = sum(p.numel() for p in model.denoiser.parameters())
    notes = (
        f"To {asked}: {len(x)} patches (half of them turned, scaled, bent), batches of {batch}, {SHARE * minutes:.2g} minutes of "
        f"{torch.cuda.get_device_name() if device != 'cpu' else 'one CPU core'} for each network; suffuse {size:,} parameters, "
        f"{model.notes['steps']} steps; U-Net {told['parameters']:,} parameters, {told['steps']} steps, of which step {kept} is "
        f"kept. On the choosing slab: {tried}"
    )
    return {"rows": rows, "notes": notes}


def run(
    data: Path, work: Path, minutes: float, draws: int, seed: int, device: str, only: list[str] | None = None
) -> None:
    """Answers again only for the pairs of which `work` holds none yet. only: what is asked, such as ct; no other is run."""
    work.mkdir(parents=True, exist_ok=True)
    stack, rows, notes = None, [], [TEXT]
    for _, asked in PAIRS:
        path = work / f"translate_{asked}.json"
        if not path.is_file() and (not only or asked in only):
            if stack is None:
                stack = np.stack(list(volumes(data).values()), axis=1).astype(np.float32)
            batch = 128 if device != "cpu" else 32
            path.write_text(json.dumps(answers(stack, minutes, draws, seed, device, batch, 6, work, asked)))
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
