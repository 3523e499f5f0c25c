"""A transformer over embedded tokens, the backbone of text, series, audio frames and any set of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suffuse.networks.layers import AdaptiveNorm, RMSNorm, Rotary, TransformerBlock, attention_bias


class TokenTransformer(nn.Module):
    """Tokens (B, L, dim) to tokens (B, L, dim), normalised at the end; the caller embeds and unembeds.

    forward(x, cond=None, key_mask=None, positions=None, bias=None):
      x: (B, L, dim) embedded tokens.
      cond: (B, L, cond) a condition per token, or (B, 1, cond) per sample; needed exactly when `cond` was set.
      key_mask: (B, L) bool, True where the token exists (may be attended to).
      positions: (L,) or (B, L) integer or real positions for the rotary embedding; default 0..L-1. With `rotary=False`
        no positions are used and the network is equivariant to permutations of its tokens.
      bias: bool (True: attend) or additive, broadcastable to (B, heads, L, L); e.g. `causal(L)`.

    Example: TokenTransformer(dim=192, depth=6, heads=6, cond=192); plain attention for JVPs: `.plain_attention()`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        cond: int | None = None,
        hidden: int | None = None,
        rotary: bool = True,
        base: float = 10000.0,
    ):
        super().__init__()
        self.dim, self.cond = dim, cond
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, cond, hidden) for _ in range(depth))
        self.rotary = Rotary(dim // heads, base) if rotary else None
        self.norm = RMSNorm(dim) if cond is None else AdaptiveNorm(dim, cond, gated=False)

    def plain_attention(self, plain: bool = True) -> TokenTransformer:
        """Use plain attention, which has forward-mode derivatives, instead of the fused kernel; returns self."""
        for block in self.blocks:
            block.attention.plain = plain
        return self

    def rotation(self, length: int, positions: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """The rotary embedding at `positions` (default 0..length-1), or None."""
        if self.rotary is None:
            return None
        return self.rotary(torch.arange(length, device=device) if positions is None else positions)

    def forward(
        self,
        x: Tensor,
        cond: Tensor | None = None,
        key_mask: Tensor | None = None,
        positions: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        if (cond is None) != (self.cond is None):
            raise ValueError("TokenTransformer: pass `cond` exactly when it was built with one")
        rotary = self.rotation(x.shape[1], positions, x.device)
        bias = attention_bias(key_mask, bias)
        for block in self.blocks:
            x = block(x, cond, rotary, bias)
        return self.norm(x) if cond is None else self.norm(x, cond)[0]


def causal(length: int, device: torch.device | str | None = None) -> Tensor:
    """(length, length) bool, True where a token may look (itself and what is left of it)."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def block_causal(length: int, block: int, device: torch.device | str | None = None) -> Tensor:
    """(length, length) bool: a token sees its own block of `block` tokens and all earlier blocks (Arriola et al. 2025)."""
    number = torch.arange(length, device=device) // block
    return number[:, None] >= number[None, :]
