"""Pieces of networks over regular grids of one, two or three axes; tensors are (B, C, *grid)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.layers import attend, attention_bias

_CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def per_axis(value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    """One whole number for each grid axis."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


def convolution(dims: int, inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
    """A convolution of odd kernel size that keeps the size of the grid."""
    return _CONV[dims](inputs, outputs, kernel, padding=kernel // 2)


def zero(layer: nn.Module) -> nn.Module:
    """The same layer with all weights at zero, so that a residual branch or a network starts as nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def group_norm(channels: int, group: int = 8, affine: bool = True) -> nn.GroupNorm:
    """Group norm with about `group` channels a group (Wu & He 2018); always a divisor of `channels`."""
    return nn.GroupNorm(max(1, channels // math.gcd(channels, group)), channels, affine=affine)


class Patchify(nn.Module):
    """Folds patches of the grid into channels and projects them: (B, C, *grid) -> (B, width, *grid / patch)."""

    def __init__(self, dims: int, inputs: int, width: int, patch: tuple[int, ...]):
        super().__init__()
        self.project = _CONV[dims](inputs, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x)


class Unpatchify(nn.Module):
    """Projects and unfolds channels to patches: (B, width, *grid) -> (B, outputs, *grid * patch)."""

    def __init__(self, dims: int, width: int, outputs: int, patch: tuple[int, ...]):
        super().__init__()
        self.patch, self.outputs, self.dims = patch, outputs, dims
        self.project = _CONV[dims](width, outputs * math.prod(patch), 1)

    def forward(self, x: Tensor) -> Tensor:
        return unfold_patches(self.project(x), self.outputs, self.patch)


def unfold_patches(x: Tensor, channels: int, patch: tuple[int, ...]) -> Tensor:
    """(B, channels * prod(patch), *grid) -> (B, channels, *grid * patch), for any number of grid axes."""
    if math.prod(patch) == 1:
        return x
    grid, dims = x.shape[2:], len(patch)
    x = x.reshape(x.shape[0], channels, *patch, *grid)
    order = [0, 1] + [axis for k in range(dims) for axis in (2 + dims + k, 2 + k)]
    return x.permute(order).reshape(x.shape[0], channels, *(g * p for g, p in zip(grid, patch, strict=True)))


class FiLM(nn.Module):
    """Adaptive group norm: normalise, then scale and shift each channel by the condition (Perez et al. 2018)."""

    def __init__(self, channels: int, condition: int):
        super().__init__()
        self.norm = group_norm(channels, affine=False)
        self.linear = nn.Linear(condition, 2 * channels)
        nn.init.normal_(self.linear.weight, std=0.3 / math.sqrt(condition))
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x: (B, C, *grid), condition: (B, condition), already through its non-linearity."""
        scale, shift = self.linear(condition).reshape(x.shape[0], -1, *(1,) * (x.dim() - 2)).chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class GridBlock(nn.Module):
    """Residual block: norm, SiLU, convolution, FiLM, SiLU, convolution (starts as the identity)."""

    def __init__(self, dims: int, channels: int, condition: int, kernel: int = 3):
        super().__init__()
        self.norm = group_norm(channels)
        self.first = convolution(dims, channels, channels, kernel)
        self.film = FiLM(channels, condition)
        self.second = zero(convolution(dims, channels, channels, kernel))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.first(F.silu(self.norm(x)))
        return x + self.second(F.silu(self.film(h, condition)))


class GridAttention(nn.Module):
    """Every cell of the grid attends to every cell and, when `tokens` > 0, to tokens of that width too (residual).

    Set `.plain = True` for forward-mode derivatives (no fused kernel).
    """

    def __init__(self, dims: int, channels: int, tokens: int = 0, head: int = 32):
        super().__init__()
        self.heads, self.plain = max(1, channels // head), False
        self.norm = group_norm(channels)
        self.qkv = _CONV[dims](channels, 3 * channels, 1)
        self.token_kv = nn.Linear(tokens, 2 * channels) if tokens else None
        self.out = zero(_CONV[dims](channels, channels, 1))

    def forward(self, x: Tensor, tokens: Tensor | None = None, exists: Tensor | None = None) -> Tensor:
        """tokens: (B, L, tokens), exists: (B, L) bool, False where a token is padding."""
        batch, channels, cells = x.shape[0], x.shape[1], math.prod(x.shape[2:])

        def split(flat: Tensor) -> Tensor:  # (B, length, C) -> (B, heads, length, C / heads)
            return flat.reshape(batch, -1, self.heads, channels // self.heads).transpose(1, 2)

        q, k, v = (split(part) for part in self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=-1))
        mask = None
        if self.token_kv is not None and tokens is not None:
            token_k, token_v = (split(part) for part in self.token_kv(tokens).chunk(2, dim=-1))
            k, v = torch.cat([k, token_k], dim=2), torch.cat([v, token_v], dim=2)
            if exists is not None:
                mask = F.pad(exists, (cells, 0), value=True)
        h = attend(q, k, v, attention_bias(mask, None), self.plain)
        return x + self.out(h.transpose(1, 2).reshape(batch, cells, channels).transpose(1, 2).reshape(x.shape))


class Upsample(nn.Module):
    """A 1x1 projection, then nearest-neighbour growth by `stride`."""

    def __init__(self, dims: int, inputs: int, outputs: int, stride: tuple[int, ...]):
        super().__init__()
        self.stride = stride
        self.project = _CONV[dims](inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.project(x), scale_factor=[float(s) for s in self.stride], mode="nearest")


def pad_to_multiple(x: Tensor, multiple: tuple[int, ...]) -> Tensor:
    """Repeats the last cells of each axis until its size is a multiple; crop with `[..., :size]` afterwards."""
    missing = [-size % m for size, m in zip(x.shape[2:], multiple, strict=True)]
    if not any(missing):
        return x
    return F.pad(x, [amount for m in reversed(missing) for amount in (0, m)], mode="replicate")
