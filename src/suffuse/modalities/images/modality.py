"""Images: one model that generates, labels, captions, completes, restores and edits pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.schedule import Cosine
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.modalities.contract import SAMPLING, Modality
from suffuse.modalities.grids import GridNetwork, grid_start, unit_range
from suffuse.modalities.images import asking, dataset, quality, verbs, writing
from suffuse.modalities.images import captions as words
from suffuse.modalities.images.dataset import ImageData
from suffuse.modalities.images.decoding import SUFFIXES
from suffuse.modalities.images.reading import PICTURE_NAMES, read_pictures
from suffuse.networks.patches import PatchTransformer
from suffuse.networks.unet import UNet

CONDITION = 128
LONGEST_CAPTION = 32
BACKBONES = ("unet", "patches")


class Images(Modality):
    """Fields: `image` (B, C, H, W); with labelled data `label` (B, 1); with captions `caption` (B, L) tokens.

    Config (plain JSON): size (H, W), channels (1 grey, 3 colour, 2 or 4 with alpha), mean and deviation (of pixels in [-1, 1]),
    classes (names), vocabulary and caption_length, network (backbone 'unet' or 'patches' and its settings), judge (name of
    the shipped feature network that `evaluate` uses; None: principal components of the pixels).
    """

    name = "images"
    summary = "Pictures: by class or caption, inpaint, outpaint, restore, edit, blend, vary, classify"
    extra = "images"
    numbered = True
    verbs = {
        "classify": verbs.classify,
        "inpaint": verbs.inpaint,
        "outpaint": verbs.outpaint,
        "variations": verbs.variations,
        "blend": verbs.blend,
        "change": verbs.change,
    }

    # -- reading ------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        if isinstance(source, (str, Path)):
            return _path_score(Path(source))
        names = getattr(source, "column_names", None)
        if names is not None and not isinstance(source, dict):
            return 0.9 if {"image", "img", "picture"} & set(names) else 0.0
        if isinstance(source, tuple) and len(source) == 2:
            source = source[0]
        if type(source).__module__.startswith("PIL."):
            return 0.9
        if isinstance(source, (list, tuple)) and source:
            return 0.9 if type(source[0]).__module__.startswith("PIL.") else _array_score(source[0], 1)
        if isinstance(source, dict):
            return max((0.8 * _array_score(source[n], 0) for n in PICTURE_NAMES if n in source), default=0.0)
        return _array_score(source, 0)

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        size: int | Sequence[int] | None = None,
        alpha: str | None = None,
        skip_bad: bool = False,
        split: str = "train",
        classes: Sequence[str] | None = None,
        words_at_most: int = 1500,
        backbone: str = "unet",
        judge: str | None = None,
        **network: Any,
    ) -> tuple[Images, ImageData]:
        """Learn size, channels, scaling, classes and words from training pictures (sources: see `read_pictures`).

        size: of the model's pictures, a whole number or (height, width); pictures of other sizes are scaled to cover it and
        cropped in the middle. alpha: 'keep' or a colour to lay transparent pictures on. skip_bad: leave broken files out.
        classes: names of whole-number labels. network: settings of the backbone (widths, blocks, patch; width, depth, heads).
        """
        if backbone not in BACKBONES:
            raise AskError(f"the backbone is one of {', '.join(BACKBONES)}, not {backbone!r}")
        known = (
            ("widths", "blocks", "patch", "attention") if backbone == "unet" else ("width", "depth", "heads", "patch")
        )
        for name in network:
            if name not in known:
                raise AskError(
                    f"{name!r} is no option of pictures with a {backbone} backbone; there are {', '.join(known)}"
                )
        found = read_pictures(source, alpha, skip_bad, split, classes)
        shape, channels = dataset.choose_size(found, size), dataset.choose_channels(found)
        pixels = dataset.stack(found, shape, channels)
        some = unit_range(pixels[:: max(1, len(pixels) // 5000)])
        texts = [c for c in found.captions if c is not None]
        vocabulary = words.build_vocabulary(texts, words_at_most) if texts else []
        index = {piece: k for k, piece in enumerate(vocabulary)}
        config: dict[str, Any] = {
            "size": list(shape),
            "channels": channels,
            "mean": round(some.mean().item(), 4),
            "deviation": round(max(some.std().item(), 0.05), 4) if some.numel() > 1 else 1.0,
            "classes": found.classes or dataset.sort_classes(found.labels),
            "vocabulary": vocabulary,
            "caption_length": words.fitting_length(texts, index, LONGEST_CAPTION),
            "judge": judge,
            "network": {"backbone": backbone, **_default_network(backbone, shape), **network},
        }
        dataset.tell_missing(found, config)
        made = cls(**config)
        return made, made._data(found, pixels)

    def dataset(
        self, source: Any, *, alpha: str | None = None, skip_bad: bool = False, split: str = "test"
    ) -> ImageData:
        """More pictures for this model: fitted to its size and channels. Unknown labels raise DataError."""
        found = read_pictures(source, alpha, skip_bad, split)
        names = self.config["classes"]
        found.labels = [None if label is None else _known_label(label, names) for label in found.labels]
        try:
            pixels = dataset.stack(found, self.config["size"], self.config["channels"])
        except AskError as error:
            raise DataError(str(error)) from None
        return self._data(found, pixels)

    def _data(self, found: Any, pixels: Tensor) -> ImageData:
        labels = dataset.label_numbers(found.labels, self.config["classes"])
        tokens = dataset.caption_tokens(found.captions, self.config["vocabulary"], self.config["caption_length"])
        return ImageData(self.config, pixels, labels, tokens)

    # -- the model's parts --------------------------------------------------------------------------------------
    @property
    def conditions(self) -> list[str]:
        """The fields beside the picture: 'label', 'caption', or none."""
        return [name for name, key in (("label", "classes"), ("caption", "vocabulary")) if self.config.get(key)]

    def joint(self) -> Joint:
        processes: dict[str, Any] = {"image": Gaussian(Cosine(), warp=2.0)}
        if self.config["classes"]:
            processes["label"] = Categorical(len(self.config["classes"]))
        if self.config["vocabulary"]:
            processes["caption"] = Categorical(len(self.config["vocabulary"]))
        return Joint(processes, weights={"label": 0.3, "caption": 0.05})

    def network(self) -> nn.Module:
        config = self.config
        settings = dict(config["network"])
        channels, classes, vocabulary = config["channels"], config["classes"], config["vocabulary"]
        backbone = {"unet": UNet, "patches": PatchTransformer}[settings.pop("backbone")]
        return GridNetwork(
            backbone(channels + 1, channels, dims=2, condition=CONDITION, tokens=64 if vocabulary else 0, **settings),
            {"image": channels},
            labels={"label": len(classes)} if classes else None,
            captions={"caption": (len(vocabulary), config["caption_length"])} if vocabulary else None,
            condition=CONDITION,
        )

    # -- training -----------------------------------------------------------------------------------------------
    @property
    def tasks(self) -> dict[str, float]:
        if not self.conditions:
            return {"generate": 0.8, "inpaint": 0.2}
        return {"generate": 0.3, "label": 0.35, "inpaint": 0.2, "classify": 0.15}

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        return grid_start(task, batch, random, step, grids=["image"], conditions=self.conditions)

    def defaults(self) -> dict[str, Any]:
        sampling = {**SAMPLING, "guidance": 2.0 if self.conditions else 1.0, "interval": [0.1, 0.7]}
        return {"batch": 64, "optimiser": "muon", "learning_rate": 4e-3, "sampling": sampling}

    # -- asking -------------------------------------------------------------------------------------------------
    def request(self, n: int, given: Any = None, *, index: Tensor, **asked: Any) -> Task:
        """n pictures under what is given: {'label':, 'caption':, 'image':, 'mask':}, or a picture alone.

        label: a class name or its number; label and caption may be lists, one a picture. image: a file, PIL image or array, or
        a list; its transparent pixels, NaNs and masked entries are holes to fill. mask: of the image's size, white or True
        where pixels are asked for. asked: strength in [0, 1] (the holes, or all of a whole picture, start from the picture
        noised to that level), ask='label' (classify, caption), size=(H, W) for pictures larger than the model was trained on.
        """
        return asking.build_task(self.config, n, given, index, asked)

    def mask(self, mask: Any, task: Task) -> Tensor:
        array = torch.from_numpy(asking.read_mask(mask))
        size = tuple(task.x["image"].shape[2:])
        if tuple(array.shape) != size:
            raise AskError(
                f"the mask has {array.shape[1]} x {array.shape[0]} pixels and the picture {size[1]} x {size[0]}; "
                "make them the same size"
            )
        return array[None, None]

    def measured(self, measurement: Any, operator: Any, noise: float) -> tuple[Tensor, Any, float, dict[str, Any]]:
        return asking.read_measurement(self.config, measurement, operator, noise)

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[Any]:
        """PIL images; their `.info` holds index, label and caption where known. Texts where only a label or caption was asked."""
        n = len(fields["image"])
        texts: dict[str, list[str]] = {}
        asked = []
        for name in self.conditions:
            level, held = (
                task.start.levels.get(name, torch.ones(1)),
                task.start.held.get(name, torch.zeros(1, dtype=torch.bool)),
            )
            if not bool(held.all()):
                texts[name] = [self._words(name, row) for row in fields[name].tolist()]
                asked += [name] if bool((level > 0).any()) else []
        if asked and not bool((task.start.levels["image"] > 0).any()):
            return texts[asked[0]]
        index = torch.arange(n) if task.index is None else task.index
        images = []
        for k, pixels in enumerate(dataset.from_field(fields["image"], self.config)):
            image = to_pil(pixels)
            image.info.update({"index": int(index[k]), **{name: rows[k] for name, rows in texts.items()}})
            images.append(image)
        return images

    def _words(self, name: str, tokens: Sequence[int]) -> str:
        if name == "label":
            return self.config["classes"][min(tokens[0], len(self.config["classes"]) - 1)]
        return words.decode(tokens, self.config["vocabulary"])

    def write(self, samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
        return writing.write_samples(samples, path, first)

    def show(self, samples: Sequence[Any], path: Path) -> Path:
        return writing.write_samples([writing.grid(samples)], Path(path))[0]

    # -- quality ------------------------------------------------------------------------------------------------
    def evaluate(self, model: Any, data: Any, **options: Any) -> dict[str, float]:
        return quality.evaluate(self, model, data, **options)


def to_pil(pixels: Tensor) -> Any:
    """uint8 (C, H, W) as a PIL image of mode L, LA, RGB or RGBA."""
    from PIL import Image

    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _default_network(backbone: str, size: Sequence[int]) -> dict[str, Any]:
    patch = 1 if max(size) <= 16 else 2 if max(size) <= 40 else 4
    if backbone == "unet":
        return {"widths": [64, 128], "patch": patch}
    return {"width": 128, "depth": 5, "heads": 4, "patch": max(2, 2 * patch)}


def _known_label(label: str, classes: Sequence[str]) -> str:
    try:
        return classes[asking.label_number(label, classes)]
    except AskError as error:
        raise DataError(str(error)) from None


def _path_score(path: Path) -> float:
    path = path.expanduser()
    name = path.name.lower()
    if path.is_dir():
        if any("images-idx3" in f.name for f in path.iterdir()):
            return 0.95
        seen = 0
        for file in path.rglob("*"):
            if file.suffix.lower() in SUFFIXES:
                return 0.8
            seen += 1
            if seen > 2000:
                break
        return 0.0
    if "idx3-ubyte" in name:
        return 0.95
    if path.suffix.lower() in SUFFIXES - {".gif"}:
        return 0.8
    if path.suffix.lower() in (".npz", ".npy"):
        return _numpy_score(path)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return _parquet_score(path)
    return 0.0


def _numpy_score(path: Path) -> float:
    import zipfile

    import numpy as np

    try:
        if path.suffix == ".npy":
            return _array_score(np.load(path, mmap_mode="r", allow_pickle=False), 0)
        with zipfile.ZipFile(path) as archive:
            names = {Path(n).stem for n in archive.namelist()}
        return 0.7 if names & set(PICTURE_NAMES[:6]) else 0.0
    except Exception:
        return 0.1


def _parquet_score(path: Path) -> float:
    try:
        import pyarrow.parquet

        names = pyarrow.parquet.read_schema(path).names
    except Exception:
        return 0.0
    return 0.9 if {"image", "img", "picture"} & set(names) else 0.0


def _array_score(value: Any, fewer: int) -> float:
    """How much an array looks like pictures: uint8 (N, H, W[, C]) does."""
    shape, kind = getattr(value, "shape", None), str(getattr(value, "dtype", ""))
    if shape is None or len(shape) not in (3 - fewer, 4 - fewer):
        return 0.0
    last = [s for s in (shape[-1], shape[1 - fewer] if len(shape) > 2 else 0) if s in (1, 3, 4)]
    if "uint8" in kind:
        return 0.7
    return 0.5 if len(shape) == 4 - fewer and last else 0.1
