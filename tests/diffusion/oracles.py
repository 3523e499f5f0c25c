"""Exact denoisers: distributions whose posterior mean is known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor


class MixtureOracle:
    """A Gaussian mixture in D dimensions with means (M, D), one deviation and equal weights; field "x" of shape (B, D)."""

    def __init__(self, schedule, means: Tensor, std: float):
        self.schedule, self.means, self.std, self.calls = schedule, means, std, 0

    def __call__(self, x, levels, context, targets=None):
        self.calls += 1
        value, t = x["x"], levels["x"]
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        variance = alpha**2 * self.std**2 + sigma**2
        gap = value[:, None] - alpha[:, None] * self.means
        weight = torch.softmax(-(gap**2).sum(-1) / (2 * variance), dim=1)
        gain = alpha * self.std**2 / variance
        each = self.means + gain[:, None] * gap
        return {"x": (weight[..., None] * each).sum(1)}


class GaussianOracle:
    """N(mean, covariance) in D dimensions with a level per entry; field "x" of shape (B, D)."""

    def __init__(self, schedule, mean: Tensor, covariance: Tensor, noise_covariance: Tensor | None = None):
        self.schedule, self.mean, self.covariance = schedule, mean, covariance
        self.noise = torch.eye(len(mean), dtype=mean.dtype) if noise_covariance is None else noise_covariance

    def __call__(self, x, levels, context, targets=None):
        t = levels["x"].expand(x["x"].shape)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        a, s = torch.diag_embed(alpha), torch.diag_embed(sigma)
        total = a @ self.covariance @ a + s @ self.noise @ s
        total = total + 1e-13 * torch.eye(len(self.mean), dtype=total.dtype)
        gap = (x["x"] - alpha * self.mean).unsqueeze(-1)
        return {"x": self.mean + (self.covariance @ a @ torch.linalg.solve(total, gap)).squeeze(-1)}
