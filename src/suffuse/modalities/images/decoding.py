"""One picture file, array or PIL image as a uint8 array (H, W, C), read with care."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import AskError, DataError
from suffuse.files import check_memory

MAX_PIXELS = 64_000_000
"""Pictures above this many pixels are refused before they are decoded."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}

COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}


def open_picture(source: Any, name: str = "", alpha: str | None = None) -> np.ndarray:
    """A picture as uint8 (H, W, C): C is 1 for grey, 3 for colour, 2 or 4 where alpha is kept.

    source: a path, the bytes of a file, or a PIL image; `name` stands for it in messages. EXIF orientation is applied.
    alpha: what to do with transparent pixels: 'keep', or a colour to lay the picture on ('white', 'black', 'grey',
    '#rrggbb'). Without it a picture with transparent pixels is refused; fully opaque alpha is dropped. Of an animation
    the first frame is taken. Raises DataError on what is no picture, is cut short, or is too large, before memory is taken.
    """
    from PIL import Image, ImageOps

    name = name or (str(source) if isinstance(source, (str, Path)) else "the picture")
    if isinstance(source, Image.Image):
        return _to_array(ImageOps.exif_transpose(source), name, alpha)
    limit = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = None  # our own check, below, is stricter and says so in one sentence
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            check_size(image.width, image.height, len(image.getbands()), name)
            image.load()
            return _to_array(ImageOps.exif_transpose(image), name, alpha)
    except FileNotFoundError:
        raise DataError(f"there is no picture {name}") from None
    except PermissionError:
        raise DataError(f"no permission to read {name}") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError) as error:
        raise DataError(f"{name} is cut short or is not a picture ({_short(error)}); mend or remove it") from None
    except Exception as error:  # PIL's plug-ins raise struct.error, zlib.error and others on damaged files
        if isinstance(error, (DataError, AskError)):
            raise
        raise DataError(f"{name} cannot be read as a picture ({_short(error)}); mend or remove it") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def check_size(width: int, height: int, channels: int, name: str) -> None:
    """Raise DataError before memory is taken for a picture that is too large."""
    if width < 1 or height < 1:
        raise DataError(f"{name} has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{name} has {width} x {height} pixels, more than the {MAX_PIXELS // 1_000_000} million allowed; shrink it first"
        )
    check_memory(width * height * max(channels, 1) * 3, f"{name} ({width} x {height} pixels)")


def _short(error: Exception) -> str:
    return (str(error).split("\n")[0] or type(error).__name__)[:80]


def _to_array(image: Any, name: str, alpha: str | None) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        return grey_levels(np.asarray(image), name)[..., None]
    transparent = "A" in mode or "a" in mode or "transparency" in image.info
    grey = mode in ("1", "L", "LA", "La")
    if not transparent:
        array = np.asarray(image.convert("L" if grey else "RGB"))
        return array[..., None] if grey else array
    array = np.asarray(image.convert("LA" if grey else "RGBA"))
    if array[..., -1].min() == 255 and alpha != "keep":
        return array[..., :-1]
    return lay_on(array, alpha, name)


def lay_on(array: np.ndarray, alpha: str | None, name: str) -> np.ndarray:
    """A picture with alpha (H, W, 2 or 4) as `alpha` says: kept, or laid on a colour."""
    if alpha is None:
        raise DataError(
            f"{name} has transparent pixels; say alpha='keep', or a colour to lay it on: 'white', 'black' or '#rrggbb'"
        )
    if alpha == "keep":
        return array
    colour = np.array(parse_colour(alpha), dtype=np.float32)
    if array.shape[-1] == 2:
        if len(set(colour)) > 1:
            array = array[..., [0, 0, 0, 1]]
        else:
            colour = colour[:1]
    weight = array[..., -1:].astype(np.float32) / 255
    mixed = array[..., :-1] * weight + colour * (1 - weight)
    return np.round(mixed).astype(np.uint8)


def parse_colour(text: str) -> tuple[int, int, int]:
    """'white', 'black', 'grey' or '#rrggbb' as red, green, blue. Raises AskError."""
    if text in COLOURS:
        return COLOURS[text]
    try:
        if text.startswith("#") and len(text) == 7:
            return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    except (ValueError, AttributeError):
        pass
    raise AskError(f"{text!r} is no colour; use 'keep', {', '.join(map(repr, COLOURS))} or '#rrggbb'")


def grey_levels(array: np.ndarray, name: str) -> np.ndarray:
    """Grey values of any number type as uint8: 16-bit ones are scaled down, floats are taken as 0..1 or 0..255."""
    array = np.asarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "uif":
        raise DataError(f"{name} holds values of type {array.dtype}; pictures are numbers (uint8, uint16 or floats)")
    if array.size == 0:
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        finite = np.isfinite(array)
        if not finite.all():
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise DataError(f"{name} holds a value that is not finite at {where}; replace it by a number")
    low, high = float(array.min()), float(array.max())
    if low < 0:
        raise DataError(f"{name} holds negative values (lowest {low:g}); scale it to 0..1 or 0..255")
    if array.dtype.kind == "f" and high <= 1:
        return np.round(array * 255).astype(np.uint8)
    if high <= 255:
        return np.round(array).astype(np.uint8)
    if array.dtype.kind in "ui" and high <= 65535:
        return np.round(array / 257.0).astype(np.uint8)
    raise DataError(f"{name} holds values up to {high:g}; scale it to 0..1 or 0..255")


def fit(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """The stated rule for other sizes: scale so that the picture just covers `size` (H, W), then crop its middle."""
    from PIL import Image

    height, width = size
    if array.shape[:2] == (height, width):
        return array
    scale = max(height / array.shape[0], width / array.shape[1])
    tall, wide = max(height, round(array.shape[0] * scale)), max(width, round(array.shape[1] * scale))
    kind = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    planes = [np.asarray(Image.fromarray(array[..., c]).resize((wide, tall), kind)) for c in range(array.shape[-1])]
    top, left = (tall - height) // 2, (wide - width) // 2
    return np.stack(planes, axis=-1)[top : top + height, left : left + width]


def to_channels(array: np.ndarray, channels: int, name: str = "the picture") -> np.ndarray:
    """Grey (1), colour (3) or either with alpha (2, 4) as `channels`; colour is never dropped silently."""
    have = array.shape[-1]
    if have == channels:
        return array
    if have == 1 and channels == 3:
        return np.repeat(array, 3, axis=-1)
    if have in (1, 3) and channels in (2, 4):
        base = to_channels(array, channels - 1, name)
        return np.concatenate([base, np.full_like(base[..., :1], 255)], axis=-1)
    if have == 2 and channels == 4:
        return array[..., [0, 0, 0, 1]]
    if have == 3 and channels == 1:
        if not (array == array[..., :1]).all():
            raise AskError(f"{name} is in colour, and this model knows grey pictures only; convert it to grey first")
        return array[..., :1]
    raise AskError(f"{name} has {have} channels, and {channels} are wanted here")
