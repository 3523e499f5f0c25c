"""Models that are shown what was measured of an image: its pseudo-inverse is a known channel, and what that lacks is asked.

    model = suffuse.train(images, "scans", read={"sampled": mask}, tasks={"reconstruct": 1.0})
    model.reconstruct(kspace, mask, n=8)

What is missing has the deviation of an image and not its own, much smaller one, so that the noise levels suit it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.errors import AskError
from suffuse.modalities.scans.operators import KSpace
from suffuse.modalities.scans.volume import Case

CHANNELS = ["missing", "measured"]


def operator_of(config: dict[str, Any]) -> KSpace:
    """The measurement that a model of this config was trained for."""
    return KSpace(torch.tensor(config["sampled"], dtype=torch.bool))


def gain_of(images: Tensor, config: dict[str, Any]) -> float:
    """By how much what is missing of images (N, 1, H, W) is widened: their deviation over that of what is missing."""
    operator = operator_of(config)
    missing = images - operator.inverse(operator.apply(images))
    return round(float(images.std() / missing.std().clamp(min=1e-4)), 4)


def channels(images: Tensor, config: dict[str, Any]) -> Tensor:
    """(N, 2, H, W) stored values: what is missing, widened about the mean, and the pseudo-inverse of what is measured."""
    operator = operator_of(config)
    shown = operator.inverse(operator.apply(images))
    return torch.cat([config["mean"] + config["missing"] * (images - shown), shown], dim=1)


def check(config: dict[str, Any], sampled: Any, whole: bool) -> list[list[int]]:
    """The mask as JSON can keep it. Raises AskError where the data is not of one channel, 2-D, full, with fixed intensities."""
    mask = np.asarray(sampled, bool)
    if len(config["grid"]) != 2 or len(config["channels"]) != 1 or config["rule"] == "volume" or not whole:
        raise AskError(
            "sampled needs 2-D scans of one channel without holes, and fixed intensities (intensities=LOW,HIGH)."
        )
    if mask.shape != tuple(config["grid"]) or not mask.any() or mask.all():
        raise AskError(
            f"sampled must be a mask of {tuple(config['grid'])} that holds some of k-space, not {mask.shape}."
        )
    return mask.astype(int).tolist()


def whole(model: Any, made: list[Case]) -> list[Case]:
    """Answers of the two channels put together: cases of the channel image."""
    config, out = model.modality.config, []
    low, high = config["rule"]
    for case in made:
        missing, shown = (case.volumes[name].values for name in CHANNELS)
        share = ((missing - low) / (high - low) - config["mean"]) / config["missing"]
        image = replace(case.volumes["measured"], stored=(shown + share * (high - low)).astype(np.float32))
        out.append(replace(case, volumes={"image": image}))
    return out
