"""The scans room of the demo: X-rays by label and their anomalies, brain volumes with masks. All of it marked synthetic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from suffuse.demo.report import Report

INTRO = (
    "<code>xray</code> (PneumoniaMNIST, CC BY 4.0, 28 pixels) and <code>hippocampus</code> (Medical Segmentation Decathlon "
    "Task04, CC BY-SA 4.0, MR volumes with masks). Everything generated here is synthetic and not for clinical use."
)


def demo(report: Report, folder: Path) -> None:
    """Generate, segment, paint and complete; real scans beside."""
    from suffuse.model import load
    from suffuse.storage import zoo_names

    report.room("Scans", INTRO)
    parts = {
        "xray": (rays,),
        "hippocampus": (
            volumes,
            masks,
        ),
    }
    for name in [n for n in parts if n in zoo_names()] or ["xray"]:  # where none ships, load says so
        model = load(name)
        for part in parts[name]:
            part(report, folder, model)


def figures(model: Any, *names: str) -> tuple[dict[str, float], dict[str, float]]:
    """(figures of a model, the same for real data) by name, from its card."""
    known = model.notes.get("quality", {})
    return {n: known[n] for n in names if n in known}, {n: known[f"{n}_real"] for n in names if f"{n}_real" in known}


def rays(report: Report, folder: Path, model: Any) -> None:
    """X-rays by label, and which real ones look unlike healthy ones."""
    from suffuse.modalities.scans.pictures import sheet
    from suffuse.modalities.scans.reading import cases

    with report.watch(model) as seen:
        made = [c for label in ("normal", "pneumonia") for c in model.sample(8, {"label": label}, guidance=2.0, seed=1)]
    real = list(cases(model.folder / "samples" / "xray_mnist.npz", "test"))
    sheet(made, columns=8).save(folder / "xray.png")
    sheet(real[:8] + real[12:20], columns=8, mark=False).save(folder / "xray_real.png")
    quality, floor = figures(model, "frechet_pca")
    report.item(
        "Chest X-rays by label",
        "Eight normal (above), eight with pneumonia",
        'suffuse.load("xray").sample(8, given={"label": "pneumonia"}, guidance=2.0)',
        {"generated": folder / "xray.png", "real": folder / "xray_real.png"},
        seen.calls,
        seen.seconds,
        quality,
        floor,
    )
    with report.watch(model) as seen:
        share = model.predict(real, "label")[:, 0, 1].numpy()
    truth = np.array([c.label for c in real])
    right = float(((share > 0.5) == truth).mean())
    held, _ = figures(model, "label_balanced_accuracy")
    report.item(
        "The same model reads a label",
        f"Is it pneumonia? {len(real)} held-out X-rays, one network call",
        'model.predict(scans, "label")',
        f"<p>{right:.0%} of these {len(real)} are named right.</p>",
        seen.calls,
        seen.seconds,
        held,
        {},
        note="no diagnosis: pictures of 28 pixels",
    )


def volumes(report: Report, folder: Path, model: Any) -> None:
    """Volumes and their masks drawn together."""
    from suffuse.modalities.scans.pictures import film, sheet
    from suffuse.modalities.scans.reading import cases

    with report.watch(model) as seen:
        made = model.sample(2, steps=8, seed=3)
    real = list(cases(model.folder / "samples"))[:2]
    sheet(made, columns=1).save(folder / "volumes.png")
    sheet(real, columns=1, mark=False).save(folder / "volumes_real.png")
    film(made[0], folder / "film.gif")
    quality, floor = figures(model, "frechet_pca", "nearest_distance")
    report.item(
        "Brain volumes with their masks",
        "Image and mask together: three planes, hippocampus head and body in colour",
        'suffuse.load("hippocampus").sample(2)',
        {
            "generated": folder / "volumes.png",
            "slices of the first": folder / "film.gif",
            "real": folder / "volumes_real.png",
        },
        seen.calls,
        seen.seconds,
        quality,
        floor,
    )


def masks(report: Report, folder: Path, model: Any) -> None:
    """Segmentation in one call, and a volume for a mask."""
    from dataclasses import replace

    import torch

    from suffuse.modalities.scans.pictures import sheet
    from suffuse.modalities.scans.quality import dice
    from suffuse.modalities.scans.reading import cases

    real = list(cases(model.folder / "samples"))[:2]
    with report.watch(model) as seen:
        made = [model.segment(case.reference) for case in real]
    overlap = float(
        np.mean(
            [
                dice(
                    torch.from_numpy(m.mask.stored[None].astype(int)),
                    torch.from_numpy(np.rint(c.mask.values)[None].astype(int)),
                    3,
                ).mean()
                for m, c in zip(made, real)
            ]
        )
    )
    sheet([replace(m, volumes=c.volumes) for m, c in zip(made, real)], columns=1).save(folder / "segmented.png")
    sheet(real, columns=1, mark=False).save(folder / "segmented_real.png")
    report.item(
        "Segmentation",
        "The mask of two held-out volumes, one call each",
        "model.segment(scan)",
        {"by the model": folder / "segmented.png", "by hand": folder / "segmented_real.png"},
        seen.calls,
        seen.seconds,
        {"Dice": overlap},
        {"Dice": 1.0},
        note="the generator itself, not a network trained for it",
    )
    with report.watch(model) as seen:
        painted = model.sample(1, {"mask": real[0].mask}, steps=8, seed=5)
    sheet(painted, columns=1).save(folder / "painted.png")
    report.item(
        "A volume for a mask",
        "The hand-drawn mask is given, the image is asked",
        'model.sample(1, given={"mask": "mask.nii.gz"})',
        folder / "painted.png",
        seen.calls,
        seen.seconds,
    )
