"""Trains, measures and packs the scan, video and shape models that ship.

    python benchmarks/zoo_grids.py train xray --data ../shared/data --work runs     # goes on when repeated
    python benchmarks/zoo_grids.py pack xray --data ../shared/data --work runs      # figures, card, samples
    python benchmarks/zoo_grids.py tune sprites --data ../shared/data --work runs --minutes 12   # then pack

`train` is `suffuse train` with the settings below; `pack` writes src/suffuse/zoo/NAME; `all` does both. `tune` goes on from the
shipped video model, whose network gets today's mixing of frames.
"""

from __future__ import annotations

import argparse
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tables import training_time

import suffuse
from suffuse.modalities.shapes.views import ANGLES, solid_views
from suffuse.storage import ZOO

MODELS: dict[str, dict[str, Any]] = {
    "xray": {
        "modality": "scans",
        "source": "medical/medmnist/pneumoniamnist.npz",
        "read": {"classes": "normal,pneumonia"},
        "minutes": 0.9,
        "data": "PneumoniaMNIST, chest X-rays of children at 28 pixels; training part of a public copy: 3,882 pictures",
        "licence": "CC BY 4.0 (MedMNIST: Yang et al. 2023; pictures: Kermany et al. 2018)",
    },
    "moving-digits": {
        "modality": "video",
        "source": "images/mnist",
        "read": {"moving": 20000, "path": True, "network": {"far": [False, False, True]}},
        "frames": {"widths": [32, 64, 96], "patch": 2, "minutes": 12},
        "paths": 4,
        "minutes": 44,
        "data": "20,000 films of one moving digit (Srivastava et al. 2015) made from MNIST's training digits",
        "licence": "CC BY-SA 3.0 (MNIST, Yann LeCun and Corinna Cortes)",
    },
    "solids": {
        "modality": "shapes",
        "source": "solids",
        "read": {"count": 3000},
        "minutes": 4,
        "data": "3,000 procedural shapes of eight kinds (suffuse.modalities.shapes.solids)",
        "licence": "our own, as the library",
    },
    "solid-views": {
        "modality": "images",
        "source": "solid-views",
        "read": {"classes": list(ANGLES), "widths": [48, 80], "patch": 2},
        "minutes": 2.4,
        "data": "10,000 grey pictures of 2,500 procedural solids, each with its view angle and no more: no 3-D data "
        "(suffuse.modalities.shapes.views)",
        "licence": "our own, as the library",
    },
    "hippocampus": {
        "modality": "scans",
        "source": "medical/msd_hippocampus/hippocampus_train_nii.tar.xz",
        "read": {"limit": 200},
        "minutes": 2,
        "data": "Medical Segmentation Decathlon, Task04: 200 MR volumes with masks (anterior and posterior hippocampus)",
        "licence": "CC BY-SA 4.0 (Medical Segmentation Decathlon, Antonelli et al. 2022)",
    },
    "sprites": {
        "modality": "video",
        "source": "video/sprites/sprites_walk_front_64.npz",
        "read": {"frames": 8, "size": 32, "limit": 1000, "attributes": "body,trousers,top,hair"},
        "minutes": 2,
        "data": "Sprites (Li & Mandt 2018): 1,000 walking characters with four attributes, shrunk to 32 pixels",
        "licence": "CC BY-SA 3.0 (Liberated Pixel Cup art, https://lpc.opengameart.org)",
    },
}


RECIPE = {"precision": "bf16", "compile": False, "channels_last": False}
TASKS = {
    "sprites": {"generate": 0.2, "label": 0.6, "predict": 0.06, "frames": 0.06, "interpolate": 0.05, "classify": 0.03},
    "moving-digits": {
        "generate": 0.25,
        "label": 0.2,
        "predict": 0.25,
        "frames": 0.15,
        "interpolate": 0.07,
        "classify": 0.06,
        "inpaint": 0.02,
    },
}
"""Shares of the tasks when `moving-digits` is trained and `sprites` is trained on."""
LATER = {
    "moving-digits": {
        "generate": 0.08,
        "label": 0.42,
        "predict": 0.15,
        "frames": 0.1,
        "interpolate": 0.03,
        "classify": 0.2,
        "inpaint": 0.02,
    },
}
"""Shares when a shipped model is trained on."""
BATCH = {"sprites": 64, "moving-digits": 8, "solids": 64, "hippocampus": 32}


def command(name: str, notes: dict[str, Any]) -> str:
    """The command that makes a model."""
    if "tuned" in notes:
        minutes = notes["tuned"]["recipe"]["minutes"]
        return f"python benchmarks/zoo_grids.py tune {name} --data DATA --work runs --minutes {minutes:g}"
    device = " --device cuda" if "accelerator" in notes else ""
    minutes = notes["recipe"]["minutes"]
    return f"python benchmarks/zoo_grids.py all {name} --data DATA --work runs --minutes {minutes:g}{device}"


