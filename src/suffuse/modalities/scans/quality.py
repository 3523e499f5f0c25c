"""Figures of quality for scans, each beside the same figure for real scans."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.metrics.frechet import frechet


def dice(made: Tensor, real: Tensor, classes: int) -> Tensor:
    """(n, classes - 1) Dice overlap of each foreground class; 1 where neither holds it. made, real: (n, *grid) tokens."""
    out = []
    for k in range(1, classes):
        a, b = (made == k).flatten(1), (real == k).flatten(1)
        both, total = (a & b).sum(1).double(), a.sum(1) + b.sum(1)
        out.append(torch.where(total > 0, 2 * both / total.clamp(min=1), torch.ones_like(both)))
    return torch.stack(out, dim=1)


def balanced_accuracy(chosen: Tensor, real: Tensor) -> float:
    """Mean over the classes of the share of their cases that are named right."""
    return float(np.mean([(chosen[real == k] == k).float().mean().item() for k in real.unique()]))


def auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """Area under the receiver operating characteristic: how often a positive scores above a negative (ties count half)."""
    order = np.argsort(score, kind="stable")
    ranks = np.empty(len(score))
    values, start, counts = np.unique(score[order], return_index=True, return_counts=True)
    ranks[order] = np.repeat(start + (counts + 1) / 2, counts)
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def unlikeness(x: Tensor, usual: Tensor, shrink: float = 0.1) -> Tensor:
    """(n,) squared Mahalanobis distance of rows x (n, D) from rows `usual` (m, D), their correlations shrunk by `shrink`."""
    mean, std = usual.mean(0), usual.std(0) + 1e-6
    x, usual = (x - mean) / std, (usual - mean) / std
    covariance = (1 - shrink) * torch.cov(usual.T) + shrink * torch.eye(usual.shape[1])
    return torch.einsum("ni,ij,nj->n", x, torch.linalg.inv(covariance), x)


def pca_features(real: Tensor, count: int = 32) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the first `count` principal directions (D, count) of flattened scans (n, D)."""
    mean = real.mean(0)
    _, _, v = torch.linalg.svd(real - mean, full_matrices=False)
    return mean, v[:count].T


def evaluate(
    model: Any, data: Any, samples: int | None = None, seed: int = 0, steps: int | None = None
) -> dict[str, float]:
    """Figures on held-out data: Frechet distance in the principal components of real scans (and real against real), nearest
    distance to real scans, Dice and balanced accuracy in one network call."""
    samples = samples or (200 if len(model.modality.config["grid"]) == 2 else 40)
    half = len(data) // 2
    real = data.batch(torch.arange(len(data)))
    flat = real.x["image"].flatten(1)
    mean, directions = pca_features(flat[:half], min(32, half - 1))
    out: dict[str, float] = {}
    made = model.run(model.modality.request(samples, None, index=torch.arange(samples)), steps=steps, seed=seed)[
        "image"
    ].flatten(1)

    def project(x: Tensor) -> Tensor:
        return (x - mean) @ directions

    out["frechet_pca"] = frechet(project(made), project(flat[half:]))
    out["frechet_pca_real"] = frechet(project(flat[:half]), project(flat[half:]))
    nearest = torch.cdist(made, flat).amin(1)
    between = torch.cdist(flat[:half], flat[half:]).amin(1)
    out["nearest_distance"], out["nearest_distance_real"] = float(nearest.median()), float(between.median())
    if model.modality.masked:
        share = model.predict(data, "mask", batch=8)
        known = data.masked
        out["dice"] = float(
            dice(share.argmax(-1)[known], data.mask[known].long(), model.modality.config["mask_classes"]).mean()
        )
    for name in model.modality.labels:
        known = data.label >= 0
        out[f"{name}_balanced_accuracy"] = balanced_accuracy(
            model.predict(data, name)[known, 0].argmax(-1), data.label[known]
        )
    return out
