"""Clips in and out: GIF, MP4 and other containers, folders of frames, npz. Frame rate kept, grey stays grey."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.arrays import Arrays
from suffuse.errors import DataError
from suffuse.files import atomic_folder, atomic_write, check_memory

MOVING = (".gif", ".webp", ".apng")
CONTAINERS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg")
STILLS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
MAX_FRAMES = 4096
"""Most frames that are read of one clip, unless the caller asks for another number."""


@dataclass(frozen=True)
class Clip:
    """A film strip. frames: (T, H, W, C) uint8 with C 1 (grey) or 3 (RGB); fps: frames a second; labels: attribute -> class."""

    frames: np.ndarray
    fps: float = 8.0
    labels: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def __len__(self) -> int:
        return len(self.frames)


def natural(path: Path) -> list[Any]:
    """A sort key that puts frame2 before frame10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name.lower())]


def _plain(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) as (T, H, W, 1) where every frame is grey."""
    grey = (
        frames.shape[-1] == 3 and (frames[..., 0] == frames[..., 1]).all() and (frames[..., 0] == frames[..., 2]).all()
    )
    return np.ascontiguousarray(frames[..., :1]) if grey else frames


def _stack(frames: list[np.ndarray], where: str) -> np.ndarray:
    if not frames:
        raise DataError(f"{where}: no frames in it.")
    for number, frame in enumerate(frames):
        if frame.shape != frames[0].shape:
            a, b = frames[0].shape, frame.shape
            raise DataError(
                f"{where}: the frame size changes from {a[1]} x {a[0]} to {b[1]} x {b[0]} at frame {number}; "
                "one size is needed throughout."
            )
    return _plain(np.stack(frames))


def _limit(count: int, height: int, width: int, where: str, most: int) -> None:
    if count > most:
        raise DataError(f"{where}: {count} frames, at most {most} are read; cut it, or read a part (start=, count=).")
    check_memory(count * height * width * 3 * 2, f"{where} ({count} frames of {width} x {height})")


def read_clip(source: str | Path, most: int = MAX_FRAMES, start: int = 0, count: int | None = None) -> Clip:
    """One clip from a GIF, WebP, MP4 (or another container), .npy or .npz file, or a folder of numbered frames.

    start, count: which frames; without them all, and more than `most` are refused before memory is taken.
    Raises DataError on no frames, broken files, changing frame sizes.
    """
    path = Path(source)
    if not path.exists():
        raise DataError(f"there is no file or folder {path}.")
    if path.is_dir():
        clip = _read_folder(path, most, start, count)
    elif path.suffix.lower() in MOVING:
        clip = _read_moving(path, most, start, count)
    elif path.suffix.lower() in (".npy", ".npz"):
        clips = read_arrays(path)
        if len(clips) != 1:
            raise DataError(f"{path.name}: holds {len(clips)} clips where one is meant; choose one of them.")
        clip = clips[0]
        if count is None:
            _limit(len(clip), *clip.frames.shape[1:3], path.name, most)
        clip = Clip(clip.frames[start:][:count], clip.fps, clip.labels, clip.name)
    elif path.suffix.lower() in CONTAINERS:
        clip = _read_container(path, most, start, count)
    else:
        raise DataError(
            f"{path.name}: not a clip; known are {', '.join((*MOVING, *CONTAINERS, '.npz'))} and folders of frames."
        )
    if not len(clip):
        raise DataError(f"{path.name}: no frames in it (start {start}).")
    return clip


def _read_moving(path: Path, most: int, start: int, count: int | None) -> Clip:
    from PIL import Image

    try:
        with Image.open(path) as image:
            total = getattr(image, "n_frames", 1)
            _limit(min(count or total, total), image.height, image.width, path.name, most)
            times, frames = [], []
            for number in range(start, min(total, start + (count or total))):
                image.seek(number)
                times.append(int(image.info.get("duration", 0)) or 100)
                frame = (
                    image.convert("RGBA")
                    if "transparency" in image.info or image.mode == "RGBA"
                    else image.convert("RGB")
                )
                if frame.mode == "RGBA":
                    back = Image.new("RGBA", frame.size, (0, 0, 0, 255))
                    back.alpha_composite(frame)
                    frame = back.convert("RGB")
                frames.append(np.asarray(frame))
    except DataError:
        raise
    except Exception as error:  # PIL's plug-ins raise IndexError, struct.error and others on damaged files
        raise DataError(f"{path.name}: a broken or truncated {path.suffix[1:].upper()} file ({error}).") from error
    unit = math.gcd(*times) if times else 100
    repeats = [t // unit for t in times]
    if unit < 20 or sum(repeats) > 4 * len(times):
        unit, repeats = sum(times) / len(times), [1] * len(times)
    frames = [frame for frame, many in zip(frames, repeats) for _ in range(many)]
    return Clip(_stack(frames, path.name), 1000 / unit, name=path.name)


def container_frames(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """Yields (frame (H, W, C) uint8, fps) one at a time, so that a film of any length fits."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DataError(f"{path.name}: no video stream in it.")
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.base_rate
            fps = float(rate) if rate else 25.0
            for frame in container.decode(stream):
                form = "gray" if frame.format.name.startswith("gray") else "rgb24"
                pixels = frame.to_ndarray(format=form)
                yield (pixels[..., None] if form == "gray" else pixels), fps
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(
            f"{path.name}: a broken or truncated container ({getattr(error, 'strerror', None) or type(error).__name__})."
        ) from error