def train(name: str, data: Path, work: Path, minutes: float, device: str | None = None) -> None:
    """`suffuse train` with the settings above; goes on where an interrupted run stopped."""
    told = MODELS[name]
    source = told["source"] if told["source"] == "solids" else data / told["source"]
    if name == "solid-views":
        source = work / "solid-views.npz"
        if not source.is_file():
            work.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(source, **solid_views(2500))
    first = frame_model(name, source, work) if "frames" in told else None
    paths = path_model(name, source, work, first) if "paths" in told else None
    model = learn(
        source, told, work / name, minutes, device=device, start_from=first, tasks=TASKS.get(name) if first else None,
        **({"batch": BATCH[name]} if name in BATCH else {}),
    )  # fmt: skip
    if paths is not None:
        model.denoiser.network.follow.load_state_dict(suffuse.load(paths).denoiser.network.follow.state_dict())
    if first is not None:
        alone = f"{told['frames']['minutes']:g} CPU minutes on single frames"
        also = [f"{told['paths']:g} on paths"] if paths is not None else []
        model.notes["recipe_of"] = f"stage {2 + len(also)}"
        model.notes["stages"] = [alone, *also, f"{minutes:g} CPU minutes on one core on films"]
        model.save(work / name)


def learn(source: Any, told: dict[str, Any], output: Path, minutes: float, **settings: Any) -> Any:
    """`suffuse.train` on a model's data, going on where an interrupted run stopped."""
    return suffuse.train(
        source, told["modality"], minutes=minutes, output=output, resume=(output / "training").is_dir(), read=told["read"],
        tell=print, **RECIPE, **settings,
    )  # fmt: skip


def path_model(name: str, source: Path, work: Path, first: Path | None) -> Path:
    """The folder of a model that has learnt nothing but the paths of films, which costs little without their frames."""
    folder, told = work / f"{name}-paths", MODELS[name]
    if not (folder / "config.json").is_file():
        learn(source, told, folder, told["paths"], start_from=first, batch=64, tasks={"path": 1.0})
    return folder


def frame_model(name: str, source: Path, work: Path) -> Path:
    """The folder of an image model of single frames of moving digits, from which the video model starts."""
    from suffuse.modalities.video.reading import digit_films

    folder, told = work / f"{name}-frames", MODELS[name]["frames"]
    if (folder / "config.json").is_file():
        return folder
    pictures = work / f"{name}-frames.npz"
    films = digit_films(source, 60000, 2, (32, 32), seed=2)
    frames = np.concatenate([c.frames[..., 0] for c in films])
    labels = np.repeat([int(c.labels["digit"]) for c in films], 2)
    work.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(pictures, images=frames, labels=labels)
    read = {k: v for k, v in told.items() if k != "minutes"}
    learn(pictures, {"modality": "images", "read": read}, folder, told["minutes"])
    return folder


def tune(name: str, data: Path, work: Path, minutes: float) -> None:
    """Trains the shipped model on in work/NAME: what today's network has and its own has not starts as nothing."""
    from suffuse.modalities.video import Video
    from suffuse.model import Model
    from suffuse.training.recipe import Recipe
    from suffuse.training.trainer import Trainer

    before, told = suffuse.load(name), MODELS[name]
    read = told["read"] | {k: v for k, v in before.modality.config.items() if k == "network"}
    made, rows = Video.read(data / told["source"], **read)
    made.config |= {k: v for k, v in before.modality.config.items() if k in ("mean", "std", "path")}
    torch.manual_seed(0)
    model = Model.new(made)
    was = before.denoiser.state_dict()
    if made.config["normed"] and not before.modality.config.get("normed"):
        was = {k: v for k, v in was.items() if ".answer." not in k}
    model.denoiser.load_state_dict(was, strict=False)
    settings = {**RECIPE, "optimiser": "muon", "learning_rate": 2e-3, "decay": 0.8, "seed": 1}
    recipe = Recipe.make(**settings, batch=min(16, BATCH[name]), minutes=minutes, tasks=LATER.get(name) or TASKS[name])
    done = Trainer(made, rows, model.denoiser, recipe, work / name / "training", tell=print).run()
    model.denoiser.eval()
    if made.config.get("path"):  # nothing was asked of it meanwhile
        model.denoiser.network.follow.load_state_dict(before.denoiser.network.follow.state_dict())
    model.notes = {k: v for k, v in before.notes.items() if k not in ("quality", "tuned")}
    model.notes["tuned"] = {"recipe": recipe.to_json(), "steps": done.steps, "seconds": round(done.seconds, 1)}
    model.notes["stages"] = [training_time(before.notes), f"{minutes:g} CPU minutes on one core with today's network"]
    model.save(work / name)


