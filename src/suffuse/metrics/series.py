"""Scores of generated time series against real ones: spectra, correlations, and the three learnt scores of the field.

Windows are arrays (M, T, C), real and generated on the same scale. Lower is better everywhere. Each figure means something
only beside the same figure for real windows against other real windows (`against_real`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def power_spectrum_distance(real: np.ndarray, made: np.ndarray) -> float:
    """Mean absolute difference of the log power spectra, averaged over windows first (channels and frequencies alike)."""

    def spectrum(x: np.ndarray) -> np.ndarray:
        return np.log(np.mean(np.abs(np.fft.rfft(x - x.mean(1, keepdims=True), axis=1)) ** 2, axis=0)[1:] + 1e-12)

    return float(np.abs(spectrum(real) - spectrum(made)).mean())


def correlational_score(real: np.ndarray, made: np.ndarray) -> float:
    """Mean absolute difference of the correlation matrices of channels over all times (Ni et al. 2020; Diffusion-TS)."""

    def correlation(x: np.ndarray) -> np.ndarray:
        return np.corrcoef(x.reshape(-1, x.shape[-1]).T + 0.0)

    return float(np.abs(correlation(real) - correlation(made)).mean()) if real.shape[-1] > 1 else 0.0


def autocorrelation_distance(real: np.ndarray, made: np.ndarray) -> float:
    """Mean absolute difference of autocorrelations at lags 1..T/2, pooled over windows, per channel."""

    def function(x: np.ndarray) -> np.ndarray:
        x = x - x.mean((0, 1))
        lags = range(1, x.shape[1] // 2 + 1)
        return np.array([(x[:, k:] * x[:, :-k]).mean((0, 1)) / (x**2).mean((0, 1)).clip(1e-12) for k in lags])

    return float(np.abs(function(real) - function(made)).mean())


def discriminative_score(real: np.ndarray, made: np.ndarray, seed: int = 0, steps: int = 400) -> float:
    """|accuracy - 1/2| of a GRU that learns to tell real windows from made ones, on a held-out fifth (Yoon et al. 2019).

    Both sets are scaled by the moments of the real one and taken to the same number.
    """
    import torch
    from torch import nn

    rng = np.random.default_rng(seed)
    real, made = _same_number(*_scaled(real, made), rng)
    x = torch.tensor(np.concatenate([real, made]), dtype=torch.float32)
    y = torch.cat([torch.ones(len(real)), torch.zeros(len(made))])
    order = torch.from_numpy(rng.permutation(len(x)))
    test, train = order[: len(x) // 5], order[len(x) // 5 :]
    net = _GRU(x.shape[-1], max(x.shape[-1] // 2, 8), 1, seed)
    _fit(
        net,
        lambda rows: nn.functional.binary_cross_entropy_with_logits(net(x[rows])[:, -1, 0], y[rows]),
        train,
        steps,
        rng,
    )
    with torch.no_grad():
        right = ((net(x[test])[:, -1, 0] > 0).float() == y[test]).float().mean()
    return abs(float(right) - 0.5)


def predictive_score(real: np.ndarray, made: np.ndarray, seed: int = 0, steps: int = 400) -> float:
    """Mean absolute error, on real windows, of a GRU trained on made ones to predict the next step of the last channel from
    the other channels (from itself where there is one channel); train on synthetic, test on real (Yoon et al. 2019). The
    error is in units of the range of the real last channel, as published."""
    import torch

    rng = np.random.default_rng(seed)
    real, made = _scaled(real, made)

    def pairs(x: np.ndarray) -> tuple[Any, Any]:
        x = torch.tensor(x, dtype=torch.float32)
        return (x[:, :-1, :-1] if x.shape[-1] > 1 else x[:, :-1]), x[:, 1:, -1]

    (a, b), (c, d) = pairs(made), pairs(real)
    net = _GRU(a.shape[-1], max(a.shape[-1] // 2, 8), 1, seed)
    _fit(net, lambda rows: (net(a[rows])[..., 0] - b[rows]).abs().mean(), torch.arange(len(a)), steps, rng)
    with torch.no_grad():
        return float((net(c)[..., 0] - d).abs().mean() / (d.max() - d.min()).clamp(min=1e-12))


def context_fid(real: np.ndarray, made: np.ndarray, seed: int = 0, steps: int = 400, dim: int = 64) -> float:
    """Frechet distance in features of a small convolutional encoder trained on the real windows alone, by telling two
    noisy crops of one window from those of others (after Jeha et al. 2022, with their TS2Vec replaced by this port).

    Not comparable with published context-FID beyond its order: the encoder differs.
    """
    import torch

    from suffuse.metrics.frechet import frechet

    rng = np.random.default_rng(seed)
    real, made = _scaled(real, made)
    a, b = (torch.tensor(x, dtype=torch.float32).transpose(1, 2) for x in (real, made))
    net = _Encoder(a.shape[1], dim, seed)
    noise = torch.Generator().manual_seed(seed)

    def loss(rows: Any) -> Any:
        x = a[rows]
        views = []
        for _ in range(2):
            keep = (torch.rand(len(x), 1, x.shape[-1], generator=noise) > 0.2).float()
            views.append(
                torch.nn.functional.normalize(net(x * keep + 0.02 * torch.randn(x.shape, generator=noise)), dim=1)
            )
        scores = views[0] @ views[1].T / 0.1
        target = torch.arange(len(x))
        return torch.nn.functional.cross_entropy(scores, target) + torch.nn.functional.cross_entropy(scores.T, target)

    _fit(net, loss, torch.arange(len(a)), steps, rng)
    with torch.no_grad():
        return frechet(net(a), net(b))


def against_real(score: Callable[..., float], real: np.ndarray, made: np.ndarray, repeats: int = 5) -> dict[str, float]:
    """{"score", "std", "real", "real_std"} over repeats: made against one half of the real windows, and the other half of
    the real windows against it."""
    ours, floor = [], []
    for seed in range(repeats):
        order = np.random.default_rng(seed).permutation(len(real))
        first, second = real[order[: len(real) // 2]], real[order[len(real) // 2 :]]
        rows = np.random.default_rng(seed).permutation(len(made))[: len(second)]
        extra = {"seed": seed} if "seed" in score.__code__.co_varnames else {}
        ours.append(score(first, made[rows], **extra))
        floor.append(score(first, second, **extra))
    return {
        "score": float(np.mean(ours)),
        "std": float(np.std(ours)),
        "real": float(np.mean(floor)),
        "real_std": float(np.std(floor)),
    }


# -- pieces ---------------------------------------------------------------------------------------------------------
def _scaled(real: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre, spread = real.mean((0, 1)), real.std((0, 1))
    spread = np.where(spread > 0, spread, 1)
    return (real - centre) / spread, (made - centre) / spread


def _same_number(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    size = min(len(a), len(b))
    return a[rng.permutation(len(a))[:size]], b[rng.permutation(len(b))[:size]]


def _GRU(inputs: int, hidden: int, outputs: int, seed: int) -> Any:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.out = nn.GRU(inputs, hidden, num_layers=2, batch_first=True), nn.Linear(hidden, outputs)

        def forward(self, x: Any) -> Any:
            return self.out(self.gru(x)[0])

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Net()


def _Encoder(channels: int, dim: int, seed: int) -> Any:
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        convolutions = []
        width = 32
        for k in range(3):
            convolutions += [nn.Conv1d(channels if k == 0 else width, width, 3, padding=2**k, dilation=2**k), nn.GELU()]
        return nn.Sequential(*convolutions, nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(width, dim))


def _fit(net: Any, loss: Callable, rows: Any, steps: int, rng: np.random.Generator, batch: int = 128) -> None:
    import torch

    optimiser = torch.optim.Adam(net.parameters(), lr=4e-3)
    rows = rows.numpy()
    for _ in range(steps):
        chosen = torch.from_numpy(rng.choice(rows, min(batch, len(rows)), replace=False))
        value = loss(chosen)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
