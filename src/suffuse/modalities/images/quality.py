"""Quality of a model of pictures: Frechet distance, precision, recall, memorisation, two-sample test, accuracy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from suffuse.errors import AskError
from suffuse.metrics.frechet import frechet
from suffuse.metrics.precision_recall import precision_recall
from suffuse.metrics.two_sample import two_sample_accuracy
from suffuse.modalities.images.dataset import from_field


def evaluate(
    modality: Any,
    model: Any,
    data: Any,
    *,
    samples: int = 1000,
    labels: bool = True,
    seed: int = 0,
    batch: int = 250,
    **settings: Any,
) -> dict[str, float]:
    """Figures of `samples` generated pictures against `data`, each beside real against real ('_real': one half of the
    data's pictures against the other).

    labels: make pictures of the labels (or captions) the data has. settings: of sampling. Features are those of the shipped
    judge named in the modality's config, or else principal components of the pixels (key 'frechet_pixels').
    """
    if len(data) < 20:
        raise AskError(f"evaluation needs at least 20 pictures, and there are {len(data)}")
    count = min(samples, len(data) // 2)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    first, second = order[:count], order[count : 2 * count]
    made = generate(modality, model, data, first, labels, seed, batch, **settings)
    features, name = feature_function(modality, data)
    real_a, real_b, ours = features(data.pixels[first]), features(data.pixels[second]), features(made)
    precision, recall = precision_recall(real_a, ours)
    floor = precision_recall(real_a, real_b)
    out = {
        name: frechet(ours, real_a),
        f"{name}_real": frechet(real_b, real_a),
        "precision": precision,
        "precision_real": floor[0],
        "recall": recall,
        "recall_real": floor[1],
        "two_sample_accuracy": two_sample_accuracy(real_a, ours),
        "two_sample_accuracy_real": two_sample_accuracy(real_a, real_b),
        "samples": float(count),
    }
    if data.labels is not None:
        known = torch.where(data.labels >= 0)[0][:2000]
        part = type(data)(
            data.config, data.pixels[known], data.labels[known], None if data.captions is None else data.captions[known]
        )
        right = model.predict(part, "label")[:, 0].argmax(dim=1) == part.labels
        out["accuracy"] = right.double().mean().item()
        judge = _judge(modality)
        if judge is not None:
            from suffuse.metrics.features import classes_of

            out["accuracy_real"] = (classes_of(judge, part.pixels) == part.labels).double().mean().item()
    return out


def generate(
    modality: Any,
    model: Any,
    data: Any,
    rows: Tensor,
    labels: bool = True,
    seed: int = 0,
    batch: int = 250,
    **settings: Any,
) -> Tensor:
    """uint8 pixels (N, C, H, W) made under the labels and captions of the data's `rows` (or under none)."""
    n = len(rows)
    task = modality.request(n, None, index=torch.arange(n))
    example = data.batch(rows)
    for name in modality.conditions if labels else []:
        known = example.observed.get(name, torch.ones(n, 1, dtype=torch.bool))[:, :1]
        task.x[name] = example.x[name]
        task.start.levels[name] = torch.where(known, 0.0, 1.0)
        task.start.held[name] = ~known
    fields = model.run(task, batch=batch, seed=seed, **settings)
    return from_field(fields["image"], modality.config)


def feature_function(modality: Any, data: Any) -> tuple[Callable[[Tensor], Tensor], str]:
    """A function from uint8 pictures to (N, D) float64 features, and the name of the Frechet distance in them."""
    judge = _judge(modality)
    if judge is not None:
        from suffuse.metrics.features import features_of

        return lambda pixels: features_of(judge, pixels), "frechet"
    flat = data.pixels[:5000].flatten(1).float() / 255
    centre = flat.mean(0)
    width = min(64, *flat.shape)
    basis = torch.svd_lowrank(flat - centre, q=width, niter=4)[2]
    return lambda pixels: ((pixels.flatten(1).float() / 255 - centre) @ basis).double(), "frechet_pixels"


def _judge(modality: Any) -> Any:
    name = modality.config.get("judge")
    if not name:
        return None
    from suffuse.metrics import features

    judge = features.load(name)
    return (
        judge
        if [judge.size] * 2 == list(modality.config["size"]) and judge.channels == modality.config["channels"]
        else None
    )
