"""The video room of the demo: digits that move by a known rule, and walking characters with attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from suffuse.demo.report import Report

INTRO = (
    "<code>moving-digits</code> (made from MNIST by the standard bouncing rule, CC BY-SA 3.0) and <code>sprites</code> "
    "(Liberated Pixel Cup art, CC BY-SA 3.0, 32 pixels). Each frame has a noise level of its own, so one model generates, "
    "predicts, interpolates and animates; where a digit goes is a field as well, drawn first or given. Frames that were "
    "given are framed in orange."
)


def demo(report: Report, folder: Path) -> None:
    """Generate, predict, animate, roll out; characters by attribute."""
    from suffuse.model import load
    from suffuse.storage import zoo_names

    report.room("Video", INTRO)
    parts = {
        "moving-digits": (
            generated,
            along,
            predicted,
            long,
        ),
        "sprites": (characters,),
    }
    for name in [n for n in parts if n in zoo_names()] or ["moving-digits"]:  # where none ships, load says so
        model = load(name)
        for part in parts[name]:
            part(report, folder, model)


def films(model: Any, count: int, seed: int = 0) -> Any:
    """Real films from the glyphs that ship."""
    from suffuse.modalities.video.digits import moving_digits
    from suffuse.modalities.video.files import Clip

    with np.load(model.folder / "samples" / "digits.npz") as loaded:
        made = moving_digits(loaded["glyphs"], loaded["labels"].astype(int), count, 16, 32, seed)
    return [Clip(v, 8.0, {"digit": str(k)}) for v, k in zip(made["video"], made["label"][:, 0])]


def residual(clips: Any) -> float:
    """Mean distance in pixels of the digits' centres from the nearest path of the generating rule."""
    from suffuse.modalities.video.quality import centroids, path_residual

    return float(
        np.mean([path_residual(centroids(c.frames[..., 0]), 16) for c in clips if c.frames.any((1, 2, 3)).all()])
    )


def save(clips: Any, path: Path, held: Any = None, columns: int = 8) -> Path:
    """Clips side by side as a GIF."""
    from suffuse.modalities.video.files import write_clip
    from suffuse.modalities.video.pictures import side_by_side

    return write_clip(side_by_side(clips, columns=columns, held=held), path)


def generated(report: Report, folder: Path, model: Any) -> None:
    """Films from nothing."""
    with report.watch(model) as seen:
        made = model.sample(8, steps=10, seed=1)
    real = films(model, 8)
    report.item(
        "Moving digits",
        "Eight films",
        'suffuse.load("moving-digits").sample(8)',
        {"generated": save(made, folder / "digits.gif"), "real": save(real, folder / "digits_real.gif")},
        seen.calls,
        seen.seconds,
        {"distance from the rule, px": residual(made)},
        {"distance from the rule, px": residual(real)},
    )


def along(report: Report, folder: Path, model: Any) -> None:
    """One picture each, and where its digit goes: once round."""
    import torch

    from suffuse.modalities.video.files import Clip
    from suffuse.modalities.video.paths import centres

    def places(frames: np.ndarray) -> np.ndarray:
        """(n, T, 2) centres as shares of width and height."""
        return ((centres(torch.from_numpy(frames).permute(0, 1, 4, 2, 3)) + 1) / 2).numpy()

    first = np.stack([c.frames[:1] for c in films(model, 4, seed=3)])
    for picture, (column, row) in zip(first, places(first)[:, 0]):
        picture[:] = np.roll(picture, (round(16 - 32 * row), round(22 - 32 * column)), (1, 2))
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    path = places(first) + 0.19 * np.stack([np.cos(angle) - 1, np.sin(angle)], axis=1)
    with report.watch(model) as seen:
        made = model.sample(4, {"clip": [Clip(p, 8.0) for p in first], "path": path}, steps=8, seed=4)
    away = 32 * np.linalg.norm(places(np.stack([c.frames for c in made])) - path, axis=2)
    report.item(
        "Along a path by hand",
        "Four pictures whose digits go round in a circle, which none did in training",
        'model.sample(4, given={"clip": pictures, "path": circle})',
        save(made, folder / "along.gif", [1] * 4, columns=4),
        seen.calls,
        seen.seconds,
        {"distance from the path, px": float(away.mean())},
    )


def predicted(report: Report, folder: Path, model: Any) -> None:
    """The next frames, and frames between."""
    from suffuse.modalities.video.files import Clip

    real = films(model, 6, seed=5)
    with report.watch(model) as seen:
        made = model.sample(6, [Clip(c.frames[:6], c.fps) for c in real], steps=8, seed=2)
    error = float(np.mean([np.abs(m.frames[6:].astype(float) - r.frames[6:]).mean() for m, r in zip(made, real)]))
    still = float(np.mean([np.abs(r.frames[5:6].astype(float) - r.frames[6:]).mean() for r in real]))
    report.item(
        "Predict the next frames",
        "Six frames are given, ten are asked",
        "model.sample(6, given=clips)",
        {
            "predicted": save(made, folder / "next.gif", [6] * 6),
            "what really came": save(real, folder / "next_real.gif", [6] * 6),
        },
        seen.calls,
        seen.seconds,
        {"mean error, grey levels": error},
        {},
        note=f"standing still would err by {still:.1f}",
    )
    with report.watch(model) as seen:
        between = [model.interpolate(c.frames[0], c.frames[-1], steps=8)[0] for c in real[:3]]
    report.item(
        "Frames between",
        "First and last are given",
        "model.interpolate(first, last)",
        {
            "interpolated": save(between, folder / "between.gif"),
            "what really was": save(real[:3], folder / "between_real.gif"),
        },
        seen.calls,
        seen.seconds,
    )


def long(report: Report, folder: Path, model: Any) -> None:
    """Sixteen frames rolled out to 48."""
    real = films(model, 2, seed=9)
    with report.watch(model) as seen:
        made = [model.extend(c, frames=48, steps=6, seed=k)[0] for k, c in enumerate(real)]
    report.item(
        "Roll out",
        "16 real frames go on to 48, window after window",
        "model.extend(clip, frames=48)",
        save(made, folder / "long.gif", [16, 16]),
        seen.calls,
        seen.seconds,
    )


def characters(report: Report, folder: Path, model: Any) -> None:
    """Characters by attribute, and one animated from a single picture."""
    from suffuse.modalities.video.files import read_arrays
    from suffuse.modalities.video.reading import windows

    real = [w for c in read_arrays(model.folder / "samples" / "sprites.npz") for w in windows(c, 8, (32, 32), 1)]
    hair = model.modality.labels["hair"]
    with report.watch(model) as seen:
        made = model.sample(6, {"hair": hair[:6], "top": "1"}, steps=8, guidance=2.0, seed=3)
    report.item(
        "Characters by attribute",
        "One top, six kinds of hair",
        'suffuse.load("sprites").sample(6, given={"hair": hair, "top": "1"})',
        {
            "generated": save(made, folder / "sprites.gif"),
            "real characters": save(real[:6], folder / "sprites_real.gif"),
        },
        seen.calls,
        seen.seconds,
    )
    with report.watch(model) as seen:
        walks = [model.animate(c.frames[0], steps=8)[0] for c in real[:4]]
    report.item(
        "Animate a picture",
        "The first frame of characters nobody trained on",
        "model.animate(picture)",
        {
            "animated": save(walks, folder / "animated.gif", [1] * 4),
            "the real walk": save(real[:4], folder / "animated_real.gif"),
        },
        seen.calls,
        seen.seconds,
    )
