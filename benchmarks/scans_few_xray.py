"""Line 2 of the scans room: pneumonia on X-rays from 50 and 200 labels, with and without a generator of unlabelled X-rays."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans_augment import augment
from tables import table
from torch import Tensor, nn

SOURCE = "medical/medmnist/pneumoniamnist.npz"
LEVELS = (0.1, 0.2, 0.35, 0.5)
SETTINGS = {"precision": "bf16", "compile": False, "channels_last": False, "batch": 32}


def arrays(data: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    with np.load(data / SOURCE) as file:
        return {p: (file[f"{p}_images"], file[f"{p}_labels"][:, 0].astype(int)) for p in ("train", "val", "test")}


def as_cases(images: np.ndarray, labels: dict[int, int]) -> list[Any]:
    """Cases of which only the rows in `labels` carry a label."""
    from suffuse.modalities.scans import Case, Volume

    return [Case({"image": Volume(one, np.eye(4))}, label=labels.get(k)) for k, one in enumerate(images)]


class Asked(nn.Module):
    """A scans model's network asked for the label of clean pictures: (B, 1, H, W) in model units -> (B, 2) logits."""

    def __init__(self, model: Any):
        super().__init__()
        self.denoiser = model.denoiser

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones(len(x), 1)
        fields = {"image": x, "label": torch.full((len(x), 1), 2)}
        return self.denoiser(fields, {"image": torch.zeros(len(x), 1, 1, 1), "label": ones}, {})["label"][:, 0]


def fit(net: nn.Module, scale: Any, x: Tensor, y: Tensor, made: Any, minutes: float, seed: int, rate: float) -> int:
    """Train a classifier on augmented pictures x (N, 1, H, W) in 0..1, half of every batch `made` if given; returns steps."""
    draw, begun, steps = torch.Generator().manual_seed(seed), time.process_time(), 0
    optimiser = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.05)
    net.train()
    while (done := (time.process_time() - begun) / 60 / minutes) < 1:
        sources = [(x, y), (x, y) if made is None else made]
        rows = [torch.randint(len(s[0]), (16,), generator=draw) for s in sources]
        image, label = (torch.cat([s[k][r] for s, r in zip(sources, rows, strict=True)]) for k in (0, 1))
        image, _, _ = augment(image, torch.ones_like(image), None, 2, draw, mirror=False)
        loss = F.cross_entropy(net(scale(image)), label, label_smoothing=0.05)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (steps + 1) / 30) * 0.5 * (1 + np.cos(np.pi * done))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        steps += 1
    net.eval()
    return steps


