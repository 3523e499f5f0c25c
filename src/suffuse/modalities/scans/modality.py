"""Medical scans as fields: image channels, a mask, a label. What is asked is a map of levels over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.diffusion.process import Categorical, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.modalities.contract import SAMPLING
from suffuse.modalities.grids import grid_start
from suffuse.modalities.labelled import LabelledGrid
from suffuse.modalities.scans import measured
from suffuse.modalities.scans import verbs as sugar
from suffuse.modalities.scans.prepare import Place, choose_grid, choose_rule, to_grid, turn
from suffuse.modalities.scans.reading import ARCHIVES, cases
from suffuse.modalities.scans.volume import Case, Volume, check_size

ONE_CALL = 0.3
"""Share of the examples of `reconstruct` that train the first call alone, which answers with the expected value."""


class CaseRows:
    """A data set of cases in memory. image: (N, C, *grid) float16 in 0..1; seen: bool, the same shape; mask: (N, *grid) uint8."""

    def __init__(
        self, modality: Scans, image: Tensor, seen: Tensor, mask: Tensor | None, masked: Tensor, label: Tensor
    ):
        self.modality, self.image, self.seen = modality, image, seen
        self.mask, self.masked, self.label = mask, masked, label
        self.whole = bool(seen.all())

    def __len__(self) -> int:
        return len(self.image)

    def batch(self, indices: Tensor) -> Batch:
        x = {"image": self.modality.scale(self.image[indices])}
        observed = {} if self.whole else {"image": self.seen[indices]}
        if self.mask is not None:
            x["mask"] = self.mask[indices].long()
            known = self.masked[indices]
            observed["mask"] = known.reshape(-1, *(1,) * (x["mask"].ndim - 1)) & self.seen[indices].any(1)
        for name in self.modality.labels:
            x[name] = self.label[indices].clamp(min=0)[:, None]
            observed[name] = self.label[indices][:, None] >= 0
        return Batch(x, observed, index=indices)


class Scans(LabelledGrid):
    """2-D and 3-D medical scans with masks and labels; everything it makes is synthetic and not for clinical use."""

    name = "scans"
    summary = (
        "Medical scans (NIfTI, DICOM): volumes with masks, segmentation, translation between modalities, anomalies."
    )
    extra = "scans"
    numbered = True
    field = "image"
    verbs = {
        "segment": sugar.segment,
        "translate": sugar.translate,
        "anomaly": sugar.anomaly,
        "typicality": sugar.typicality,
        "reconstruct": sugar.reconstruct,
    }

    # -- reading ---------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        if isinstance(source, (Case, Volume)) or hasattr(source, "dataobj"):
            return 1.0
        if isinstance(source, (list, tuple)) and source:
            return cls.recognises(source[0])
        if not isinstance(source, (str, Path)) or not Path(source).expanduser().exists():
            return 0.0
        path, name = Path(source).expanduser(), Path(source).name.lower()
        if name.endswith((".nii", ".nii.gz", ".dcm")):
            return 1.0
        if name.endswith(ARCHIVES) and "nii" in name:
            return 0.9
        if name.endswith(".npz") and "mnist" in name:
            return 0.7
        if path.is_dir():
            inside = [p.name for p in list(path.rglob("*"))[:200] if p.is_file()]
            return 0.95 if any(n.endswith((".nii", ".nii.gz", ".dcm")) for n in inside) else 0.0
        return 0.0

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        grid: Sequence[int] | None = None,
        classes: Sequence[str] | str | None = None,
        intensities: str | Sequence[float] | None = None,
        split: str = "train",
        limit: int | None = None,
        only: str | None = None,
        width: int | None = None,
        sampled: Any = None,
    ) -> tuple[Scans, CaseRows]:
        """grid: size of the grid, such as 32,48,32 (default: the median size). classes: names of the labels' classes.
        intensities: "volume" (each volume's own percentiles) or low,high. split: of a MedMNIST file. limit: at most so
        many cases. only: keep the cases of one class. width: channels of the network's first resolution. sampled: (H, W)
        bool, the part of k-space that `reconstruct` will be given."""
        found = list(_first(cases(source, split), limit))
        if not found:
            raise DataError(f"{source}: holds no scan.")
        names = list(dict.fromkeys(n for case in found for n in case.volumes))
        base = found[0].reference
        flat = base.stored.ndim == 2 or all(c.reference.stored.ndim == 3 and c.reference.shape[2] == 1 for c in found)
        shapes = [c.reference.shape[:2] if flat else c.reference.shape for c in found]
        if len({len(s) for s in shapes}) > 1:
            raise DataError(f"{source}: 2-D and 3-D scans together; give one kind.")
        size = [int(g) for g in _listed(grid)] if grid else choose_grid(shapes)
        if len(size) != len(shapes[0]) or min(size) < 4:
            raise DataError(
                f"grid {size} does not fit {len(shapes[0])}-D scans; give {len(shapes[0])} sizes of at least 4."
            )
        check_size((len(found), len(names), *size), 12, str(source))
        masks = [c.mask for c in found if c.mask is not None]
        labels = [c.label for c in found if c.label is not None]
        config: dict[str, Any] = {
            "grid": size,
            "channels": names,
            "mask_classes": int(max(m.stored.max() for m in masks)) + 1 if masks else 0,
            "orientation": base.orientation if not flat else "RAS",
            "affine": [[round(float(v), 6) for v in row] for row in base.affine],
            "rule": choose_rule(found[0])
            if intensities is None
            else "volume"
            if intensities == "volume"
            else [float(v) for v in _listed(intensities)],
            "labels": {},
        }
        if labels:
            count = max(labels) + 1
            named = [str(c) for c in _listed(classes)] if classes else [str(k) for k in range(count)]
            if len(named) < count:
                raise DataError(f"{len(named)} class names for {count} classes.")
            config["labels"] = {"label": named}
        if only is not None:
            if not labels or only not in config["labels"]["label"]:
                raise AskError(
                    f"only={only!r} names no class; there are {', '.join(config['labels'].get('label', [])) or 'none'}."
                )
            found = [c for c in found if c.label == config["labels"]["label"].index(only)]
            config["labels"] = {}
        config["width"] = int(width) if width else (64 if len(size) == 2 else 32)
        made = cls(**config)
        data = made._rows(found, learn=True)
        if sampled is not None:
            made.config["sampled"] = measured.check(made.config, sampled, data.whole)
            made.config["missing"] = measured.gain_of(data.image.float(), made.config)
            made.config["channels"] = list(measured.CHANNELS)
            made.config["typical"] = [[v[0]] * 2 for v in made.config["typical"]]
            data.image = measured.channels(data.image.float(), made.config).half()
        return made, data

    def dataset(self, source: Any, *, split: str = "train", limit: int | None = None) -> CaseRows:
        """More cases for this model. split: of a MedMNIST file ("train", "val", "test"). limit: at most so many."""
        return self._rows(list(_first(cases(source, split), limit)), learn=False)

    def _rows(self, found: list[Case], learn: bool) -> CaseRows:
        if not found:
            raise DataError("there is no case to read.")
        image, seen, mask, limits = [], [], [], []
        blank = torch.zeros(self.config["grid"], dtype=torch.uint8)
        shown = self.config | ({"channels": ["image"]} if "sampled" in self.config else {})
        for case in found:
            pixels, there, tokens, place, _ = to_grid(case, shown)
            image.append(pixels.half())
            seen.append(there)
            mask.append(blank if tokens is None else tokens.to(torch.uint8))
            limits.append((place.low, place.high))
        images, seens = torch.stack(image), torch.stack(seen)
        if "sampled" in self.config:
            images = measured.channels(images.float(), self.config).half()
        if learn:
            values = images[seens].float()
            self.config["mean"], self.config["std"] = (
                round(float(values.mean()), 6),
                round(max(float(values.std()), 1e-3), 6),
            )
            low, high = np.median([a for a, _ in limits], axis=0), np.median([b for _, b in limits], axis=0)
            self.config["typical"] = [[float(v) for v in low], [float(v) for v in high]]
        known = torch.tensor([c.mask is not None for c in found])
        label = torch.tensor([-1 if c.label is None else c.label for c in found])
        return CaseRows(self, images, seens, torch.stack(mask) if self.config["mask_classes"] else None, known, label)

    # -- the model's parts -------------------------------------------------------------------------------------------
    @property
    def masked(self) -> bool:
        return self.config["mask_classes"] > 0

    def joint(self) -> Joint:
        joint = super().joint()
        if not self.masked:
            return joint
        fields = {"image": joint["image"], "mask": Categorical(self.config["mask_classes"], warp=0.25)}
        return Joint(fields | {n: joint[n] for n in self.labels}, {**joint.weights, "mask": 1.0})

    def network(self) -> nn.Module:
        from suffuse.modalities.scans.network import ScanNetwork
        from suffuse.networks.unet import UNet

        dims, channels, classes = len(self.config["grid"]), len(self.config["channels"]), self.config["mask_classes"]
        inputs = 2 * channels + (classes + 1 if classes else 0)
        first = self.config["width"]
        widths = (first, 2 * first) if dims == 2 else (first, 2 * first, 2 * first)
        backbone = UNet(inputs, channels + classes, dims=dims, widths=widths, patch=2, condition=128)
        return ScanNetwork(backbone, channels, classes, {n: len(c) for n, c in self.labels.items()}, 128)

    @property
    def tasks(self) -> dict[str, float]:
        known = {"generate": 0.4, "inpaint": 0.15}
        if self.labels:
            known |= {"label": 0.3, "classify": 0.1}
        if self.masked:
            known |= {"segment": 0.25, "paint": 0.15}
        if len(self.config["channels"]) > 1:
            known["translate"] = 0.4
            known["reconstruct"] = 0.0
        return known

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        labels, size = list(self.labels), len(batch)
        index = torch.arange(size) if batch.index is None else batch.index
        plain = task if task in ("generate", "label", "inpaint", "classify") else "generate"
        start = grid_start(plain, batch, random, step, grids=["image"], conditions=labels)
        full = (size, *[1] * (batch.x["image"].dim() - 1))
        if task == "translate":
            u = random.uniform((batch.x["image"].shape[1],), index, step, "channels")
            given = (u == u.amin(1, keepdim=True)) | ((u < 0.5) & (u < u.amax(1, keepdim=True)))
            start.levels["image"] = torch.where(given, 0.0, 1.0).reshape(size, -1, *full[2:])
        if task == "reconstruct":  # the first channel from the others, such as what was measured of it
            asked = torch.arange(batch.x["image"].shape[1]) == 0
            start.levels["image"] = asked.float().reshape(1, -1, *full[2:]).expand(size, -1, *full[2:])
            start.exact = random.uniform((), index, step, "one call") < ONE_CALL
        if task == "segment":
            start.levels["image"] = torch.zeros(full)
        if self.masked:
            unit = (size, *[1] * (batch.x["mask"].dim() - 1))
            start.levels["mask"] = torch.full(unit, 0.0 if task == "paint" else 1.0)
            if task not in ("paint", "segment"):
                start.held["mask"] = (random.uniform((), index, step, "mask held") < 0.3).reshape(unit)
        return start

    def defaults(self) -> dict[str, Any]:
        return {
            "batch": 32 if len(self.config["grid"]) == 2 else 8,
            "learning_rate": 3e-3,
            "optimiser": "muon",
            "sampling": dict(SAMPLING),
        }

    # -- asking ------------------------------------------------------------------------------------------------------
    def extra_fields(self) -> tuple[str, ...]:
        return (("mask",) if self.masked else ()) + tuple(self.config["channels"])

    def request(
        self,
        n: int,
        given: Any = None,
        *,
        index: Tensor,
        ask: Sequence[str] | str = (),
        size: Sequence[int] | str | None = None,
    ) -> Task:
        """given: a scan (path, volume, case, array, nibabel image; NaN voxels are asked), or a dict of image, mask, channel
        names and labels. ask: labels to be answered too. A mask that is not given is asked with the image. size: of the answer,
        such as 96,96,64, worked on in overlapping windows; a given scan much larger than the model's grid is so by itself."""
        thing, rest = self.split_given(given)
        labels = {k: v for k, v in rest.items() if k in self.labels}
        rest = {k: v for k, v in rest.items() if k not in self.labels}
        found = self._given_cases(thing, rest)
        ask = [ask] if isinstance(ask, str) else list(ask)
        asked = [a for a in ask if a != "mask"]
        grid = self._grid(found, size)
        if not found:
            task = self.pose(n, index, None, None, labels, asked, (len(self.config["channels"]), *grid))
            task.origin, task.grid = None, grid
            return self._with_mask(task, n, None)
        parts = [to_grid(case, self.config | {"grid": grid}) for case in found]
        image, seen = torch.stack([p[0] for p in parts]), torch.stack([p[1] for p in parts])
        task = self.pose(n, index, self.scale(image), seen, labels, asked)
        task.origin, task.grid = [(p[3], p[4]) for p in parts], grid
        inside = torch.stack([torch.from_numpy(p[3].cut(np.ones(p[3].shape, bool), grid, False)) for p in parts])
        if not inside.all():  # padding around a small volume: shown as a hole, never asked
            task.start.held["image"] = ~inside[:, None]
        tokens = None
        if any(p[2] is not None for p in parts):
            if not all(p[2] is not None for p in parts):
                raise AskError("some of the given scans have a mask and some have none; give all or none.")
            tokens = torch.stack([p[2] for p in parts])
        return self._with_mask(task, n, tokens)

    def _grid(self, found: list[Case], size: Sequence[int] | str | None) -> list[int]:
        """The grid of an answer: as asked, that of a given scan where the model's would cut off a third of an axis, else the
        model's own."""
        own = self.config["grid"]
        if size is not None:
            try:
                asked = [int(v) for v in _listed(size)]
            except ValueError:
                asked = []
            if len(asked) != len(own) or any(a < g for a, g in zip(asked, own)):
                raise AskError(f"size {size!r} must be {len(own)} numbers of at least {', '.join(map(str, own))}.")
            check_size((len(self.config["channels"]), *asked), 4 * 16, "the answer")
            return asked
        if not found:
            return own
        turned = [turn(c.reference, self.config).shape for c in found]
        largest = [max(s) for s in zip(*turned)]
        return [max(a, g) for a, g in zip(largest, own)] if any(a > 1.5 * g for a, g in zip(largest, own)) else own

    def wrap(self, denoiser: Any, task: Task) -> Any:
        """Answers on grids larger than the model's are worked on in overlapping windows."""
        if list(task.x["image"].shape[2:]) == list(self.config["grid"]):
            return denoiser
        from suffuse.modalities.scans.patches import windows_of

        return windows_of(self)(denoiser)

    def _given_cases(self, thing: Any, rest: dict[str, Any]) -> list[Case]:
        if isinstance(thing, np.ndarray):
            thing = [thing] if thing.ndim == len(self.config["grid"]) else list(thing)
        if isinstance(thing, (list, tuple)):
            thing = [_as_volume(one, self.config) for one in thing]
        found = [] if thing is None else list(cases(thing))
        if not rest:
            return found
        parts = {k: next(iter(cases(_as_volume(v, self.config)))).reference for k, v in rest.items()}
        mask = parts.pop("mask", None)
        if found and parts:
            raise AskError("give either a whole case or single channels, not both.")
        found = found or [Case({n: parts.get(n) for n in self.config["channels"]}, mask)]
        if mask is not None:
            found = [replace(c, mask=mask) for c in found]
        return [c.check() for c in found]

    def _with_mask(self, task: Task, n: int, tokens: Tensor | None) -> Task:
        if not self.masked:
            return task
        grid, unit = task.grid, (n, *[1] * len(task.grid))
        labels = {k: task.x.pop(k) for k in self.labels}
        task.x["mask"] = (
            torch.full((n, *grid), self.config["mask_classes"]) if tokens is None else tokens.expand(n, *grid)
        )
        task.x |= labels
        task.start.levels["mask"] = torch.full(unit, 1.0 if tokens is None else 0.0)
        task.given["mask"] = torch.full(unit, tokens is not None)
        return task

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[Case]:
        """Cases on the grid of what was given (outside the model's grid the given voxels stay), or on the model's own grid."""
        origin = getattr(task, "origin", None)
        out = []
        for row in range(len(fields["image"])):
            values = self.unscale(fields["image"][row]).numpy()
            mask = fields["mask"][row] if self.masked else None
            known = self.decoded_labels(fields, row)
            label = self.labels["label"].index(known["label"]) if "label" in known else None
            place, case = origin[row % len(origin)] if origin else (None, None)
            out.append(self._case(values, mask, label, place, case, f"synthetic_{row:03d}"))
        return out

    def _case(
        self,
        values: np.ndarray,
        mask: Tensor | None,
        label: int | None,
        place: Place | None,
        case: Case | None,
        name: str,
    ) -> Case:
        grid, names = values.shape[1:], self.config["channels"]
        volumes: dict[str, Volume | None] = {}
        affine = np.array(self.config["affine"])
        if place is not None and case is not None:
            affine = case.reference.affine
        for c, channel in enumerate(names):
            low, high = (
                (place.low[c], place.high[c]) if place else (self.config["typical"][0][c], self.config["typical"][1][c])
            )
            given = case.volumes.get(channel) if case else None
            if case is not None and given is None:
                low, high = self.config["typical"][0][c], self.config["typical"][1][c]
            real = (values[c] * (high - low) + low).astype(np.float32)
            if place is not None:
                outside = np.float32(low)
                whole = place.put(real, outside, grid)
                if given is not None:
                    kept = place.put(np.ones(grid, bool), False, grid)
                    whole = np.where(kept, whole, np.nan_to_num(given.values, nan=outside))
                real = whole
            volumes[channel] = Volume(real, affine, synthetic=True, name=name)
        made = None
        if mask is not None and int(mask.max()) < self.config["mask_classes"]:
            tokens = mask.numpy().astype(np.uint8)
            made = Volume(place.put(tokens, 0, grid) if place else tokens, affine, synthetic=True, name=f"{name}_mask")
        return Case(volumes, made, label, name, {"label": self.labels["label"][label]} if label is not None else {})

    def write(self, samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
        """A .nii, .nii.gz or .png file, or a folder of NIfTI files (masks: NAME_mask); `folder/dicom`: DICOM series."""
        from suffuse.modalities.scans.writing import write_cases

        return write_cases(list(samples), Path(path), first)

    def show(self, samples: Sequence[Any], path: Path) -> Path:
        """A sheet: 2-D scans side by side, volumes as three planes with their masks drawn over; marked synthetic."""
        from suffuse.modalities.scans.pictures import sheet

        sheet(list(samples), mark=True).save(path)
        return Path(path)

    def evaluate(self, model: Any, data: CaseRows, **options: Any) -> dict[str, float]:
        from suffuse.modalities.scans.quality import evaluate

        return evaluate(model, data, **options)


def _first(found: Any, limit: int | None) -> Any:
    for k, case in enumerate(found):
        if limit is not None and k >= limit:
            return
        yield case


def _listed(value: Any) -> list[Any]:
    return [v.strip() for v in value.split(",")] if isinstance(value, str) else list(value)


def _as_volume(value: Any, config: dict[str, Any]) -> Any:
    return Volume(value, np.array(config["affine"]), name="array") if isinstance(value, np.ndarray) else value
