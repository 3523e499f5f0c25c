"""Line 4 of the scans room: one modality turned into another, T1 to T2 and MRI to CT, on slabs that no training has seen."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from scans_plain import Plain, errors, gradient_spectrum, spread_figures
from tables import table, training_time

FILES = {
    "t1": "mni152_t1_t2/MNI152_T1_2mm.nii.gz",
    "t2": "mni152_t1_t2/MNI152_T2_2mm.nii.gz",
    "ct": "ct_template/scct.nii.gz",
}
SLABS = ((22, 28), (42, 48), (60, 66))
"""Held-out axial slices; two more on either side are used by nobody."""
WINDOW, STRIDE = 48, 12


def volumes(data: Path) -> dict[str, np.ndarray]:
    """The triple on its common grid, each scaled to 0..1 by its 1st and 99.5th percentile, as slices (K, X, Y)."""
    import nibabel

    out = {}
    for name, file in FILES.items():
        values = np.asarray(nibabel.load(data / "medical" / file).dataobj, np.float32)
        low, high = np.percentile(values, (1, 99.5))
        out[name] = np.clip((values - low) / (high - low), 0, 1.5).transpose(2, 0, 1)
    return out


def patches(stack: np.ndarray) -> np.ndarray:
    """(n, C, 48, 48) overlapping windows of slices (K, C, X, Y) that hold something, and their mirror images."""
    found = []
    for x in range(0, stack.shape[2] - WINDOW + 1, STRIDE):
        for y in range(0, stack.shape[3] - WINDOW + 1, STRIDE):
            found.append(stack[:, :, x : x + WINDOW, y : y + WINDOW])
    found = np.concatenate(found)
    found = found[found[:, 0].mean((1, 2)) > 0.1]
    return np.concatenate([found, found[:, :, ::-1]])


def run(data: Path, work: Path, minutes: float, draws: int, seed: int) -> None:
    import suffuse
    from suffuse.modalities.scans import Case, Volume

    stack = np.stack(list(volumes(data).values()), axis=1)
    test = np.concatenate([np.arange(a, b) for a, b in SLABS])
    near = np.concatenate([np.arange(a - 2, b + 2) for a, b in SLABS])
    train = patches(stack[np.setdiff1d(np.arange(8, 80), near)])
    flat = np.diag([2.0, 2, 2, 1])
    folder = work / "scans_translate"
    if (folder / "config.json").is_file():
        model = suffuse.load(folder)
    else:
        cases = [Case({n: Volume(p[c], flat) for c, n in enumerate(FILES)}) for p in train]
        read = {"grid": [WINDOW, WINDOW], "intensities": [0.0, 1.0], "width": 32}
        model = suffuse.train(
            cases, "scans", minutes=minutes, seed=seed, output=folder, read=read, tasks={"translate": 1.0},
            resume=(folder / "training").is_dir(),
        )  # fmt: skip
    size = sum(p.numel() for p in model.denoiser.parameters())
    real, rows = stack[test], []
    inside = np.broadcast_to(real[:, :1] > 0.1, real[:, :1].shape)[:, 0]
    examples = torch.from_numpy(np.ascontiguousarray(train))
    for given, asked in ((("t1",), "t2"), (("t1", "t2"), "ct")):
        a, b = [list(FILES).index(n) for n in given], list(FILES).index(asked)
        truth = real[:, b]
        plain = Plain(len(a), 1, 34, seed).train(examples[:, a], examples[:, [b]], minutes)
        begun = time.process_time()
        with torch.inference_mode():
            guess = plain(torch.from_numpy(np.ascontiguousarray(real[:, a])))[:, 0].numpy()
        answers = [("regression U-Net", guess, time.process_time() - begun, 1, "", "")]
        made, spent = {}, {}
        for mode in ("one-step", "sample"):
            begun, rest = time.process_time(), []
            for s in real:
                scan = Case({n: Volume(s[list(FILES).index(n)], flat) for n in given})
                found = model.translate(scan, mode, samples=draws, steps=8, seed=seed)
                rest.append(np.stack([case.volumes[asked].values for case in found]))
            made[mode], spent[mode] = np.stack(rest, axis=1), time.process_time() - begun
        calibration = spread_figures(made["sample"], truth, inside)
        answers += [
            ("one call (expected value)", made["one-step"][0], spent["one-step"], 1, "", ""),
            (f"mean of {draws} samples", made["sample"].mean(0), spent["sample"], 8 * draws, *calibration),
            ("one sample", made["sample"][0], spent["sample"] / draws, 8, "", ""),
        ]
        spectrum = gradient_spectrum(truth)
        for name, image, seconds, calls, *calibrated in answers:
            gap = float(np.abs(gradient_spectrum(image) - spectrum).mean())
            rows.append(
                [
                    f"{' + '.join(given)} to {asked}",
                    name,
                    *errors(image, truth, inside),
                    gap,
                    *calibrated,
                    calls,
                    seconds,
                ]
            )
            print(rows[-1], flush=True)
    head = [
        "task",
        "answer",
        "PSNR dB",
        "MAE",
        "gap of gradient spectra",
        "uncertainty-error correlation",
        "90 % coverage",
    ]
    notes = (
        f"MNI152 T1 and T2 and the CT template on one grid: averages of groups, no patient. Axial slices {SLABS} (ends left "
        f"out) are held out, two more on either side used by nobody. One model of three channels ({size:,} parameters, "
        f"{training_time(model.notes)}) translates any into any; each regression U-Net ({plain.parameters:,} parameters, "
        f"{plain.steps} steps) is trained for one pair, {minutes:g} minutes of process time. Intensities in units of each "
        "volume's 1st to 99.5th percentile, over cells where T1 is above .1. Whole slices, by overlapping windows. Gap: mean "
        "absolute difference of log power of the gradient's magnitude over radial frequencies. One training seed."
    )
    table("scans_translate", "Scans 4: one modality turned into another", [*head, "calls", "seconds"], rows, notes)
