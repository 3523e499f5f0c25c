"""Video as one field with a noise level per frame: generate, predict, interpolate, animate and roll out with one model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.files import check_memory
from suffuse.modalities.contract import SAMPLING
from suffuse.modalities.grids import GridNetwork, grid_start
from suffuse.modalities.labelled import LabelledGrid, Rows, learn_scale
from suffuse.modalities.video import paths
from suffuse.modalities.video import verbs as sugar
from suffuse.modalities.video.files import CONTAINERS, MOVING, Clip, as_clips, read_clip, write_clip
from suffuse.modalities.video.reading import read_clips

NEAR, ALL = 64, 256
"""Cells of a frame up to which each attends to itself in all frames; cells of a clip up to which all attend to all."""
WARP = 0.4
"""Training levels are uniform to this power: below 1 they crowd near 1, where what a clip shows is decided, since its frames
repeat it. Models of before keep 2."""


class Video(LabelledGrid):
    """Clips (T, H, W, C) with attributes; the field `clip` is (B, T, C, H, W), its levels (B, T, 1, 1, 1)."""

    name = "video"
    summary = "Video clips (GIF, MP4, frame folders, npz): generate, predict next frames, interpolate, animate a still, roll out."
    extra = "video"
    numbered = True
    field = "clip"
    channel_axis = 2
    unguided = ("path",)
    verbs = {
        "extend": sugar.extend,
        "interpolate": sugar.interpolate,
        "animate": sugar.animate,
        "change": sugar.change,
    }

    # -- reading ---------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        if isinstance(source, Clip) or (isinstance(source, (list, tuple)) and source and isinstance(source[0], Clip)):
            return 1.0
        if isinstance(source, np.ndarray):
            return 0.8 if source.ndim == 5 and source.shape[-1] in (1, 3) else 0.0
        if not isinstance(source, (str, Path)) or not Path(source).expanduser().exists():
            return 0.0
        path = Path(source).expanduser()
        if path.suffix.lower() in CONTAINERS:
            return 1.0
        if path.suffix.lower() in MOVING:
            return 0.8
        if path.suffix.lower() == ".npz":
            try:
                with np.load(path, allow_pickle=False) as loaded:
                    return 0.95 if {"video", "clips", "frames"} & set(loaded.files) else 0.0
            except (ValueError, OSError):
                return 0.0
        if path.is_dir():
            names = [p.suffix.lower() for p in list(path.rglob("*"))[:200] if p.is_file()]
            share = sum(n in (*CONTAINERS, *MOVING) for n in names) / max(len(names), 1)
            return 0.95 if share > 0.5 else 0.0
        return 0.0

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        frames: int = 16,
        size: int | str | Sequence[int] = 32,
        every: int = 1,
        limit: int | None = None,
        attributes: str | Sequence[str] | None = None,
        moving: int | None = None,
        width: int = 64,
        patch: int | None = None,
        network: dict[str, Any] | None = None,
        path: bool = False,
    ) -> tuple[Video, Rows]:
        """frames: length of the clips the model sees. size: height (and width, as H,W) they are shrunk to. every: take each
        k-th frame. limit: at most so many clips. attributes: names of the columns of labels. moving: make so many films of
        moving digits from a folder of MNIST's idx files instead of reading films. width,
        patch: of the network's first resolution; network: all settings of the frame network instead. path: learn where in each
        frame the thing is that moves, as a field that is drawn first and can be given."""
        high, wide = _size(size)
        if frames < 2:
            raise DataError("a clip needs at least 2 frames; single frames are images.")
        clips = read_clips(source, frames, (high, wide), every, limit, moving)
        if attributes is not None:
            clips = [_renamed(c, attributes) for c in clips]
        names = list(dict.fromkeys(name for c in clips for name in c.labels))
        classes = {n: sorted({str(c.labels[n]) for c in clips if n in c.labels}, key=_order) for n in names}
        channels = max(c.frames.shape[-1] for c in clips)
        check_memory(len(clips) * frames * channels * high * wide * 2, f"{source} ({len(clips)} clips)")
        made = cls(
            frames=frames,
            size=[high, wide],
            channels=channels,
            every=every,
            labels=classes,
            width=int(width),
            patch=int(patch or (4 if min(high, wide) >= 32 else 2)),
            fps=round(float(np.median([c.fps for c in clips])) / every, 4),
        )
        if network:
            made.config["network"] = dict(network)
        made.config |= {"mixing": made._mixing(), "warp": WARP, "normed": True}
        stored, labels = made._tensors(clips)
        made.config |= learn_scale(stored)
        if path:
            made.config["path"] = learn_scale(paths.centres(stored))
        return made, paths.Films(made, stored, labels)

    @classmethod
    def adopt(cls, other: Any, source: Any, **options: Any) -> tuple[Video, Rows]:
        """Reads films for a model that starts from the weights of an image model: its size, network and scaling."""
        from suffuse.modalities.video import inflation

        taken = inflation.reading(other)
        taken["network"] |= options.get("network") or {}
        made, data = cls.read(source, **{**options, **taken})
        if made.config["channels"] != other.config["channels"]:
            raise AskError(
                f"the films have {made.config['channels']} channels and the image model {other.config['channels']}."
            )
        made.config |= inflation.like(other)
        return made, data

    def inherit(self, network: nn.Module, other: nn.Module) -> None:
        """Puts an image network's weights into a new network of this modality."""
        from suffuse.modalities.video import inflation

        inflation.take_over(network, other)

    def dataset(
        self, source: Any, *, limit: int | None = None, moving: int | None = None, attributes: Any = None
    ) -> Rows:
        """More clips for this model. limit: at most so many. moving, attributes: as for `read`."""
        clips = read_clips(source, self.config["frames"], self.config["size"], self.config["every"], limit, moving)
        if attributes is not None:
            clips = [_renamed(c, attributes) for c in clips]
        stored, labels = self._tensors(clips)
        return paths.Films(self, stored, labels)

    def _tensors(self, clips: list[Clip]) -> tuple[Tensor, dict[str, Tensor]]:
        channels = self.config["channels"]
        stack = np.stack([_channels(c.frames, channels, c.name) for c in clips]).transpose(0, 1, 4, 2, 3)
        labels = {}
        for name, classes in self.labels.items():
            number = {c: k for k, c in enumerate(classes)}
            labels[name] = torch.tensor([number.get(str(c.labels.get(name)), -1) for c in clips])
        return torch.from_numpy(np.ascontiguousarray(stack)), labels

    def joint(self) -> Joint:
        joint = super().joint()
        if self.config.get("path"):
            joint.processes["path"] = Gaussian()
            joint.weights["path"] = 0.2
        return joint

    # -- the model's parts -------------------------------------------------------------------------------------------
    def _frame_network(self) -> dict[str, Any]:
        first = self.config["width"]
        return self.config.get("network") or {"widths": [first, 2 * first], "patch": self.config["patch"]}

    def _mixing(self) -> dict[str, list[Any]]:
        """How frames are mixed at each resolution: `far` where a frame has at most `NEAR` cells, `whole` where a clip has at
        most `ALL` (see `InflatedUNet`)."""
        settings = self._frame_network()
        count, side = len(settings["widths"]), settings.get("patch", 1)
        if not isinstance(side, int) or settings.get("strides", 2) != 2:
            return {}
        cells = [math.prod(-(-n // (side << k)) for n in self.config["size"]) for k in range(count)]
        return {
            "far": [k == count - 1 or n <= NEAR for k, n in enumerate(cells)],
            "whole": [int(n * self.config["frames"] <= ALL) for n in cells],
        }

    def network(self) -> nn.Module:
        from suffuse.networks.inflate import InflatedUNet

        channels = self.config["channels"]
        settings = {**self.config.get("mixing", {}), **self._frame_network()}
        path = self.config.get("path")
        if path:
            settings |= {"path": True, "code": True}
        backbone = InflatedUNet(channels + 1, channels, condition=128, level_channel=channels, **settings)
        labels = {n: len(c) for n, c in self.labels.items()}
        kind, more = (paths.PathGrid, {"path": path}) if path else (GridNetwork, {})
        more["normed"] = self.config.get("normed", False)
        return kind(backbone, {"clip": channels}, labels=labels, condition=128, channel_axis=2, **more)

    @property
    def tasks(self) -> dict[str, float]:
        known = {"generate": 0.3, "predict": 0.3, "interpolate": 0.1, "frames": 0.15, "inpaint": 0.05}
        if self.labels:
            known |= {"label": 0.25, "classify": 0.05}
        return known | ({"path": 0.05} if self.config.get("path") else {})

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        if task in ("generate", "label", "inpaint", "classify"):
            start = super().start(task, batch, random, step)
            return paths.told(start, task, batch, random, step) if self.config.get("path") else start
        size, frames = batch.x["clip"].shape[:2]
        index = torch.arange(size) if batch.index is None else batch.index
        u = random.uniform((4,), index, step, "frames")
        plain, label = (
            grid_start(t, batch, random, step, grids=["clip"], conditions=list(self.labels), channel_axis=2)
            for t in ("generate", "label")
        )
        with_label = (u[:, 3] < 0.5)[:, None]
        start = Start(
            {n: torch.where(with_label, label.levels[n], plain.levels[n]) for n in self.labels},
            {n: torch.where(with_label, label.held[n], plain.held[n]) for n in self.labels},
        )
        place = torch.arange(frames).expand(size, frames)
        alone = task == "path"
        if alone:
            task = ("predict", "frames", "generate")[int(step) % 3]
        if task == "predict":
            level = (place >= 1 + (u[:, :1] * (frames - 1)).long()).float()
        elif task == "interpolate":
            stride = 2 + (u[:, :1] * (frames - 1)).long()  # every stride-th frame is known, and the last
            level = ((place % stride != 0) & (place != frames - 1)).float()
        elif task == "generate":
            level = torch.ones(size, frames)
        else:  # a staircase of random steepness, or levels drawn frame by frame
            wide = 1 + u[:, :1] * frames
            stairs = ((place - u[:, 1:2] * (frames + wide) + wide) / wide).clamp(0, 1)
            each = random.uniform((frames,), index, step, "level of a frame")
            level = torch.where(u[:, 2:3] < 0.5, stairs, each)
            start.exact = torch.ones(size, dtype=torch.bool)
        if alone:  # no frame is there
            start.levels["path"] = level[:, :, None]
            start.held |= {n: torch.ones((size, 1), dtype=torch.bool) for n in self.labels}
            start.held["clip"] = torch.ones((1,) * 5, dtype=torch.bool)
            return start
        start.levels["clip"] = level[:, :, None, None, None]
        return paths.told(start, task, batch, random, step) if self.config.get("path") else start

    def follow(self, task: Task, path: Any = None) -> Task:
        """Fills in the path of a task's frames, of models that have one: as far as they are known, or as `path` says."""
        return paths.follow(self, task, path) if self.config.get("path") else task

    def drawn_first(self, model: Any, task: Task, seed: int, free: bool) -> Task:
        return paths.drawn_first(model, task, seed, free) if self.config.get("path") else task

    def extra_fields(self) -> tuple[str, ...]:
        return ("path",) if self.config.get("path") else ()

    def defaults(self) -> dict[str, Any]:
        return {"batch": 8, "learning_rate": 3e-3, "optimiser": "muon", "sampling": dict(SAMPLING)}

    # -- asking ------------------------------------------------------------------------------------------------------
    def request(
        self,
        n: int,
        given: Any = None,
        *,
        index: Tensor,
        frames: int | None = None,
        ask: Sequence[str] | str = (),
        at: Any = None,
    ) -> Task:
        """given: a clip (path, `Clip`, array (T, H, W, C); None or NaN for a frame or pixel that is asked), one picture (the
        first frame), a list of n clips, or a dict of clip and attributes. A clip shorter than the model's is continued.
        frames: how long the answer is. at: at which frames the given ones stand (default: from the first)."""
        thing, labels = self.split_given(given)
        path = labels.pop("path", None)
        length = self.config["frames"] if frames is None else int(frames)
        if not 2 <= length <= 4096:
            raise AskError(f"frames must lie between 2 and 4096, not {frames!r}.")
        channels, (high, wide) = self.config["channels"], self.config["size"]
        if thing is None:
            task = self.pose(n, index, None, None, labels, ask, (length, channels, high, wide))
            task.fps = self.config["fps"]
            return self.follow(task, path)
        many = thing if isinstance(thing, (list, tuple)) and thing and _is_clip(thing[0]) else [thing]
        parts, rate = [], self.config["fps"]
        for one in many:
            pixels, fps = _pixels(one, channels, (high, wide))
            rate = fps or rate
            if at is None and len(pixels) > length:
                raise AskError(
                    f"the given clip has {len(pixels)} frames and the answer {length}; give fewer, or ask frames={len(pixels)}."
                )
            where = list(range(len(pixels))) if at is None else [int(k) % length for k in at]
            if len(where) != len(pixels):
                raise AskError(f"{len(pixels)} frames are given and {len(where)} places.")
            full = np.full((length, high, wide, channels), np.nan, np.float32)
            full[where] = pixels
            parts.append(full)
        stored = torch.from_numpy(np.stack(parts)).permute(0, 1, 4, 2, 3)
        known = torch.isfinite(stored).all(2, keepdim=True)
        if (known.flatten(3).all(3) == known.flatten(3).any(3)).all():
            known = known[..., :1, :1]
        task = self.pose(n, index, self.scale(torch.nan_to_num(stored)), known, labels, ask)
        task.fps = rate
        return self.follow(task, path)

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[Clip]:
        """`Clip` objects with their attributes by name."""
        stored = self.unscale(fields["clip"]).round().clamp(0, 255).to(torch.uint8).permute(0, 1, 3, 4, 2).numpy()
        rate = getattr(task, "fps", self.config["fps"])
        return [
            Clip(np.ascontiguousarray(s), rate, self.decoded_labels(fields, k), f"clip_{k:03d}")
            for k, s in enumerate(stored)
        ]

    def write(self, samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
        """One clip to a .gif, .webp, .mp4 or .npz file; several to a folder of GIFs, or one .npz."""
        path, samples = Path(path), list(samples)
        if path.suffix.lower() == ".npz":
            from suffuse.files import atomic_write

            with atomic_write(path) as partial, partial.open("wb") as file:
                np.savez_compressed(file, video=np.stack([s.frames for s in samples]), fps=samples[0].fps)
            return [path]
        if len(samples) == 1 and path.suffix:
            return [write_clip(samples[0], path)]
        if path.suffix:
            raise AskError(
                f"{len(samples)} clips do not fit into the one file {path.name}; name a folder or a .npz file."
            )
        return [write_clip(s, path / f"{k:03d}.gif") for k, s in enumerate(samples, first)]

    def show(self, samples: Sequence[Any], path: Path) -> Path:
        """All clips side by side: a moving picture (.gif, .webp), or for .png their frames in rows."""
        from suffuse.modalities.video.pictures import film_strip, side_by_side

        path = Path(path)
        if path.suffix.lower() == ".png":
            film_strip(list(samples)).save(path)
            return path
        return write_clip(side_by_side(list(samples)), path)

    def evaluate(self, model: Any, data: Rows, **options: Any) -> dict[str, float]:
        from suffuse.modalities.video.quality import evaluate

        return evaluate(model, data, **options)


def _size(size: Any) -> tuple[int, int]:
    parts = size.split(",") if isinstance(size, str) else [size] if isinstance(size, int) else list(size)
    high, wide = (int(parts[0]), int(parts[-1]))
    if min(high, wide) < 8 or max(high, wide) > 1024:
        raise DataError(f"clips of {high} x {wide} pixels; between 8 and 1024 are meant.")
    return high, wide


def _order(text: str) -> Any:
    return (0, int(text), "") if text.isdigit() else (1, 0, text)


def _renamed(clip: Clip, names: str | Sequence[str]) -> Clip:
    named = names.split(",") if isinstance(names, str) else list(names)
    if len(named) != len(clip.labels):
        raise DataError(f"{len(named)} names for {len(clip.labels)} attributes.")
    return replace(clip, labels=dict(zip(named, clip.labels.values())))


def _channels(frames: np.ndarray, channels: int, name: str) -> np.ndarray:
    if frames.shape[-1] == channels:
        return frames
    if frames.shape[-1] == 1:
        return np.repeat(frames, channels, axis=-1)
    raise AskError(f"{name or 'the clip'} is in colour, and this model knows grey clips only.")


def _is_clip(thing: Any) -> bool:
    return isinstance(thing, (Clip, str, Path, list, tuple)) or (hasattr(thing, "ndim") and thing.ndim == 4)


def _pixels(thing: Any, channels: int, size: tuple[int, int]) -> tuple[np.ndarray, float | None]:
    """(T, H, W, C) float32 in 0..255 with NaN where unknown, and the frame rate if there is one."""
    from suffuse.modalities.video.reading import fit_frames

    rate = None
    if isinstance(thing, (str, Path)):
        thing = read_clip(thing) if Path(thing).suffix.lower() not in (".png", ".jpg", ".jpeg") else _picture(thing)
    if hasattr(thing, "convert"):
        thing = _picture(thing)
    if isinstance(thing, Clip):
        frames, rate = thing.frames.astype(np.float32), thing.fps
    elif isinstance(thing, (list, tuple)):  # single frames, None where unknown
        known = [None if f is None else _pixels(f, channels, size)[0][0] for f in thing]
        blank = np.full((*size, channels), np.nan, np.float32)
        return np.stack([blank if f is None else f for f in known]), None
    else:
        array = np.asarray(thing)
        if array.ndim in (2, 3) and (array.ndim == 2 or array.shape[-1] in (1, 3)):
            array = array.reshape(1, *array.shape[:2], -1)
        if array.ndim == 3:
            array = array[..., None]
        if array.ndim != 4 or array.shape[-1] not in (1, 3):
            raise AskError(f"an array of shape {array.shape} is no clip; (T, H, W, C) with C 1 or 3 is meant.")
        unknown = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
        if not unknown.any():
            frames = np.stack([c.frames for c in as_clips(array, "the clip")])[0].astype(np.float32)
        else:
            frames = np.where(unknown, np.nan, array * (255.0 if np.nanmax(array) <= 1 else 1.0)).astype(np.float32)
    frames = _channels(frames, channels, "the clip")
    if frames.shape[1:3] != tuple(size):
        if np.isnan(frames).any():
            raise AskError(
                f"a clip with unknown pixels must have the model's size {size[1]} x {size[0]}, "
                f"not {frames.shape[2]} x {frames.shape[1]}."
            )
        frames = fit_frames(frames.astype(np.uint8), size).astype(np.float32)
    return frames, rate


def _picture(source: Any) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        picture = source if hasattr(source, "convert") else Image.open(source)
        return np.asarray(picture.convert("L" if picture.mode in ("L", "1", "I;16") else "RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{source}: a broken picture ({error}).") from error
