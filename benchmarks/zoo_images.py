"""Trains, measures and packs the picture models that ship: `fashion`, `digits`, `emoji`.

    python benchmarks/zoo_images.py train fashion --data ../shared/data --work runs --minutes 12     # resumes when repeated
    python benchmarks/zoo_images.py pack fashion --data ../shared/data --work runs                   # figures, card, samples

`train` is `suffuse train` with the settings below; `pack` writes src/suffuse/zoo/NAME.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

import torch
from tables import training_time

import suffuse
from suffuse.modalities import contract
from suffuse.storage import ZOO

FASHION = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
SMALL = {"widths": [64, 96], "patch": 2}
MODELS: dict[str, dict[str, Any]] = {
    "fashion": {
        "folder": "images/fashion-mnist",
        "read": {"classes": FASHION, "judge": "fashion", **SMALL},
        "data": "Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), 60,000 training pictures",
        "licence": "MIT, (c) 2017 Zalando SE, https://github.com/zalandoresearch/fashion-mnist",
    },
    "digits": {
        "folder": "images/mnist",
        "read": {"judge": "digits", **SMALL},
        "sampling": {"grid": "uniform", "stochasticity": 1.0},
        "data": "MNIST (LeCun, Cortes & Burges 1998), 60,000 training pictures",
        "licence": "CC BY-SA 3.0, (c) Yann LeCun and Corinna Cortes",
    },
    "emoji": {
        "folder": "images/noto_emoji/noto_emoji_64.tar",
        "read": {"widths": [64, 96, 128], "patch": 2},
        "recipe": {"batch": 128, "tasks": {"generate": 0.15, "label": 0.55, "inpaint": 0.2, "classify": 0.1}},
        "sampling": {"interval": [0.0, 1.0]},
        "data": "Noto Emoji at 64 pixels with Unicode names as captions; every 12th picture held out",
        "licence": "Apache-2.0, (c) Google, https://github.com/googlefonts/noto-emoji",
    },
}
RECIPE = {
    "batch": 64,
    "optimiser": "muon",
    "learning_rate": 4e-3,
    "precision": "bf16",
    "compile": False,
    "channels_last": False,
}
SAMPLING = {**contract.SAMPLING, "guidance": 3.0, "interval": [0.1, 0.7]}


def source(name: str, data: Path, work: Path, part: str) -> Path:
    """Where the pictures are; emoji are unpacked and split into train and test folders first."""
    path = data / MODELS[name]["folder"]
    if name != "emoji":
        return path
    folder = work / "emoji_pictures"
    if not (folder / part / "metadata.csv").is_file():
        unpack(path, folder)
    return folder / part


def unpack(archive: Path, folder: Path) -> None:
    """Every 12th picture of the table goes to `test`, the rest to `train`."""
    import csv

    raw = folder / "raw"
    with tarfile.open(archive) as tar:
        tar.extractall(raw, filter="data")
    table = next(raw.rglob("metadata.csv"))
    with open(table, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        mine = [row for k, row in enumerate(rows) if (k % 12 == 11) == (part == "test")]
        for row in mine:
            shutil.copy(table.parent / row["file"], folder / part / Path(row["file"]).name)
        with open(folder / part / "metadata.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "caption"])
            writer.writerows([Path(row["file"]).name, row["caption"]] for row in mine)


def train(args: argparse.Namespace) -> None:
    """The recipe; a killed run goes on where it stopped. --start-from goes on from another run, at half the rate."""
    name, spec = args.name, MODELS[args.name]
    folder = args.work / (args.output or name)
    recipe = {**RECIPE, **spec.get("recipe", {})}
    weights = recipe.pop("tasks", None)
    if args.tasks:
        pairs = [word.partition("=") for word in args.tasks.split(",")]
        weights = {task: float(weight or 1) for task, _, weight in pairs}
    first = None if args.start_from is None else suffuse.load(args.work / args.start_from)
    more = {} if first is None else {"start_from": first, "learning_rate": RECIPE["learning_rate"] / 2}
    begin = time.process_time()
    model = suffuse.train(
        source(name, args.data, args.work, "train"), "images", minutes=args.minutes, tasks=weights, output=folder, resume=True,
        read=spec["read"] if first is None else {"split": "train"}, tell=print, device=args.device,
        **{**recipe, **more},
    )  # fmt: skip
    words = f"python benchmarks/zoo_images.py train {name} --minutes {args.minutes:g}"
    words += "".join(
        f" --{k.replace('_', '-')} {v}" for k in ("tasks", "start_from", "output") if (v := getattr(args, k))
    )
    model.notes["commands"] = [*(first.notes.get("commands", []) if first else []), words]
    model.notes["minutes"] = args.minutes + (
        first.notes.get("minutes", first.notes["recipe"]["minutes"]) if first else 0
    )
    model.save(folder)
    print(f"{name}: {model.notes['steps']} steps, {time.process_time() - begin:.0f} CPU seconds in this process")


def pack(name: str, data: Path, work: Path, run: str, count: int) -> None:
    """Measure the trained model, then write weights in 16 bits, card, recipe and a few real pictures to the zoo."""
    spec = MODELS[name]
    model = suffuse.load(work / run)
    model.settings |= SAMPLING | spec.get("sampling", {})
    test = model.modality.dataset(source(name, data, work, "test"))
    figures: dict[str, Any] = {}
    for guidance in (1.0, SAMPLING["guidance"]):
        found = model.evaluate(test, samples=count, guidance=guidance)
        figures |= {f"{key} (guidance {guidance:g})" if _varies(key) else key: value for key, value in found.items()}
    figures |= memory(model, name, data, work, test)
    model.notes |= {
        "title": name,
        "data": spec["data"],
        "licence": spec["licence"],
        "quality": {key: round(value, 4) for key, value in figures.items()},
    }
    notes = model.notes
    target = ZOO / name
    target.mkdir(exist_ok=True)
    model.save(target, half=True)
    commands = [
        *notes.get("commands", []),
        f"python benchmarks/zoo_images.py pack {name} --output {run} --samples {count}",
    ]
    recipe = {
        "commands": commands,
        "modality": "images",
        "read": spec["read"],
        "recipe": notes["recipe"],
        "tasks": model.modality.tasks,
    }
    (target / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
    samples(model, test, target / "samples", spec)
    card(model, name, spec, commands, target / "README.md")
    print(f"{target}: {(target / 'model.safetensors').stat().st_size / 2**20:.2f} MiB")
    for key, value in notes["quality"].items():
        print(f"  {key}: {value:g}")


def _varies(key: str) -> bool:
    return key.partition("_real")[0] in (
        "frechet",
        "frechet_pixels",
        "precision",
        "recall",
        "two_sample_accuracy",
    ) and not key.endswith("_real")


def memory(model: Any, name: str, data: Path, work: Path, test: Any) -> dict[str, float]:
    """Distances to the nearest training picture, of made and of held-out pictures."""
    from suffuse.metrics.memorisation import memorisation
    from suffuse.modalities.images.quality import generate

    train_data = model.modality.dataset(source(name, data, work, "train"), split="train")
    rows = torch.arange(min(200, len(test)))
    made = generate(model.modality, model, test, rows, guidance=SAMPLING["guidance"])
    return memorisation(made.float() / 255, train_data.pixels.float() / 255, test.pixels[rows].float() / 255)


def samples(model: Any, test: Any, folder: Path, spec: dict[str, Any]) -> None:
    """A few real test pictures, two of each class (or 24 captioned ones), with their source and licence."""
    from suffuse.files import atomic_folder

    if test.labels is not None:
        rows = [
            int(k) for c in range(len(model.modality.config["classes"])) for k in torch.where(test.labels == c)[0][:2]
        ]
        words = [model.modality.config["classes"][test.labels[k]] for k in rows]
    else:
        rows = torch.linspace(0, len(test) - 1, 24).long().tolist()
        words = [model.modality._words("caption", test.captions[k].tolist()) for k in rows]
    from suffuse.modalities.images.modality import to_pil

    with atomic_folder(folder, existing="replace") as partial:
        lines = ["file,label" if test.labels is not None else "file,caption"]
        for k, (row, word) in enumerate(zip(rows, words, strict=True)):
            to_pil(test.pixels[row]).save(partial / f"{k:02d}.png", optimize=True)
            lines.append(f"{k:02d}.png,{word}")
        (partial / "metadata.csv").write_text("\n".join(lines) + "\n")
        (partial / "ATTRIBUTION.md").write_text(
            f"Real pictures from the test part of {spec['data'].split(',')[0]}.\n\nLicence: {spec['licence']}.\n"
            "They are unchanged but for the file format.\n"
        )


def card(model: Any, name: str, spec: dict[str, Any], commands: list[str], path: Path) -> None:
    """README.md with data, licence, quality beside real against real, and the command."""
    notes = model.notes
    rows = []
    for key, value in notes["quality"].items():
        if "_real" in key:
            continue
        base, _, rest = key.partition(" ")
        real = notes["quality"].get(f"{base}_real")
        rows.append(f"| {key.replace('_', ' ')} | {value:g} | {'' if real is None else f'{real:g}'} |")
    size = sum(p.numel() for p in model.denoiser.parameters())
    path.write_text(
        f"""# {name}

