"""Pieces shared by the networks of all modalities: embeddings of levels, attention, adaptive norms, blocks.

Everything works on tokens (B, L, dim). Conditioning is a tensor (B, L, cond) with one condition per token, or
(B, 1, cond) with one per sample. No dropout and no batch norm; what writes into a residual stream starts at zero.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def zero_init(module: nn.Module) -> nn.Module:
    """Set all parameters of a module to zero, in place, and return it."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class LevelEmbedding(nn.Module):
    """A noise level in [0, 1], of any shape (...), as a vector: (..., dim).

    Fourier features of fixed, geometrically spaced frequencies (1/2 to `highest` cycles over the unit interval, sine
    and cosine), then a two-layer MLP. Works for levels per sample, per entry or broadcast shapes such as (B, 1).
    """

    def __init__(self, dim: int, features: int = 64, highest: float = 64.0):
        super().__init__()
        half = features // 2
        frequency = 0.5 * (2 * highest) ** (torch.arange(half) / max(half - 1, 1))
        self.register_buffer("frequency", 2 * math.pi * frequency, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, level: Tensor) -> Tensor:
        angle = level.float()[..., None] * self.frequency
        features = torch.cat([angle.sin(), angle.cos()], dim=-1)
        return self.mlp(features.to(self.mlp[0].weight.dtype))


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis (Zhang & Sennrich 2019); `affine=False` has no learnt gain."""

    def __init__(self, dim: int, affine: bool = True, eps: float = 1e-6):
        super().__init__()
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.to(x.dtype)  # mixed types have no fused kernel
        return F.rms_norm(x, (self.dim,), weight, self.eps)


class Rotary(nn.Module):
    """Rotary position embedding (Su et al. 2021, RoFormer) at integer or real positions.

    `forward(positions)` with positions (L,) or (B, L) answers (cos, sin), each (1 or B, 1, L, head_dim), to be handed to
    `rotate`. `base` sets the longest wavelength (2 pi base positions).
    """

    def __init__(self, head_dim: int, base: float = 10000.0):
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rotary embedding needs an even head size, got {head_dim}")
        frequency = base ** (-torch.arange(0, head_dim, 2) / head_dim)
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        if positions.dim() == 1:
            positions = positions[None]
        angle = positions.float()[:, None, :, None] * self.frequency.float()
        angle = torch.cat([angle, angle], dim=-1)
        return angle.cos(), angle.sin()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Apply a rotary embedding (cos, sin) to queries or keys (B, heads, L, head_dim)."""
    cos, sin = (r.to(x.dtype) for r in rotary)
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None, plain: bool = False) -> Tensor:
    """Scaled dot-product attention: q (B, h, L, d), k and v (B, h, S, d), `bias` a bool mask (True: attend) or an additive
    float bias that broadcasts to (B, h, L, S). `plain` avoids the fused kernel, which has no forward-mode derivative."""
    if not plain:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores.masked_fill(~bias, -torch.inf) if bias.dtype == torch.bool else scores + bias
    return scores.softmax(dim=-1) @ v


