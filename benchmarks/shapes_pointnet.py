"""A peer of the shapes room: diffusion of points given a latent of the shape, written after Luo & Hu (CVPR 2021, "Diffusion
Probabilistic Models for 3D Point Cloud Generation"): PointNet encoder, affine-coupling flow as prior of the latent, a per-point
network of concat-squash layers that predicts the noise, linear variances. Sizes are theirs, but for the latent's flow (8 layers
for 14) and 100 noise steps."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scans_clock import Clock
from torch import Tensor, nn

LATENT, STEPS = 128, 100


class Encoder(nn.Module):
    """Clouds (B, N, 3) to the mean and log variance (B, LATENT) of their latent."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, 128, 128, 256, 512)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.norms = nn.ModuleList(nn.GroupNorm(8, b) for b in sizes[1:])
        self.head = nn.Sequential(nn.Linear(512, 256), nn.SiLU(), nn.Linear(256, 2 * LATENT))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for k, (layer, norm) in enumerate(zip(self.layers, self.norms)):
            x = norm(layer(x).transpose(1, 2)).transpose(1, 2)
            x = F.relu(x) if k < len(self.layers) - 1 else x
        mean, logvar = self.head(x.amax(1)).float().chunk(2, dim=-1)
        return mean, logvar.clamp(-12, 6)


class Coupling(nn.Module):
    """One affine coupling (Dinh et al. 2017) of one half of the latent given the other."""

    def __init__(self, flip: bool) -> None:
        super().__init__()
        self.flip = flip
        self.net = nn.Sequential(
            nn.Linear(LATENT // 2, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, LATENT)
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def forward(self, w: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        a, b = w.chunk(2, dim=-1)
        if self.flip:
            a, b = b, a
        scale, shift = self.net(a).float().chunk(2, dim=-1)
        scale = scale.tanh()
        b = (b - shift) * (-scale).exp() if inverse else b * scale.exp() + shift
        return torch.cat([b, a] if self.flip else [a, b], dim=-1), scale.sum(-1)


class Squash(nn.Module):
    """Linear layer gated and shifted by a context (concat-squash)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer, self.gate = nn.Linear(inputs, outputs), nn.Linear(LATENT + 3, outputs)
        self.shift = nn.Linear(LATENT + 3, outputs, bias=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.layer(x) * self.gate(context).sigmoid() + self.shift(context)


class PointDiffusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.flow = nn.ModuleList(Coupling(bool(k % 2)) for k in range(8))
        sizes = (3, 128, 256, 512, 256, 128, 3)
        self.layers = nn.ModuleList(Squash(a, b) for a, b in zip(sizes, sizes[1:]))
        beta = torch.linspace(1e-4, 0.05, STEPS)
        self.register_buffer("beta", beta)
        self.register_buffer("kept", (1 - beta).cumprod(0))

    def noise_of(self, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """The noise in points x (B, N, 3) at steps t (B,), given the latent."""
        beta = self.beta[t][:, None]
        context = torch.cat([beta, beta.sin(), beta.cos(), z], dim=-1)[:, None]
        h = x
        for k, layer in enumerate(self.layers):
            h = layer(h, context)
            h = F.leaky_relu(h) if k < len(self.layers) - 1 else h
        return x + h.float()

    def loss(self, x: Tensor, weight: float = 1e-3) -> Tensor:
        """Mean squared error of the noise and `weight` times the latent's divergence from its prior (their eq. 15)."""
        mean, logvar = self.encoder(x)
        z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
        w, jacobian = z, torch.zeros(())
        for layer in self.flow:
            w, change = layer(w)
            jacobian = jacobian + change
        prior = -0.5 * (w.square() + math.log(2 * math.pi)).sum(-1) + jacobian
        entropy = 0.5 * (logvar + 1 + math.log(2 * math.pi)).sum(-1)
        t, noise = torch.randint(STEPS, (len(x),)), torch.randn_like(x)
        kept = self.kept[t][:, None, None]
        found = self.noise_of(kept.sqrt() * x + (1 - kept).sqrt() * noise, t, z)
        return F.mse_loss(found, noise) - weight * (prior + entropy).mean()

    def _half(self, x: Tensor, t: Tensor, z: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.noise_of(x, t, z)

    @torch.inference_mode()
    def sample(self, n: int, points: int, seed: int) -> Tensor:
        """(n, points, 3), all noise steps."""
        draw = torch.Generator().manual_seed(seed)
        z = torch.randn(n, LATENT, generator=draw)
        for layer in reversed(self.flow):
            z, _ = layer(z, inverse=True)
        x = torch.randn(n, points, 3, generator=draw)
        for k in reversed(range(STEPS)):
            t = torch.full((n,), k)
            beta, kept = self.beta[k], self.kept[k]
            x = (x - beta / (1 - kept).sqrt() * self._half(x, t, z)) / (1 - beta).sqrt()
            if k:
                x = x + beta.sqrt() * torch.randn(x.shape, generator=draw)
        return x


def train(clouds: np.ndarray, minutes: float, seed: int, batch: int = 32) -> tuple[PointDiffusion, int]:
    """clouds: (n, many, 3) of zero mean and unit deviation; 512 of the points are drawn anew every time. Adam at 2e-3 with a
    cosine to 0, an average of the weights. Returns the steps too."""
    import copy

    torch.manual_seed(seed)
    model, x = PointDiffusion(), torch.from_numpy(clouds).float()
    average = copy.deepcopy(model).eval().requires_grad_(False)
    optimiser, clock, step = torch.optim.Adam(model.parameters(), 2e-3), Clock(minutes), 0
    while (done := clock()) < 1:
        rows = torch.randint(len(x), (batch,))
        some = x[rows[:, None], torch.randint(x.shape[1], (batch, 512))]
        some = some * torch.where(torch.rand(batch, 1, 1) < 0.5, torch.tensor([-1.0, 1, 1]), torch.ones(3))
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * done))
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(some)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            for old, new in zip(average.parameters(), model.parameters(), strict=True):
                old.lerp_(new, max(1 - 0.998, step**-0.75))
        if step % 200 == 0:
            print(f"PointNet: {100 * done:.0f} %, step {step}, loss {loss.item():.4f}", flush=True)
    return average, step
