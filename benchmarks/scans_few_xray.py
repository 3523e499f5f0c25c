"""Line 2 of the scans room: pneumonia on X-rays from 50 and 200 labels, with and without a generator of unlabelled X-rays."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans_augment import augment, descend
from tables import table
from torch import Tensor, nn

SOURCE = "medical/medmnist/pneumoniamnist.npz"
LEVELS = (0.1, 0.2, 0.35, 0.5)
LOGISTIC = (
    "logistic regression on diffusion features",
    "logistic regression on diffusion features of augmented X-rays",
)
ARMS = ("plain CNN, strong augmentation", "plain: the generator's network, untrained", *LOGISTIC)
ARMS += ("diffusion-pretrained network", "CNN plus 400 synthetic X-rays")
ARMS += ("plain CNN, as long as pretraining and classifier together",)
CHOICE = 150
"""Training pictures of each class, apart from the few with labels, by which settings are chosen."""
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
        ones = torch.ones(len(x), 1, device=x.device)
        fields = {"image": x, "label": torch.full((len(x), 1), 2, device=x.device)}
        return self.denoiser(fields, {"image": 0 * ones[:, :, None, None], "label": ones}, {})["label"][:, 0]


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
        descend(optimiser, loss, rate, steps, done)
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


def run(data: Path, work: Path, minutes: float, seed: int, counts: tuple[int, ...] = (50, 200), draws: int = 4) -> None:
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
    rng = np.random.default_rng(seed)
    apart = np.concatenate([rng.permutation(np.flatnonzero(truth == c))[:CHOICE] for c in (0, 1)])
    sets["choice"] = images[apart], truth[apart]
    x = {p: torch.from_numpy(s[0])[:, None].float() / 255 for p, s in sets.items()}
    y = {p: torch.from_numpy(s[1]) for p, s in sets.items()}
    scale, tests = base.modality.scale, ("choice", "val", "test")
    features = {
        level: {p: base.features(as_cases(s[0], {}), level) for p, s in sets.items()} for level in LEVELS
    }  # fmt: skip
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

    def chosen(count: int, k: int) -> np.ndarray:
        rng, free = np.random.default_rng(100 * seed + k), np.setdiff1d(np.arange(len(truth)), apart)
        return np.concatenate([rng.permutation(free[truth[free] == c])[: count // 2] for c in (0, 1)])

    def synthetic(count: int, k: int) -> tuple[Tensor, Tensor]:
        """The generator trained on with the few labels (the pretrained one is read anew: training changes it in place)."""
        place, rows = work / f"xray_drawer_{count}_{k}", chosen(count, k)
        if (place / "config.json").is_file():
            drawer = suffuse.load(place)
        else:
            source = as_cases(images, {int(r): int(truth[r]) for r in rows})
            source += as_cases(images[rows], dict(enumerate(truth[rows]))) * (1200 // count)
            drawer = suffuse.train(
                source, start_from=folder, minutes=minutes / 6, seed=seed, output=place,
                tasks={"label": 0.6, "generate": 0.2, "classify": 0.2}, **SETTINGS | {"learning_rate": 1e-3},
            )  # fmt: skip
        label = torch.arange(400) % 2
        task = drawer.modality.request(400, {"label": label.tolist()}, index=torch.arange(400))
        drawn = drawer.run(task, steps=10, seed=seed + k, guidance=1.5, batch=100)["image"]
        return drawer.modality.unscale(drawn), label

    def answer(count: int, k: int, arm: str) -> list[float]:
        rows = chosen(count, k)
        few = x["train"][rows], y["train"][rows]
        if arm.startswith("logistic"):
            if arm == LOGISTIC[0]:
                shown = {level: (f["train"][rows], few[1]) for level, f in features.items()}
            else:
                many = torch.arange(len(rows)).repeat(1600 // count)
                draw = torch.Generator().manual_seed(seed)
                image, _, _ = augment(few[0][many], torch.ones_like(few[0][many]), None, 2, draw, mirror=False)
                warped = as_cases(255 * image[:, 0].numpy(), {})
                shown = {level: (base.features(warped, level), few[1][many]) for level in LEVELS}
            trials = []
            for level, weight in itertools.product(LEVELS, (1e-3, 1e-2, 1e-1)):
                found = probe(*shown[level], {p: features[level][p] for p in tests}, weight)
                trials.append([balanced_accuracy(found[p], y[p]) for p in tests])
            return max(trials)
        made = synthetic(count, k) if "synthetic" in arm else None
        net, rate = {
            "plain CNN, strong augmentation": (FeatureNetwork(1, 28, 2), 2e-3),
            ARMS[-1]: (FeatureNetwork(1, 28, 2), 2e-3),
            "plain: the generator's network, untrained": (fresh(), 1e-3),
            "CNN plus 400 synthetic X-rays": (FeatureNetwork(1, 28, 2), 2e-3),
            "diffusion-pretrained network": (fresh(base), 5e-4),
        }[arm]
        fit(net, scale, *few, made, minutes / 16 + (minutes if arm == ARMS[-1] else 0), seed, rate)
        return judge(net)

    notes = (
        f"PneumoniaMNIST (28 x 28), labels half of each class, {draws} choices of labels. Two tests: the 524 pictures of the "
        "official validation part, which come from where the training pictures come from, and the 624 of the official test "
        "part, which do not (their share of pneumonia, "
        + ", ".join(f"{p} {100 * y[p].double().mean():.0f} %" for p in ("train", "val", "test"))
        + f", says so). Settings are chosen by {2 * CHOICE} further training pictures. Gain: points over the plain arm that is "
        "better by these. The generator is pretrained on all 3,882 training pictures without labels "
        f"({minutes:g} minutes of process time) and, for synthetic X-rays, trained on with the few labels ({minutes / 6:.2g}); "
        f"every classifier is trained for {minutes / 16:.2g} minutes. Logistic regression: noise level ({LEVELS}) and weight "
        "are chosen."
    )
    for arm, count, k in itertools.product(ARMS, counts, range(draws)):
        key = f"{count}, {k}, {arm}"
        if key not in done:
            done[key] = answer(count, k, arm)
            kept.write_text(json.dumps(done))
            print(key, done[key], flush=True)
            report(done, counts, draws, notes)
    report(done, counts, draws, notes)


def report(done: dict[str, list[float]], counts: tuple[int, ...], draws: int, notes: str) -> None:
    """The table of what has been answered for every choice of labels."""
    rows, missing = [], []
    for count in counts:
        found = {a: [done.get(f"{count}, {k}, {a}") for k in range(draws)] for a in ARMS}
        missing += [f"{count} labels, {a}" for a, s in found.items() if None in s]
        scores = {a: 100 * np.array(s) for a, s in found.items() if None not in s}
        plain = max((a for a in scores if a.startswith("plain")), key=lambda a: scores[a][:, 0].mean(), default=None)
        for arm, s in scores.items():
            line: list[Any] = [count, arm, float(s[:, 0].mean())]
            for part in (1, 2):
                each = ", ".join(f"{t:.1f}" for t in s[:, part])
                gain = "" if arm == plain or plain is None else float((s - scores[plain])[:, part].mean())
                line += [float(s[:, part].mean()), each, gain]
            rows.append(line)
    notes += f" Not run: {'; '.join(missing)}." if missing else ""
    head = ["labels", "arm", "balanced accuracy, choosing"]
    head += [h for part in ("held out", "official test") for h in (part, f"{part}, each choice", "gain")]
    table("scans_few_xray", "Scans 2: X-rays from few labels", head, rows, notes)
