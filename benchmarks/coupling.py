"""Eight Gaussians to two moons in one Euler step: what minibatch optimal-transport coupling buys.

The published convention (Cheng & Schwing, "The Curse of Conditions", arXiv 2503.10636, table 1, and their code): noise
is eight Gaussians on a circle of radius 5 (variance sqrt(.1) a coordinate), data two moons with noise .2, times 3, minus
1; the figure is the squared 2-Wasserstein distance between one-step samples and as many fresh points (they: 10,000; here
4,000 unless told, which only raises it), mean and deviation over 10 runs. Beside it the floor: two fresh sets. Conditions:
none, the moon (class), the first coordinate (continuous).

    python benchmarks/coupling.py --runs 10            # writes coupling.json as it goes (resumes) and coupling.md
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import nn

from suffuse.diffusion.denoiser import Denoiser
from suffuse.diffusion.objectives.coupling import assignment, couple, squared_distances
from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.schedule import Linear
from suffuse.files import write_json, write_text
from suffuse.training.averaging import Averages
from suffuse.training.optimiser import Optimiser
from suffuse.training.recipe import Recipe

SCALE = 3.55  # deviation of the eight Gaussians; the engine's prior has deviation 1
PUBLISHED = {
    ("none", "independent"): "6.23", ("none", "aware"): ".07",
    ("x", "independent"): ".73", ("x", "transport"): "8.28",
}  # fmt: skip


def eight_gaussians(count: int, draw: torch.Generator) -> torch.Tensor:
    angle = torch.randint(8, (count,), generator=draw) * (math.pi / 4)
    centre = 5 * torch.stack([angle.cos(), angle.sin()], 1)
    return (centre + 0.1**0.25 * torch.randn(count, 2, generator=draw)) / SCALE


def two_moons(count: int, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Evenly spaced points on both arcs, as torchdyn draws them (one uniform noise a point, for both coordinates), shuffled."""
    half = count // 2
    t = torch.linspace(0, math.pi, half)
    outer, inner = torch.stack([t.cos(), t.sin()], 1), torch.stack([1 - t.cos(), 0.5 - t.sin()], 1)
    points = torch.cat([outer, inner]) + 0.2 * torch.rand(2 * half, 1, generator=draw)
    label = torch.arange(2 * half) // half
    order = torch.randperm(2 * half, generator=draw)
    return (points[order] * 3 - 1) / SCALE, label[order]


class Network(nn.Module):
    """Three residual blocks of width 128 (about 400k parameters), as published; levels and conditions are added."""

    def __init__(self, conditions: int, width: int = 128):
        super().__init__()
        self.into = nn.Linear(2 + 1 + conditions, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(3)
        )
        self.out = nn.Linear(width, 2)

    def forward(self, x, levels, context, targets=None):
        point = x["point"]
        parts = [point, levels["point"].expand(len(point), 1)]
        h = self.into(torch.cat(parts + ([context["condition"]] if "condition" in context else []), 1))
        for block in self.blocks:
            h = h + block(h)
        return {"point": self.out(h)}


def condition_of(kind: str, x: torch.Tensor, label: torch.Tensor) -> dict[str, torch.Tensor]:
    if kind == "none":
        return {}
    return {"condition": x[:, :1] if kind == "x" else label[:, None].float() * 2 - 1}


