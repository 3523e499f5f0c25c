"""Video 6: what the shipped moving-digits model understands of films. Writes benchmarks/results/video_understanding.md.

python benchmarks/video_understanding.py --data ../shared/data

Settings (level, stage, pooling, weight, patch size) are chosen on films of other training digits, figures are of films of
test digits.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tables import table
from torch import Tensor, nn

LABELLED, OCTANTS, MIDDLE = 100, 8, slice(6, 10)
ODD = ("a frame of another film", "another digit at the same place")


def films(data: Path, count: int, seed: int, train: bool) -> dict[str, np.ndarray]:
    """count films of 16 frames with their digits and paths; directions (octants) are those between the middle frames, and
    films that touch a wall there are left out."""
    from suffuse.modalities.video.digits import moving_digits, read_idx, shrink

    images, labels = read_idx(data / "images/mnist", train)
    rows = np.random.default_rng(seed).permutation(len(images))[:2000]
    made = moving_digits(shrink(images[rows], 16), labels[rows], 4 * count, seed=seed)
    made["path"] = made["path"][:, 0]
    inside = ((made["path"][:, MIDDLE] > 0) & (made["path"][:, MIDDLE] < 15)).all((1, 2))
    out = {k: v[inside][:count] for k, v in made.items() if k != "chosen"}
    moved = out["path"][:, MIDDLE.stop - 1] - out["path"][:, MIDDLE.start]
    angle = np.arctan2(moved[:, 0], moved[:, 1]) / (2 * np.pi)
    out["direction"] = np.floor((angle + 1 / (2 * OCTANTS)) % 1 * OCTANTS).astype(int)
    out["digit"] = out["label"][:, 0]
    return out


def unlearnt(model: Any) -> Any:
    """The same network with random weights everywhere (layers that begin at zero too)."""
    from suffuse.model import Model

    torch.manual_seed(0)
    other = Model.new(model.modality)
    for weight in other.denoiser.parameters():
        if not weight.any():
            nn.init.normal_(weight, std=0.05)
    other.denoiser.eval()
    return other


def scaled(model: Any, made: dict[str, np.ndarray]) -> Tensor:
    """(n, T, 1, 32, 32) in model units."""
    return model.modality.scale(torch.from_numpy(made["video"]).permute(0, 1, 4, 2, 3))


# -- probes ------------------------------------------------------------------------------------------------------------
def ridge(x: Tensor, y: Tensor, others: list[Tensor], weight: float, classes: int) -> list[Tensor]:
    """Classes that ridge regression on one-hot targets gives to other rows."""
    mean, scale = x.mean(0), (x - x.mean(0)).square().mean().sqrt() * x.shape[1] ** 0.5 + 1e-6
    x = (x - mean) / scale
    target = F.one_hot(y, classes).float() - 1 / classes
    dual = torch.linalg.solve(x @ x.T + weight * torch.eye(len(x)), target)
    return [((o - mean) / scale @ (x.T @ dual)).argmax(1) for o in others]


def views_of_pixels(x: Tensor) -> dict[str, Tensor]:
    middle = x[:, MIDDLE]
    return {
        "the whole film": x.flatten(1),
        "the middle frames": middle.flatten(1),
        "their differences": (middle[:, 1:] - middle[:, :-1]).flatten(1),
    }


def blocks_of_pixels(x: Tensor) -> dict[str, Tensor]:
    """Pixels as coarse as features: not raw, but what coarse features must be compared with."""
    return {f"blocks of {k}": F.avg_pool2d(x.flatten(0, 1), k).reshape(len(x), -1) for k in (4, 8)}


def views_of_codes(model: Any, x: Tensor) -> dict[str, Tensor]:
    from suffuse.modalities.video.understanding import frame_codes

    out = {}
    codes = [frame_codes(model, x, level).float() for level in (0.1, 0.5)]
    for name, c in (("level 0.1", codes[0]), ("level 0.5", codes[1]), ("both levels", torch.cat(codes, 2))):
        middle = c[:, MIDDLE]
        out[f"codes, {name}, whole film"] = c.flatten(1)
        out[f"codes, {name}, mean over frames"] = c.mean(1)
        out[f"codes, {name}, middle frames"] = middle.flatten(1)
        changes = (middle[:, 1:] - middle[:, :-1]).flatten(1)
        out[f"codes, {name}, mean and differences of the middle frames"] = torch.cat([middle.mean(1), changes], 1)
    return out


def views_of_heads(model: Any, x: Tensor) -> dict[str, Tensor]:
    """What the digit is answered from, and what the path's network holds of each frame, for clean films."""
    from suffuse.modalities.video.understanding import features_of

    network, out = model.denoiser.network, {}
    out["what answers are made from"] = features_of(model, network.answer["digit"][1], x, 0.001).float()
    for k in (1, len(network.follow.blocks) - 1):
        f = features_of(model, network.follow.blocks[k], x, 0.001).float()
        out[f"path, block {k}, middle frames"] = f[:, MIDDLE].flatten(1)
        out[f"path, block {k}, whole film"] = f.flatten(1)
    return out


