"""Line 2 of the scans room: segmentation of the hippocampus from 5 and 10 labelled volumes, with and without a generator."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans_augment import augment, descend
from scans_clock import Clock
from tables import table
from torch import Tensor

ARCHIVE = "medical/msd_hippocampus/hippocampus_train_nii.tar.xz"
POOL, VALIDATION = 200, 20
"""The first 200 volumes are for training (the last 20 of them, with masks, choose settings); the other 60 are the test."""
SETTINGS = {"precision": "bf16", "compile": False, "channels_last": False, "batch": 16, "checkpoint_every": 60.0}


def labelled(count: int) -> list[int]:
    """Which volumes carry a mask: spread evenly over the pool, those of 5 among those of 10."""
    ten = [9, 117, 45, 153, 81, 27, 63, 99, 135, 171]
    return ten[:count]


def everything(data: Path) -> list[Any]:
    from suffuse.modalities.scans.reading import cases

    return list(cases(data / ARCHIVE))


def pretrain(data: Path, work: Path, minutes: float, seed: int) -> Any:
    """A diffusion model of the 200 scans, 5 of them with masks: mostly generation (line 3 measures it)."""
    import suffuse

    folder = work / "scans_volumes"
    if (folder / "config.json").is_file():
        return suffuse.load(folder)
    found, with_mask = everything(data)[:POOL], set(labelled(5))
    source = [c if k in with_mask else replace(c, mask=None) for k, c in enumerate(found)]
    return suffuse.train(
        source, "scans", minutes=minutes, seed=seed, output=folder, tasks={"generate": 1.0},
        read={"grid": [32, 48, 32], "width": 16}, resume=(folder / "training").is_dir(), **SETTINGS,
    )  # fmt: skip


class Volumes:
    """Scans on the model's grid. image: (N, 1, *grid) in 0..1; seen: bool; mask: (N, *grid); outside: (N, K) mask voxels that
    the grid leaves out, counted as missed."""

    def __init__(self, model: Any, found: list[Any]):
        rows = model.modality.dataset(found)
        self.image, self.seen, self.mask = rows.image.float(), rows.seen, rows.mask.long()
        counts = [[int((np.rint(c.mask.values) == k).sum()) for k in (1, 2)] for c in found]
        here = torch.stack([(self.mask == k).flatten(1).sum(1) for k in (1, 2)], dim=1)
        self.outside = torch.tensor(counts) - here

    def part(self, rows: slice) -> Volumes:
        some = copy.copy(self)
        some.image, some.seen, some.mask, some.outside = (
            v[rows] for v in (self.image, self.seen, self.mask, self.outside)
        )
        return some

    def take(self, rows: list[int] | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.image[rows], self.seen[rows], self.mask[rows]


def logits(denoiser: Any, image: Tensor, seen: Tensor, classes: int) -> Tensor:
    """(B, *grid, K): the mask asked of scans (in model units) in one call, as `model.segment` asks it."""
    tokens = torch.full((len(image), *image.shape[2:]), classes, device=image.device)
    levels = {"image": (~seen).float(), "mask": torch.ones(len(image), 1, 1, 1, device=image.device)}
    return denoiser({"image": torch.where(seen, image, 0.0), "mask": tokens}, levels, {})["mask"]


def loss_of(found: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Cross-entropy and soft Dice over the batch (Isensee et al. 2021)."""
    entropy = F.cross_entropy(found.flatten(0, -2), mask.flatten())
    share, hot = found.softmax(-1)[..., 1:].flatten(0, -2), F.one_hot(mask, classes)[..., 1:].flatten(0, -2).float()
    return entropy - (2 * (share * hot).sum(0) / (share.sum(0) + hot.sum(0)).clamp(min=1)).mean()


