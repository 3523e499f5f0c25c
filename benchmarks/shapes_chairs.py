"""Line 7 of the shapes room: drawn chairs beside PointNet diffusion and MONAI's 3-D diffusion network, trained as long."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import shapes_pointnet
import torch
from tables import table
from torch import Tensor

POINTS, MATCHED, CALLS = 512, 128, 12
DEPTH = 3.0
NAMES = ("Chamfer", "earth mover's", "density-aware")


def distances(a: Tensor, b: Tensor, sharpness: float = 1000.0) -> np.ndarray:
    """(3, n, m) between clouds a (n, P, 3) and b (m, P, 3): Chamfer (squared, both ways added), earth mover's (mean distance of
    the best pairs of the first 128 points), density-aware Chamfer (Wu et al. 2021, eq. 6, with squared distances as in its
    code)."""
    from scipy.optimize import linear_sum_assignment

    out = np.zeros((3, len(a), len(b)))
    ones = torch.ones(())
    for i, one in enumerate(a):
        for j in range(0, len(b), 32):
            d = torch.cdist(one.expand(len(b[j : j + 32]), -1, -1), b[j : j + 32]).square()
            total, dense = 0.0, 0.0
            for axis in (2, 1):
                near, at = d.min(axis)
                counts = torch.zeros_like(near).scatter_add_(1, at, ones.expand(at.shape))
                total = total + near.mean(1)
                dense = dense + (1 - (-sharpness * near).exp() / counts.gather(1, at)).mean(1) / 2
            out[0, i, j : j + 32], out[2, i, j : j + 32] = total.numpy(), dense.numpy()
        near = torch.cdist(one[:MATCHED].expand(len(b), -1, -1), b[:, :MATCHED]).numpy()
        for j, cost in enumerate(near):
            rows, columns = linear_sum_assignment(cost)
            out[1, i, j] = cost[rows, columns].mean()
    return out


def accuracies(made: Tensor, real: Tensor, within: np.ndarray) -> list[float]:
    """1-NN accuracy in percent (50: nobody can tell the sets apart) by each distance. within: those among `real`."""
    own, across = distances(made, made), distances(made, real)
    out = []
    for k in range(3):
        whole = np.block([[own[k], across[k]], [across[k].T, within[k]]])
        np.fill_diagonal(whole, np.inf)
        first = np.arange(len(whole)) < len(made)
        out.append(float(100 * (first[whole.argmin(1)] == first).mean()))
    return out


def trained(train: np.ndarray, work: Path, name: str, minutes: float, task: str) -> Any:
    """A model of chairs and their mirror images, trained for one task, or as it lies in `work`; goes on when repeated."""
    import suffuse

    path, folder = work / "chairs_both.npz", work / name
    work.mkdir(parents=True, exist_ok=True)
    if not path.is_file():
        np.savez_compressed(path, voxels=np.concatenate([train, train[:, ::-1]]))
    if (folder / "config.json").is_file():
        return suffuse.load(folder)
    return suffuse.train(
        path, "shapes", minutes=minutes, output=folder, read={"width": 72, "patch": 4}, tasks={task: 1.0}, batch=16,
        precision="bf16", compile=False, channels_last=False, resume=(folder / "training").is_dir(),
    )  # fmt: skip


def ours(train: np.ndarray, work: Path, minutes: float, n: int) -> tuple[list[np.ndarray], float, str, float]:
    """(n grids in cells, share of watertight meshes, what it is, seconds a shape)."""
    model = trained(train, work, f"chairs_drawn_{minutes:g}", minutes, "generate")
    begun = time.process_time()
    made = model.sample(n, steps=CALLS, seed=0, batch=25)
    seconds = (time.process_time() - begun) / n
    closed = float(np.mean([len(m.faces) > 0 and m.mesh().is_watertight for m in made]))
    size = sum(p.numel() for p in model.denoiser.parameters())
    return [m.grid for m in made], closed, f"suffuse ({size:,} parameters, {model.notes['steps']} steps)", seconds


def monai(grids: np.ndarray, work: Path, minutes: float, peers: str, n: int) -> tuple[np.ndarray, str, float]:
    """(n grids in cells, what it is, seconds a shape)."""
    out = work / f"chairs_monai_{minutes:g}.npz"
    if not out.is_file():
        both = np.concatenate([grids, grids[:, ::-1]])
        np.save(work / "chairs_train.npy", (np.clip(both / DEPTH, -1, 1) / 2 + 0.5).astype(np.float16))
        words = ["--minutes", minutes, "--calls", CALLS, "--count", n, "--seed", 0]
        script = Path(__file__).with_name("scans_peers.py")
        subprocess.run([peers, script, work / "chairs_train.npy", out, *map(str, words)], check=True)
    with np.load(out) as file:
        made = (file["made"].astype(np.float32) * 2 - 1) * DEPTH
        name = f"MONAI 1.6.1 DiffusionModelUNet ({int(file['parameters']):,} parameters, {int(file['steps'])} steps)"
        return made, name, float(file["seconds"]) / len(made)


def points(clouds: np.ndarray, work: Path, minutes: float, n: int) -> tuple[Tensor, str, float]:
    """(n clouds, what it is, seconds a cloud) of the PointNet diffusion."""
    out = work / f"chairs_points_{minutes:g}.npz"
    if not out.is_file():
        mean, std = clouds.mean((0, 1)), clouds.std()
        model, steps = shapes_pointnet.train((clouds - mean) / std, minutes, 0)
        begun = time.process_time()
        made = torch.cat([model.sample(min(50, n - k), POINTS, k) for k in range(0, n, 50)]).numpy() * std + mean
        spent, size = (time.process_time() - begun) / n, sum(p.numel() for p in model.parameters())
        np.savez(out, made=made.astype(np.float32), steps=steps, seconds=spent, parameters=size)
    with np.load(out) as file:
        name = f"PointNet diffusion after Luo & Hu ({int(file['parameters']):,} parameters, {int(file['steps'])} steps)"
        return torch.from_numpy(file["made"]), name, float(file["seconds"])


def run(
    train: np.ndarray, test: np.ndarray, work: Path, minutes: float, count: int, seeds: int, peers: str | None
) -> None:
    """train, test: voxels. What has been trained, drawn or judged before is not done again."""
    from suffuse.modalities.shapes.grid import from_voxels
    from suffuse.modalities.shapes.quality import cloud_of

    work.mkdir(parents=True, exist_ok=True)
    grids, held = (np.stack([from_voxels(v) for v in part]) for part in (train, test))
    n = count * seeds
    kept = work / f"chairs_judged_{minutes:g}_{count}.json"
    done: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}

    def clouds(found: Any, seed: int, size: int = POINTS) -> Tensor:
        """A chair without a surface becomes points at the middle: it counts against who drew it."""
        made = [cloud_of(g, size, seed + k) for k, g in enumerate(found)]
        return torch.from_numpy(np.stack([np.zeros((size, 3)) if c is None else c for c in made])).float()

    real = clouds(held[:count], 10_000)
    within = distances(real, real) if len(done) < 4 * seeds else np.zeros(1)

    def judge(key: str, made: Tensor) -> list[float]:
        if key not in done:
            done[key] = accuracies(made, real, within)
            kept.write_text(json.dumps(done))
            print(key, done[key], flush=True)
        return done[key]

    rows = []

    def row(name: str, key: str, made: Tensor, closed: Any, calls: int, seconds: float) -> None:
        each = np.array([judge(f"{key} {s}", made[s * count : (s + 1) * count]) for s in range(seeds)])
        mean, spread = each.mean(0), each.std(0)
        figures = [f"{m:.1f} ± {d:.1f}" for m, d in zip(mean, spread)]
        rows.append([name, *figures, closed, calls, seconds, mean])

    made, closed, name, seconds = ours(train, work, minutes, n)
    row(name, "suffuse", clouds(made, 20_000), closed, CALLS, seconds)
    made, name, seconds = points(clouds(grids, 30_000, 2048).numpy(), work, minutes, n)
    row(name, "points", made, "", shapes_pointnet.STEPS, seconds)
    if peers:
        made, name, seconds = monai(grids, work, minutes, peers, n)
        row(name, "monai", clouds(made, 40_000), "", CALLS, seconds)
    chosen = np.random.default_rng(0).permutation(len(grids))[:count]
    figures = judge("training shapes", clouds(grids[chosen], 50_000))
    rows.append(["training shapes (real against real)", *(f"{v:.1f}" for v in figures), "", "", "", None])
    gaps = []
    for other in rows[1:-1]:
        nearer = np.abs(other[-1] - 50) - np.abs(rows[0][-1] - 50)
        gaps.append(f"{other[0].split(' (')[0]}: {', '.join(f'{v:+.1f} {d}' for v, d in zip(nearer, NAMES))}")
    notes = (
        f"ModelNet10 chairs (32 cells, duplicates left out): {len(train)} to train with and their mirror images, {count} of "
        f"{len(test)} held-out ones against as many drawn, {seeds} sampling seeds (mean ± deviation); 50 is best. Every model: "
        f"{minutes:g} minutes of process time on one core, one training seed. {POINTS} points, for the earth mover's distance "
        f"{MATCHED} of them. Points nearer to 50 than {'; than '.join(gaps)} (bar: 5)."
        + ("" if peers else " MONAI not run.")
    )
    head = ["", *(f"1-NNA {n}, %" for n in NAMES), "watertight", "calls", "CPU seconds a shape"]
    table("shapes_chairs", "Shapes 7: chairs", head, [r[:-1] for r in rows], notes)