def views_of_features(model: Any, x: Tensor) -> dict[str, Tensor]:
    from suffuse.modalities.video.understanding import frame_features

    out = views_of_codes(model, x) | views_of_heads(model, x)
    for level in (0.1, 0.5, 0.8):
        for stage in (0, -1):
            f = frame_features(model, x, level, stage=stage)
            name, middle = f"level {level}, stage {stage}", f[:, MIDDLE]
            strength = (f - f.mean((3, 4), keepdim=True)).square().mean(2).sqrt()
            out[f"{name}, mean and top of cells and frames"] = torch.cat([f.mean((1, 3, 4)), f.amax((1, 3, 4))], 1)
            out[f"{name}, middle frames"] = middle.flatten(1)
            out[f"{name}, mean of cells, middle frames"] = middle.mean((3, 4)).flatten(1)
            out[f"{name}, strength of each cell"] = strength.flatten(1)
            out[f"{name}, strength of each cell of the middle frames"] = strength[:, MIDDLE].flatten(1)
    return out


def probes(model: Any, data: Path, count: int) -> tuple[list[list[Any]], list[str]]:
    """Rows of features, those of a random network and pixels, and which view of each was chosen."""
    few, choose = films(data, LABELLED, 101, True), films(data, 100, 102, True)
    test = films(data, count, 103, False)
    rows, notes, random = [], [], unlearnt(model)
    for name, look in [
        ("features of the network", lambda x: views_of_features(model, x)),
        ("features of a random network", lambda x: views_of_features(random, x)),
        ("raw pixels", views_of_pixels),
        ("pixels averaged in blocks (context)", blocks_of_pixels),
    ]:
        seen = [look(scaled(model, f)) for f in (few, choose, test)]
        scores = []
        for asked, classes in (("digit", 10), ("direction", OCTANTS)):
            y, valid, truth = (torch.from_numpy(f[asked]) for f in (few, choose, test))
            best = max(
                (float((ridge(seen[0][v], y, [seen[1][v]], w, classes)[0] == valid).float().mean()), v, w)
                for v in seen[0]
                for w in (1e-3, 1e-2, 1e-1, 1.0)
            )
            found = ridge(seen[0][best[1]], y, [seen[2][best[1]]], best[2], classes)[0]
            scores.append(100 * float((found == truth).float().mean()))
            notes.append(f"{asked}, {name}: {best[1]}, ridge {best[2]:g}")
        rows.append([f"probe on {name}", *scores])
        print(rows[-1], flush=True)
    return rows, notes


def classification(model: Any, data: Path, count: int) -> float:
    """Share of films whose digit is named right with the film given and the label asked, %: one call for the film and one for
    the film backwards, whose answers are averaged."""
    from suffuse.modalities.video.files import Clip

    test = films(data, count, 103, False)
    found = sum(
        model.predict([Clip(v[::turn], 8.0) for v in test["video"]], "digit", batch=32).flatten(1) for turn in (1, -1)
    ).argmax(1)
    names = model.modality.labels["digit"]
    return 100 * float(np.mean([names[int(k)] == str(d) for k, d in zip(found, test["digit"])]))


