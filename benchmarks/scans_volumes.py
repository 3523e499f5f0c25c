"""Line 3 of the scans room: drawn hippocampus volumes beside MONAI's 3-D diffusion network, and whether they are copies."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import scans_few
import torch
from tables import table, training_time
from torch import Tensor


def filled(image: Tensor, seen: Tensor) -> Tensor:
    """(N, 1, *grid) volumes whose padding repeats the nearest voxel inside (the seen part is a box)."""
    out = []
    for one, there in zip(image, seen[:, 0], strict=True):
        for axis in range(3):
            inside = there.any(dim=[k for k in range(3) if k != axis]).nonzero()[:, 0]
            rows = torch.arange(there.shape[axis]).clamp(int(inside[0]), int(inside[-1]))
            one = one.index_select(axis + 1, rows)
        out.append(one)
    return torch.stack(out)


class Judge:
    """Pooled features (64) of a segmentation network trained on the pool with all its masks."""

    def __init__(self, base: Any, volumes: Any, work: Path, minutes: float, seed: int):
        from suffuse.model import Model

        path = work / f"scans_judge_{minutes:g}.pt.safetensors"
        torch.manual_seed(seed)
        self.model = Model.new(base.modality)
        if path.is_file():
            from safetensors.torch import load_file

            self.model.denoiser.load_state_dict(load_file(path))
        else:
            from safetensors.torch import save_file

            scans_few.fit(self.model, volumes.take(torch.arange(scans_few.POOL)), None, minutes, seed)
            save_file(self.model.denoiser.state_dict(), path)
        self.model.denoiser.eval()

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> Tensor:
        """(N, 1, *grid) in 0..1, all seen -> (N, 64)."""
        out, classes = [], self.model.modality.config["mask_classes"]
        for x in image.split(20):
            tokens = torch.full((len(x), *x.shape[2:]), classes)
            levels = {"image": torch.zeros(len(x), 1, 1, 1, 1), "mask": torch.ones(len(x), 1, 1, 1)}
            out.append(
                self.model.denoiser.network.features(
                    {"image": self.model.modality.scale(x), "mask": tokens}, levels, {}
                )
            )
        return torch.cat(out)


def run(
    data: Path, work: Path, minutes: float, peers: str | None, seed: int, count: int = 100, calls: int = 20
) -> None:
    """minutes: of each generator; ours is that of `few` with a third of them, if it is there. peers: a Python with MONAI."""
    from suffuse.metrics.frechet import frechet
    from suffuse.metrics.memorisation import nearest_distances

    found = scans_few.everything(data)
    base = scans_few.pretrain(data, work, minutes, seed)
    volumes = scans_few.Volumes(base, found)
    real = filled(volumes.image, volumes.seen)
    train, held = real[: scans_few.POOL], real[scans_few.POOL :]
    judge = Judge(base, volumes, work, minutes / 3, seed)
    task = base.modality.request(count, None, index=torch.arange(count))
    task.start.held["mask"] = torch.ones_like(task.x["mask"], dtype=torch.bool)
    made: dict[str, tuple[Tensor, str, Any]] = {}
    ours = work / f"scans_volumes_made_{calls}.npz"
    if not ours.is_file():
        begun = time.process_time()
        image = base.modality.unscale(base.run(task, steps=calls, seed=seed, batch=20, precision="bf16")["image"])
        np.savez(ours, made=image[:, 0].half().numpy(), seconds=time.process_time() - begun)
    size = sum(p.numel() for p in base.denoiser.parameters())
    files = {f"suffuse ({size:,} parameters, {base.notes['steps']} steps)": ours}
    if peers:
        theirs = work / f"scans_volumes_monai_{calls}.npz"
        if not theirs.is_file():
            np.save(work / "scans_volumes_train.npy", train[:, 0].half().numpy())
            script = Path(__file__).with_name("scans_peers.py")
            words = ["--minutes", minutes, "--calls", calls, "--count", count, "--seed", seed]
            subprocess.run(
                [peers, script, work / "scans_volumes_train.npy", theirs, *map(str, words)], check=True
            )  # fmt: skip
        with np.load(theirs) as file:
            name = (
                f"MONAI 1.6.1 DiffusionModelUNet ({int(file['parameters']):,} parameters, {int(file['steps'])} steps)"
            )
        files[name] = theirs
    for name, path in files.items():
        with np.load(path) as file:
            made[name] = torch.from_numpy(file["made"]).float()[:, None], calls, float(file["seconds"]) / count
    f_train, f_held = judge(train), judge(held)
    few = len(held)
    percentile = float(nearest_distances(held, train)[0].double().quantile(0.01))
    rows: list[list[Any]] = [
        ["held-out volumes", "", frechet(f_held, f_train), frechet(f_train[:few], f_held), 1.0, f"{few}", ""]
    ]
    for name, (image, used, seconds) in made.items():
        f = judge(image.clamp(-0.2, 1.5))
        near = float(nearest_distances(image, train)[0].double().quantile(0.01)) / percentile
        rows.append([name, used, frechet(f, f_train), frechet(f[:few], f_held), near, f"{len(image)}", seconds])
    if len(made) == 2:
        rows.append(["ratio, ours to theirs", "", *(rows[1][k] / rows[2][k] for k in (2, 3)), "", "", ""])
    notes = (
        f"MSD Task04 on 32 x 48 x 32, padding repeats the nearest voxel; {len(train)} training volumes, {few} held out. Both "
        f"generators: {minutes:g} minutes of process time, bf16, the same {calls} calls ({training_time(base.notes)} for ours, "
        "which also saw 5 masks). Features: the 64 pooled features of a segmentation network trained on the training volumes "
        f"and all their masks ({minutes / 3:g} minutes). Against held-out volumes: the first {few} of each. Nearest distance: "
        "1st percentile of the Euclidean distance to training volumes, over that of held-out volumes (bar .95)."
    )
    head = [
        "volumes",
        "calls",
        "Frechet to training",
        f"Frechet to held-out, {few} each",
        "1st percentile of nearest distance",
    ]
    table("scans_volumes", "Scans 3: volumes", [*head, "samples", "seconds a volume"], rows, notes)