def pairs(kind: str, way: str, pools: int, size: int, draw: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Pools of data, labels and noise, coupled within each pool."""
    out = []
    for _ in range(pools):
        x, label = two_moons(size, draw)
        noise = eight_gaussians(size, draw)
        if way == "transport" or (way == "aware" and kind == "none"):
            noise = couple(x, noise)
        elif way == "aware" and kind == "class":
            noise = couple(x, noise, classes=label)
        elif way == "aware":
            noise = couple(x, noise, condition=x[:, :1], ratio=RATIO)
        out.append((x, label, noise))
    return tuple(torch.cat(part) for part in zip(*out))


RATIO = 0.05


def squared_w2(a: torch.Tensor, b: torch.Tensor) -> float:
    """Exact squared 2-Wasserstein distance of two point sets of equal size, in the data's own unit."""
    cost = squared_distances(a.double() * SCALE, b.double() * SCALE)
    return float(cost[torch.arange(len(a)), assignment(cost)].mean())


def run(kind: str, way: str, seed: int, steps: int, pools: int, size: int, points: int) -> dict[str, float]:
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(1000 + seed)
    joint = Joint({"point": Gaussian(Linear(), std=0.65)})
    process = joint["point"]
    network = Network(0 if kind == "none" else 1)
    denoiser = Denoiser(network, joint, {"point": "velocity"})
    begun = time.process_time()
    x0, label, noise = pairs(kind, way, pools, size, draw)
    coupling = time.process_time() - begun
    recipe = Recipe(steps=steps, learning_rate=2e-3, warm_up=0.02, decay=0.8)
    optimiser, averages = Optimiser(network, "adamw"), Averages(network.named_parameters(), (0.05, 0.10))
    for step in range(steps):
        rows = torch.randint(len(x0), (256,), generator=draw)
        u = (torch.rand((), generator=draw) + torch.arange(256) / 256) % 1
        levels = {"point": u[:, None].clamp(min=1e-3)}
        x = {"point": process.corrupt(x0[rows], noise[rows], levels["point"])}
        clean = denoiser(x, levels, condition_of(kind, x0[rows], label[rows]))
        # the squared error of the velocity
        loss = ((clean["point"] - x0[rows]) / levels["point"]).square().mean()
        loss.backward()
        optimiser.step(recipe.rate(step / steps))
        optimiser.zero_grad()
        averages.update(list(network.parameters()))
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(averages.current(0.05)[name])
        target, target_label = two_moons(points, draw)
        start = eight_gaussians(points, draw)
        one = torch.ones(points, 1)
        # one Euler step from level 1 to 0 is the clean prediction at level 1
        made = denoiser({"point": start}, {"point": one}, condition_of(kind, target, target_label))["point"]
    fresh, _ = two_moons(points, draw)
    training = time.process_time() - begun
    return {
        "w2": squared_w2(made, target), "floor": squared_w2(fresh, target), "coupling_s": coupling, "training_s": training
    }  # fmt: skip


def table(results: dict[str, list[dict[str, float]]], command: str) -> str:
    lines = [
        "# Coupling: eight Gaussians to two moons, one Euler step", "",
        "Squared 2-Wasserstein distance (the published convention), mean and deviation over runs; floor: two fresh sets.", "",
        "| condition | coupling | W2 | floor | runs | CPU s a run (of which coupling) | published |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for key, rows in results.items():
        kind, way = key.split("/")
        values = torch.tensor([row["w2"] for row in rows])
        mean = {k: sum(row[k] for row in rows) / len(rows) for k in rows[0]}
        spread = f" ± {values.std().item():.4f}" if len(rows) > 1 else ""
        lines.append(
            f"| {kind} | {way} | {values.mean():.4f}{spread} | {mean['floor']:.4f} | {len(rows)} | "
            f"{mean['training_s']:.0f} ({mean['coupling_s']:.0f}) | {PUBLISHED.get((kind, way), '')} |"
        )
    return "\n".join([*lines, "", f"Made by `{command}`.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--others", type=int, default=2, help="runs of the couplings shown for contrast")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--pools", type=int, default=12)
    parser.add_argument("--size", type=int, default=1024, help="points coupled at a time")
    parser.add_argument("--points", type=int, default=4000, help="of each set that is compared")
    parser.add_argument("--only", default="", help="condition/coupling, to run one row")
    parser.add_argument("-o", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    file = given.o / "coupling.json"
    rows = [("none", "aware"), ("class", "aware"), ("x", "aware"), ("none", "independent"), ("class", "independent")]
    rows += [("x", "independent"), ("class", "transport"), ("x", "transport")]
    for kind, way in rows:
        key = f"{kind}/{way}"
        if given.only and given.only != key:
            continue
        for seed in range(given.runs if way == "aware" else given.others):
            results = json.loads(file.read_text()) if file.exists() else {}
            if len(results.get(key, [])) > seed:
                continue
            found = run(kind, way, seed, given.steps, given.pools, given.size, given.points)
            print(key, seed, found, flush=True)
            results = json.loads(file.read_text()) if file.exists() else {}
            results.setdefault(key, []).append(found)
            write_json(results, file)
            write_text(table(results, f"python benchmarks/coupling.py --runs {given.runs}"), given.o / "coupling.md")


if __name__ == "__main__":
    main()
