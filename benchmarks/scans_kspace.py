"""Line 5 of the scans room: X-rays from a quarter of their k-space, by measurement guidance, beside zero-filling and a U-Net."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from scans_plain import Plain, errors, spread_figures
from tables import table, training_time


def lines(size: int, keep: float, centre: int, rng: np.random.Generator) -> np.ndarray:
    """(size,) bool, in the order of the transform: `centre` lowest frequencies and random others, a share `keep` in all."""
    order = np.argsort(np.abs(np.fft.fftfreq(size)))
    mask = np.zeros(size, bool)
    mask[order[:centre]] = True
    mask[rng.permutation(order[centre:])[: round(keep * size) - centre]] = True
    return mask


def run(data: Path, count: int, draws: int, minutes: float, seed: int) -> None:
    import suffuse

    with np.load(data / "medical/medmnist/pneumoniamnist.npz") as file:
        train, val, test = (file[f"{p}_images"].astype(np.float32) / 255 for p in ("train", "val", "test"))
    rng = np.random.default_rng(seed)
    sampled = np.broadcast_to(lines(28, 0.25, 3, rng), (28, 28))

    def measure(x: np.ndarray) -> np.ndarray:
        return np.fft.fft2(x, norm="ortho") * sampled

    def zero_filled(x: np.ndarray) -> np.ndarray:
        return np.fft.ifft2(measure(x), norm="ortho").real.astype(np.float32)

    model = suffuse.load("xray")
    filled, wanted = torch.from_numpy(zero_filled(train))[:, None], torch.from_numpy(train)[:, None]
    plain = Plain(1, 1, model.modality.config["width"], seed)
    plain.train(filled, wanted - filled, minutes)
    chosen = {"val": val[:24], "test": test[np.linspace(0, len(test) - 1, count).astype(int)]}

    def guided(x: np.ndarray, n: int, method: str, steps: int, **more: float) -> np.ndarray:
        """(n, len(x), 28, 28) draws, in 0..1."""
        out = []
        for k, one in enumerate(x):
            found = model.reconstruct(255 * measure(one), sampled, n, method=method, steps=steps, seed=seed + k, **more)
            out.append(np.stack([next(iter(c.volumes.values())).values for c in found]) / 255)
        return np.stack(out, axis=1)

    ways = [(method, steps) for method in ("pigdm", "ddnm") for steps in (10, 20, 40)]
    everywhere = np.ones_like(chosen["val"], bool)
    trials = {w: errors(guided(chosen["val"], 8, *w).mean(0), chosen["val"], everywhere)[0] for w in ways}
    print(trials, flush=True)
    best = max(trials, key=lambda w: trials[w])
    real = chosen["test"]
    everywhere, rows = np.ones_like(real, bool), []
    base = zero_filled(real)
    rows.append(["zero-filling", *errors(base, real, everywhere), "", "", 0, 0.0])
    begun = time.process_time()
    with torch.inference_mode():
        guess = base + plain(torch.from_numpy(base)[:, None])[:, 0].numpy()
    spent = time.process_time() - begun
    rows.append(["zero-filling, then the U-Net", *errors(guess, real, everywhere), "", "", 1, spent])
    begun = time.process_time()
    made = guided(real, draws, *best)
    spent = time.process_time() - begun
    figures = [*errors(made.mean(0), real, everywhere), *spread_figures(made, real, everywhere)]
    rows.append([f"suffuse, mean of {draws} draws", *figures, best[1] * draws, spent])
    rows.append(["suffuse, one draw", *errors(made[0], real, everywhere), "", "", best[1], spent / draws])
    notes = (
        f"PneumoniaMNIST, {len(real)} test pictures of 28 x 28; 7 of 28 columns of k-space (3 lowest, 4 random, one mask for "
        f"all), no noise. suffuse: the shipped `xray` ({training_time(model.notes)}), which knows nothing of masks; method and "
        f"steps chosen on 24 validation pictures: {best[0]}, {best[1]} calls (dB there: "
        + ", ".join(f"{m} {s}: {v:.2f}" for (m, s), v in trials.items())
        + f"). The U-Net ({plain.parameters:,} parameters, {plain.steps} steps in {minutes:g} minutes of process time) is "
        "trained for this mask."
    )
    head = ["answer", "PSNR dB", "MAE", "uncertainty-error correlation", "90 % coverage", "calls", "seconds"]
    table("scans_kspace", "Scans 5: a quarter of k-space", head, rows, notes)
