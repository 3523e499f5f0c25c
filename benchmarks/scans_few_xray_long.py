"""Line 2 of the scans room once more, on an accelerator: X-rays from 50 and 200 labels with a longer pretrained generator."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans_augment import augment, descend
from scans_clock import Clock
from scans_few import _judged
from scans_few_xray import Asked, arrays
from scans_kspace_learned import changed
from tables import table
from torch import Tensor, nn

ARMS = {
    "cnn": "plain CNN, strong augmentation",
    "untrained": "plain: the generator's network, untrained",
    "tuned": "diffusion-pretrained network",
    "cnn made": "CNN plus synthetic X-rays",
    "tuned made": "pretrained network plus synthetic X-rays",
}
RATES = {"cnn": 2e-3, "untrained": 1e-3, "tuned": 5e-4, "cnn made": 2e-3, "tuned made": 5e-4}
PRETRAIN, DRAWER, LEARNER = 0.25, 0.02, 0.026
"""Shares of the minutes: of pretraining, of each generator that is trained on with labels, of each classifier."""
COUNTS, CHOICES = (50, 200), 2


def rows_of(x: Tensor, label: Tensor, modality: Any) -> Any:
    """Pictures (N, 1, H, W) in 0..1 with labels (-1: unknown) as a data set of the modality."""
    from suffuse.modalities.scans.modality import CaseRows

    return CaseRows(modality, x.half(), torch.ones((1, 1, 1, 1), dtype=torch.bool), None, None, label)


def train(model: Any, data: Any, minutes: float, seed: int, device: str, rate: float, tasks: dict[str, float]) -> int:
    """A generator trained (on); its steps."""
    from suffuse.training.recipe import Recipe
    from suffuse.training.trainer import Trainer

    recipe = Recipe.make(
        minutes=minutes, batch=256 if device != "cpu" else 16, seed=seed, optimiser="muon", learning_rate=rate, tasks=tasks,
        precision="bf16", compile=False, channels_last=False, preview_every=0.0, device=device,
    )  # fmt: skip
    return Trainer(model.modality, data, model.denoiser, recipe).run().steps


def teach(net: nn.Module, scale: Any, few: Any, made: Any, minutes: float, seed: int, rate: float, judge: Any) -> Any:
    """A classifier trained on augmented pictures (x, y), half of every batch `made` if given; {"steps", "validation"}. The
    averaged weights are judged six times and the best kept."""
    device = few[0].device.type
    draw, steps, clock = torch.Generator(device).manual_seed(seed), 0, Clock(minutes, device)
    now = list(net.parameters())
    slow, best, asked = [p.detach().clone() for p in now], None, []
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.05, fused=device != "cpu")
    net.train()
    half = 32 if device != "cpu" else 8
    while (done := clock()) < 1:
        sources = [few, few if made is None else made]
        rows = [torch.randint(len(s[0]), (half,), generator=draw, device=device) for s in sources]
        image, label = (torch.cat([s[k][r] for s, r in zip(sources, rows, strict=True)]) for k in (0, 1))
        image, _, _ = augment(image, torch.ones_like(image), None, 2, draw, mirror=False)
        with torch.autocast(device, torch.bfloat16):
            found = net(scale(image))
        descend(optimiser, F.cross_entropy(found.float(), label, label_smoothing=0.05), rate, steps, done)
        steps += 1
        torch._foreach_lerp_(slow, [p.detach() for p in now], max(0.02, steps**-0.75))
        if 6 * done >= len(asked) + 0.9:
            best = _judged(net, now, slow, judge, asked, steps, best)
    best = _judged(net, now, slow, judge, asked, steps, best)
    torch._foreach_copy_([p.detach() for p in now], best)
    net.eval()
    return {"steps": steps, "validation": asked}


def answers(sets: dict[str, Any], minutes: float, seed: int, device: str, out: Path, copies: int, n: int) -> None:
    """Every arm for every choice of labels into out/xray.json, written anew after each."""
    from suffuse.metrics.features import FeatureNetwork
    from suffuse.modalities.scans import Scans
    from suffuse.modalities.scans.quality import balanced_accuracy
    from suffuse.model import Model

    x = {p: torch.from_numpy(s[0].astype(np.float32) / 255)[:, None] for p, s in sets.items()}
    y = {p: torch.from_numpy(s[1]) for p, s in sets.items()}
    config = {
        "grid": [28, 28], "channels": ["image"], "mask_classes": 0, "orientation": "RAS", "affine": np.eye(4).tolist(),
        "rule": [0.0, 255.0], "labels": {"label": ["normal", "pneumonia"]}, "width": 32,
        "mean": round(float(x["train"].mean()), 6), "std": round(float(x["train"].std()), 6), "typical": [[0.0], [255.0]],
    }  # fmt: skip
    modality = Scans(**config)
    torch.manual_seed(seed)
    base, more = Model.new(modality), changed(x["train"], copies, seed)
    unknown = torch.full((len(more),), -1)
    steps = train(
        base,
        rows_of(more, unknown, modality),
        PRETRAIN * minutes,
        seed,
        device,
        3e-3,
        {"generate": 0.9, "inpaint": 0.1},
    )
    done: dict[str, Any] = {"minutes": minutes, "steps": steps, "answers": {}}
    done["device"] = torch.cuda.get_device_name() if device != "cpu" else "CPU"
    print(f"  pretrained for {steps} steps", flush=True)
    there = {p: (x[p].to(device), y[p].to(device)) for p in ("val", "test")}

    def score(net: nn.Module, p: str) -> float:
        with torch.inference_mode():
            return 100 * balanced_accuracy(net(modality.scale(there[p][0])).argmax(1).cpu(), y[p])

    def network(start: Any) -> nn.Module:
        torch.manual_seed(seed)
        model = Model.new(modality)
        if start is not None:
            model.denoiser.load_state_dict({k: v.float() for k, v in start.denoiser.state_dict().items()})
        return Asked(model).to(device)

    def synthetic(rows: Tensor) -> tuple[Tensor, Tensor]:
        drawer = Model.new(modality)
        drawer.denoiser.load_state_dict({k: v.float() for k, v in base.denoiser.state_dict().items()})
        label = torch.full((len(x["train"]),), -1)
        label[rows] = y["train"][rows]
        again = rows.repeat(max(1, 2000 // len(rows)))
        pictures = torch.cat([x["train"], x["train"][again]])
        data = rows_of(pictures, torch.cat([label, y["train"][again]]), modality)
        tasks = {"label": 0.6, "generate": 0.2, "classify": 0.2}
        train(drawer, data, DRAWER * minutes, seed, device, 1e-3, tasks)
        wanted = torch.arange(n) % 2
        task = modality.request(n, {"label": wanted.tolist()}, index=torch.arange(n))
        drawn = drawer.run(task, steps=10, seed=seed, guidance=1.5, batch=500, precision="bf16")["image"]
        return modality.unscale(drawn).clamp(0, 1).to(device), wanted.to(device)

    for k, count in itertools.product(range(CHOICES), COUNTS):
        rng = np.random.default_rng(100 * seed + k)
        picked = [rng.permutation(np.flatnonzero(sets["train"][1] == c))[: count // 2] for c in (0, 1)]
        rows = torch.from_numpy(np.concatenate(picked))
        few, made = (x["train"][rows].to(device), y["train"][rows].to(device)), synthetic(rows)
        for arm in ARMS:
            torch.manual_seed(seed)
            plain = arm.startswith("cnn")
            net = FeatureNetwork(1, 28, 2).to(device) if plain else network(base if "tuned" in arm else None)
            extra = made if "made" in arm else None
            found = teach(
                net, modality.scale, few, extra, LEARNER * minutes, seed, RATES[arm], lambda net=net: score(net, "val")
            )
            best = max(v for _, v in found["validation"])
            done["answers"][f"{count}, {k}, {arm}"] = [best, score(net, "test"), found["steps"]]
            (out / "xray.json").write_text(json.dumps(done))
            print(count, k, arm, done["answers"][f"{count}, {k}, {arm}"], flush=True)


def run(data: Path, work: Path, minutes: float, seed: int, device: str) -> None:
    """Answers again only if `work` holds none yet."""
    if not (work / "xray.json").is_file():
        work.mkdir(parents=True, exist_ok=True)
        answers(arrays(data), minutes, seed, device, work, 4, 1000)
    done, rows = json.loads((work / "xray.json").read_text()), []
    for count in COUNTS:
        found = {a: [done["answers"].get(f"{count}, {k}, {a}") for k in range(CHOICES)] for a in ARMS}
        scores = {a: np.array(s) for a, s in found.items() if None not in s}
        plain = max(("cnn", "untrained"), key=lambda a: scores[a][:, 0].mean())
        for arm, s in scores.items():
            gain = "" if arm == plain else float((s - scores[plain])[:, 1].mean())
            each = ", ".join(f"{t:.1f}" for t in s[:, 1])
            rows.append([count, ARMS[arm], *(float(v) for v in s[:, :2].mean(0)), each, gain, f"{s[:, 2].mean():.0f}"])
    minutes = done["minutes"]
    notes = (
        f"PneumoniaMNIST (28 x 28), labels half of each class, {CHOICES} choices of labels; 524 validation, 624 test pictures. "
        "Gain: points over the plain arm that is better on validation. One "
        f"{done['device']} that other trainings shared: generator pretrained for {PRETRAIN * minutes:.2g} minutes "
        f"({done['steps']} steps) on all training pictures without labels, trained on with the few labels for "
        f"{60 * DRAWER * minutes:.2g} seconds, 1000 synthetic X-rays of 10 calls (guidance 1.5), half of every batch; every "
        f"classifier {60 * LEARNER * minutes:.2g} seconds, averaged weights judged on validation six times, the best kept. The "
        "training part is 90 % pneumonia, validation 74 %, test 62 %."
    )
    head = ["labels", "arm", "balanced accuracy, validation", "test", "test, each choice", "gain", "steps"]
    table("scans_few_xray_long", "Scans 2: X-rays from few labels, pretrained for longer", head, rows, notes)
