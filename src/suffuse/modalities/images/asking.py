"""What a person asks of pictures, as a task: known pixels, holes, labels and captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion import operators
from suffuse.diffusion.state import Start, Task
from suffuse.errors import AskError, DataError
from suffuse.modalities.images import captions as words
from suffuse.modalities.images.dataset import to_field
from suffuse.modalities.images.decoding import fit, grey_levels, open_picture, to_channels

KNOWN = ("image", "label", "caption", "mask")


def build_task(config: dict[str, Any], n: int, given: Any, index: Tensor, asked: dict[str, Any]) -> Task:
    """See `Images.request`."""
    if n < 1:
        raise AskError(f"ask for at least 1 picture, not {n}")
    values = as_dict(given)
    for name in ("mask", "strength", "ask"):
        if asked.get(name) is not None:
            values[name] = asked[name]
    unknown = [key for key in [*values, *asked] if key not in (*KNOWN, "strength", "ask", "size", "keep_size")]
    if unknown:
        raise AskError(f"{unknown[0]!r} is nothing a picture model can be given; there are {', '.join(KNOWN)}")
    strength = values.get("strength")
    if strength is not None and not (isinstance(strength, (int, float)) and 0 <= strength <= 1):
        raise AskError(f"the strength must be a number from 0 to 1, not {strength!r}")
    x, levels, held = {}, {}, {}
    pixels, holes = _image(config, values, n, asked.get("size"))
    x["image"] = to_field(pixels, config)
    has_image = values.get("image") is not None
    levels["image"] = holes.float()
    if has_image and strength is not None:
        whole = values.get("mask") is None and not bool(holes.any())
        levels["image"] = torch.full_like(levels["image"], strength) if whole else levels["image"] * strength
    wanted = values.get("ask")
    for name, tokens in _conditions(config, values, n).items():
        length = 1 if name == "label" else config["caption_length"]
        x[name] = torch.zeros(n, length, dtype=torch.int64) if tokens is None else tokens
        levels[name] = torch.full((n, 1), 0.0 if tokens is not None else 1.0)
        held[name] = torch.full((n, 1), tokens is None and wanted != name)
    if wanted is not None and wanted not in ("image", *held):
        raise AskError(
            f"this model cannot be asked for {wanted!r}; it knows image{''.join(', ' + name for name in held)}"
        )
    return Task(x, Start(levels, held), index=index)


def as_dict(given: Any) -> dict[str, Any]:
    """A bare picture stands for {'image': picture}; 'file' is another word for 'image'."""
    if given is None:
        return {}
    values = dict(given) if isinstance(given, dict) else {"image": given}
    if "file" in values:
        values["image"] = values.pop("file")
    return values


def _conditions(config: dict[str, Any], values: dict[str, Any], n: int) -> dict[str, Tensor | None]:
    out: dict[str, Tensor | None] = {}
    for name, kind in (("label", "classes"), ("caption", "vocabulary")):
        value = values.get(name)
        if not config.get(kind):
            if value is not None:
                raise AskError(f"this model was trained without {name}s; leave {name} out")
            continue
        out[name] = None
        if value is not None:
            many = list(value) if isinstance(value, (list, tuple, np.ndarray, Tensor)) else [value] * n
            if len(many) != n:
                raise AskError(f"there are {n} pictures to make and {len(many)} {name}s; give one, or one a picture")
            encode = (lambda v: [label_number(v, config["classes"])]) if name == "label" else _encoder(config)
            out[name] = torch.tensor([encode(v) for v in many])
    return out


def _encoder(config: dict[str, Any]):
    index = {piece: k for k, piece in enumerate(config["vocabulary"])}

    def encode(caption: Any) -> list[int]:
        if not isinstance(caption, str) or not caption.strip():
            raise AskError(f"a caption is a text, not {caption!r}")
        return words.encode(caption, index, config["caption_length"])

    return encode


def label_number(label: Any, classes: Sequence[str]) -> int:
    """The position of a label, given by its name or, as a whole number, by its position. Raises AskError."""
    if isinstance(label, (np.integer, Tensor)):
        label = int(label)
    text = str(label)
    if text in classes:
        return list(classes).index(text)
    lower = [c.lower() for c in classes]
    if text.lower() in lower:
        return lower.index(text.lower())
    if not isinstance(label, bool) and (isinstance(label, int) or text.isdigit()) and 0 <= int(text) < len(classes):
        return int(text)
    import difflib

    near = difflib.get_close_matches(text, classes, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"this model knows {', '.join(map(str, list(classes)[:12]))}"
    raise AskError(f"the label {text!r} is unknown; {hint}")


def _image(config: dict[str, Any], values: dict[str, Any], n: int, size: Any) -> tuple[Tensor, Tensor]:
    """uint8 pixels (n, C, H, W) and holes, bool (n, 1, H, W)."""
    channels, shape = config["channels"], tuple(config["size"])
    image, mask = values.get("image"), values.get("mask")
    if image is None:
        if mask is not None:
            raise AskError("a mask needs the picture it belongs to; give the image too")
        if size is not None:
            shape = (size, size) if isinstance(size, int) else tuple(size)
            if len(shape) != 2 or not all(isinstance(s, int) and 4 <= s <= 1024 for s in shape):
                raise AskError(f"the size {size!r} must be a whole number or two (height, width), each from 4 to 1024")
        return torch.full((n, channels, *shape), 127, dtype=torch.uint8), torch.ones(n, 1, *shape, dtype=torch.bool)
    images = _as_list(image)
    masks = [None] * len(images) if mask is None else [read_mask(m) for m in _as_list(mask)]
    if len(masks) == 1 and len(images) > 1:
        masks = masks * len(images)
    if len(images) not in (1, n) or len(masks) != len(images):
        raise AskError(
            f"there are {n} pictures to make, {len(images)} given and {len(masks)} masks; give one, or one a picture"
        )
    all_pixels, all_holes = [], []
    for one, hole in zip(images, masks, strict=True):
        array, missing = read_given(one, channels)
        if hole is not None:
            if hole.shape != array.shape[:2]:
                raise AskError(
                    f"the mask has {hole.shape[1]} x {hole.shape[0]} pixels and the picture "
                    f"{array.shape[1]} x {array.shape[0]}; make them the same size"
                )
            missing = missing | hole
        if values.get("keep_size") is None and array.shape[:2] != shape:
            array = fit(array, shape)
            missing = fit(missing[..., None].astype(np.uint8) * 255, shape)[..., 0] > 127
        all_pixels.append(np.moveaxis(array, -1, 0))
        all_holes.append(missing[None])
    pixels, holes = torch.from_numpy(np.stack(all_pixels)), torch.from_numpy(np.stack(all_holes))
    if len(images) == 1 and n > 1:
        pixels, holes = pixels.expand(n, *pixels.shape[1:]), holes.expand(n, *holes.shape[1:])
    return pixels, holes


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim == 4:
        return list(value)
    return [value]


def read_given(image: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """A given picture as uint8 (H, W, channels) and its holes (H, W): transparent pixels, NaN, or a masked array's mask."""
    from PIL import Image

    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if isinstance(image, np.ndarray):
        return _given_array(image, channels)
    if not isinstance(image, (str, Path, bytes, Image.Image)):
        raise AskError(f"a picture is a file, a PIL image or an array, not {type(image).__name__}")
    try:
        array = open_picture(image, alpha="keep")
    except DataError as error:
        raise AskError(str(error)) from None
    holes = np.zeros(array.shape[:2], dtype=bool)
    if array.shape[-1] in (2, 4) and channels in (1, 3):
        holes = array[..., -1] < 128
        array = array[..., :-1]
    return to_channels(array, channels), holes


