"""What shortens time to quality: one change at a time, equal processor time, Fashion-MNIST, the `generate` task alone.

    python benchmarks/training.py --data ../shared/data --minutes 5           # all variants; resumes; writes training.md
    python benchmarks/training.py --data ../shared/data --only adamw          # one

Every run: the same U-Net, batch, seed and clock; quality is the Frechet distance of 2,000 pictures at 10 calls (the
modality's own sampler) to test pictures in the shipped judge's 64 features, with real against real beside, and the mean error of
the clean prediction on held-out pictures at fixed levels and noise (the same weighting for all: EDM's).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from zoo_images import RECIPE

import suffuse
from suffuse.diffusion.objectives import denoising
from suffuse.diffusion.objectives.coupling import couple
from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.schedule import Cosine, Linear
from suffuse.files import write_json, write_text
from suffuse.metrics.frechet import frechet
from suffuse.modalities.images import Images, quality
from suffuse.training.recipe import Recipe
from suffuse.training.trainer import Trainer


@dataclass
class Variant:
    """One change against the base."""

    what: str
    recipe: dict[str, Any] = field(default_factory=dict)
    gaussian: dict[str, Any] = field(default_factory=dict)
    density: str = "uniform"
    coupled: bool = False
    adaptive: bool = False
    widths: tuple[float, ...] = (0.05,)


VARIANTS = {
    "base": Variant("the recipe of the pictures that ship", widths=(0.0, 0.03, 0.05, 0.10, 0.15)),
    "logit_normal": Variant("logit-normal levels", density="logit_normal"),
    "transport": Variant("minibatch optimal-transport coupling", coupled=True),
    "adamw": Variant("AdamW, rate 2e-3, instead of Muon, 4e-3", {"optimiser": "adamw", "learning_rate": 2e-3}),
    "min_snr": Variant("min-SNR weighting, gamma 5", gaussian={"weighting": "min_snr"}),
    "linear": Variant("straight path (flow matching) instead of cosine", gaussian={"schedule": Linear()}),
    "adaptive": Variant("loss-adaptive levels", adaptive=True),
    "double_rate": Variant("rate 8e-3", {"learning_rate": 8e-3}),
    "plain_clock": Variant("level = clock", gaussian={"warp": 1.0}),
    "small_batch": Variant("batch 32", {"batch": 32}),
    "half_rate": Variant("rate 2e-3", {"learning_rate": 2e-3}),
    "x0_weighting": Variant("plain squared error of the clean picture", gaussian={"weighting": "x0"}),
    "full_precision": Variant("fp32 instead of bf16 training", {"precision": "fp32"}),
    "no_decay": Variant("constant rate after warm-up", {"decay": 0.0}, widths=(0.0, 0.05, 0.10, 0.15)),
    "slow_beta": Variant("second beta .999", {"betas": (0.9, 0.999)}),
}  # fmt: skip


class Adaptive:
    """Levels drawn in proportion to the running deviation of the loss at each level, in 20 bins (after the loss-second-moment
    resampler of Nichol & Dhariwal 2021, section 4, without reweighting), mixed with a fifth of uniform draws."""

    def __init__(self, bins: int = 20):
        self.moment, self.seen = torch.ones(bins), torch.zeros(bins)

    def __call__(self, u: torch.Tensor) -> torch.Tensor:
        share = self.moment.sqrt() / self.moment.sqrt().sum() * 0.8 + 0.2 / len(self.moment)
        edges = torch.cat([torch.zeros(1), share.cumsum(0)])
        edges[-1] = 1.0
        k = torch.searchsorted(edges, u.float(), right=True).clamp(1, len(share)) - 1
        return ((k + (u - edges[k]) / share[k]) / len(share)).clamp(1e-6, 1 - 1e-6).float()

    def learn(self, clock: torch.Tensor, error: torch.Tensor) -> None:
        k = (clock * len(self.moment)).long().clamp(0, len(self.moment) - 1)
        for j in k.unique().tolist():
            self.moment[j] += 0.05 * (error[k == j].square().mean() - self.moment[j])


def objective_of(variant: Variant) -> Callable[..., Any]:
    """The denoising loss with this variant's levels and pairs of noise and picture."""
    adaptive = Adaptive()
    if variant.adaptive:
        denoising.DENSITIES["adaptive"] = adaptive

    def objective(denoiser, joint, batch, start, random, step, index):
        density = "adaptive" if variant.adaptive else variant.density
        if variant.coupled:
            joint = CoupledJoint(joint.processes, joint.weights)
        if variant.adaptive:
            levels = denoising.draw_levels(joint, batch, start, random, step, index, density, 0.0)["image"]
            kept: dict[str, torch.Tensor] = {}
            loss = denoising.denoising_loss(
                _keep(denoiser, kept), joint, batch, start, random, step, index, density, 0.0
            )
            with torch.no_grad():
                error = joint["image"].loss(kept["image"], batch.x["image"], None, levels).flatten(1).mean(1)
                adaptive.learn(levels.flatten() ** (1 / joint["image"].warp), error)
            return loss
        return denoising.denoising_loss(denoiser, joint, batch, start, random, step, index, density, 0.0)

    return objective


