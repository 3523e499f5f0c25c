"""Line 2 of the scans room once more, on an accelerator: every arm trained until its validation figure stands still."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scans_clock import Clock
from scans_few import POOL, VALIDATION, Volumes, everything, fit, labelled, overlaps
from tables import table
from torch import Tensor

READ = {"grid": [32, 48, 32], "width": 16}
SHARES = {"pretrain": 0.22, "plain": 0.34, "pretrained": 0.12, "pairs": 0.04, "made": 0.14, "both": 0.14}
"""Of the minutes; the plain network has as many as pretraining and its segmenter together."""
ARMS = {
    "plain": "plain U-Net, strong augmentation",
    "pretrained": "plus diffusion-pretrained network",
    "made": "plain U-Net plus synthetic pairs",
    "both": "pretrained network plus synthetic pairs",
}


def pretrain(modality: Any, volumes: Volumes, count: int, minutes: float, seed: int, device: str, batch: int) -> Any:
    """A diffusion model of the pool's scans, `count` of them with their masks."""
    from suffuse.modalities.scans.modality import CaseRows
    from suffuse.model import Model
    from suffuse.training.recipe import Recipe
    from suffuse.training.trainer import Trainer

    torch.manual_seed(seed)
    model, masked = Model.new(modality), torch.zeros(POOL, dtype=torch.bool)
    masked[labelled(count)] = True
    pool = volumes.part(slice(0, POOL))
    mask = torch.where(masked[:, None, None, None], pool.mask, 0).to(torch.uint8)
    data = CaseRows(modality, pool.image.half(), pool.seen, mask, masked, torch.full((POOL,), -1))
    recipe = Recipe.make(
        minutes=minutes, batch=batch, seed=seed, optimiser="muon", learning_rate=3e-3, tasks={"generate": 1.0},
        precision="bf16", compile=False, channels_last=False, preview_every=0.0, device=device,
    )  # fmt: skip
    print(f"  pretrained for {Trainer(modality, data, model.denoiser, recipe).run().steps} steps", flush=True)
    return model


