"""The same network sampled by diffusers' loops and by suffuse: pictures a CPU second and Frechet distance, interleaved.

    PYTHONPATH=src peers/bin/python benchmarks/throughput.py --data ../shared/data --distilled runs/distil/fashion_9.5

Runs where diffusers 0.42 is installed. The network is the shipped `fashion`, by class, without guidance; diffusers gets it
as a prediction of the clean sample on 1,000 discrete times of the network's own schedule, `trailing` spacing, its defaults
otherwise. All rows draw the same labels on one thread, in turns of --chunk pictures; speed is the median turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tables import table

import suffuse
from suffuse.diffusion.random import Random
from suffuse.metrics.frechet import frechet
from suffuse.modalities.images.dataset import from_field
from suffuse.modalities.images.quality import feature_function


def diffusers_loop(model: Any, kind: str, steps: int) -> Callable[[Any], torch.Tensor]:
    """diffusers' scheduler around the model's denoiser: a task in, the image field out."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

    process = model.joint["image"]
    times = (torch.arange(1000, dtype=torch.float64) + 1) / 1000
    bars = process.schedule.alpha(times).square().clamp(1e-8, 1 - 1e-8)
    betas = 1 - bars / torch.cat([torch.ones(1, dtype=torch.float64), bars[:-1]])
    scheduler = {"DDIM": DDIMScheduler, "DPM-Solver++ 2M": DPMSolverMultistepScheduler}[kind](
        trained_betas=betas.clamp(1e-8, 0.999).numpy(), prediction_type="sample", timestep_spacing="trailing",
    )  # fmt: skip
    levels = process.schedule.time(
        torch.log(scheduler.alphas_cumprod.double() / (1 - scheduler.alphas_cumprod.double())) / 2
    )

    @torch.inference_mode()
    def run(task: Any) -> torch.Tensor:
        scheduler.set_timesteps(steps)
        x = torch.stack([Random(0).normal(task.x["image"].shape[1:], task.index, 0, "noise")]).squeeze(0)
        still = {n: torch.zeros(1, *(1,) * (v.ndim - 1)) for n, v in task.x.items()}
        for t in scheduler.timesteps:
            level = levels[int(t)].float().reshape(1, 1, 1, 1).expand(len(x), 1, 1, 1)
            clean = model.denoiser({**task.x, "image": x}, {**still, "image": level}, dict(task.context))["image"]
            x = scheduler.step(clean, t, x).prev_sample
        return x

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--distilled", type=Path, help="a model made by distil.py")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=50)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    model = suffuse.load("fashion")
    for calls in (5, 7, 8):
        model.tune(calls, n=96, guidance=1.0)
    data = model.modality.dataset(args.data / "images/fashion-mnist", split="test")
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[: args.samples]
    features, _ = feature_function(model.modality, data)
    real = features(data.pixels[torch.randperm(len(data), generator=torch.Generator().manual_seed(1))[:5000]])
    labels = data.batch(rows).x["label"]

    def own(network: Any, **settings: Any) -> Callable[[Any], torch.Tensor]:
        return lambda task: network.run(task, guidance=1.0, batch=args.chunk, **settings)["image"]

    ways: dict[tuple[str, int], Callable[[Any], torch.Tensor]] = {
        ("diffusers DDIM", 50): diffusers_loop(model, "DDIM", 50),
        ("diffusers DPM-Solver++ 2M", 20): diffusers_loop(model, "DPM-Solver++ 2M", 20),
        ("suffuse", 10): own(model, steps=10),
        ("suffuse, bf16", 10): own(model, steps=10, precision="bf16"),
        ("suffuse, tuned, bf16", 8): own(model, steps=8, precision="bf16"),
        ("suffuse, tuned, bf16", 7): own(model, steps=7, precision="bf16"),
        ("suffuse, tuned", 5): own(model, steps=5),
        ("suffuse, tuned, bf16", 5): own(model, steps=5, precision="bf16"),
    }
    if args.distilled:
        student = suffuse.load(args.distilled)
        for calls in (2, 1):
            ways["suffuse, distilled", calls] = own(student, steps=calls)
            ways["suffuse, distilled, bf16", calls] = own(student, steps=calls, precision="bf16")
    spent: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    made: dict[tuple[str, int], list[torch.Tensor]] = {way: [] for way in ways}
    for first in range(0, args.samples, args.chunk):
        part = labels[first : first + args.chunk]
        task = model.modality.request(
            len(part), {"label": part.flatten().tolist()}, index=torch.arange(first, first + len(part))
        )
        for way, draw in ways.items():
            begun = time.process_time()
            out = draw(task)
            spent[way].append(time.process_time() - begun)
            made[way].append(from_field(out, model.modality.config))
    speed = {way: args.chunk / statistics.median(values) for way, values in spent.items()}
    slow, fast = speed["diffusers DDIM", 50], speed["diffusers DPM-Solver++ 2M", 20]
    lines = []
    for name, calls in ways:
        found, rate = frechet(features(torch.cat(made[name, calls])), real), speed[name, calls]
        lines.append([name, calls, found, rate, rate / slow, rate / fast])
    floor = frechet(features(data.pixels[rows]), real)
    table(
        "throughput",
        "The same network in diffusers' loops and in suffuse",
        ["loop", "calls", "Frechet", "pictures a CPU second", "times DDIM-50", "times DPM++-20"],
        lines,
        f"{args.samples} pictures by class, no guidance, to 5,000 real ones; as many real pictures: {floor:.2f}. Distilled "
        "models have the guidance of the shipped model (3, levels .1-.7) folded in.",
    )


if __name__ == "__main__":
    main()