def _given_array(array: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray]:
    holes = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else np.zeros(array.shape, dtype=bool)
    array = np.asarray(array.filled(0) if isinstance(array, np.ma.MaskedArray) else array)
    if array.dtype.kind == "f":
        missing = np.isnan(array)
        holes, array = holes | missing, np.where(missing, 0, array)
    if array.ndim == 2:
        array, holes = array[..., None], holes[..., None]
    if array.ndim == 3 and array.shape[-1] not in (1, 2, 3, 4) and array.shape[0] in (1, 2, 3, 4):
        array, holes = np.moveaxis(array, 0, -1), np.moveaxis(holes, 0, -1)
    if array.ndim != 3 or array.shape[-1] not in (1, 2, 3, 4) or 0 in array.shape:
        raise AskError(f"an array of shape {array.shape} is no picture; give (H, W), (H, W, C) or (C, H, W)")
    try:
        array = grey_levels(array, "the given picture")
    except DataError as error:
        raise AskError(str(error)) from None
    if array.shape[-1] in (2, 4) and channels in (1, 3):
        holes = holes.any(-1) | (array[..., -1] < 128)
        return to_channels(array[..., :-1], channels), holes
    return to_channels(array, channels), holes.any(-1)


def read_mask(mask: Any) -> np.ndarray:
    """A mask as bool (H, W), True where pixels are asked for: white pixels of a picture, True or non-zero of an array."""
    from PIL import Image

    if isinstance(mask, Tensor):
        mask = mask.detach().cpu().numpy()
    if isinstance(mask, np.ndarray):
        array = np.squeeze(mask)
        if array.ndim != 2:
            raise AskError(f"a mask is (H, W); this one has shape {mask.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise AskError("the mask holds values that are not finite; use True and False, or 1 and 0")
        return array.astype(bool) if array.dtype == bool or array.max(initial=0) <= 1 else array > 127
    if not isinstance(mask, (str, Path, bytes, Image.Image)):
        raise AskError(f"a mask is a file, a PIL image or an array, not {type(mask).__name__}")
    try:
        array = open_picture(mask, alpha="black")
    except DataError as error:
        raise AskError(str(error)) from None
    return array.mean(axis=-1) > 127


def read_measurement(config: dict[str, Any], measurement: Any, operator: Any, noise: float) -> tuple[Any, ...]:
    """A measured picture (or a list) in model units, its operator by name, and noise from 0..1 of the pixel range.

    operator: 'downsample:4', 'blur:1.5', 'grey', 'noise', or an object of `suffuse.diffusion.operators`.
    """
    if isinstance(operator, str):
        operator = operator_named(operator)
    if isinstance(measurement, Tensor):
        return measurement, operator, noise, {}
    channels = 1 if isinstance(operator, operators.Grey) else config["channels"]
    arrays = [read_given(one, channels) for one in _as_list(measurement)]
    if any(holes.any() for _, holes in arrays):
        raise AskError("a measurement has no holes; complete pictures with holes by inpainting")
    pixels = torch.from_numpy(np.stack([np.moveaxis(array, -1, 0) for array, _ in arrays]))
    factor = operator.factor if isinstance(operator, operators.Downsample) else 1
    size = (pixels.shape[2] * factor, pixels.shape[3] * factor)
    return to_field(pixels, config), operator, noise * 2 / config["deviation"], {"size": size}


def operator_named(text: str) -> Any:
    """An operator from 'NAME' or 'NAME:VALUE'. Raises AskError."""
    name, _, value = text.partition(":")
    try:
        if name == "downsample":
            factor = int(value or 4)
            if 2 <= factor <= 64:
                return operators.Downsample(factor)
        elif name == "blur":
            width = float(value or 1)
            if 0 < width < 100:
                return operators.Blur(width)
        elif name in ("grey", "noise") and not value:
            return operators.Grey() if name == "grey" else operators.Noise()
    except ValueError:
        pass
    raise AskError(f"{text!r} is no operator; there are downsample:4 (2 to 64), blur:1.5 (pixels), grey and noise")
