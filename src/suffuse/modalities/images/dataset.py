"""Pictures as a data set of fields: scaling, sizes, channels, labels and captions."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Batch
from suffuse.errors import DataError
from suffuse.files import check_memory
from suffuse.modalities.grids import unit_range
from suffuse.modalities.images import captions as words
from suffuse.modalities.images.decoding import fit, to_channels
from suffuse.modalities.images.reading import Pictures

LARGEST_SIDE = 64
"""Pictures of mixed sizes are brought to squares of at most this side, unless a size is asked for."""


class ImageData:
    """uint8 pixels (N, C, H, W), labels (N,) with -1 for none, caption tokens (N, L) with -1 for none."""

    def __init__(self, config: dict[str, Any], pixels: Tensor, labels: Tensor | None, captions: Tensor | None):
        self.config, self.pixels, self.labels, self.captions = config, pixels, labels, captions

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Tensor) -> Batch:
        x = {"image": to_field(self.pixels[indices], self.config)}
        observed = {}
        for name, values in (
            ("label", None if self.labels is None else self.labels[:, None]),
            ("caption", self.captions),
        ):
            if values is None:
                continue
            rows = values[indices]
            x[name] = rows.clamp(min=0)
            if bool((rows[:, 0] < 0).any()):
                observed[name] = (rows[:, :1] >= 0).expand(rows.shape)
        return Batch(x, observed=observed, index=indices)


def to_field(pixels: Tensor, config: dict[str, Any]) -> Tensor:
    """uint8 pixels as float32 of zero mean and unit deviation over the training data."""
    return (unit_range(pixels) - config["mean"]) / config["deviation"]


def from_field(value: Tensor, config: dict[str, Any]) -> Tensor:
    """The inverse of `to_field`: uint8 pixels, rounded and clipped."""
    unit = value.detach().float().cpu() * config["deviation"] + config["mean"]
    return ((unit + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def choose_size(pictures: Pictures, size: Any) -> tuple[int, int]:
    """(H, W) of the model's pictures: as asked; else the size all have; else a square of the smallest side, at most 64."""
    if size is not None:
        pair = (size, size) if isinstance(size, int) else tuple(size)
        if len(pair) != 2 or not all(isinstance(s, int) and 4 <= s <= 4096 for s in pair):
            raise DataError(f"the size {size!r} must be a whole number or two (height, width), each from 4 to 4096")
        return pair
    whole = pictures.pixels
    sizes = Counter([whole.shape[1:3]] if isinstance(whole, np.ndarray) else [p.shape[:2] for p in whole])
    if len(sizes) == 1:
        return next(iter(sizes))
    side = max(4, min(LARGEST_SIDE, *(min(s) for s in sizes)))
    warnings.warn(
        f"the pictures have {len(sizes)} sizes: each is scaled to cover {side} x {side} and cropped in the middle; "
        "`size` asks for another",
        stacklevel=4,
    )
    return side, side


def choose_channels(pictures: Pictures) -> int:
    """1 for grey, 3 for colour, 2 or 4 with alpha; mixed grey and colour become colour, and that is told."""
    if isinstance(pictures.pixels, np.ndarray):
        return pictures.pixels.shape[-1]
    kinds = Counter(p.shape[-1] for p in pictures.pixels)
    channels = max(kinds)
    if 2 in kinds and 3 in kinds:
        channels = 4
    colour = sum(n for c, n in kinds.items() if c >= 3)
    if 0 < colour < len(pictures):
        warnings.warn(
            f"{colour} pictures are in colour and {len(pictures) - colour} are grey: all are taken as colour",
            stacklevel=4,
        )
    return channels


def stack(pictures: Pictures, size: Sequence[int], channels: int) -> Tensor:
    """All pictures as one uint8 tensor (N, C, H, W)."""
    count = len(pictures)
    check_memory(2 * count * channels * size[0] * size[1], f"the data set ({count} pictures of {size[0]} x {size[1]})")
    whole = pictures.pixels
    if isinstance(whole, np.ndarray) and whole.shape[1:] == (*size, channels):
        return torch.from_numpy(np.array(np.moveaxis(whole, -1, 1), order="C"))
    out = np.empty((count, channels, *size), dtype=np.uint8)
    names = pictures.names or [f"picture {k}" for k in range(count)]
    for k, picture in enumerate(pictures.pixels):
        out[k] = np.moveaxis(to_channels(fit(picture, size), channels, names[k]), -1, 0)
    return torch.from_numpy(out)


def label_numbers(labels: Sequence[str | None], classes: Sequence[str]) -> Tensor | None:
    """(N,) positions in `classes`, -1 where there is none. Raises DataError on a label the model does not know."""
    if not classes:
        return None
    index = {name: k for k, name in enumerate(classes)}
    for label in labels:
        if label is not None and label not in index:
            raise DataError(f"the label {label!r} is unknown; this model knows {', '.join(list(classes)[:12])}")
    return torch.tensor([-1 if label is None else index[label] for label in labels])


def caption_tokens(captions: Sequence[str | None], vocabulary: Sequence[str], length: int) -> Tensor | None:
    """(N, length) tokens, -1 where there is no caption."""
    if not vocabulary:
        return None
    index = {piece: k for k, piece in enumerate(vocabulary)}
    rows = [[-1] * length if caption is None else words.encode(caption, index, length) for caption in captions]
    return torch.tensor(rows)


def sort_classes(labels: Sequence[str | None]) -> list[str]:
    """Class names in order: whole numbers by value, otherwise by name."""
    found = {label for label in labels if label is not None}
    if all(label.lstrip("-").isdigit() for label in found):
        return sorted(found, key=int)
    return sorted(found)


def tell_missing(pictures: Pictures, config: dict[str, Any]) -> None:
    """Warn where labels or captions are there for some pictures only: the rest train with that field held at level 1."""
    for name, values, known in (
        ("label", pictures.labels, config["classes"]),
        ("caption", pictures.captions, config["vocabulary"]),
    ):
        lacking = sum(value is None for value in values)
        if known and lacking:
            warnings.warn(
                f"{lacking} of {len(values)} pictures have no {name}: they train with the {name} unknown", stacklevel=4
            )