def _read_container(path: Path, most: int, start: int, count: int | None) -> Clip:
    import av

    try:
        with av.open(str(path)) as container:
            for stream in container.streams.video[:1]:
                known = stream.frames
                if known:
                    _limit(
                        min(known, count or known),
                        stream.codec_context.height,
                        stream.codec_context.width,
                        path.name,
                        most,
                    )
    except (av.FFmpegError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(
            f"{path.name}: a broken or truncated container ({getattr(error, 'strerror', None) or type(error).__name__})."
        ) from error
    frames, fps = [], 25.0
    for number, (frame, fps) in enumerate(container_frames(path)):  # noqa: B007
        if number < start:
            continue
        if count is not None and len(frames) == count:
            break
        if len(frames) == most:
            raise DataError(f"{path.name}: more than {most} frames; cut it, or read a part (start=, count=).")
        frames.append(frame)
    return Clip(_stack(frames, path.name), fps, name=path.name)


def frame_files(folder: Path) -> list[Path]:
    """The still pictures of a folder in natural order."""
    return sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in STILLS and not p.name.startswith(".")), key=natural
    )


def _read_folder(folder: Path, most: int, start: int, count: int | None) -> Clip:
    from PIL import Image

    files = frame_files(folder)[start:][:count]
    if not files:
        raise DataError(f"{folder.name}: no frames (PNG, JPEG, ...) in this folder.")
    frames = []
    for number, path in enumerate(files):
        try:
            with Image.open(path) as image:
                if number == 0:
                    _limit(len(files), image.height, image.width, folder.name, most)
                frames.append(np.asarray(image.convert("RGB")))
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{folder.name}/{path.name}: a broken picture ({error}).") from error
    fps = 8.0
    if (folder / "fps.txt").is_file():
        try:
            fps = float((folder / "fps.txt").read_text())
        except ValueError:
            raise DataError(f"{folder.name}/fps.txt: must hold one number, the frames a second.") from None
    return Clip(_stack(frames, folder.name), fps, name=folder.name)


def as_clips(array: Any, where: str, fps: float = 8.0) -> list[Clip]:
    """An array (T, H, W), (T, H, W, C), (N, T, H, W) or (N, T, H, W, C) as clips; C is 1 or 3, floats run from 0 to 1."""
    array = np.asarray(array)
    if array.ndim not in (3, 4, 5) or (array.ndim == 5 and array.shape[-1] not in (1, 3)):
        raise DataError(
            f"{where}: an array of shape {array.shape} is no clip; "
            "(N, T, H, W, C) with C 1 or 3 is meant, or (T, H, W, C), (N, T, H, W)."
        )
    if 0 in array.shape:
        raise DataError(f"{where}: an array of shape {array.shape} holds no frames.")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise DataError(f"{where}: holds NaN or infinite pixels; give unknown regions as a mask.")
        if array.min() < -1e-6 or array.max() > 1 + 1e-6:
            raise DataError(
                f"{where}: pixels run from {array.min():g} to {array.max():g}; floats must lie in 0..1 (or give uint8)."
            )
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype != np.uint8:
        if array.min() < 0 or array.max() > 255:
            raise DataError(f"{where}: pixels run from {array.min()} to {array.max()}; 0..255 is meant.")
        array = array.astype(np.uint8)
    if array.ndim == 4 and array.shape[-1] in (1, 3):
        array = array[None]
    elif array.ndim < 5:
        array = array[..., None] if array.ndim == 4 else array[None, ..., None]
    return [Clip(frames, fps, name=f"{where}[{k}]") for k, frames in enumerate(array)]


