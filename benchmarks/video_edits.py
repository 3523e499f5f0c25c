"""Video 5: one attribute of a sprite changed, against the true film of that character. Writes benchmarks/results/video_edits.md.

python benchmarks/video_edits.py --data ../shared/data

Settings are chosen on characters the model was trained on; the figures are of pairs of held-out characters.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import table

NAMES, TRAINED = ("body", "trousers", "top", "hair"), 1000
VISIBLE = 16
"""Grey levels above which a pixel is foreground."""


def sprites(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Films (1296, 8, 32, 32, 3) uint8 as the model reads them, and attributes (1296, 4)."""
    from suffuse.modalities.video.reading import fit_frames

    with np.load(data / "video/sprites/sprites_walk_front_64.npz") as loaded:
        video, attributes = loaded["video"], loaded["attributes"].astype(int)
    return np.stack([fit_frames(v, (32, 32)) for v in video]), attributes


def pairs(attributes: np.ndarray, among: np.ndarray, count: int, seed: int) -> list[tuple[int, int, int]]:
    """(source, target, attribute) of characters among some rows that differ in that attribute alone, each attribute as often."""
    rng, out = np.random.default_rng(seed), []
    for k in range(len(NAMES)):
        differ = attributes[among][:, None] != attributes[among][None]
        found = np.argwhere(differ[..., k] & (differ.sum(-1) == 1))
        chosen = found[rng.permutation(len(found))[: count // len(NAMES)]]
        out += [(int(among[a]), int(among[b]), k) for a, b in chosen]
    return out


def agreement(made: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) intersection over union of the foregrounds, and PSNR in dB, of films (n, T, H, W, 3)."""
    a, b = (v.max(-1) > VISIBLE for v in (made, true))
    overlap = (a & b).sum((1, 2, 3)) / np.maximum((a | b).sum((1, 2, 3)), 1)
    error = ((made.astype(float) - true) ** 2).mean((1, 2, 3, 4))
    return overlap, 10 * np.log10(255**2 / np.maximum(error, 1e-3))


def ways(model: Any, steps: int) -> dict[str, dict[str, Callable[..., np.ndarray]]]:
    """way -> setting -> edit(films, attributes before, attributes after) -> films."""
    from suffuse.modalities.video.files import Clip

    def named(attributes: np.ndarray) -> dict[str, list[str]]:
        return {n: [str(v) for v in attributes[:, k]] for k, n in enumerate(NAMES)}

    def frames(clips: list[Any]) -> np.ndarray:
        return np.stack([c.frames for c in clips])

    def noised(strength: float, guidance: float) -> Callable[..., np.ndarray]:
        def edit(x: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
            clips = [Clip(v, 8.0) for v in x]
            return frames(
                model.edit(clips, strength, given=named(after), steps=steps, guidance=guidance, seed=5, batch=32)
            )

        return edit

    def difference(strength: float, guidance: float) -> Callable[..., np.ndarray]:
        def edit(x: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
            clips, asked = [Clip(v, 8.0) for v in x], {"steps": steps, "guidance": guidance, "batch": 32}
            return frames(model.change(clips, named(after), was=named(before), strength=strength, seed=5, **asked))

        return edit

    grid = {f"strength {s:g}, guidance {g:g}": (s, g) for s in (0.6, 0.8, 0.95, 1.0) for g in (1.0, 1.5)}
    return {
        "noised and brought back under the new attributes (`edit`)": {k: noised(*v) for k, v in grid.items()},
        "its difference from the same edit under the old attributes, added (`change`)": {
            k: difference(*v) for k, v in grid.items()
        },
    }


def main() -> None:
    import suffuse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--choose", type=int, default=24)
    parser.add_argument("--steps", type=int, default=10)
    a = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    model = suffuse.load("sprites")
    video, attributes = sprites(a.data)
    choose = pairs(attributes, np.arange(TRAINED), a.choose, 1)
    test = pairs(attributes, np.arange(TRAINED, len(video)), a.count, 2)

    def parts(found: list[tuple[int, int, int]]) -> tuple[np.ndarray, ...]:
        source, target = (np.array([p[k] for p in found]) for k in (0, 1))
        return video[source], attributes[source], attributes[target], video[target]

    rows = []
    changed = np.array([p[2] for p in test])

    def add(name: str, made: np.ndarray, true: np.ndarray, seconds: float | str) -> None:
        overlap, psnr = agreement(made, true)
        by = " / ".join(f"{psnr[changed == k].mean():.1f}" for k in range(len(NAMES)))
        rows.append([name, float(overlap.mean()), float(psnr.mean()), by, float((overlap >= 0.95).mean()), seconds])
        print(rows[-1], flush=True)

    for name, settings in ways(model, a.steps).items():
        x, before, after, true = parts(choose)
        scores = {k: float(agreement(edit(x, before, after), true)[1].mean()) for k, edit in settings.items()}
        print(scores, flush=True)
        best = max(scores, key=scores.__getitem__)
        x, before, after, true = parts(test)
        begun = time.process_time()
        made = settings[best](x, before, after)
        add(f"{name}; {best}", made, true, (time.process_time() - begun) / len(test))
    add("not edited", x, true, "")
    table(
        "video_edits",
        "Video 5: attribute edits of sprites",
        [
            "",
            "foreground IoU",
            "PSNR, dB",
            f"PSNR by what was changed ({' / '.join(NAMES)})",
            "share of films with IoU of at least .95",
            "CPU seconds an edit",
        ],
        rows,
        f"{len(test)} pairs of held-out characters that differ in one attribute, 8 frames of 32 pixels, {a.steps} network "
        f"calls; strength and guidance were chosen on {len(choose)} pairs of trained characters by PSNR. One training seed.",
    )


if __name__ == "__main__":
    main()
