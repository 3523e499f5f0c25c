"""How samples of a translation are drawn and read, chosen on slices that are not the test's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scans_plain import errors, gradient_spectrum, spread_figures

TRIALS = (
    {"steps": 10, "stochasticity": 0.0, "grid": "rho3", "solver": "deis2"},
    {"steps": 10, "stochasticity": 0.0, "grid": "uniform", "solver": "dpmpp2m"},
    {"steps": 10, "stochasticity": 1.0, "grid": "uniform", "solver": "dpmpp2m"},
    {"steps": 10, "stochasticity": 0.5, "grid": "rho3", "solver": "dpmpp2m"},
    {"steps": 10, "stochasticity": 1.0, "grid": "rho3", "solver": "dpmpp2m"},
    {"steps": 20, "stochasticity": 1.0, "grid": "rho3", "solver": "dpmpp2m"},
)
CONTRASTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
SMOOTH = (0.0, 0.7, 1.0, 1.5, 2.0)


def distance(image: np.ndarray, real: np.ndarray) -> float:
    """Mean absolute difference of the gradient spectra of images (n, H, W)."""
    return float(np.abs(gradient_spectrum(image) - gradient_spectrum(real)).mean())


def smoothed_correlation(draws: np.ndarray, real: np.ndarray, inside: np.ndarray, width: float) -> float:
    """Rank correlation of the error of the mean of draws (n, N, H, W) with the root of their variance after a Gaussian filter
    of `width` cells in every slice."""
    from scipy.ndimage import gaussian_filter
    from scipy.stats import spearmanr

    variance = gaussian_filter(draws.var(0), (0, width, width)) if width else draws.var(0)
    return float(spearmanr(np.sqrt(variance)[inside], np.abs(draws.mean(0) - real)[inside])[0])


def spread(draws: np.ndarray, factor: float) -> np.ndarray:
    """Draws about their mean, their distances from it `factor` times as large."""
    return draws.mean(0) + factor * (draws - draws.mean(0))


def chosen(
    draw: Callable[..., np.ndarray], plain: np.ndarray, real: np.ndarray, inside: np.ndarray, draws: int
) -> tuple[dict[str, Any], float, float, str]:
    """(settings of sampling, cells to smooth over, factor of spread, what was tried).

    draw(part, n, **settings) gives samples. Of the settings whose mean has at least the PSNR of the regression `plain` and whose
    single sample has a nearer gradient spectrum, the one of the highest correlation of spread and error is taken; where there is
    none, the one of the highest PSNR. Then how far the contrast of the inputs varies from sample to sample, likewise.
    """
    score, gap = errors(plain, real, inside)[0], distance(plain, real)
    told, found = [f"U-Net {score:.2f} dB, gap {gap:.2f}"], []
    for setting in TRIALS:
        made = draw("val", 16, **setting)
        width = max(SMOOTH, key=lambda w: smoothed_correlation(made, real, inside, w))
        figures = (
            errors(made.mean(0), real, inside)[0],
            distance(made[0], real),
            smoothed_correlation(made, real, inside, width),
        )
        found.append((figures, setting, width))
        told.append(
            "{steps} calls, stochasticity {stochasticity:g}, {grid}, {solver}: ".format(**setting)
            + f"{figures[0]:.2f} dB, gap of one sample {figures[1]:.2f}, correlation {figures[2]:.3f} (smoothed over {width:g})"
        )
        print("  ", told[-1], flush=True)
    good = [f for f in found if f[0][0] >= score and f[0][1] < gap]
    best, setting, width = max(good, key=lambda f: f[0][2]) if good else max(found, key=lambda f: f[0][0])
    told.append("chosen: {steps} calls, stochasticity {stochasticity:g}, {grid}, {solver}".format(**setting))
    more = [(best, setting, width)]
    for contrast in CONTRASTS[1:]:
        one = {**setting, "contrast": contrast}
        made = draw("val", 16, **one)
        width = max(SMOOTH, key=lambda w: smoothed_correlation(made, real, inside, w))
        figures = (errors(made.mean(0), real, inside)[0], distance(made[0], real))
        more.append(((*figures, smoothed_correlation(made, real, inside, width)), one, width))
        told.append(f"contrast varied by {contrast:g}: {more[-1][0][0]:.2f} dB, correlation {more[-1][0][2]:.3f}")
        print("  ", told[-1], flush=True)
    if good:
        best, setting, width = max((f for f in more if f[0][0] >= score), key=lambda f: f[0][2])
    told.append(f"chosen: {setting.get('contrast', 0):g}")
    made = draw("val", draws, **setting)
    factors = [float(f) for f in np.linspace(0.6, 3, 25)]
    held = [spread_figures(spread(made, f), real, inside)[1] for f in factors]
    factor = factors[int(np.argmin(np.abs(np.array(held) - 0.9)))]
    return setting, width, factor, "; ".join(told) + "."