def held_out(name: str, model: Any, data: Path) -> Any:
    """A data set that the model has not seen."""
    source = MODELS[name]["source"]
    if name == "xray":
        return model.modality.dataset(data / source, split="test")
    if name == "solids":
        return model.modality.dataset("solids", count=128)
    if name == "solid-views":
        return model.modality.dataset(solid_views(150, first=1_000_000))
    if name == "moving-digits":
        from suffuse.modalities.video.reading import digit_films

        return model.modality.dataset(digit_films(data / source, 256, 16, (32, 32), seed=1, train=False))
    if name == "hippocampus":
        from suffuse.modalities.scans.reading import cases

        return model.modality.dataset(list(cases(data / source))[200:])
    rest = model.modality.dataset(data / source, attributes=MODELS[name]["read"]["attributes"])
    rest.stored, rest.labels = rest.stored[1000:], {k: v[1000:] for k, v in rest.labels.items()}
    return rest


def samples(name: str, folder: Path, data: Path) -> None:
    """A few real examples for the demo, with their attribution."""
    told = MODELS[name]
    folder.mkdir(parents=True, exist_ok=True)
    if name in ("solids", "solid-views"):  # the procedure ships
        return
    if name == "xray":
        with np.load(data / told["source"]) as loaded:
            images, labels = loaded["test_images"], loaded["test_labels"]
            rows = np.concatenate([np.flatnonzero(labels[:, 0] == k)[:12] for k in (0, 1)])
            np.savez_compressed(folder / "xray_mnist.npz", test_images=images[rows], test_labels=labels[rows])
    elif name == "moving-digits":
        from suffuse.modalities.video.digits import read_idx, shrink

        images, labels = read_idx(data / told["source"], train=False)
        np.savez_compressed(
            folder / "digits.npz", glyphs=shrink(images[:100], 16), labels=labels[:100].astype(np.uint8)
        )
    elif name == "hippocampus":
        with tarfile.open(data / told["source"]) as archive:
            names = sorted(n for n in archive.getnames() if n.startswith("images/") and n.endswith(".nii"))
            for member in names[200:203]:
                for part in ("images", "labels"):
                    import gzip

                    raw = archive.extractfile(member.replace("images", part)).read()  # type: ignore[union-attr]
                    (folder / part).mkdir(exist_ok=True)
                    (folder / part / (Path(member).name + ".gz")).write_bytes(gzip.compress(raw, 9, mtime=0))
    else:
        with np.load(data / told["source"]) as loaded:
            np.savez_compressed(
                folder / "sprites.npz",
                video=loaded["video"][1000:1012],
                attributes=loaded["attributes"][1000:1012],
                attribute_names=np.array(told["read"]["attributes"].split(",")),
                fps=8.0,
            )
    (folder / "ATTRIBUTION.md").write_text(
        f"# Where these examples come from\n\n{told['data']}; held-out part.\nLicence: {told['licence']}.\n"
    )


def pack(name: str, data: Path, work: Path) -> None:
    """Measure a trained model and write its zoo folder: 16-bit weights, card, recipe, samples."""
    told = MODELS[name]
    model = suffuse.load(work / name)
    torch.manual_seed(0)
    model.settings |= model.modality.defaults()["sampling"]
    figures = model.evaluate(held_out(name, model, data))
    model.notes |= {
        "data": told["data"],
        "licence": told["licence"],
        "quality": {k: round(v, 4) for k, v in figures.items()},
    }
    if told["modality"] == "scans":
        model.notes["use"] = "research and teaching only; everything it makes is synthetic and not for clinical use"
    model.notes["command"] = command(name, model.notes)
    folder = ZOO / name
    model.save(folder, half=True)
    recipe = {"command": model.notes["command"], "read": told["read"], "recipe": model.notes.get("recipe", {})}
    if "tuned" in model.notes:
        recipe |= {"stages": model.notes["stages"], "tuned": model.notes["tuned"]["recipe"]}
    (folder / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
    samples(name, folder / "samples", data)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20
    print(f"{name}: {size:.2f} MiB", json.dumps(model.notes["quality"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "tune", "pack", "all"))
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--device", help="train: cpu, cuda or mps (default: the best at hand)")
    a = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if a.what == "tune":
        tune(a.name, a.data, a.work, a.minutes or 12)
        return
    if a.what != "pack":
        train(a.name, a.data, a.work, a.minutes or MODELS[a.name]["minutes"], a.device)
    if a.what != "train":
        pack(a.name, a.data, a.work)


if __name__ == "__main__":
    main()
