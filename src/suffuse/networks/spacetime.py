"""Attention over space and time together: every cell of every frame of a clip sees every other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suffuse.networks.layers import MLP, RMSNorm, SelfAttention

WAVES = {"time": 100.0, "space": 20.0}
"""Base of the rotary frequencies of an axis; the longest wave is 2 pi times as many frames or cells."""


class AxialRotary(nn.Module):
    """Rotary position embedding (Su et al. 2021) whose frequencies are dealt out among axes, so that attention depends on how
    far apart two cells are in time, in height and in width.

    head_dim: even. bases: one an axis; the first axis gets half of the head_dim / 2 frequencies, the others share the rest.
    forward(grid) with one length an axis answers (cos, sin), each (1, 1, cells, head_dim), for `layers.rotate`.
    """

    def __init__(self, head_dim: int, bases: Sequence[float]):
        super().__init__()
        half, rest = head_dim // 2, len(bases) - 1
        if head_dim % 2 or half < len(bases):
            raise ValueError(f"{len(bases)} axes need an even head size of at least {2 * len(bases)}, not {head_dim}")
        each = max(1, half // (2 * rest)) if rest else half
        counts = [half - rest * each] + [each] * rest
        for axis, (count, base) in enumerate(zip(counts, bases, strict=True)):
            self.register_buffer(f"frequency{axis}", base ** (-torch.arange(count) / count), persistent=False)
        self.axes = len(bases)

    def forward(self, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
        frequencies = [getattr(self, f"frequency{axis}").float() for axis in range(self.axes)]
        places = torch.meshgrid(*(torch.arange(n, device=frequencies[0].device) for n in grid), indexing="ij")
        parts = [p.flatten()[:, None] * f for p, f in zip(places, frequencies, strict=True)]
        angle = torch.cat([*parts, *parts], dim=-1)[None, None]
        return angle.cos(), angle.sin()


class SpaceTime(nn.Module):
    """A transformer block over all cells of all frames: what moves is followed to wherever it goes.

    forward(x (B * T, C, H, W), frames T) -> the same shape. Positions are relative (rotary), so that clips may be longer and
    frames larger than those in training. Both parts are residual and start at zero. Memory of attention grows with
    T * H * W, its time with the square. hidden: width of the perceptron (default twice the channels).
    """

    def __init__(self, channels: int, head: int = 32, hidden: int | None = None):
        super().__init__()
        heads = max(1, channels // head)
        self.rotary = AxialRotary(channels // heads, (WAVES["time"], WAVES["space"], WAVES["space"]))
        self.norm, self.attention = RMSNorm(channels), SelfAttention(channels, heads)
        self.norm_each, self.each = RMSNorm(channels), MLP(channels, hidden or 2 * channels)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        total, channels, height, width = x.shape
        h = x.unflatten(0, (-1, frames)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        h = h + self.attention(self.norm(h), self.rotary((frames, height, width)))
        h = h + self.each(self.norm_each(h))
        h = h.unflatten(1, (frames, height, width)).permute(0, 1, 4, 2, 3)
        return h.reshape(total, channels, height, width)
