"""Video models that start from an image model: the 2-D network is taken over, mixing in time is added."""

from __future__ import annotations

from typing import Any

from torch import nn

from suffuse.errors import AskError


def reading(image: Any) -> dict[str, Any]:
    """The options with which `Video.read` makes a modality whose frames an image model's network can see.

    image: an `Images` modality. Raises AskError where its backbone is no U-Net or its pictures have captions.
    """
    network = dict(image.config.get("network", {}))
    if image.name != "images" or network.get("backbone") != "unet" or image.config.get("vocabulary"):
        raise AskError(
            "a video model can start from an image model with a U-Net and without captions; this one is none."
        )
    return {"size": image.config["size"], "network": {k: v for k, v in network.items() if k != "backbone"}}


def like(image: Any) -> dict[str, Any]:
    """The scaling of an image model for stored bytes: {"mean", "std"}."""
    mean, deviation = image.config.get("mean", 0.0), image.config.get("deviation", 1.0)
    return {"mean": round((mean + 1) * 127.5, 4), "std": round(deviation * 127.5, 4)}


def take_over(video: Any, image: nn.Module) -> int:
    """Copies an image network's weights into a new video network; returns how many tensors were taken.

    Both are `GridNetwork`s; the backbone goes into `backbone.frame`, level embeddings by position, the image's `label` into
    the video's only attribute where its classes are as many. What has no counterpart (mixing in time) keeps its start.
    """
    ours, theirs = video.state_dict(), image.state_dict()
    label = next(iter(video.labels)) if len(video.labels) == 1 else "label"
    taken = 0
    for name, value in theirs.items():
        to = name.replace("backbone.", "backbone.frame.", 1) if name.startswith("backbone.") else name
        to = to.replace("level.image.", "level.clip.").replace(".label.", f".{label}.")
        if to in ours and ours[to].shape == value.shape:
            ours[to] = value.clone()
            taken += 1
    missing = [n for n in ours if ".frame." in n and n.replace("backbone.frame.", "backbone.", 1) not in theirs]
    if missing or not taken:
        raise AskError(
            "the image model's network does not fit the video model's frames; train the image model at the same size."
        )
    video.load_state_dict(ours)
    return taken
