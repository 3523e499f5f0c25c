"""The images room of the demo: pictures made, completed, restored and edited by models that ship, on real pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from suffuse.demo.pieces import sheet
from suffuse.demo.report import Report

INTRO = (
    "Small models, each of which generates, classifies, completes, restores and edits: <code>digits</code> (MNIST, "
    "CC BY-SA 3.0), <code>fashion</code> (Fashion-MNIST, MIT), <code>emoji</code> (Noto Emoji, Apache-2.0). Real pictures "
    "are from the test parts of these sets. A judge is a separate frozen classifier that ships; Frechet distances are in "
    "its features."
)


def demo(report: Report, folder: Path) -> None:
    """Each item stands beside the same figure for real pictures."""
    from suffuse.model import load
    from suffuse.storage import zoo_names

    report.room("Images", INTRO)
    digits, fashion = load("digits"), load("fashion")
    by_class(report, digits, "digits", "Each digit, twice")
    by_class(report, fashion, "fashion", "Each kind of garment, twice")
    classified(report, fashion)
    completed(report, fashion)
    restored(report, fashion)
    changed(report, fashion)
    blended(report, digits)
    if "emoji" in zoo_names():
        by_caption(report, load("emoji"))


def real(model: Any) -> tuple[Any, list[Any]]:
    """The real pictures that ship beside a model, as its data set and as PIL images."""
    from suffuse.modalities.images.modality import to_pil

    data = model.modality.dataset(model.folder / "samples")
    return data, [to_pil(pixels) for pixels in data.pixels]


def recognised(name: str, pictures: list[Any], classes: list[int]) -> str:
    """How many of the pictures the judge takes for what they should be."""
    from suffuse.metrics import features

    pixels = torch.from_numpy(np.stack([np.asarray(p) for p in pictures]))[:, None]
    right = (features.classes_of(features.load(name), pixels) == torch.tensor(classes)).sum().item()
    return f"{right} of {len(classes)}"


def card(model: Any, *names: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures measured when the model was packed, and the same for real pictures."""
    figures = model.notes.get("quality", {})
    ours = {n: figures[n] for n in names if n in figures}
    floor = {n: figures[f"{n.partition(' ')[0]}_real"] for n in names if f"{n.partition(' ')[0]}_real" in figures}
    return ours, floor


def by_class(report: Report, model: Any, name: str, title: str) -> None:
    count = len(model.modality.config["classes"])
    labels = [k for k in range(count) for _ in range(2)]
    with report.watch(model) as seen:
        made = model.sample(len(labels), given={"label": labels})
    data, pictures = real(model)
    ours, floor = card(model, f"frechet (guidance {model.settings['guidance']:g})")
    report.item(
        title,
        f"{len(labels)} new pictures, two of each class",
        f'suffuse.load("{name}").sample({len(labels)}, given={{"label": labels}})',
        {"made": sheet(made, 10), "real": sheet(pictures, 10)},
        seen.calls,
        seen.seconds,
        {"judge recognises": recognised(name, made, labels), **ours},
        {"judge recognises": recognised(name, pictures, data.labels.tolist()), **floor},
    )


def classified(report: Report, model: Any) -> None:
    data, pictures = real(model)
    with report.watch(model) as seen:
        found = model.classify(pictures)
    names = model.modality.config["classes"]
    right = sum(a == names[k] for a, k in zip(found, data.labels.tolist(), strict=True))
    ours, floor = card(model, "accuracy")
    report.item(
        "What is this?",
        "The same model asked the other way round: the picture is known, its label is not",
        'suffuse.load("fashion").classify(pictures)',
        {f"{a}": sheet([p]) for a, p in list(zip(found, pictures, strict=True))[::2]},
        seen.calls,
        seen.seconds,
        {"right": f"{right} of {len(pictures)}", **ours},
        {"right": recognised("fashion", pictures, data.labels.tolist()) + " (the judge)", **floor},
    )


def completed(report: Report, model: Any) -> None:
    data, pictures = real(model)
    chosen = [0, 6, 10, 16]
    mask = np.zeros((28, 28), bool)
    mask[14:] = True
    rows, made, calls, seconds = [], [], 0, 0.0
    for k in chosen:
        with report.watch(model) as seen:
            completions = model.inpaint(pictures[k], mask=mask, n=5)
        calls, seconds = seen.calls, seconds + seen.seconds
        covered = np.where(mask, 128, np.asarray(pictures[k])).astype(np.uint8)
        rows += [pictures[k], covered, *completions]
        made += completions
    classes = [int(data.labels[k]) for k in chosen]
    report.item(
        "The lower half is missing",
        "Five completions of each real picture, none told what it shows",
        "model.inpaint(picture, mask=mask, n=5)     # or transparent pixels, or NaN",
        {"real, what is given, five completions": sheet(rows, 7)},
        calls,
        seconds,
        {"judge sees the true class": recognised("fashion", made, [c for c in classes for _ in range(5)])},
        {"judge sees the true class": recognised("fashion", [pictures[k] for k in chosen], classes)},
    )