def pairs(base: Any, learner: Any, n: int, minutes: float, seed: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Up to n scans that the generator draws in 10 calls, each with the mask that the same network, trained on for masks,
    answers in one call: the joint of scan and mask, drawn one after the other."""
    from scans_few import logits

    clock, images, masks = Clock(minutes, device), [], []
    while sum(map(len, images)) < n and (clock() < 0.9 or not images):
        index = torch.arange(32) + 32 * len(images)
        task = base.modality.request(32, None, index=index)
        task.start.held["mask"] = torch.ones_like(task.x["mask"], dtype=torch.bool)
        image = base.run(task, steps=10 if n > 32 else 2, seed=seed, batch=32, precision="bf16")["image"].to(device)
        with torch.inference_mode():
            found = logits(learner.denoiser, image, torch.ones_like(image, dtype=torch.bool), 3)
        images.append(base.modality.unscale(image).clamp(-0.1, 2.0).cpu())
        masks.append(found.argmax(-1).cpu())
    image = torch.cat(images)
    return image, torch.ones_like(image, dtype=torch.bool), torch.cat(masks)


def learn(
    modality: Any, volumes: Volumes, count: int, minutes: float, out: Path, seed: int, device: str, batch: int = 16
) -> None:
    """All arms for `count` labels into out/{count}_{arm}.safetensors and out/few_{count}.json. volumes: the pool."""
    from safetensors.torch import save_file

    from suffuse.model import Model

    done: dict[str, Any] = {"minutes": minutes, "device": torch.cuda.get_device_name() if device != "cpu" else "CPU"}
    val, real = volumes.part(slice(POOL - VALIDATION, POOL)), volumes.take(labelled(count))
    share = {name: s * minutes for name, s in SHARES.items()}

    def arm(name: str, start: Any, made: Any) -> Any:
        torch.manual_seed(seed)
        model, begun = Model.new(modality), time.perf_counter()
        if start is not None:
            model.denoiser.load_state_dict({k: v.float() for k, v in start.denoiser.state_dict().items()})

        def judge() -> float:
            with torch.autocast(device, torch.bfloat16):
                return float(100 * overlaps(model, val, device).mean())

        rate = 2e-3 if start is None else 1e-3
        found = fit(model, real, made, share[name], seed, rate, batch, device, judge)
        done[name] = {**found, "seconds": time.perf_counter() - begun, "pairs": 0 if made is None else len(made[0])}
        weights = {k: v.half().cpu().contiguous() for k, v in model.denoiser.state_dict().items()}
        save_file(weights, out / f"{count}_{name}.safetensors")
        (out / f"few_{count}.json").write_text(json.dumps(done))
        print(count, name, found, flush=True)
        return model

    arm("plain", None, None)
    base = pretrain(modality, volumes, count, share["pretrain"], seed, device, 2 * batch)
    learner = arm("pretrained", base, None)
    made = pairs(base, learner, 512 if minutes >= 1 else 32, share["pairs"], seed, device)
    arm("both", base, made)
    arm("made", None, made)


def run(data: Path, work: Path, minutes: float, seed: int, device: str, counts: tuple[int, ...] = (5, 10)) -> None:
    """Trains what is not in `work` yet, then asks every network about the test volumes."""
    from safetensors.torch import load_file
    from scipy.stats import ttest_rel

    from suffuse.modalities.scans import Scans
    from suffuse.model import Model

    found = everything(data)
    modality, _ = Scans.read(found[:POOL], **READ)
    volumes = Volumes(Model.new(modality), found)
    rows, notes = [], ""
    for count in counts:
        if not (work / f"few_{count}.json").is_file():
            if device != "cpu" and not torch.cuda.is_available():
                notes += f" {count} labels: not run."
                continue
            work.mkdir(parents=True, exist_ok=True)
            learn(modality, volumes, count, minutes, work, seed, device)
        done = json.loads((work / f"few_{count}.json").read_text())
        scores: dict[str, np.ndarray] = {}
        for name in (a for a in ARMS if a in done):
            model = Model.new(modality)
            weights = load_file(work / f"{count}_{name}.safetensors")
            model.denoiser.load_state_dict({k: v.float() for k, v in weights.items()})
            model.denoiser.eval()
            scores[name] = overlaps(model, volumes.part(slice(POOL, None))).mean(1)
            best = max(done[name]["validation"], key=lambda s: s[1])
            gain = [float(100 * (scores[name] - scores["plain"]).mean())] if name != "plain" else [""]
            gain += [float(ttest_rel(scores[name], scores["plain"]).pvalue)] if name != "plain" else [""]
            more = [done[name]["steps"], best[0], done[name]["pairs"], done[name]["seconds"]]
            rows.append([count, ARMS[name], best[1], float(100 * scores[name].mean()), *gain, *more])
            print(rows[-1], flush=True)
        last = ", ".join(f"{s:.1f}" for _, s in done["plain"]["validation"])
        notes += (
            f" {count} labels, {done['minutes']:.2g} minutes of one {done['device']} that other trainings shared; the"
        )
        notes += f" plain network's validation Dice along the way: {last}."
    size = sum(p.numel() for p in Model.new(modality).denoiser.parameters())
    head = ["labels", "arm", "Dice, validation", "Dice, test", "gain", "p", "steps", "kept step", "pairs", "seconds"]
    notes = (
        f"MSD Task04, {POOL} volumes to train with ({VALIDATION} of them, with masks, choose the kept step), "
        f"{len(found) - POOL} test volumes; Dice is the mean of anterior and posterior, in points, what the 32 x 48 x 32 grid "
        f"leaves out counted as missed; gain and p (paired t) against the plain U-Net. One network ({size:,} parameters), "
        "AdamW, batches of 16, averaged weights judged twelve times; the plain network has as long as pretraining and its "
        f"segmenter together (shares of the time: {', '.join(f'{k} {v:g}' for k, v in SHARES.items())}). Pairs: scans drawn by "
        "the pretrained generator in 10 calls, masks by the pretrained arm's network in one: half of every batch. One seed, "
        "one choice of labelled volumes." + notes
    )
    table("scans_few_long", "Scans 2: hippocampus from few labels, trained to the end", head, rows, notes)
