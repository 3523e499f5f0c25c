"""What the video room claims, measured on moving digits. Writes benchmarks/results/video_LINE.md.

python benchmarks/video.py motion --data ../shared/data           # the shipped moving-digits model
python benchmarks/video.py rollout --data ../shared/data
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tables import table, training_time
from torch import nn


def judge(data: Path, seed: int = 0) -> nn.Module:
    """A small classifier of single frames: digits of 16 pixels anywhere on a canvas of 32, trained here in half a minute."""
    from suffuse.modalities.video.digits import read_idx, shrink

    images, labels = read_idx(data / "images/mnist")
    glyphs = torch.from_numpy(shrink(images[:20000], 16)).float() / 255
    labels = torch.from_numpy(labels[:20000])
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 24, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(48, 64, 3, 1, 1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    for _ in range(600):
        rows, place = torch.randint(len(glyphs), (128,)), torch.randint(17, (2,))
        x = F.pad(glyphs[rows], (int(place[0]), 16 - int(place[0]), int(place[1]), 16 - int(place[1])))[:, None]
        loss = F.cross_entropy(net(x), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


@torch.inference_mode()
def named(net: nn.Module, frames: np.ndarray) -> np.ndarray:
    """(n, T) digits that the judge sees in frames (n, T, H, W)."""
    x = torch.from_numpy(frames.reshape(-1, 1, *frames.shape[-2:])).float() / 255
    return torch.cat([net(p).argmax(1) for p in x.split(1024)]).reshape(frames.shape[:2]).numpy()


def real_films(data: Path, count: int, frames: int, seed: int = 3, train: bool = False) -> np.ndarray:
    """(n, T, 32, 32) films of test digits, or of training digits."""
    from suffuse.modalities.video.reading import digit_films

    return np.stack(
        [c.frames[..., 0] for c in digit_films(data / "images/mnist", count, frames, (32, 32), seed, train=train)]
    )


def residuals(films: np.ndarray) -> np.ndarray:
    """(n,) distance in pixels of each film's centroids from the generating family; films with an empty frame count 16."""
    from suffuse.modalities.video.quality import centroids, path_residual

    found = centroids(films)
    return np.array([path_residual(c, 16) if np.isfinite(c).all() else 16.0 for c in found])


def motion(data: Path, count: int, steps: int, name: str, peer: Path | None) -> None:
    """Line 2: do generated digits move by the rule? name: a model or a folder; peer: what `video_peers.py` wrote."""
    import suffuse

    model, net = suffuse.load(name), judge(data)
    rows: list[list[Any]] = []

    def add(name: str, films: np.ndarray, seconds: float | str) -> None:
        r, digits = residuals(films), named(net, films)
        usual = np.array([np.bincount(d).max() / len(d) for d in digits])
        rows.append(
            [name, float(r.mean()), float(np.median(r)), float((r < 1).mean()), float((usual >= 0.9).mean()), seconds]
        )

    begun = time.perf_counter()
    made = np.stack([c.frames[..., 0] for c in model.sample(count, steps=steps, seed=0, batch=32)])
    add(f"suffuse, {steps} calls", made, time.perf_counter() - begun)
    begun = time.perf_counter()
    labels = [k % 10 for k in range(count)]
    led = np.stack(
        [c.frames[..., 0] for c in model.sample(count, {"digit": labels}, steps=steps, seed=0, batch=32, guidance=1.5)]
    )
    add(f"suffuse, {steps} calls, by label", led, time.perf_counter() - begun)
    right = float((named(net, led) == np.array(labels)[:, None]).mean())
    real = real_films(data, count, 16)
    clips = [
        model.modality.decode(
            {"clip": model.modality.scale(torch.from_numpy(f[:, None])[None]), "digit": torch.full((1, 1), 10)},
            type("T", (), {})(),
        )[0]
        for f in real[:64]
    ]
    begun = time.perf_counter()
    next_ = model.sample(len(clips), [type(c)(c.frames[:6], c.fps) for c in clips], steps=steps, seed=0, batch=32)
    ahead = np.stack([c.frames[..., 0] for c in next_])
    add("suffuse, 10 frames predicted from 6", ahead, time.perf_counter() - begun)
    told = "video-diffusion-pytorch was not run."
    if peer is not None:
        with np.load(peer) as file:
            spent, calls = float(file["each"]) * len(file["video"]), int(file["calls"])
            add(f"video-diffusion-pytorch, {calls} calls", file["video"][..., 0], spent)
            told = (
                f"video-diffusion-pytorch: {int(file['parameters']):,} parameters, {int(file['steps'])} steps in "
                f"{float(file['seconds']) / 60:.0f} CPU minutes, {len(file['video'])} films."
            )
    add("real films of test digits", real, "")
    mixed = np.stack([real[np.random.default_rng(k).permutation(len(real))[:16], k % 16] for k in range(count)])
    add("frames drawn one by one from real films (no motion)", mixed, "")
    table(
        "video_motion",
        "Video 2: moving digits, 16 frames of 32 pixels",
        [
            "films",
            "mean distance from the rule, px",
            "median",
            "share under 1 px",
            "one digit throughout (judge, 90 % of frames)",
            "seconds",
        ],
        rows,
        f"{count} films each ({len(clips)} predicted). The model ({Path(name).name}): {training_time(model.notes)}. "
        f"By label, the judge names {100 * right:.1f} % of frames as asked; it is a small CNN trained "
        f"by the script. The floor of real films comes from whole-pixel positions. {told}",
    )