def restored(report: Report, model: Any) -> None:
    from PIL import Image

    _, pictures = real(model)
    rows, errors, plain, calls, seconds = [], [], [], 0, 0.0
    for k in (1, 8, 14):
        truth = np.asarray(pictures[k]).astype(np.float64)
        small = Image.fromarray(truth.reshape(7, 4, 7, 4).mean((1, 3)).round().astype(np.uint8))
        with report.watch(model) as seen:
            large = model.restore(small, "downsample:4", n=4, noise=0.01)
        calls, seconds = seen.calls, seconds + seen.seconds
        mean = np.mean([np.asarray(p) for p in large], axis=0)
        bicubic = np.asarray(small.resize((28, 28), Image.Resampling.BICUBIC))
        rows += [pictures[k], small.resize((28, 28), Image.Resampling.NEAREST), Image.fromarray(bicubic), *large[:4]]
        errors.append(psnr(mean, truth))
        plain.append(psnr(bicubic, truth))
    report.item(
        "From 7 x 7 to 28 x 28",
        "Four pictures that would look like this from far away",
        'model.restore("small.png", "downsample:4", n=4)',
        {"real, seen, bicubic, four restorations": sheet(rows, 7)},
        calls,
        seconds,
        {"PSNR of the mean of four (dB)": round(float(np.mean(errors)), 1)},
        {"PSNR of bicubic (dB)": round(float(np.mean(plain)), 1)},
    )


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures, in decibels."""
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(np.float64) - b) ** 2), 1e-9)))


def changed(report: Report, model: Any) -> None:
    data, pictures = real(model)
    names = model.modality.config["classes"]
    pairs = [(0, "Dress"), (4, "Coat"), (6, "Shirt"), (10, "Ankle boot"), (14, "Sandal"), (18, "Sneaker")]
    sources, targets = [pictures[k] for k, _ in pairs], [name for _, name in pairs]
    with report.watch(model) as seen:
        made = model.change(sources, label=targets)
    distance = [
        float(np.abs(np.asarray(a).astype(float) - np.asarray(b)).mean()) for a, b in zip(sources, made, strict=True)
    ]
    others = [float(np.abs(np.asarray(a).astype(float) - np.asarray(p)).mean())
              for a, name in zip(sources, targets, strict=True)
              for p, c in zip(pictures, data.labels.tolist(), strict=True) if names[c] == name]  # fmt: skip
    wanted = [names.index(name) for name in targets]
    report.item(
        "The same, but as something else",
        "Real pictures drawn anew under another label, held near the old picture",
        'model.change(pictures, label=["Dress", "Coat", ...])',
        {"real": sheet(sources), " to ".join(("made", ", ".join(targets))): sheet(made)},
        seen.calls,
        seen.seconds,
        {
            "judge sees the new class": recognised("fashion", made, wanted),
            "mean change of a pixel": round(float(np.mean(distance)), 1),
        },
        {"mean distance to real pictures of that class": round(float(np.mean(others)), 1)},
    )


def blended(report: Report, model: Any) -> None:
    from suffuse.modalities.images.verbs import from_latents, invert, slerp

    _, pictures = real(model)
    weights = [0.0, 0.25, 0.5, 0.75, 1.0]
    pairs = ((2, 14), (6, 16))
    with report.watch(model) as seen:  # what `blend` does, for all pairs and weights at once
        latents = invert(model, [pictures[k] for pair in pairs for k in pair])
        mixed = [
            slerp(latents[2 * k : 2 * k + 1], latents[2 * k + 1 : 2 * k + 2], w) for k in range(2) for w in weights
        ]
        between = from_latents(model, torch.cat(mixed))
    rows = []
    for k, (first, second) in enumerate(pairs):
        rows += [pictures[first], *between[k * len(weights) : (k + 1) * len(weights)], pictures[second]]
    report.item(
        "Half-way between two pictures",
        "Both real digits are carried to noise, mixed there and brought back",
        "model.blend(three, eight, weight=0.5)",
        {"real, five blends, real": sheet(rows, 7)},
        seen.calls,
        seen.seconds,
        {"PSNR where nothing is mixed (dB)": round(psnr(np.asarray(rows[1]), np.asarray(rows[0])), 1)},
        {"PSNR of an equal picture": "infinite"},
    )


def by_caption(report: Report, model: Any) -> None:
    data, pictures = real(model)
    captions = [model.modality._words("caption", row.tolist()) for row in data.captions][:16]
    with report.watch(model) as seen:
        made = model.sample(len(captions), given={"caption": captions})
    ours, floor = card(model, f"frechet_pixels (guidance {model.settings['guidance']:g})")
    report.item(
        "Emoji from their names",
        "Captions that were held out of training: " + "; ".join(captions[:6]) + "; ...",
        'suffuse.load("emoji").sample(given={"caption": "grinning face"})',
        {"made": sheet(made, 8), "real, of the same names": sheet(pictures[:16], 8)},
        seen.calls,
        seen.seconds,
        ours,
        floor,
    )
    with report.watch(model) as seen:
        varied = [model.edit(pictures[k], 0.5, {"caption": captions[k]}, n=3) for k in (2, 7, 11)]
    report.item(
        "Variations of real emoji",
        "Noised half-way and brought back under the same caption",
        "model.edit(picture, strength=0.5, given={'caption': ...}, n=3)",
        {
            "real, three variations": sheet(
                [p for k, v in zip((2, 7, 11), varied, strict=True) for p in (pictures[k], *v)], 4
            )
        },
        seen.calls // 3,
        seen.seconds,
    )