def _keep(denoiser: Callable[..., Any], kept: dict[str, torch.Tensor]) -> Callable[..., Any]:
    def call(*arguments):
        clean = denoiser(*arguments)
        kept.update({k: v.detach() for k, v in clean.items()})
        return clean

    return call


class CoupledJoint(Joint):
    """Noise reordered within the batch to lie near its picture."""

    def noise(self, x, context, random, index, step):
        out = super().noise(x, context, random, index, step)
        return {**out, "image": couple(x["image"], out["image"])}


def held_out_error(model: Any, data: Any, count: int) -> float:
    """Mean of the EDM-weighted error over 20 levels, the same noise for every model; by the model's own schedule at equal
    noise-to-signal ratios."""
    batch, total = data.batch(torch.arange(count)), 0.0
    process: Gaussian = model.joint["image"]
    judge = replace(process, weighting="edm", schedule=Cosine())
    with torch.inference_mode():
        for k in range(20):
            level = torch.full((count, 1, 1, 1), (k + 0.5) / 20)
            noise = Random(1).normal(batch.x["image"].shape[1:], batch.index, k, "error")
            own = process.schedule.time(Cosine().log_snr(level))
            x = {**batch.x, "image": process.corrupt(batch.x["image"], noise, own)}
            levels = {n: own if n == "image" else torch.ones_like(batch.x[n], dtype=torch.float32) for n in model.joint}
            x = model.joint.null(x, {n: torch.ones_like(x[n], dtype=torch.bool) for n in x if n != "image"})
            clean = model.denoiser(x, levels, {})["image"]
            total += judge.loss(clean, batch.x["image"], None, level).mean().item() / 20
    return total


def run(name: str, given: argparse.Namespace) -> dict[str, Any]:
    variant = VARIANTS[name]
    folder = given.data / "images" / "fashion-mnist"
    modality, data = Images.read(folder, judge="fashion", widths=given.widths, patch=given.patch)
    torch.manual_seed(given.seed)
    model = suffuse.Model.new(modality)
    for field_name, process in model.joint.processes.items():
        if field_name == "image":
            model.joint.processes["image"] = replace(process, **variant.gaussian)
    settings = {**RECIPE, "seed": given.seed, **variant.recipe}
    recipe = Recipe.make(minutes=given.minutes, tasks={"generate": 1.0}, **settings)
    trainer = Trainer(
        modality, data, model.denoiser, recipe, given.work / name, objective=objective_of(variant), resume=True
    )
    outcome = trainer.run()
    test = modality.dataset(folder)
    rows = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    features, _ = quality.feature_function(modality, test)
    real = features(test.pixels[rows[2000:7000]])
    found = {
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "real": frechet(features(test.pixels[rows[:2000]]), real),
    }
    for width in variant.widths:
        trainer.adopt(width)
        made = quality.generate(modality, model, test, rows[: given.samples], labels=False, steps=10)
        found[f"frechet {width}"] = frechet(features(made), real)
        found[f"error {width}"] = held_out_error(model, test, given.samples // 4)
    return found


def table(results: dict[str, dict[str, Any]], given: argparse.Namespace) -> str:
    lines = [
        f"# What shortens training: Fashion-MNIST, {given.minutes:g} CPU minutes a run, one thread, one seed", "",
        f"U-Net of widths {given.widths} after a patch of {given.patch}.", "",
        "| variant | change | average | steps | held-out error | Frechet, 10 calls | real against real |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, variant in VARIANTS.items():
        for width in variant.widths if name in results else ():
            row = results[name]
            lines.append(
                f"| {name} | {variant.what} | {width or 'none'} | {row['steps']} | {row[f'error {width}']:.4f} | "
                f"{row[f'frechet {width}']:.2f} | {row['real']:.2f} |"
            )
    widths = " ".join(map(str, given.widths))
    command = f"python benchmarks/training.py --minutes {given.minutes:g} --samples {given.samples} --seed {given.seed}"
    command += f" --widths {widths} --patch {given.patch}"
    left = [name for name in VARIANTS if name not in results]
    lines += ["", f"Made by `{command}`.", *([f"Not run: {', '.join(left)}."] if left else [])]
    return "\n".join([*lines, "Machine shared with other jobs: the steps a run got differ by a tenth.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/training"), help="where runs are kept and resumed")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 96], help="of the U-Net")
    parser.add_argument("--patch", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("-o", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    file = given.o / "training.json"
    for name in [given.only] if given.only else VARIANTS:
        results = json.loads(file.read_text()) if file.exists() else {}
        if name in results:
            continue
        begun = time.time()
        found = run(name, given)
        results = json.loads(file.read_text()) if file.exists() else {}
        results[name] = found
        write_json(results, file)
        write_text(table(results, given), given.o / "training.md")
        print(name, round(time.time() - begun), {k: round(v, 4) for k, v in found.items()}, flush=True)


if __name__ == "__main__":
    main()