def rollout(data: Path, count: int, steps: int, name: str, validate: bool = False) -> None:
    """Line 4: 16 real frames rolled out to 64, in windows and by a staircase. validate: films of training digits, no table."""
    import suffuse
    from suffuse.modalities.video.files import Clip
    from suffuse.modalities.video.quality import sharpness

    model, net = suffuse.load(name), judge(data)
    real = real_films(data, count, 64, seed=11 if validate else 3, train=validate)
    rows = []

    def add(title: str, films: np.ndarray, seconds: float | str) -> None:
        digits = named(net, films)
        first = np.array([np.bincount(d[:16], minlength=10).argmax() for d in digits])
        last = np.array([np.bincount(d[48:], minlength=10).argmax() for d in digits])
        early, late = sharpness(films[:, :16]).mean(), sharpness(films[:, 48:]).mean()
        rows.append(
            [
                title,
                float((first == last).mean()),
                100 * float(late / early - 1),
                float(residuals(films[:, 48:]).mean()),
                seconds,
            ]
        )
        print(rows[-1], flush=True)

    noisy = {"solver": "ddim", "stochasticity": 1.0}
    for title, settings in (
        ("windows, the last 8 frames kept", {"keep": 8, "anchors": 0}),
        ("windows, the first 6 and the last 2 kept", {"keep": 8, "anchors": 6}),
        ("the same with fresh noise", {"keep": 8, "anchors": 6, **noisy}),
    ):
        begun = time.perf_counter()
        made = []
        for first in range(0, count, 32):
            part = [Clip(f[:16, ..., None], 8.0) for f in real[first : first + 32]]
            made += model.extend(part, frames=64, n=len(part), seed=first, steps=steps, **settings)
        add(f"suffuse, {title}", np.stack([c.frames[..., 0] for c in made]), time.perf_counter() - begun)
    add("real films", real, "")
    if validate:
        return
    table(
        "video_rollout",
        "Video 4: rolling out from 16 to 64 frames",
        [
            "",
            "same digit in the last 16 frames (judge)",
            "sharpness of the last 16 against the first, %",
            "distance from the rule, last 16, px",
            "seconds",
        ],
        rows,
        f"{count} test films; {steps} network calls a window, whose path is drawn first, from the last 8 frames. The model "
        f"({Path(name).name}): {training_time(model.notes)}. One training seed.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("line", choices=("motion", "rollout"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--model", default="moving-digits", help="a model that ships, or a folder")
    parser.add_argument("--validate", action="store_true", help="rollout: films of training digits, no table")
    parser.add_argument("--peer", type=Path, help="motion: films by video_peers.py")
    a = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if a.line == "motion":
        motion(a.data, a.count, a.steps, a.model, a.peer)
    else:
        rollout(a.data, a.count, a.steps, a.model, a.validate)


if __name__ == "__main__":
    main()
