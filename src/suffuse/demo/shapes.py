"""The shapes room of the demo: procedural solids generated, completed and labelled, turning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from suffuse.demo.report import Report

GIVEN = (0.0, 90.0, 180.0, 270.0)
INTRO = (
    "<code>solids</code> learnt signed distances of a procedural family of our own: furniture and living things. Meshes come out "
    "by marching cubes, watertight. Real shapes beside are made by the same procedure with numbers never trained on. "
    "<code>solid-views</code> learnt pictures of them alone, and lifts a solid from four views."
)


def demo(report: Report, folder: Path) -> None:
    """Generate by label, complete a half, read labels."""
    from suffuse.model import load

    report.room("Shapes", INTRO)
    model = load("solids")
    generated(report, folder, model)
    completed(report, folder, model)
    lifted(report, folder)


def real_shapes(size: int, count: int, first: int = 1_000_000) -> list[np.ndarray]:
    """Held-out solids as signed distances in cells."""
    from suffuse.modalities.shapes.solids import solids

    return list(np.clip(solids(count, size, first=first)["grid"] * (size / 2), -3, 3))


def generated(report: Report, folder: Path, model: Any) -> None:
    """One shape of each kind."""
    from suffuse.modalities.shapes.pictures import turning

    kinds = model.modality.labels["label"]
    with report.watch(model) as seen:
        made = model.sample(len(kinds), {"label": kinds}, steps=8, guidance=1.5, seed=1)
    colours = list(range(len(kinds)))
    real = real_shapes(model.modality.config["size"], len(kinds))
    turning([s.grid for s in made], folder / "solids.gif", size=64, views=10, colours=colours)
    turning(real, folder / "solids_real.gif", size=64, views=10, colours=colours)
    known = model.notes.get("quality", {})
    closed = float(np.mean([len(s.faces) > 0 and s.mesh().is_watertight for s in made]))
    report.item(
        "Solids by label",
        ", ".join(kinds),
        'suffuse.load("solids").sample(8, given={"label": kinds})',
        {"generated": folder / "solids.gif", "made by the procedure": folder / "solids_real.gif"},
        seen.calls,
        seen.seconds,
        {"watertight": closed} | ({"1-NNA, %": known["one_nna"]} if "one_nna" in known else {}),
        {"1-NNA, %": known["one_nna_real"]} if "one_nna_real" in known else {},
    )
    model.modality.write(made[:1], folder / "chair.glb")


def completed(report: Report, folder: Path, model: Any) -> None:
    """Three ways to go on from the lower half of a shape."""
    from suffuse.modalities.shapes.pictures import turning

    real = real_shapes(model.modality.config["size"], 8)
    shown, calls, seconds = [], 0, 0.0
    for k in (0, 5, 6):
        with report.watch(model) as seen:
            ways = model.complete(real[k], "z<0.5", n=3, steps=8, seed=k)
        half = np.where(np.arange(len(real[k])) < len(real[k]) / 2, real[k], 3.0)
        shown += [half, *(w.grid for w in ways), real[k]]
        calls, seconds = calls + seen.calls, seconds + seen.seconds
    turning(shown, folder / "completed.gif", columns=5, size=64, views=10, colours=[0, 1, 1, 1, 2] * 3)
    report.item(
        "Complete a half",
        "The lower half is given (first), three answers, the real shape (last)",
        'model.complete(shape, keep="z<0.5", n=3)',
        folder / "completed.gif",
        calls,
        seconds,
    )
    with report.watch(model) as seen:
        share = model.predict(model.modality.dataset("solids", count=64), "label")[:, 0]
    right = float((share.argmax(-1).numpy() == np.arange(64) % 8).mean())
    report.item(
        "Which kind is it?",
        "64 shapes never seen, one network call",
        'model.predict(shapes, "label")',
        f"<p>{right:.0%} are named right.</p>",
        seen.calls,
        seen.seconds,
        {"accuracy": right},
        {"accuracy": 1.0},
    )


def lifted(report: Report, folder: Path) -> None:
    """A solid from four pictures, by a model of pictures."""
    import torch

    from suffuse.demo.pieces import sheet
    from suffuse.modalities.shapes import lift
    from suffuse.modalities.shapes.pictures import turning
    from suffuse.modalities.shapes.quality import silhouette_overlap
    from suffuse.modalities.shapes.rays import Cameras
    from suffuse.model import load

    model = load("solid-views")
    real = real_shapes(24, 1, first=1_000_006)[0]
    views = Cameras(GIVEN).render(torch.from_numpy(real))[1].numpy()
    with report.watch(model) as seen:
        shape = lift(model, views, GIVEN, steps=20)
    turning([shape.grid], folder / "lifted.gif", size=96, views=12)
    turning([real], folder / "lifted_real.gif", size=96, views=12)
    others = Cameras([22.5 + 45 * k for k in range(8)])
    overlap = silhouette_overlap(others, shape.grid, real)
    report.item(
        "Lift four views",
        "Four pictures and their angles are given; score distillation of further views by a model that never saw 3-D data",
        'lift(suffuse.load("solid-views"), views, angles=[0, 90, 180, 270], steps=20)',
        {
            "given": sheet([(v * 255).astype(np.uint8) for v in views], columns=2),
            "lifted": folder / "lifted.gif",
            "the shape itself": folder / "lifted_real.gif",
        },
        seen.calls,
        seen.seconds,
        {"silhouette IoU, eight other views": overlap, "watertight": float(shape.mesh().is_watertight)},
        {"silhouette IoU, eight other views": 1.0, "watertight": 1.0},
    )
