"""What the shapes room claims, measured. Writes benchmarks/results/shapes_LINE.md.

python benchmarks/shapes.py completion --source solids            # the shipped model
python benchmarks/shapes.py train --data ../shared/data --work runs --minutes 12        # completes chairs
python benchmarks/shapes.py chairs --data ../shared/data --work runs --minutes 8 --count 100 --peers peers/bin/python
python benchmarks/shapes.py completion --source chairs --data ../shared/data --work runs
python benchmarks/shapes.py lifted --count 20 --ways 3 --work runs             # the shipped view model
python benchmarks/shapes.py generation                             # the shipped model
"""

from __future__ import annotations

import argparse
import gzip
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import shapes_chairs
import torch
from tables import table

HELD_OUT = 178


def chairs(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """ModelNet10 chairs at 32 cells, duplicates and the empty first item left out: (training, held-out) voxels, axes x, y, z."""
    with gzip.open(data / "3d/modelnet10_vox32/chair.npy.gz") as file:
        array = np.load(file)[1:].astype(bool).reshape(-1, 32, 32, 32)
    array = np.unique(array.reshape(len(array), -1), axis=0).reshape(-1, 32, 32, 32)
    array = array[np.random.default_rng(0).permutation(len(array))]
    return array[HELD_OUT:], array[:HELD_OUT]


def load(source: str, data: Path, work: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    """(model, signed distances of the training shapes, of held-out shapes), in cells."""
    import suffuse
    from suffuse.modalities.shapes.grid import from_voxels
    from suffuse.modalities.shapes.solids import solids

    if source == "solids":
        model = suffuse.load("solids")
        size = model.modality.config["size"]
        train, test = (solids(n, size, first=f)["grid"] * (size / 2) for n, f in ((3000, 0), (HELD_OUT, 1_000_000)))
    else:
        model = suffuse.load(work / "chairs_completed")
        train, test = (np.stack([from_voxels(v) for v in part]) for part in chairs(data))
        train = np.concatenate([train, train[:, ::-1]])
    return model, train, test


def train(data: Path, work: Path, minutes: float) -> None:
    """A model that completes chairs: nothing else is asked of it."""
    shapes_chairs.trained(chairs(data)[0], work, "chairs_completed", minutes, "complete")


HALVES = {"lower": "z<0.5", "upper": "z>0.5", "left": "x<0.5", "front": "y<0.5"}


def completion(
    model: Any, train_grids: np.ndarray, test: np.ndarray, source: str, count: int, ways: int, settings: dict[str, Any]
) -> None:
    """Line 8: one half is given; the nearest training shape by that half against samples of the model."""
    from suffuse.modalities.shapes.modality import region
    from suffuse.modalities.shapes.quality import chamfer, clouds_of

    size = test.shape[-1]
    known, test = (np.clip(g, -3, 3).astype(np.float32) for g in (train_grids, test[:count]))
    reals, rows, begun = clouds_of(list(test), 1024, 1), [], time.perf_counter()
    for name, keep in HALVES.items():
        given = region(keep, size).numpy()
        flat = torch.from_numpy(known[:, given])
        errors: dict[str, list[float]] = {k: [] for k in ("mean", "best", "nearest", "put in", "five", "spread")}
        for k, (grid, real) in enumerate(zip(test, reals, strict=True)):
            made = model.complete(grid, keep, n=ways, seed=k, **settings)
            clouds = clouds_of([m.grid for m in made if len(m.faces)], 1024, 2)
            near = torch.cdist(torch.from_numpy(grid[given])[None], flat)[0].topk(ways, largest=False).indices.tolist()
            found = clouds_of([*known[near], np.where(given, grid, known[near[0]])], 1024, 3)
            each, theirs = (torch.stack([chamfer(c, real) for c in part]) for part in (clouds, found))
            pairs = [chamfer(a, b) for i, a in enumerate(clouds) for b in clouds[i + 1 :]]
            values = (each.mean(), each.min(), theirs[0], theirs[-1], theirs[:-1].min(), torch.stack(pairs).mean())
            for key, value in zip(errors, values, strict=True):
                errors[key].append(1000 * float(value))
        mean = {k: float(np.mean(v)) for k, v in errors.items()}
        below = [f"{100 * (1 - mean['mean'] / mean[k]):.0f} %" for k in ("nearest", "put in")]
        rows.append([name, *mean.values(), *below])
        print(rows[-1], flush=True)
    seconds = (time.perf_counter() - begun) / len(test) / len(HALVES)
    floor = 1000 * float(np.mean([float(chamfer(a, b)) for a, b in zip(reals, clouds_of(list(test), 1024, 9))]))
    told = ", ".join(f"{k} {v:g}" if not isinstance(v, str) else f"{k} {v}" for k, v in settings.items())
    table(
        f"shapes_completion_{source}",
        f"Shapes 8: completion from half a shape, {source}",
        [
            "given half",
            f"mean of {ways} samples",
            f"best of {ways}",
            "nearest training shape",
            "the same, given half put in",
            f"best of the {ways} nearest",
            "between samples",
            "below the nearest",
            "below it with the half put in",
        ],
        rows,
        "Chamfer distance x 1000, whole shapes, 1,024 points on the meshes in the cube [-1, 1]^3; two draws of points from one "
        f"real shape are {floor:.1f} apart. {len(test)} held-out shapes at {size} cells, {told}; {len(known)} training shapes to "
        f"retrieve from, by the given half; {model.notes['seconds'] / 60:.0f} minutes of training, {seconds:.1f} s a shape. One "
        "training seed.",
    )


def generation(model: Any, train_grids: np.ndarray, test: np.ndarray, source: str, count: int, seeds: int) -> None:
    """Line 7, our side: 1-NNA and watertight meshes."""
    from suffuse.modalities.shapes.quality import clouds_of, one_nna

    real = clouds_of(test[:count], 512, 5)
    rows = []
    for seed in range(seeds):
        begun = time.perf_counter()
        made = model.sample(len(real), steps=12, seed=seed, batch=16)
        seconds = time.perf_counter() - begun
        closed = float(np.mean([len(m.faces) > 0 and m.mesh().is_watertight for m in made]))
        rows.append(
            [
                f"model, sampling seed {seed}",
                one_nna(clouds_of([m.grid for m in made if len(m.faces)], 512, 6), real),
                closed,
                seconds,
            ]
        )
    chosen = np.random.default_rng(0).permutation(len(train_grids))[: len(real)]
    rows.append(["training shapes (real against real)", one_nna(clouds_of(train_grids[chosen], 512, 7), real), "", ""])
    table(
        f"shapes_generation_{source}",
        f"Shapes 7 (our side): generation, {source}",
        ["", "1-NNA Chamfer, % (50 is best)", "watertight", "seconds"],
        rows,
        f"{len(real)} shapes against {len(real)} held-out ones, 512 points, 12 network calls a shape. Peers were not run.",
    )


FRONTED = ("chair", "shelf", "creature")
"""Kinds whose front differs from their back."""
GIVEN, PRIOR_VIEWS = (0.0, 90.0, 180.0, 270.0), 2
WAYS: dict[str, dict[str, Any]] = {
    "views and score distillation": {},
    "silhouettes alone": {"prior": 0.0, "shading": False},
    "views alone": {"prior": 0.0},
    "views and plain SDS (one sign of the noise)": {"antithetic": False},
}
CARVED, ITSELF = "carved hull, not optimised", "the shape itself (real)"


def lifted(work: Path, name: str, count: int, steps: int, ways: int) -> None:
    """Line 9: solids from 4 given views, judged on the 12 others; goes on when repeated."""
    import suffuse
    from suffuse.files import read_json, write_json
    from suffuse.modalities.shapes.grid import to_mesh
    from suffuse.modalities.shapes.lifting import SEEN, hull, lift
    from suffuse.modalities.shapes.quality import chamfer, clouds_of, silhouette_overlap
    from suffuse.modalities.shapes.rays import Cameras
    from suffuse.modalities.shapes.solids import KINDS, solids
    from suffuse.modalities.shapes.views import ANGLES

    model = suffuse.load(name)
    held = [float(a) for a in ANGLES if float(a) not in GIVEN]
    cameras, others, ends = Cameras(GIVEN), Cameras(held), Cameras([0.0, 180.0])
    grids = np.clip(solids(count, 24, first=1_000_000)["grid"] * 12, -3, 3)
    path = work / f"lifted_{steps}.json"
    work.mkdir(parents=True, exist_ok=True)
    done = read_json(path) if path.is_file() else {}

    def judge(grid: np.ndarray, real: np.ndarray) -> dict[str, float]:
        pictures, known = (ends.render(torch.from_numpy(g))[1] for g in (grid, real))
        apart = (pictures[:, None] - known).square().mean((2, 3))  # of our two ends to the real front and back
        clouds, shape = clouds_of([grid, real], 1024), to_mesh(grid)
        return {
            "iou": silhouette_overlap(others, grid, real),
            "chamfer": 1000 * float(chamfer(*clouds)) if len(clouds) == 2 else 4000.0,
            "watertight": float(len(shape.faces) > 0 and shape.mesh().is_watertight),
            "both_front": float((apart[:, 0] < apart[:, 1]).all()),
        }

    with torch.no_grad():
        pictures = [cameras.render(torch.from_numpy(g))[1].numpy() for g in grids]
    for way in list(WAYS)[:ways]:
        for k, grid in enumerate(grids):
            key = f"{way}/{k}"
            if key in done:
                continue
            begun, used = time.perf_counter(), time.process_time()
            shape = lift(model, pictures[k], GIVEN, steps=steps, prior_views=PRIOR_VIEWS, seed=k, **WAYS[way])
            spent = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - used}
            done[key] = judge(shape.grid, grid) | spent
            if KINDS[k % len(KINDS)] not in FRONTED:
                del done[key]["both_front"]
            write_json(done, path)
            print(key, {n: round(v, 3) for n, v in done[key].items()}, flush=True)
    for k, grid in enumerate(grids):
        carved = hull(cameras, (torch.from_numpy(pictures[k]) > SEEN).float(), 24).numpy()
        for way, other in ((CARVED, carved), (ITSELF, grid)):
            if f"{way}/{k}" not in done:
                done[f"{way}/{k}"] = judge(other, grid) | {"seconds": 0, "cpu": 0}
    write_json(done, path)
    lifted_table(done, model, count, steps)


def lifted_table(done: dict[str, Any], model: Any, count: int, steps: int) -> None:
    """The figures of line 9 and what both ways cost."""
    import suffuse

    rows = []
    for way in (*WAYS, CARVED, ITSELF):
        found = [done[f"{way}/{k}"] for k in range(count) if f"{way}/{k}" in done]
        if len(found) == count:
            mean = {n: float(np.mean([f[n] for f in found if n in f])) for n in set().union(*found)}
            worst = min(f["iou"] for f in found)
            turn = [f"{100 * mean[n]:.0f} %" if n in mean else "not run" for n in ("watertight", "both_front")]
            rows.append([way, mean["iou"], worst, mean["chamfer"], *turn, mean["seconds"], mean["cpu"]])
    head = ["", "silhouette IoU, 12 held-out views", "worst shape", "Chamfer x 1000", "watertight", "both ends front"]
    native = suffuse.load("solids")
    native.sample(1, steps=12)
    used = time.process_time()
    native.sample(4, steps=12)
    used = (time.process_time() - used) / 4
    minutes = [m.notes["seconds"] / 60 for m in (native, model)]
    table(
        "shapes_lifted",
        "Shapes 9: lifted from four views",
        [*head, "seconds a shape", "CPU seconds a shape"],
        rows,
        f"{count} held-out solids at 24 cells, given views at 0, 90, 180 and 270 degrees, {steps} steps, {PRIOR_VIEWS} further "
        "views a step. Silhouettes of the held-out views are compared sharp. Both ends front: the pictures from 0 and from 180 "
        "degrees are both nearer to the real front than to the real back, of the shapes that have a front. "
        "Seconds on a machine busy with other "
        "work. One seed.\n\n"
        "| cost | native 3-D model (`solids`) | lifted (`solid-views`) |\n| --- | --- | --- |\n"
        f"| training, CPU minutes | {minutes[0]:.1f} | {minutes[1]:.1f} |\n"
        "| 3-D shapes needed | 3,000 | 0 |\n| pictures needed | 0 | 10,000, each with its angle |\n"
        f"| parameters | {sum(p.numel() for p in native.denoiser.parameters()):,} "
        f"| {sum(p.numel() for p in model.denoiser.parameters()):,} |\n"
        f"| CPU seconds a sample | {used:.2f} | {rows[0][-1]:.2f} |",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("line", choices=("train", "completion", "generation", "lifted", "chairs"))
    parser.add_argument("--source", choices=("solids", "chairs"), default="chairs")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--count", type=int, default=HELD_OUT)
    parser.add_argument("--ways", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default="solid-views")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--calls", type=int, default=12, help="of completion")
    parser.add_argument("--stochasticity", type=float, default=1.0, help="of completion")
    parser.add_argument("--grid", default="rho3", help="of completion: how the levels come down")
    parser.add_argument("--peers", help="the Python of an environment with MONAI (chairs)")
    a = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if a.line == "chairs":
        shapes_chairs.run(*chairs(a.data), a.work, a.minutes, a.count, a.seeds, a.peers)
        return
    if a.line == "train":
        train(a.data, a.work, a.minutes)
        return
    if a.line == "lifted":
        lifted(a.work, a.model, a.count, a.steps, a.ways)
        return
    source = a.source if a.line == "completion" else "solids"
    model, known, test = load(source, a.data, a.work)
    if a.line == "completion":
        settings = {"steps": a.calls, "stochasticity": a.stochasticity, "grid": a.grid}
        completion(model, known, test, source, a.count, a.ways, settings)
    else:
        generation(model, known, test, source, a.count, a.seeds)


if __name__ == "__main__":
    main()
