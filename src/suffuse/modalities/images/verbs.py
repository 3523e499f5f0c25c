"""What a person does with pictures beyond sample, edit and restore: `model.NAME(...)` and `suffuse NAME MODEL ...`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.guidance import Anchor
from suffuse.diffusion.path import Inversion
from suffuse.errors import AskError
from suffuse.modalities.images import asking

FLOOR = 0.005
"""The clock at which inversion begins: below it pictures are taken as noise-free."""


def classify(model: Any, image: Any) -> list[str]:
    """The likeliest label of each picture, by one network call. image: whatever pictures are read from."""
    _needs(model, "label")
    best = model.predict(_readable(image), "label")[:, 0].argmax(dim=1)
    return [model.modality.config["classes"][k] for k in best.tolist()]


def inpaint(
    model: Any, image: Any, mask: Any = None, n: int = 1, label: Any = None, caption: Any = None, **settings: Any
) -> list[Any]:
    """n completions of a picture. Holes are its transparent pixels or NaNs, or the white pixels of `mask`."""
    given = _given(image=image, mask=mask, label=label, caption=caption)
    _, holes = asking._image(model.modality.config, given, 1, None)
    if not bool(holes.any()):
        raise AskError(
            "the picture has no holes; make pixels transparent, or give a mask whose white pixels are to be filled"
        )
    return model.sample(n, given=given, **settings)


def outpaint(
    model: Any,
    image: Any,
    left: int = 0,
    top: int = 0,
    right: int = 0,
    bottom: int = 0,
    n: int = 1,
    label: Any = None,
    **settings: Any,
) -> list[Any]:
    """n larger pictures: `image` with so many new pixels on each side.

    Best where the result has the size the model was trained on; other sizes work where objects may be placed freely.
    """
    sides = (top, bottom, left, right)
    if not all(isinstance(s, int) and 0 <= s <= 512 for s in sides) or not any(sides):
        raise AskError(
            "outpaint needs a number of new pixels, 1 to 512, on at least one side: left, top, right or bottom"
        )
    array, holes = asking.read_given(image, model.modality.config["channels"])
    grown = np.pad(array.astype(np.float32), ((top, bottom), (left, right), (0, 0)), constant_values=np.nan)
    empty = np.pad(holes, ((top, bottom), (left, right)), constant_values=True)
    grown[empty] = np.nan
    return model.sample(n, given=_given(image=grown, label=label, keep_size=True), **settings)


def variations(
    model: Any, image: Any, n: int = 4, strength: float = 0.5, label: Any = None, **settings: Any
) -> list[Any]:
    """n pictures like `image`: noised to level `strength` (0: the same, 1: unrelated) and brought back."""
    return model.sample(n, given=_given(image=image, label=label), strength=strength, **settings)


def blend(model: Any, image: Any, other: Any, weight: float = 0.5, steps: int = 20, **settings: Any) -> list[Any]:
    """A picture between two: both are carried to noise along the probability-flow ODE, mixed on the sphere (Song et al. 2021,
    DDIM, section 5.3) and brought back. weight: share of `other`, in [0, 1]."""
    if not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise AskError(f"the weight must be a number from 0 to 1, not {weight!r}")
    latents = invert(model, [image, other], steps=steps)
    return from_latents(model, slerp(latents[:1], latents[1:], weight), steps=steps, **settings)


def change(
    model: Any,
    image: Any,
    label: Any = None,
    caption: Any = None,
    strength: float = 0.5,
    steps: int = 20,
    guidance: float = 9.0,
    **settings: Any,
) -> list[Any]:
    """The same picture under another label or caption: drawn anew under the new one, held near the old picture (`Anchor`).

    image: one picture or a list. strength: how far pixels may move, above 0 (not at all) and below 1 (a new picture); at 0.5 the
    old picture counts as an observation whose error is one deviation of the data. guidance: weight of the new label.
    """
    name = "label" if caption is None else "caption"
    target = label if caption is None else caption
    if target is None:
        raise AskError("say what to change to: label=... or caption=...")
    _needs(model, name)
    if not isinstance(strength, (int, float)) or not 0 < strength < 1:
        raise AskError(f"the strength must be above 0 and below 1, not {strength!r}")
    images = list(image) if isinstance(image, (list, tuple)) else [image]
    n, modality = len(images), model.modality
    anchor = modality.request(n, {"image": images}, index=torch.arange(n)).x["image"]
    task = modality.request(n, {name: target}, index=torch.arange(n), size=tuple(anchor.shape[2:]))

    def wrap(denoiser: Any) -> Any:
        return Anchor(denoiser, model.joint, "image", anchor.to(model.device), strength / (1 - strength))

    # with fresh noise, equal steps of the clock are best; and classes are decided at high levels
    settings = {"stochasticity": 1.0, "solver": "dpmpp2m", "grid": "uniform", "interval": (0.0, 1.0), **settings}
    fields = model.run(task, steps=steps, guidance=guidance, wrap=wrap, batch=n, **settings)
    return modality.decode(fields, task)


def invert(
    model: Any, images: list[Any], given: dict[str, Any] | None = None, steps: int = 20, top: float = 1.0
) -> Tensor:
    """The pictures at clock `top` along the probability-flow ODE, (n, C, H, W) in model units (DDIM inversion)."""
    n = len(images)
    task = model.modality.request(n, {**(given or {}), "image": images}, index=torch.arange(n))
    process = model.joint["image"]
    floor = process.level(torch.tensor(FLOOR))
    task.start.levels["image"] = torch.full((n, 1, 1, 1), float(floor))
    path = Inversion(steps, model.settings["grid"], floor=FLOOR, top=top)
    return model.run(task, path=path, guidance=1.0, stochasticity=0.0, batch=n)["image"]


def from_latents(
    model: Any, latents: Tensor, given: dict[str, Any] | None = None, steps: int = 20, top: float = 1.0, **settings: Any
) -> list[Any]:
    """Pictures from latents at clock `top`: the way back from `invert`."""
    n, height, width = latents.shape[0], *latents.shape[2:]
    task = model.modality.request(n, given or {}, index=torch.arange(n), size=(height, width))
    level = model.joint["image"].level(torch.tensor(float(top)))
    task.start.levels["image"] = torch.full((n, 1, 1, 1), float(level))
    fields = model.run(
        task, steps=steps, state={"image": latents.to(model.device)}, batch=n, stochasticity=0.0, **settings
    )
    return model.modality.decode(fields, task)


def slerp(a: Tensor, b: Tensor, weight: float) -> Tensor:
    """Spherical interpolation, per sample."""

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).flatten(1).sum(1).reshape(-1, *[1] * (x.ndim - 1))

    cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    angle = torch.acos(cosine.clamp(-0.9999, 0.9999))
    return (torch.sin((1 - weight) * angle) * a + torch.sin(weight * angle) * b) / torch.sin(angle)


def _needs(model: Any, name: str) -> None:
    if name not in model.modality.conditions:
        raise AskError(f"this model was trained without {name}s")


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _readable(image: Any) -> Any:
    """One picture as a source of pictures."""
    return image[None] if isinstance(image, np.ndarray) and image.ndim == 2 else image