def read_arrays(path: Path) -> list[Clip]:
    """All clips of a .npy or .npz file. Keys of npz: video (or clips, frames), fps, and labels or attributes (N,) or (N, A)
    with optional attribute_names. Pickled objects are refused."""
    arrays = Arrays(path)
    if arrays.single:
        return as_clips(arrays[""], path.name)
    key = next((k for k in ("video", "clips", "frames", "images") if k in arrays), None)
    if key is None:
        raise DataError(f"{path.name}: no array named video in it; it holds {', '.join(arrays) or 'nothing'}.")
    fps = arrays["fps"] if "fps" in arrays else np.array(8.0)
    if fps.size != 1 or fps.dtype.kind not in "iuf":
        raise DataError(f"{path.name}: fps must be one number.")
    clips = as_clips(arrays[key], path.name, float(fps.reshape(())))
    labels = next((arrays[k] for k in ("attributes", "labels", "label") if k in arrays), None)
    names = [str(v) for v in arrays["attribute_names"].reshape(-1)] if "attribute_names" in arrays else None
    if labels is None:
        return clips
    labels = labels.reshape(len(labels), -1)
    if len(labels) != len(clips):
        raise DataError(f"{path.name}: {len(labels)} rows of labels for {len(clips)} clips.")
    if names is None:
        names = ["label"] if labels.shape[1] == 1 else [f"attribute{k}" for k in range(labels.shape[1])]
    return [Clip(c.frames, c.fps, {n: int(v) for n, v in zip(names, row)}, c.name) for c, row in zip(clips, labels)]


def _palette_frame(frame: np.ndarray) -> Any:
    """A frame as a palette picture: exact up to 256 colours, adaptive beyond."""
    from PIL import Image

    if frame.shape[-1] == 1:
        return Image.fromarray(frame[..., 0])
    colours, codes = np.unique(frame.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) > 256:
        return Image.fromarray(frame).quantize(256)
    picture = Image.fromarray(codes.reshape(frame.shape[:2]).astype(np.uint8))
    picture.putpalette(colours.astype(np.uint8).tobytes() + b"\0" * (768 - 3 * len(colours)))
    return picture


def write_clip(clip: Clip, path: str | Path) -> Path:
    """Writes .gif, .webp (lossless), .mp4 (H.264, nearly lossless), .npz, or a folder of PNG frames, whole or not at all.

    GIF keeps time in hundredths of a second: 8 fps becomes 8.33. A GIF is exact up to 256 colours a frame.
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if not len(clip):
        raise DataError(f"{path.name}: a clip without frames cannot be written.")
    if suffix in (".gif", ".webp"):
        from PIL import Image

        frames = [
            _palette_frame(f) if suffix == ".gif" else Image.fromarray(f if f.shape[-1] == 3 else f[..., 0])
            for f in clip.frames
        ]
        spare = {"lossless": True} if suffix == ".webp" else {"optimize": False, "disposal": 1}
        step = round(100 / clip.fps) * 10 if suffix == ".gif" else round(1000 / clip.fps)
        with atomic_write(path) as partial:
            frames[0].save(partial, save_all=True, append_images=frames[1:], duration=max(20, step), loop=0, **spare)
    elif suffix == ".mp4":
        with atomic_write(path) as partial:
            _write_mp4(clip, partial)
    elif suffix == ".npz":
        with atomic_write(path) as partial:
            with partial.open("wb") as file:
                np.savez_compressed(file, video=clip.frames[None], fps=clip.fps)
    elif suffix == "":
        from PIL import Image

        with atomic_folder(path) as partial:
            for k, frame in enumerate(clip.frames):
                Image.fromarray(frame if frame.shape[-1] == 3 else frame[..., 0]).save(partial / f"{k:05d}.png")
            (partial / "fps.txt").write_text(f"{clip.fps:g}\n")
    else:
        raise DataError(f"{path.name}: clips are written as .gif, .webp, .mp4, .npz or a folder.")
    return path


def _write_mp4(clip: Clip, path: Path) -> None:
    from fractions import Fraction

    import av

    height, width = clip.frames.shape[1:3]
    small = height % 2 or width % 2 or min(height, width) <= 128
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(clip.fps).limit_denominator(1001))
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if small else "yuv420p"
        stream.options = {"crf": "10", "preset": "medium"}
        for frame in clip.frames:
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(np.broadcast_to(frame, (height, width, 3))), format="rgb24"
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
