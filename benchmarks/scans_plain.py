"""The plain alternative of the scans room: a regression U-Net of the generator's size, trained for the same minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scans_clock import Clock
from torch import Tensor

from suffuse.networks.unet import UNet


class Plain:
    """A U-Net from one set of channels to another. parameters, steps: what it became."""

    def __init__(self, inputs: int, outputs: int, width: int, seed: int = 0):
        torch.manual_seed(seed)
        self.net = UNet(inputs, outputs, widths=(width, 2 * width), patch=2, condition=128)
        self.parameters, self.steps = sum(p.numel() for p in self.net.parameters()), 0

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x, x.new_zeros(len(x), 128))

    def train(
        self,
        x: Tensor,
        y: Tensor,
        minutes: float,
        batch: int = 32,
        rate: float = 2e-3,
        device: str = "cpu",
        judge: Callable[[], float] | None = None,
    ) -> Plain:
        """Inputs (N, ...) to targets (N, ...): mean squared error, AdamW with warm-up and a cosine to 0, for `minutes`.

        judge: asked ten times for an error on validation data; the best weights are kept, `judged` is [[steps, error], ...].
        """
        self.net.to(device).train()
        x, y = x.to(device), y.to(device)
        optimiser = torch.optim.AdamW(self.net.parameters(), rate, weight_decay=0.01, fused=device != "cpu")
        clock, draw = Clock(minutes, device), torch.Generator(device).manual_seed(0)
        best: Any = None
        self.judged: list[list[float]] = []
        while (done := clock()) < 1:
            rows = torch.randint(len(x), (batch,), generator=draw, device=device)
            with torch.autocast(device, torch.bfloat16):
                found = self(x[rows].float())
            loss = F.mse_loss(found.float(), y[rows].float())
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1, (self.steps + 1) / 50) * 0.5 * (1 + np.cos(np.pi * done))
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimiser.step()
            self.steps += 1
            if judge and 10 * done >= len(self.judged) + 0.9:
                best = self._judge(judge, best)
        if judge:
            self.net.load_state_dict(self._judge(judge, best))
        self.net.eval()
        return self

    def _judge(self, judge: Callable[[], float], best: Any) -> Any:
        self.net.eval()
        with torch.inference_mode():
            error = judge()
        if not self.judged or error < min(e for _, e in self.judged):
            best = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.judged.append([self.steps, error])
        self.net.train()
        return best


def errors(made: np.ndarray, real: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """(PSNR in decibels for a span of 1, mean absolute error) over the cells `inside`."""
    gap = (made - real)[inside]
    return float(-10 * np.log10((gap**2).mean())), float(np.abs(gap).mean())


def spread_figures(draws: np.ndarray, real: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    """(rank correlation of the draws' deviation with the error of their mean, share of truths between the 5 % and 95 % quantiles
    of the draws), over the cells `inside`. draws: (n, ...)."""
    from scipy.stats import spearmanr

    error, deviation = np.abs(draws.mean(0) - real)[inside], draws.std(0)[inside]
    low, high = np.quantile(draws, (0.05, 0.95), axis=0)
    return float(spearmanr(deviation, error)[0]), float(((real >= low) & (real <= high))[inside].mean())


def gradient_spectrum(image: np.ndarray, bins: int = 12) -> np.ndarray:
    """(bins,) log mean power of the gradient magnitude of images (n, H, W) by radial frequency."""
    dy, dx = np.gradient(image, axis=(1, 2))
    power = (np.abs(np.fft.fft2(np.hypot(dy, dx))) ** 2).mean(0)
    fy, fx = np.meshgrid(np.fft.fftfreq(image.shape[1]), np.fft.fftfreq(image.shape[2]), indexing="ij")
    radius = np.minimum((np.hypot(fy, fx) / 0.5 * bins).astype(int), bins)
    return np.log([power[radius == k].mean() for k in range(bins)])
