"""What is asked of scans by name: segment, translate, anomaly, reconstruct. Each is a level map and a reading of the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from suffuse.diffusion.state import Batch
from suffuse.errors import AskError
from suffuse.modalities.contract import is_dataset
from suffuse.modalities.scans.quality import unlikeness
from suffuse.modalities.scans.volume import Case, Volume


def segment(model: Any, scan: Any, samples: int = 1, *, steps: int = 4, seed: int = 0) -> Case:
    """The mask of a scan, with its uncertainty.

    samples 1: one network call, each voxel's likeliest class. More: that many masks are drawn in `steps` calls each, and
    the class chosen most often wins. notes["probability"]: (K, *grid) array; notes["entropy"]: (*grid) in nats.

    suffuse segment hippocampus scan.nii.gz -o out/
    """
    modality = model.modality
    if not modality.masked:
        raise AskError("this model was trained without masks, so it cannot segment.")
    index = torch.zeros(max(samples, 1), dtype=torch.int64) + torch.arange(max(samples, 1))
    task = modality.request(len(index), scan, index=index)
    if bool((task.start.levels["mask"] == 0).all()):
        raise AskError("the scan comes with a mask already; give the image alone.")
    if samples <= 1:
        levels = {n: task.start.levels[n].expand(len(index), *task.start.levels[n].shape[1:]) for n in task.x}
        x = model.joint.null(
            task.x, dict(task.start.held) | {"mask": torch.ones_like(task.x["mask"], dtype=torch.bool)}
        )
        x["image"] = torch.where(levels["image"] > 0, torch.zeros(()), x["image"])
        with torch.inference_mode():
            logits = modality.wrap(model.denoiser, task)(x, levels, {})["mask"][0]
        share = torch.softmax(logits, -1)
    else:
        drawn = model.run(task, steps=steps, seed=seed)["mask"]
        share = torch.nn.functional.one_hot(drawn, modality.config["mask_classes"]).float().mean(0)
    fields = {**{n: task.x[n][:1] for n in task.x}, "mask": share.argmax(-1)[None]}
    made = modality.decode(fields, task)[0]
    place, case = task.origin[0]
    kept = {n: case.volumes.get(n) for n in made.volumes}
    entropy = -(share * share.clamp(min=1e-9).log()).sum(-1).numpy()
    notes = {
        "probability": np.stack([place.put(p.numpy(), 0.0, task.grid) for p in share.movedim(-1, 0)]),
        "entropy": place.put(entropy, 0.0, task.grid),
    }
    return replace(made, volumes=kept, notes=notes)


def translate(
    model: Any, scan: Any, mode: str = "mean", *, samples: int = 8, steps: int | None = None, seed: int = 0
) -> list[Case]:
    """The channels of a case that are missing, from those that are there.

    mode: "sample" (as many as `samples`), "mean" (of that many samples) or "one-step" (the expected value, one call).
    In "mean" the notes hold the deviation of the samples as notes["deviation"]: channel -> array.
    """
    if mode not in ("sample", "mean", "one-step"):
        raise AskError(f"mode must be sample, mean or one-step, not {mode!r}.")
    modality = model.modality
    n = 1 if mode == "one-step" else samples
    task = modality.request(n, scan, index=torch.arange(n))
    if modality.masked and "mask" not in task.start.held:
        task.start.held["mask"] = task.start.levels["mask"] > 0
    fields = model.run(task, steps=1 if mode == "one-step" else steps, seed=seed)
    made = modality.decode(fields, task)
    if mode != "mean":
        return made
    merged, spread = {}, {}
    for name, first in made[0].volumes.items():
        stack = np.stack([case.volumes[name].values for case in made])
        merged[name] = replace(first, stored=stack.mean(0))
        spread[name] = stack.std(0)
    return [replace(made[0], volumes=merged, notes={"deviation": spread})]


def anomaly_scores(model: Any, task: Any, level: float, repeats: int, steps: int, seed: int) -> torch.Tensor:
    """(n, C, *grid) mean squared distance, in model units, between scans and what the model makes of them after noise."""
    total, x = torch.zeros(()), task.x["image"]
    start = replace(task, start=replace(task.start, levels=dict(task.start.levels)), given=dict(task.given))
    shape = torch.broadcast_shapes(task.start.levels["image"].shape, x[:, :1].shape)
    start.start.levels["image"] = torch.full(shape, level)
    start.given["image"] = torch.zeros(shape, dtype=torch.bool)
    if model.modality.masked:
        start.start.held["mask"] = torch.ones_like(task.x["mask"], dtype=torch.bool)
    for k in range(repeats):
        made = model.run(start, steps=steps, seed=seed + k, guidance=1.0)["image"]
        total = total + (made - x) ** 2
    return total / repeats


class _ImageAlone:
    """A data set of which only the image is shown."""

    def __init__(self, data: Any):
        self.data, self.modality = data, data.modality

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, indices: torch.Tensor) -> Batch:
        full = self.data.batch(indices)
        hidden = {n: torch.zeros_like(v, dtype=torch.bool) for n, v in full.x.items() if n != "image"}
        return Batch(full.x, {**full.observed, **hidden}, index=full.index)


def typicality(model: Any, scans: Any, normal: Any, *, level: float = 0.1) -> torch.Tensor:
    """(n,) how unlike normal scans each scan looks to the network: the Mahalanobis distance of its pooled features at a noise
    level from theirs (Lee et al. 2018), one call a scan.

    An ill picture that is smoother than normal ones is easy to denoise, and an error alone would call it healthy; a distance
    counts either way (`benchmarks/results/scans_anomaly.md`). normal: scans known to be normal, at least 20. A score is no
    diagnosis.
    """
    found = []
    for one in (normal, scans):
        data = one if is_dataset(one) else model.modality.dataset(one)
        found.append(model.features(_ImageAlone(data), level))
        if len(found[0]) < 20:
            raise AskError(f"{len(found[0])} normal scans; at least 20 are needed to know what is usual.")
    return unlikeness(found[1], found[0])


def anomaly(model: Any, scan: Any, level: float = 0.4, *, repeats: int = 4, steps: int = 4, seed: int = 0) -> Case:
    """Where a scan differs from what the model was trained on: it is noised to `level` and brought back, `repeats` times.

    The map (squared distance in deviations of the training data) is the channel "anomaly" of the case that comes back;
    notes["score"] is its mean. A score is no diagnosis.
    """
    if not 0 < level < 1:
        raise AskError(f"level must lie between 0 and 1, not {level!r}.")
    modality = model.modality
    task = modality.request(1, scan, index=torch.zeros(1, dtype=torch.int64))
    if task.origin is None:
        raise AskError("anomaly needs a scan.")
    score = anomaly_scores(model, task, level, repeats, steps, seed)[0].mean(0).numpy()
    place, case = task.origin[0]
    inside = place.cut(np.ones(place.shape, bool), task.grid, False)
    map_ = Volume(
        place.put(score.astype(np.float32), 0.0, task.grid),
        case.reference.affine,
        synthetic=True,
        name="anomaly",
    )
    return Case(
        {**case.volumes, "anomaly": map_}, case.mask, case.label, case.name, {"score": float(score[inside].mean())}
    )


def reconstruct(
    model: Any,
    kspace: Any,
    sampled: Any,
    n: int = 1,
    *,
    noise: float = 0.0,
    method: str | None = None,
    given: dict[str, Any] | None = None,
    **settings: Any,
) -> list[Case]:
    """n images of a 2-D scan from part of its k-space, in physical units.

    kspace: (H, W) complex, the orthonormal 2-D Fourier transform of the image, anything where it was not sampled. sampled:
    (H, W) bool. noise: deviation of the error of each real and imaginary part, in the image's units. method: "pigdm" (the
    default) or "ddnm". A model that was read with `sampled` and trained on the task "reconstruct" is shown the pseudo-inverse of
    `kspace` and answers by "ddnm" alone; it should be asked with the mask that it was trained for.
    """
    from suffuse.modalities.scans import measured
    from suffuse.modalities.scans.operators import KSpace

    modality = model.modality
    learned = modality.config["channels"] == measured.CHANNELS
    if len(modality.config["grid"]) != 2 or not (learned or len(modality.config["channels"]) == 1):
        raise AskError("reconstruct knows 2-D scans of one channel.")
    if modality.config["rule"] == "volume":
        raise AskError("reconstruct needs a model with fixed intensities; train it with intensities=LOW,HIGH.")
    kspace, sampled = np.asarray(kspace), np.asarray(sampled, bool)
    grid = tuple(modality.config["grid"])
    if kspace.shape != grid or sampled.shape != grid or not sampled.any():
        raise AskError(
            f"k-space and its mask must have the model's grid {grid} and hold samples, not {kspace.shape} and {sampled.shape}."
        )
    low, high = modality.config["rule"]
    operator = KSpace(torch.from_numpy(sampled.copy()))
    unit = (high - low) * modality.config["std"]
    offset = operator.apply(torch.full((1, 1, *grid), low + (high - low) * modality.config["mean"]))
    y = torch.from_numpy(np.stack([kspace.real, kspace.imag])[None].astype(np.float32)) * operator.keep
    if learned:
        if method not in (None, "ddnm") or noise:
            raise AskError('a model that was read with sampled knows the method "ddnm" without noise.')
        shown = {"measured": operator.inverse(y)[0, 0].numpy(), **(given or {})}
        made = model.restore(torch.zeros_like(y), operator, method="ddnm", n=n, given=shown, **settings)
        return measured.whole(model, made)
    method = method or "pigdm"
    return model.restore((y - offset) / unit, operator, noise=noise / unit, method=method, n=n, given=given, **settings)