def probe(train: Tensor, y: Tensor, others: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
    """Chosen classes of a logistic regression on standardised features, with `weight` on squared coefficients."""
    mean, std = train.mean(0), train.std(0) + 1e-6
    layer = nn.Linear(train.shape[1], 2)
    nn.init.zeros_(layer.weight)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(layer((train - mean) / std), y) + weight * layer.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        return {p: layer((f - mean) / std).argmax(1) for p, f in others.items()}


def run(data: Path, work: Path, minutes: float, seed: int, counts: tuple[int, ...] = (50, 200), draws: int = 2) -> None:
    """minutes: of pretraining; each generator is then trained on for a sixth of it, each classifier for a sixteenth."""
    import suffuse
    from suffuse.metrics.features import FeatureNetwork
    from suffuse.modalities.scans import Scans
    from suffuse.modalities.scans.quality import balanced_accuracy
    from suffuse.model import Model

    sets = arrays(data)
    images, truth = sets["train"]
    folder = work / "xray_unlabelled"
    if (folder / "config.json").is_file():
        base = suffuse.load(folder)
    else:
        read = {"classes": "normal,pneumonia", "width": 32, "intensities": [0.0, 255.0]}
        made, _ = Scans.read(as_cases(images, {0: 0, 1: 1}), **read)
        torch.manual_seed(seed)
        base = suffuse.train(
            as_cases(images, {}), start_from=Model.new(made), minutes=minutes, seed=seed, output=folder,
            tasks={"generate": 1.0}, resume=(folder / "training").is_dir(), **SETTINGS,
        )  # fmt: skip
    x = {p: torch.from_numpy(s[0])[:, None].float() / 255 for p, s in sets.items()}
    y = {p: torch.from_numpy(s[1]) for p, s in sets.items()}
    scale, tests = base.modality.scale, ("val", "test")
    features = {
        level: {p: base.features(as_cases(s[0], {}), level) for p, s in sets.items()} for level in LEVELS
    }  # fmt: skip
    scores: dict[tuple[int, str], list[list[float]]] = {}
    kept = work / f"xray_few_{minutes:g}_{seed}.json"
    done: dict[str, list[float]] = json.loads(kept.read_text()) if kept.is_file() else {}

    def judge(net: nn.Module) -> list[float]:
        with torch.inference_mode():
            return [balanced_accuracy(net(scale(x[p])).argmax(1), y[p]) for p in tests]

    def fresh(start: Any = None) -> nn.Module:
        torch.manual_seed(seed)
        model = Model.new(base.modality)
        if start is not None:
            model.denoiser.load_state_dict({k: v.float() for k, v in start.denoiser.state_dict().items()})
        return Asked(model)

    for count in counts:
        for k in range(draws):
            rng = np.random.default_rng(100 * seed + k)
            rows = np.concatenate([rng.permutation(np.flatnonzero(truth == c))[: count // 2] for c in (0, 1)])
            few, known = (x["train"][rows], y["train"][rows]), {int(r): int(truth[r]) for r in rows}
            place = work / f"xray_labelled_{count}_{k}"
            if (place / "config.json").is_file():
                drawer = suffuse.load(place)
            else:
                source = as_cases(images, known) + as_cases(images[rows], dict(enumerate(truth[rows]))) * (
                    1200 // count
                )
                drawer = suffuse.train(
                    source, start_from=base, minutes=minutes / 6, seed=seed, output=place,
                    tasks={"label": 0.6, "generate": 0.2, "classify": 0.2}, **SETTINGS | {"learning_rate": 1e-3},
                )  # fmt: skip
            label = torch.arange(400) % 2
            task = drawer.modality.request(400, {"label": label.tolist()}, index=torch.arange(400))
            drawn = drawer.modality.unscale(drawer.run(task, steps=10, seed=seed + k, guidance=1.5, batch=100)["image"])
            arms = [
                ("plain CNN, strong augmentation", FeatureNetwork(1, 28, 2), None, 2e-3),
                ("plain: the generator's network, untrained", fresh(), None, 1e-3),
                ("CNN plus 400 synthetic X-rays", FeatureNetwork(1, 28, 2), (drawn, label), 2e-3),
                ("diffusion-pretrained network", fresh(base), None, 5e-4),
                ("the same plus synthetic X-rays", fresh(drawer), (drawn, label), 5e-4),
            ]
            for name, net, extra, rate in arms:
                key = f"{count}, {k}, {name}"
                if key not in done:
                    steps = fit(net, scale, *few, extra, minutes / 16, seed, rate)
                    done[key] = judge(net)
                    kept.write_text(json.dumps(done))
                    print(key, done[key], steps, "steps", flush=True)
                scores.setdefault((count, name), []).append(done[key])
            trials = {}
            for level in LEVELS:
                f = features[level]
                for weight in (1e-3, 1e-2, 1e-1):
                    found = probe(f["train"][rows], few[1], {p: f[p] for p in tests}, weight)
                    trials[level, weight] = [balanced_accuracy(found[p], y[p]) for p in tests]
            best = max(trials, key=lambda t: trials[t][0])
            scores.setdefault((count, "logistic regression on diffusion features"), []).append(trials[best])
            print(count, k, "probe", best, trials[best], flush=True)
    table_rows = []
    for count in counts:
        names = [n for c, n in scores if c == count]
        means = {n: np.mean(scores[count, n], axis=0) for n in names}
        plain = max(names[:2], key=lambda n: means[n][0])
        for n in names:
            tests_of = [100 * s[1] for s in scores[count, n]]
            gain = 100 * (means[n][1] - means[plain][1])
            each = ", ".join(f"{t:.1f}" for t in tests_of)
            table_rows.append([count, n, 100 * means[n][0], 100 * means[n][1], each, "" if n == plain else gain])
    notes = (
        f"PneumoniaMNIST (28 x 28), labels half of each class, {draws} choices of labels; 524 validation, 624 test pictures. "
        "Gain: points over the plain arm that is better on validation. The generator is pretrained on all 3,882 training "
        f"pictures without labels ({minutes:g} minutes of process time) and trained on with the few labels ({minutes / 6:.2g}); "
        f"every classifier is trained for {minutes / 16:.2g} minutes. Logistic regression: noise level ({LEVELS}) and weight "
        "chosen on validation. The training part is 90 % pneumonia, validation 74 %, test 62 %."
    )
    head = ["labels", "arm", "balanced accuracy, validation", "test", "test, each choice", "gain"]
    table("scans_few_xray", "Scans 2: X-rays from few labels", head, table_rows, notes)