# -- tracking ----------------------------------------------------------------------------------------------------------
def marks(made: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """(n, 2) a pixel on the digit's stroke in the first frame."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [np.argwhere(v[0, :31, :31, 0] > 128)[rng.integers((v[0, :31, :31, 0] > 128).sum())] for v in made["video"]]
    )


def noisy(made: dict[str, np.ndarray], deviation: float, seed: int) -> np.ndarray:
    """(n, T, H, W) grey values with noise."""
    values = made["video"][..., 0].astype(np.float32)
    return values + deviation * np.random.default_rng(seed).standard_normal(values.shape).astype(np.float32)


def patches(values: np.ndarray, size: int) -> Tensor:
    """(n, T, size * size, H, W) the patch about each pixel."""
    n, frames, high, wide = values.shape
    x = F.pad(torch.from_numpy(values).flatten(0, 1)[:, None], (size // 2,) * 4)
    return F.unfold(x, size).reshape(n, frames, size * size, high, wide)


def nearest_patch(f: Tensor, points: Tensor) -> Tensor:
    """(n, T, 2) the place of the patch with the least squared difference."""
    mark = f[torch.arange(len(f)), 0, :, points[:, 0], points[:, 1]]
    best = (f - mark[:, None, :, None, None]).square().sum(2).flatten(2).argmin(2)
    return torch.stack([best // f.shape[-1], best % f.shape[-1]], -1)


def tracking(model: Any, data: Path, count: int) -> list[list[Any]]:
    """Mean distance in pixels between a followed point and where the digit carried it, by noise and by way."""
    random, choose, test = unlearnt(model), films(data, 16, 104, True), films(data, count, 105, False)
    rows = []
    for deviation in (0.0, 60.0, 100.0):
        level = 0.1
        size = min((3, 5, 7, 9, 13, 17), key=lambda v, d=deviation: by_patches(v, d, choose, 4))
        rows.append(
            [
                f"{deviation:g}",
                by_features(model, level, deviation, test, 5),
                by_features(random, level, deviation, test, 5),
                by_patches(size, deviation, test, 5),
                "that of the noise" if deviation else f"{level:g}",
                size,
            ]
        )
        print(rows[-1], flush=True)
    return rows


def error(place: Tensor, made: dict[str, np.ndarray], points: np.ndarray) -> float:
    """Mean distance in pixels of places (n, T, 2) from where the digit carried the points (n, 2)."""
    true = points[:, None] + made["path"] - made["path"][:, :1]
    return float(np.sqrt(((place.numpy() - true)[:, 1:] ** 2).sum(-1)).mean())


def by_features(model: Any, level: float, deviation: float, made: dict[str, np.ndarray], seed: int) -> float:
    """Error of tracking by the features of a network, 8 films at a time."""
    from suffuse.modalities.video.understanding import dense_features, track

    points = marks(made, seed)
    x = model.modality.scale(torch.from_numpy(noisy(made, deviation, seed)))[:, :, None]
    place = [
        track(dense_features(model, x[k : k + 8], level, noise=deviation), torch.from_numpy(points[k : k + 8]))
        for k in range(0, len(x), 8)
    ]
    return error(torch.cat(place), made, points)


def by_patches(size: int, deviation: float, made: dict[str, np.ndarray], seed: int) -> float:
    """Error of tracking by raw patches, 8 films at a time."""
    points, values = marks(made, seed), noisy(made, deviation, seed)
    place = [
        nearest_patch(patches(values[k : k + 8], size), torch.from_numpy(points[k : k + 8]))
        for k in range(0, len(values), 8)
    ]
    return error(torch.cat(place), made, points)


# -- odd frames --------------------------------------------------------------------------------------------------------
def with_odd(made: dict[str, np.ndarray], way: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Films (n, T, H, W, 1) in each of which one frame does not belong, and which (n,)."""
    rng, out = np.random.default_rng(seed), made["video"].copy()
    place = rng.integers(out.shape[1], size=len(out))
    for k, t in enumerate(place):
        others = np.flatnonzero(made["digit"] != made["digit"][k])
        other = rng.choice(others)
        if way == ODD[0]:
            out[k, t] = made["video"][other, rng.integers(out.shape[1])]
        else:
            (r, c), (y, x) = made["path"][other, 0], made["path"][k, t]
            out[k, t] = 0
            out[k, t, y : y + 16, x : x + 16] = made["video"][other, 0, r : r + 16, c : c + 16]
    return out, place


def oddness(model: Any, data: Path, count: int) -> list[list[Any]]:
    from suffuse.modalities.scans.quality import auroc
    from suffuse.modalities.video.understanding import frame_features, odd_frames

    choose, test = films(data, 12, 106, True), films(data, count, 107, False)
    rows = []

    def area(score: np.ndarray, place: np.ndarray) -> float:
        return auroc(score.ravel(), (np.arange(score.shape[1]) == place[:, None]).ravel())

    def ours(video: np.ndarray, level: float) -> np.ndarray:
        return odd_frames(model, scaled(model, {"video": video}), level).numpy()

    def by_look(video: np.ndarray, level: float) -> np.ndarray:
        f = frame_features(model, scaled(model, {"video": video}), level)
        f = torch.cat([f.mean((3, 4)), f.amax((3, 4))], 2)
        return (f - f.median(1, keepdim=True).values).square().mean(2).numpy()

    def neighbours(video: np.ndarray, _: float) -> np.ndarray:
        v = np.pad(video[..., 0].astype(float), ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
        return ((v[:, 1:-1] - (v[:, :-2] + v[:, 2:]) / 2) ** 2).mean((2, 3))

    for way in ODD:
        for name, score_of, levels in (
            ("error of its expectation from the others (`odd_frames`)", ours, (0.6, 0.8, 0.95)),
            ("features, distance from the film's median", by_look, (0.1, 0.4)),
            ("pixels, distance from the mean of both neighbours", neighbours, (0.0,)),
        ):
            video, place = with_odd(choose, way, 1)
            level = (
                max(levels, key=lambda v, v_=video, p=place, f=score_of: area(f(v_, v), p)) if len(levels) > 1 else 0.0
            )
            video, place = with_odd(test, way, 2)
            score = score_of(video, level)
            rows.append([way, name, area(score, place), 100 * float((score.argmax(1) == place).mean()), level or ""])
            print(rows[-1], flush=True)
    return rows


def markdown(head: list[str], rows: list[list[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(
        lines + ["| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in row) + " |" for row in rows]
    )


def main() -> None:
    import suffuse
    from suffuse.files import read_json, write_json

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"), help="where finished parts are kept")
    parser.add_argument("--count", type=int, default=160, help="test films of the probes")
    parser.add_argument("--films", type=int, default=32, help="test films of tracking and of odd frames")
    a = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    model, path = suffuse.load("moving-digits"), a.work / "video_understanding.json"
    a.work.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = read_json(path) if path.is_file() else {}
    for name, part in (
        ("classification", lambda: classification(model, a.data, 4 * a.count)),
        ("probes", lambda: probes(model, a.data, a.count)),
        ("odd", lambda: oddness(model, a.data, a.films)),
        ("tracking", lambda: tracking(model, a.data, a.films)),
    ):
        if name not in done:
            done[name] = part()
            write_json(done, path)
    rows, notes = done["probes"]
    rows.append(["the model itself: label asked, film given, forwards and backwards", done["classification"], ""])
    odd, followed = done["odd"], done["tracking"]
    table(
        "video_understanding",
        "Video 6: understanding of moving digits",
        ["", "digit, % right", f"direction ({OCTANTS} octants), % right"],
        rows,
        f"Probes: ridge regression on {LABELLED} labelled films of training digits, {a.count} films of test digits; the view "
        "of each was chosen on 100 films of other training digits:\n"
        + "\n".join(f"- {n}" for n in notes)
        + f"\n\nThe model itself was asked for {4 * a.count} test films. It was trained with the labels of its films, the "
        "random network and pixels have seen none. "
        "Strength: how far a cell's features are from their mean over the frame; without these views the direction "
        "probe reached 50.0 % (first try).\n\n"
        "## A point on the digit followed from the first frame, mean error in pixels\n\n"
        + markdown(["noise added (of 255)", "features", "random network", "raw patches", "level", "patch"], followed)
        + f"\n\n{a.films} films, one point each, the patch chosen on 16 films of training digits; features at every "
        "pixel by moving the film through each part of a patch.\n\n"
        "## One odd frame of 16\n\n"
        + markdown(
            [
                "odd frame",
                "score of a frame",
                "AUROC over frames",
                "found as the worst of its film, %",
                "level",
            ],
            odd,
        )
        + f"\n\n{a.films} films; levels were chosen on 12 films of training digits.",
    )


if __name__ == "__main__":
    main()