A suffuse model of pictures: {spec["data"]}. {size:,} parameters, stored as float16. One model for all of: generating
({"with a label or without" if model.modality.config["classes"] else "with a caption or without"}), classifying, inpainting, \
outpainting, restoring, editing, blending.

```python
import suffuse

model = suffuse.load("{name}")
model.sample(8{', given={"label": 3}' if model.modality.config["classes"] else ', given={"caption": "grinning face"}'})
```

- Data: {spec["data"]}.
- Licence of the data: {spec["licence"]}. Licence of the model: that of suffuse (Apache-2.0).
- Training: {training_time(notes)}; settings in `recipe.json`. Made by
  `{"`, then `".join(commands)}`.

## Quality

{notes["quality"]["samples"]:g} generated pictures against as many test pictures; ten network calls each, guidance beside the
name (guidance doubles the work of a call). Real: other test pictures against the same. Frechet distances are in the 64
features of a small frozen classifier that ships (`suffuse.metrics.features`), or in 64 principal components of the pixels;
they do not compare with published FIDs.
Closest share: how many are nearer to a training picture than the nearest 1 % of test pictures are.

| figure | this model | real |
| --- | --- | --- |
"""
        + "\n".join(rows)
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "pack"])
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--tasks", help="train on these tasks only, such as label=0.9,generate=0.1 (a specialist)")
    parser.add_argument("--samples", type=int, default=2000, help="pack: how many pictures the figures are taken on")
    parser.add_argument("--start-from", help="train: go on from this run in --work")
    parser.add_argument("--device", help="train: cpu, cuda or mps (default: the best at hand)")
    parser.add_argument("--output", help="name of the run in --work, if it is not the model's name")
    args = parser.parse_args()
    if args.step == "train":
        train(args)
    else:
        pack(args.name, args.data, args.work, args.output or args.name, args.samples)


if __name__ == "__main__":
    main()