def attention_bias(key_mask: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """Join a key mask (B, S) bool (True: may be attended to) with a bool or additive bias (broadcastable to (B, h, L, S)).

    A row whose keys are all masked attends to everything, so that padding samples give finite numbers.
    """
    if key_mask is None:
        return bias
    key_mask = key_mask.bool()
    key_mask = (key_mask | ~key_mask.any(dim=-1, keepdim=True))[:, None, None, :]
    if bias is None:
        return key_mask
    if bias.dtype == torch.bool:
        return key_mask & bias
    return bias.masked_fill(~key_mask, torch.finfo(bias.dtype).min)


class SelfAttention(nn.Module):
    """Multi-head self-attention over (B, L, dim), with normalised queries and keys.

    forward(x, rotary=None, bias=None):
      rotary: (cos, sin) from `Rotary`, or None.
      bias: what `attention_bias` answers: bool (True: attend) or additive, broadcastable to (B, heads, L, L).
    Set `.plain = True` for forward-mode derivatives (no fused kernel).
    """

    def __init__(self, dim: int, heads: int, query_norm: bool = True):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} is not a multiple of heads {heads}")
        self.heads, self.plain = heads, False
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = zero_init(nn.Linear(dim, dim, bias=False))
        self.q_norm = RMSNorm(dim // heads) if query_norm else nn.Identity()
        self.k_norm = RMSNorm(dim // heads) if query_norm else nn.Identity()

    def project(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, L, head_dim), rotated: for callers that keep a key-value cache."""
        b, length, _ = x.shape
        q, k, v = self.qkv(x).view(b, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        return q, k, v

    def finish(self, mixed: Tensor) -> Tensor:
        """Attention output (B, heads, L, head_dim) to (B, L, dim)."""
        return self.out(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None = None, bias: Tensor | None = None) -> Tensor:
        q, k, v = self.project(x, rotary)
        return self.finish(attend(q, k, v, bias, self.plain))


class CrossAttention(nn.Module):
    """Attention of tokens x (B, L, dim) to a memory (B, S, memory_dim), optionally with a key mask (B, S)."""

    def __init__(self, dim: int, heads: int, memory_dim: int | None = None):
        super().__init__()
        self.heads, self.plain = heads, False
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(memory_dim or dim, 2 * dim, bias=False)
        self.out = zero_init(nn.Linear(dim, dim, bias=False))

    def forward(self, x: Tensor, memory: Tensor, key_mask: Tensor | None = None) -> Tensor:
        b, length, _ = x.shape
        q = self.q(x).view(b, length, self.heads, -1).transpose(1, 2)
        k, v = self.kv(memory).view(b, memory.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, attention_bias(key_mask, None), self.plain)
        return self.out(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two-layer GELU perceptron on the last axis; the last layer starts at zero."""

    def __init__(self, dim: int, hidden: int | None = None):
        super().__init__()
        hidden = hidden or 4 * dim
        self.up, self.down = nn.Linear(dim, hidden), zero_init(nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class SwiGLU(nn.Module):
    """Gated perceptron (Shazeer 2020) on the last axis; hidden defaults to 8/3 dim rounded up to a multiple of 16."""

    def __init__(self, dim: int, hidden: int | None = None):
        super().__init__()
        hidden = hidden or 16 * math.ceil(8 * dim / 3 / 16)
        self.up, self.down = nn.Linear(dim, 2 * hidden, bias=False), zero_init(nn.Linear(hidden, dim, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.up(x).chunk(2, dim=-1)
        return self.down(value * F.silu(gate))


class AdaptiveNorm(nn.Module):
    """adaLN-zero (Peebles & Xie 2023, DiT): norm(x) (1 + scale) + shift, and a gate for what comes back.

    forward(x (B, L, dim), cond (B, L, cond) or (B, 1, cond)) -> (normed, gate), gate broadcastable to x and 0 at the start.
    `gated=False` makes a final norm: the gate is None and has no parameters.
    """

    def __init__(self, dim: int, cond: int, gated: bool = True):
        super().__init__()
        self.norm = RMSNorm(dim, affine=False)
        self.gated = gated
        self.modulation = zero_init(nn.Linear(cond, (3 if gated else 2) * dim))

    def forward(self, x: Tensor, cond: Tensor) -> tuple[Tensor, Tensor | None]:
        scale, shift, *gate = self.modulation(F.silu(cond)).chunk(3 if self.gated else 2, dim=-1)
        return self.norm(x) * (1 + scale) + shift, gate[0] if gate else None


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and SwiGLU. With `cond` given, both are modulated and gated by adaLN-zero.

    forward(x, cond=None, rotary=None, bias=None): x (B, L, dim); cond (B, L or 1, cond); see `SelfAttention` for the rest.
    With a condition the gates start at zero; without one the output layers do: either way a new block is the identity.
    memory: what `suffuse.caching` keeps of earlier calls, or None.
    """

    def __init__(self, dim: int, heads: int, cond: int | None = None, hidden: int | None = None):
        super().__init__()
        self.memory: Any = None
        self.attention, self.mlp = SelfAttention(dim, heads), SwiGLU(dim, hidden)
        if cond is None:
            self.norm1, self.norm2 = RMSNorm(dim), RMSNorm(dim)
        else:
            self.norm1, self.norm2 = AdaptiveNorm(dim, cond), AdaptiveNorm(dim, cond)
            for layer in (self.attention.out, self.mlp.down):  # the gate is zero already: two zeros would never move
                nn.init.xavier_uniform_(layer.weight)

    def forward(
        self,
        x: Tensor,
        cond: Tensor | None = None,
        rotary: tuple[Tensor, Tensor] | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        if self.memory is None:
            return self.compute(x, cond, rotary, bias)
        return self.memory.recall(x, lambda: self.compute(x, cond, rotary, bias))

    def compute(
        self, x: Tensor, cond: Tensor | None, rotary: tuple[Tensor, Tensor] | None, bias: Tensor | None
    ) -> Tensor:
        """What `forward` answers, never from memory."""
        if cond is None:
            x = x + self.attention(self.norm1(x), rotary, bias)
            return x + self.mlp(self.norm2(x))
        h, gate = self.norm1(x, cond)
        x = x + gate * self.attention(h, rotary, bias)
        h, gate = self.norm2(x, cond)
        return x + gate * self.mlp(h)
