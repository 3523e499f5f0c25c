"""Video 1, 2 and 3: generated films of sprites and of moving digits against video-diffusion-pytorch at equal CPU minutes.

python benchmarks/video_generation.py films sprites --data ../shared/data --work runs
python benchmarks/video_generation.py ours sprites --data ../shared/data --work runs --minutes 3
python benchmarks/video_generation.py frames sprites --data ../shared/data --work runs --minutes 3     # frames on their own
python benchmarks/video_generation.py inflated sprites --data ../shared/data --work runs --minutes 3   # starts from these
python benchmarks/video_generation.py inflated sprites --data ../shared/data --work runs --minutes 1.5 --tag _half
python benchmarks/video_generation.py curve sprites --data ../shared/data --work runs                  # line 3
peers/bin/python benchmarks/video_peers.py runs/films_sprites.npz runs/peer_sprites.npz --minutes 3
python benchmarks/video_generation.py table sprites --data ../shared/data --work runs          # of what is there

`digits` likewise. Tables: benchmarks/results/video_sprites.md, video_digits.md, video_inflation.md.
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
from torch import Tensor, nn
from video import judge, named, real_films, residuals
from video_edits import NAMES, TRAINED, sprites

CLASSES, SHIPPED = 6, {"sprites": "sprites", "digits": "moving-digits"}
LED: dict[str, Any] = {"steps": 12, "solver": "ddim", "stochasticity": 1.0}
"""How films are drawn by attributes; of eight settings, seven gave 48 of 48 constant films by attributes of training films."""


def films(which: str, data: Path) -> np.ndarray:
    """(n, T, 32, 32, C) training films."""
    if which == "sprites":
        return sprites(data)[0][:TRAINED]
    from suffuse.modalities.video.reading import digit_films

    return np.stack([c.frames for c in digit_films(data / "images/mnist", 6000, 16, (32, 32))])


class Judge(nn.Module):
    """Attributes of a sprite from each frame of (B, T, 3, 32, 32) in [0, 1], with 64 features a frame."""

    def __init__(self):
        super().__init__()
        self.frame = nn.Sequential(
            *(nn.Conv2d(3, 24, 3, 2, 1), nn.GroupNorm(4, 24), nn.SiLU()),
            *(nn.Conv2d(24, 48, 3, 2, 1), nn.GroupNorm(4, 48), nn.SiLU()),
            *(nn.Conv2d(48, 48, 3, 2, 1), nn.SiLU(), nn.Flatten(), nn.Linear(768, 64), nn.SiLU()),
        )
        self.answer = nn.Linear(64, CLASSES * len(NAMES))
        self.register_buffer("mix", torch.linalg.qr(torch.randn(8 * 64, 32))[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.frame(x.flatten(0, 1))).unflatten(0, x.shape[:2])

    def film(self, x: Tensor) -> Tensor:
        """(B, 32) of whole films: the features of their 8 frames in order, in 32 fixed random directions."""
        return self.frame(x.flatten(0, 1)).reshape(len(x), -1) @ self.mix


def taught(video: Tensor, attributes: Tensor, steps: int = 500) -> Judge:
    """A judge trained on films (n, T, 3, H, W) in [0, 1]."""
    torch.manual_seed(0)
    net = Judge()
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    for _ in range(steps):
        rows = torch.randint(len(video), (12,))
        logits = net(video[rows]).unflatten(-1, (len(NAMES), CLASSES))
        y = attributes[rows][:, None].expand(-1, video.shape[1], -1)
        loss = F.cross_entropy(logits.flatten(0, -2), y.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval().requires_grad_(False)


def tensor(video: np.ndarray) -> Tensor:
    """(n, T, C, H, W) float in [0, 1]."""
    return torch.from_numpy(video).permute(0, 1, 4, 2, 3).float() / 255


def seen(net: Judge, video: np.ndarray) -> np.ndarray:
    """(n, T, 4) attributes of each frame."""
    with torch.inference_mode():
        out = torch.cat([net(tensor(v)) for v in np.array_split(video, max(1, len(video) // 64))])
    return out.unflatten(-1, (len(NAMES), CLASSES)).argmax(-1).numpy()


def nearest(made: np.ndarray, video: np.ndarray, attributes: np.ndarray) -> np.ndarray:
    """(n, T, 4) attributes of each frame by another judge: those of the nearest of all real characters at that moment."""
    x, real, out = tensor(made).flatten(2), tensor(video).flatten(2), []
    for t in range(x.shape[1]):
        out.append(attributes[torch.cdist(x[:, t], real[:, t]).argmin(1).numpy()])
    return np.stack(out, axis=1)


def frame_model(work: Path, which: str, count: int, steps: int, length: int) -> tuple[str, np.ndarray]:
    """How long the model of single frames was trained, and films whose frames it drew one by one."""
    import suffuse

    model = suffuse.load(work / f"frames_{which}")
    frames = np.stack([np.asarray(p) for p in model.sample(count * length, steps=steps, seed=0)])
    return training_time(model.notes), frames.reshape(count, length, *frames.shape[1:3], -1)


def led(model: Any, count: int) -> tuple[str, np.ndarray, Any]:
    """Films drawn in two steps: each attribute by lot, then a film by them."""
    rng = np.random.default_rng(1)
    given = {n: [str(c) for c in rng.choice(classes, count)] for n, classes in model.modality.labels.items()}
    begun = time.process_time()
    made = model.sample(count, given, seed=0, batch=32, **LED)
    each = (time.process_time() - begun) / count
    told = f"suffuse shipped, attributes by lot, then the film by them ({LED['steps']} calls with fresh noise, "
    told += f"stochasticity {LED['stochasticity']:g})"
    return told, np.stack([c.frames for c in made]), each


def candidates(which: str, work: Path, count: int, steps: int) -> list[tuple[str, np.ndarray, Any]]:
    """(name, films, CPU seconds a film) of every model that is there."""
    import suffuse

    out: list[tuple[str, np.ndarray, Any]] = []
    shipped = suffuse.load(SHIPPED[which])
    fresh = {"steps": 2 * steps, "solver": "ddim", "stochasticity": 1.0}
    models: list[tuple[str, Any, dict[str, Any]]] = [
        ("shipped", shipped, {"steps": steps}),
        ("shipped", shipped, fresh),
    ]
    for ours in sorted(work.glob(f"ours_{which}*")):
        if (ours / "config.json").is_file():
            models.append(("", suffuse.load(ours), {"steps": steps}))
    for name, model, how in models:
        begun = time.process_time()
        made = model.sample(count, seed=0, batch=32, **how)
        each = (time.process_time() - begun) / count
        told = " ".join(p for p in ("suffuse", name) if p) + f", {training_time(model.notes)}, {how['steps']} calls"
        told += " with fresh noise" if "stochasticity" in how else ""
        out.append((told, np.stack([c.frames for c in made]), each))
    if which == "sprites":
        out.append(led(shipped, count))
    for path in sorted(work.glob(f"peer_{which}*.npz")):
        with np.load(path) as loaded:
            name = (
                f"video-diffusion-pytorch, {loaded['seconds'] / 60:.1f} CPU minutes on one core, "
                f"{int(loaded['steps'])} steps, DDIM {int(loaded['calls'])} calls"
            )
            out.append((name, loaded["video"][:count], float(loaded["each"])))
    if (work / f"frames_{which}" / "config.json").is_file():
        trained, made = frame_model(work, which, count, steps, out[0][1].shape[1])
        out.append((f"2-D model, every frame on its own, {trained}", made, ""))
    return out


def table_of_sprites(data: Path, work: Path, count: int, steps: int) -> None:
    from suffuse.metrics.frechet import frechet

    video, attributes = sprites(data)
    x, y = tensor(video[:TRAINED]), torch.from_numpy(attributes[:TRAINED])
    each = taught(x, y)
    held, rows = video[TRAINED:], []
    rng = np.random.default_rng(0)
    mixed = np.stack([held[rng.integers(len(held), size=8), np.arange(8)] for _ in range(count)])
    right = float((seen(each, held) == attributes[TRAINED:, None]).mean())

    def features(v: np.ndarray) -> Tensor:
        with torch.inference_mode():
            return torch.cat([each.film(tensor(p)) for p in np.array_split(v, max(1, len(v) // 64))]).double()

    real = features(held)
    for name, made, seconds in [
        *candidates("sprites", work, count, steps),
        ("training films (real against real)", video[:TRAINED][rng.permutation(TRAINED)[:count]], ""),
        ("frames of different held-out films, in order", mixed, ""),
    ]:
        found = seen(each, made)
        by_pixels = nearest(made, video, attributes)
        rows.append(
            [
                name,
                float((found == found[:, :1]).all((1, 2)).mean()),
                " / ".join(f"{v:.2f}" for v in (found == found[:, :1]).all(1).mean(0)),
                float((by_pixels == by_pixels[:, :1]).all((1, 2)).mean()),
                frechet(features(made), real),
                seconds,
            ]
        )
        print(rows[-1], flush=True)
    table(
        "video_sprites",
        "Video 1: films of sprites",
        [
            "",
            "all four attributes constant in all 8 frames (judge)",
            f"each of them ({' / '.join(NAMES)})",
            "all four constant by the nearest real character",
            "Frechet video distance",
            "CPU seconds a film",
        ],
        rows,
        f"{count} films each, 8 frames of 32 pixels, no attribute asked (one row draws them by lot first), against "
        f"{len(held)} held-out films. The judge is a small CNN "
        f"trained by the script on the 1,000 training films; it names {100 * right:.1f} % of the attributes of "
        "held-out frames, but wavers on colours between two real ones. The nearest real character: every frame gets the "
        "attributes of the nearest (in pixels) of all 1,296 characters at that moment of the walk. The Frechet distance is in "
        "features of the CNN of the 8 frames in order, in 32 fixed random "
        "directions. One training seed.",
    )


def table_of_digits(data: Path, work: Path, count: int, steps: int) -> None:
    net, rows = judge(data), []
    for name, made, seconds in [
        *candidates("digits", work, count, steps),
        ("real films of test digits", real_films(data, count, 16)[..., None], ""),
    ]:
        r, found = residuals(made[..., 0]), named(net, made[..., 0])
        usual = np.array([np.bincount(d).max() / len(d) for d in found])
        rows.append([name, float(r.mean()), float(np.median(r)), float((usual >= 0.9).mean()), seconds])
        print(rows[-1], flush=True)
    table(
        "video_digits",
        "Video 2: films of moving digits against video-diffusion-pytorch",
        ["", "mean distance from the rule, px", "median", "one digit throughout (judge, 90 % of frames)", "CPU seconds a film"],
        rows,
        f"{count} films each, unconditional, 16 frames of 32 pixels; films with an empty frame count 16. One training seed.",
    )  # fmt: skip


def train(what: str, which: str, data: Path, work: Path, minutes: float, tag: str = "") -> None:
    """A film model from scratch (`ours`), one of single frames, or a film model that starts from that; goes on when repeated."""
    import suffuse

    folder, video = work / (f"{what}_{which}{tag}"), films(which, data)
    settings: dict[str, Any] = {
        "output": folder,
        "resume": (folder / "training").is_dir(),
        "tell": print,
        "log_every": 5,
    }
    if what == "frames":
        frames = video.reshape(-1, *video.shape[2:])
        frames = frames[..., 0] if frames.shape[-1] == 1 else frames
        suffuse.train(frames, "images", minutes=minutes, read={"widths": [64, 128], "patch": 4}, **settings)
        return
    read: dict[str, Any] = {"frames": video.shape[1]}
    if what == "inflated":
        settings["start_from"] = work / f"frames_{which}"
    else:
        read["size"] = 32
    suffuse.train(video, "video", minutes=minutes, tasks={"generate": 1.0}, read=read, **settings)


def held_out_loss(folder: Path, which: str, data: Path, films: int = 256) -> float:
    """The training objective (generate) of a trained model on films it has not seen, with noise that is the same for all."""
    import suffuse
    from suffuse.diffusion.objectives.denoising import denoising_loss
    from suffuse.diffusion.random import Random

    model = suffuse.load(folder)
    if which == "sprites":
        video = sprites(data)[0][TRAINED:][:films]
    else:
        video = real_films(data, films, 16)[..., None]
    x = torch.from_numpy(np.ascontiguousarray(video)).permute(0, 1, 4, 2, 3)
    rows, random, total = model.modality.dataset(video), Random(7), []
    assert len(rows) == len(x)
    model.denoiser.eval()
    with torch.inference_mode():
        for index in torch.arange(len(x)).split(32):
            batch = rows.batch(index)
            start = model.modality.start("generate", batch, random, 0)
            loss = denoising_loss(model.denoiser, model.joint, batch, start, random, 0, index)
            total.append(float(loss.fields["clip"]) * len(index))
    return sum(total) / len(x)


def curve(which: str, data: Path, work: Path) -> None:
    """Line 3: the inflated network, each run with its own schedule of rates, against the same network from scratch."""
    import suffuse

    rows, found = [], {}
    for name, told in (("ours", "from scratch"), ("inflated", "inflated from the image model")):
        for folder in sorted(work.glob(f"{name}_{which}*")):
            if not (folder / "config.json").is_file():
                continue
            notes = suffuse.load(folder).notes
            loss = held_out_loss(folder, which, data)
            found.setdefault(name, []).append((notes["recipe"]["minutes"], loss))
            rows.append([told, notes["recipe"]["minutes"], notes["steps"], loss])
            print(rows[-1], flush=True)
    said = []
    for minutes, end in sorted(found["ours"]):
        reached = [m for m, loss in sorted(found["inflated"]) if loss <= end]
        when = (
            f"in {reached[0]:g} minutes ({100 * reached[0] / minutes:.0f} % of the time)"
            if reached
            else "in none of its runs"
        )
        said.append(f"what {minutes:g} minutes reach from scratch ({end:.4f}) {when}")
    first = suffuse.load(work / f"frames_{which}").notes["recipe"]["minutes"]
    table(
        f"video_inflation_{which}" if which != "sprites" else "video_inflation",
        "Video 3: inflation from an image model against training from scratch",
        ["", "CPU minutes", "steps", "loss on held-out films"],
        rows,
        f"Films of {which}, the same network, recipe and task (generate), one run a row, each with its own schedule; the "
        "loss is the training objective on held-out films with the same noise for all. Inflated, the network reaches "
        f"{'; '.join(said)}. The image model's own training on the frames of the same films ({first:g} "
        "minutes) is not counted. One seed.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("films", "ours", "frames", "inflated", "table", "curve"))
    parser.add_argument("which", choices=("sprites", "digits"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--tag", default="", help="ending of the folder of a second run")
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12)
    a = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    a.work.mkdir(parents=True, exist_ok=True)
    path = a.work / f"films_{a.which}.npz"
    if a.what == "films":
        np.savez_compressed(path, video=films(a.which, a.data))
        return
    if a.what == "table":
        {"sprites": table_of_sprites, "digits": table_of_digits}[a.which](a.data, a.work, a.count, a.steps)
        return
    if a.what == "curve":
        curve(a.which, a.data, a.work)
        return
    train(a.what, a.which, a.data, a.work, a.minutes, a.tag)


if __name__ == "__main__":
    main()
