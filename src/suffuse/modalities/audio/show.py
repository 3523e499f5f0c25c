"""Pictures of sound: spectrograms, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from suffuse.files import atomic_write

DEPTH = 70.0
"""dB from the brightest to the darkest of a picture."""


def decibels(wave: np.ndarray, rate: int, n_fft: int | None = None) -> np.ndarray:
    """(F, T) dB, of a window of about 32 ms and a quarter of it as hop."""
    n_fft = n_fft or 1 << max(6, round(np.log2(0.032 * rate)))
    spectrum = torch.stft(
        torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32)),
        n_fft,
        n_fft // 4,
        window=torch.hann_window(n_fft),
        pad_mode="constant",
        return_complex=True,
    )
    return 20 * spectrum.abs().clamp(min=1e-7).log10().numpy()


def spectrograms(samples: Sequence[Any], path: Path, titles: Sequence[str] = (), columns: int = 4) -> Path:
    """A picture of the spectrograms of (samples, rate) pairs, on one scale of dB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = Path(path)
    samples = list(samples)[:16]
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    figure = Figure(figsize=(3.2 * columns, 1.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    pictures = [decibels(wave, rate) for wave, rate in samples]
    top = max(float(p.max()) for p in pictures)
    for number, (picture, (wave, rate)) in enumerate(zip(pictures, samples, strict=True)):
        axes = figure.add_subplot(rows, columns, number + 1)
        extent = (0, len(wave) / rate, 0, rate / 2000)
        axes.imshow(picture, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - DEPTH, vmax=top)
        axes.tick_params(labelsize=6)
        if number < len(titles):
            axes.set_title(titles[number], fontsize=7)
    with atomic_write(path.with_suffix(".png") if not path.suffix else path) as partial:
        figure.savefig(partial, dpi=100)
    return path if path.suffix else path.with_suffix(".png")