def fit(
    model: Any,
    real: Any,
    made: Any,
    minutes: float,
    seed: int,
    rate: float = 2e-3,
    batch: int = 4,
    device: str = "cpu",
    judge: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """Train a model's network as a segmenter on augmented pairs, half of them `made` if given; {"steps": ...}.

    made: (image, seen) without masks, after a quarter of the time, are answered by the averaged weights (mean teacher, Tarvainen
    & Valpola 2017, with the answer taken as a mask); until then a batch is real.
    judge: asked twelve times what the averaged weights are worth on validation volumes; the best are kept, the answers are
    returned as "validation", [[steps, points], ...].
    """
    classes, denoiser = model.modality.config["mask_classes"], model.denoiser.to(device).train()
    draw = torch.Generator(device).manual_seed(seed)
    fused = {"fused": True} if device != "cpu" else {}
    optimiser = torch.optim.AdamW(denoiser.parameters(), rate, weight_decay=0.01, betas=(0.9, 0.99), **fused)
    taught = tuple(v.to(device) for v in made) if made and len(made) == 2 else None
    sources = [tuple(v.to(device) for v in s) for s in ((real, made) if made and not taught else (real, real))]
    sizes = (batch // 2, batch - batch // 2)
    now = list(denoiser.parameters())
    slow, best, asked = [p.detach().clone() for p in now], None, []
    teacher = copy.deepcopy(denoiser).eval().requires_grad_(False) if taught else None
    clock, steps = Clock(minutes, device), 0
    while (done := clock()) < 1:
        rows = [torch.randint(len(s[0]), (n,), generator=draw, device=device) for s, n in zip(sources, sizes)]
        image, seen, mask = (torch.cat([s[k][r] for s, r in zip(sources, rows)]) for k in range(3))
        if taught and done > 0.25:
            own = torch.randint(len(taught[0]), (sizes[1],), generator=draw, device=device)
            image[sizes[0] :], seen[sizes[0] :] = (v[own] for v in taught)
            mask[sizes[0] :] = _told(model, teacher, image[sizes[0] :], seen[sizes[0] :], classes, device)
        image, seen, mask = augment(image, seen, mask, classes, draw)
        with torch.autocast(device, torch.bfloat16):
            found = logits(denoiser, model.modality.scale(image), seen, classes)
        loss = loss_of(found.float(), mask, classes)
        descend(optimiser, loss, rate, steps, done)
        steps += 1
        if taught:
            share = max(0.01, steps**-0.75)
            torch._foreach_lerp_(list(teacher.parameters()), [p.detach() for p in now], share)
        if judge:
            torch._foreach_lerp_(slow, [p.detach() for p in now], max(0.01, steps**-0.75))
            if 12 * done >= len(asked) + 0.9:
                best = _judged(denoiser, now, slow, judge, asked, steps, best)
        if steps % 100 == 0:
            print(f"  step {steps}, {100 * done:.0f} %, loss {loss.item():.4f}", flush=True)
    if judge:
        best = _judged(denoiser, now, slow, judge, asked, steps, best)
        torch._foreach_copy_([p.detach() for p in now], best)
    denoiser.eval()
    return {"steps": steps, "validation": asked}


@torch.no_grad()
def _told(model: Any, teacher: Any, image: Tensor, seen: Tensor, classes: int, device: str) -> Tensor:
    """(B, *grid) int64: the teacher's likeliest classes of scans in 0..1."""
    with torch.autocast(device, torch.bfloat16):
        return logits(teacher, model.modality.scale(image), seen, classes).argmax(-1)


def _judged(
    denoiser: Any, now: list[Tensor], slow: list[Tensor], judge: Any, asked: list[Any], steps: int, best: Any
) -> Any:
    """The better of `best` and the averaged weights `slow`; the network goes on with those that it had."""
    kept = [p.detach().clone() for p in now]
    torch._foreach_copy_([p.detach() for p in now], slow)
    denoiser.eval()
    score = judge()
    if not asked or score > max(s for _, s in asked):
        best = [p.clone() for p in slow]
    asked.append([steps, score])
    torch._foreach_copy_([p.detach() for p in now], kept)
    denoiser.train()
    return best


@torch.inference_mode()
def overlaps(model: Any, volumes: Volumes, device: str = "cpu") -> np.ndarray:
    """(N, 2) Dice of anterior and posterior, mask voxels outside the grid counted as missed."""
    out, classes = [], model.modality.config["mask_classes"]
    for rows in torch.arange(len(volumes.image)).split(10):
        image, seen, mask = (v.to(device) for v in volumes.take(rows))
        found = logits(model.denoiser, model.modality.scale(image), seen, classes).argmax(-1)
        for k in (1, 2):
            a, b = (found == k) & seen[:, 0], mask == k
            total = a.flatten(1).sum(1) + b.flatten(1).sum(1) + volumes.outside[rows, k - 1].to(device)
            out.append(2 * (a & b).flatten(1).sum(1).double() / total.clamp(min=1))
    return torch.cat([torch.stack(out[k : k + 2], dim=1) for k in range(0, len(out), 2)]).cpu().numpy()


def generator(data: Volumes, found: list[Any], count: int, work: Path, minutes: float, seed: int) -> Any:
    """The pretrained model trained on, for an image for a mask: `count` masks in warped copies, beside the unlabelled scans."""
    import suffuse
    from suffuse.modalities.scans import Case, Volume

    folder = work / f"scans_painter_{count}"
    if (folder / "config.json").is_file():
        return suffuse.load(folder)
    rows, draw, source = labelled(count), torch.Generator().manual_seed(seed), []
    base_case = found[0].reference
    for _ in range(100 // count):
        image, seen, mask = augment(*data.take(rows), 3, draw, colour=False)
        for one, there, tokens in zip(image[:, 0], seen[:, 0], mask, strict=True):
            scan = np.where(there.numpy(), one.numpy(), np.nan)
            limits = {
                "image": Volume(scan, base_case.affine),
                "mask": Volume(tokens.numpy().astype(np.uint8), base_case.affine),
            }
            source.append(Case({"image": limits["image"]}, limits["mask"]))
    source += [replace(c, mask=None) for k, c in enumerate(found[:POOL]) if k not in rows]
    return suffuse.train(
        source, start_from=work / "scans_volumes", minutes=minutes, seed=seed, output=folder,
        tasks={"paint": 0.6, "generate": 0.2, "segment": 0.2},
        resume=(folder / "training").is_dir(), **SETTINGS | {"learning_rate": 1e-3},
    )  # fmt: skip


def pairs(
    model: Any, data: Volumes, count: int, n: int, path: Path, steps: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """n scans (0..1) drawn for warped copies of the labelled masks."""
    if not path.is_file():
        draw, grid = torch.Generator().manual_seed(seed + 1), list(data.image.shape[2:])
        rows = torch.tensor(labelled(count))[torch.arange(n) % count]
        mask = torch.cat([augment(*data.take(r), 3, draw)[2] for r in rows.split(20)])
        task = model.modality.request(n, None, index=torch.arange(n))
        task.x["mask"], task.start.levels["mask"] = mask, torch.zeros(n, *[1] * len(grid))
        task.given["mask"] = torch.ones(n, *[1] * len(grid), dtype=torch.bool)
        image = model.modality.unscale(model.run(task, steps=steps, seed=seed, batch=16, precision="bf16")["image"])
        np.savez_compressed(path, image=image.half().numpy(), mask=mask.to(torch.uint8).numpy())
    with np.load(path) as file:
        image, mask = torch.from_numpy(file["image"]).float(), torch.from_numpy(file["mask"]).long()
    return image, torch.ones_like(image, dtype=torch.bool), mask


ARMS = {
    "plain": "plain U-Net, strong augmentation",
    "longer": "plain U-Net, twice as long",
    "whole": "plain U-Net, 5 times as long (pretraining and the segmenter of twice the time together)",
    "longest": "plain U-Net, 8 times as long (pretraining and the segmenter of 5 times the time together)",
    "made": "plus synthetic pairs",
    "pretrained": "plus diffusion-pretrained network",
    "pretrained longer": "plus diffusion-pretrained network, twice as long",
    "pretrained whole": "plus diffusion-pretrained network, 5 times as long",
    "both": "pretrained, then trained on the masks, plus synthetic pairs",
    "taught": "pretrained, 5 times as long, half of every batch unlabelled scans with its own averaged answer",
    "plain taught": "the same, not pretrained",
}
ORDER = [(5, "whole"), (5, "pretrained longer"), (5, "pretrained whole"), (5, "longest"), (5, "longer"), (5, "plain")]
ORDER += [(5, "pretrained"), (5, "made"), (5, "both"), (10, "plain"), (10, "pretrained"), (10, "made"), (10, "both")]
ORDER += [(5, "taught"), (5, "plain taught"), (10, "whole"), (10, "pretrained longer"), (10, "taught")]
"""What is run first: the table is written anew after every arm, so that a run that is cut off leaves what it had."""


LONGER = {"longer": 2, "whole": 5, "longest": 8, "pretrained longer": 2, "pretrained whole": 5}
LONGER |= {"taught": 5, "plain taught": 5}
"""How many times as long the segmenter of an arm is trained."""
TOTAL = {"pretrained longer": "whole", "pretrained whole": "longest", "taught": "longest"}
"""Which plain arm had as long in all; `SAME`: which one as a segmenter."""
SAME = {
    "pretrained": "plain",
    "pretrained longer": "longer",
    "pretrained whole": "whole",
    "made": "plain",
    "both": "plain",
    "taught": "whole",
    "plain taught": "whole",
}


def run(data: Path, work: Path, minutes: float, seed: int, arms: list[str] | None = None, n: int = 100) -> None:
    """minutes: of each segmenter; the generator is pretrained for 3 and trained on for 1.2 times that. arms: run no others."""
    from suffuse.model import Model

    found = everything(data)
    base = pretrain(data, work, 3 * minutes, seed)
    volumes = Volumes(base, found)
    parts = {"val": slice(POOL - VALIDATION, POOL), "test": slice(POOL, None)}

    size = sum(p.numel() for p in base.denoiser.parameters())
    notes = (
        f"MSD Task04, {POOL} volumes to train with ({VALIDATION} of them for validation), {len(found) - POOL} test volumes; "
        "Dice is the mean of anterior and posterior, in points, what the 32 x 48 x 32 grid leaves out counted as missed; gains "
        f"with p of a paired t. Every arm is one network ({size:,} parameters), AdamW, batches of 4, minutes of process time. "
        f"Generator: {3 * minutes:g} minutes on the 200 scans and 5 masks, then, for synthetic pairs, {1.2 * minutes:g} on the "
        f"masks' warped copies; {n} pairs of 8 calls, half of every batch. One seed, one choice of labelled volumes."
    )
    results: dict[tuple[int, str], tuple[dict[str, np.ndarray], int]] = {}
    for count, arm in ORDER:
        path = work / f"scans_few_{count}_{arm}_{minutes:g}.npz"
        if not path.is_file() and arms and f"{count},{arm}" not in arms:
            continue
        if not path.is_file():
            start, made = base if arm.startswith(("pretrained", "taught")) else None, None
            if arm.endswith("taught"):
                few = torch.tensor([k not in labelled(count) for k in range(POOL - VALIDATION)]).nonzero()[:, 0]
                made = volumes.take(few)[:2]
            if arm in ("made", "both"):
                painter = generator(volumes, found, count, work, 1.2 * minutes, seed)
                made = pairs(painter, volumes, count, n, work / f"scans_pairs_{count}.npz", 8, seed)
                start = painter if arm == "both" else None
            torch.manual_seed(seed)
            model = Model.new(base.modality)
            if start is not None:
                model.denoiser.load_state_dict({k: v.float() for k, v in start.denoiser.state_dict().items()})
            steps = fit(model, volumes.take(labelled(count)), made, minutes * LONGER.get(arm, 1), seed)["steps"]
            np.savez(path, steps=steps, **{p: overlaps(model, volumes.part(rows)) for p, rows in parts.items()})
        with np.load(path) as file:
            results[count, arm] = {p: file[p].mean(1) for p in parts}, int(file["steps"])
        report(results, notes, minutes)


def report(results: dict[tuple[int, str], tuple[dict[str, np.ndarray], int]], notes: str, minutes: float) -> None:
    from scipy.stats import ttest_rel

    rows = []
    for count, arm in sorted(results, key=lambda r: (r[0], list(ARMS).index(r[1]))):
        scores, steps = results[count, arm]
        line = [
            count,
            ARMS[arm],
            minutes * LONGER.get(arm, 1),
            *(float(100 * scores[p].mean()) for p in ("val", "test")),
        ]
        for other in (SAME.get(arm), TOTAL.get(arm)):
            if (count, other) in results:
                plain = results[count, other][0]["test"]
                p = float(ttest_rel(scores["test"], plain).pvalue)
                line.append(f"{100 * (scores['test'] - plain).mean():+.2f} (p {p:.1g})")
            else:
                line.append("")
        rows.append([*line, steps])
    missing = [f"{c} labels: {ARMS[a]}" for c, a in ORDER if (c, a) not in results]
    notes += f" Not run: {'; '.join(missing)}." if missing else ""
    head = ["labels", "arm", "minutes", "Dice, validation", "Dice, test", "over plain of the same minutes"]
    head += ["over plain of the same minutes in all", "steps"]
    table("scans_few", "Scans 2: hippocampus from few labels", head, rows, notes)
