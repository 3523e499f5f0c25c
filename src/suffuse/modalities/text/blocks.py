"""Block diffusion (Arriola et al. 2025): causal across blocks, masked diffusion inside, with cached keys and values.

In training the noisy tokens of every block see the clean tokens of the blocks before it, all blocks in one pass over the noisy
and the clean text side by side. In sampling one pass over the text with a block-causal mask says the same, as long as blocks
are written from left to right (`suffuse.diffusion.orders.Blocks`); finished blocks never change, so their keys and values are
kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse.modalities.text.network import TextNetwork
from suffuse.networks.layers import attend

Cache = list[tuple[Tensor, Tensor, Tensor]]
"""Per layer: keys, values (B, heads, S, head size) and normalised states (B, S, dim) of the S tokens before."""


class BlockTextNetwork(TextNetwork):
    """As `TextNetwork` for packed text without labels, with block-causal attention.

    context["clean:text"] (B, L): the clean text, in training and scoring; logits are then those of every block given the clean
    blocks before it. Without it, logits are right for each sample's first block with masked tokens.
    `cached`: keep finished blocks between calls and compute from the first unfinished block on only; logits elsewhere are 0.
    """

    def __init__(self, classes: int, block: int, **sizes: int):
        super().__init__(classes, **sizes)
        self.block, self.cached = block, False
        self._kept: tuple[Tensor, Cache] | None = None

    def forward(
        self,
        x: dict[str, Tensor],
        levels: dict[str, Tensor],
        context: dict[str, Tensor],
        targets: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        tokens = x["text"]
        if "clean:text" in context:
            return {"text": self.logits(self._beside(tokens, context["clean:text"].expand(tokens.shape)))}
        if self.cached:
            return {"text": self._from_cache(tokens)}
        return {"text": self.logits(self._segment(tokens, self._nothing(tokens))[0])}

    # -- training: noisy and clean side by side -----------------------------------------------------------------
    def _beside(self, noisy: Tensor, clean: Tensor) -> Tensor:
        """States of the noisy tokens (B, L, dim): each sees its own noisy block and the clean blocks before it."""
        length = noisy.shape[1]
        at = torch.arange(length, device=noisy.device)
        number = at // self.block
        same, before = number[:, None] == number[None, :], number[:, None] > number[None, :]
        top = torch.cat([same, before], dim=1)
        bottom = torch.cat([torch.zeros_like(same), same | before], dim=1)
        allowed = torch.cat([top, bottom], dim=0)
        h = torch.cat([self.embed(noisy, None), self.embed(clean, None)], dim=1)
        rotary = self.body.rotation(2 * length, torch.cat([at, at]), h.device)
        for i, block in enumerate(self.body.blocks):
            if self.nearby:
                left, right = F.rms_norm(h, h.shape[-1:]).split(length, dim=1)
                h = h + torch.cat([self._mix(i, left, right, number), self._mix(i, right, right, number)], dim=1)
            if i + 1 < len(self.body.blocks):
                h = block(h, None, rotary, allowed)
            else:  # nothing reads the clean half any more
                q, k, v = block.attention.project(block.norm1(h), rotary)
                mixed = attend(q[:, :, :length], k, v, allowed[:length], block.attention.plain)
                h = h[:, :length] + block.attention.finish(mixed)
                h = h + block.mlp(block.norm2(h))
        return self.body.norm(h)

    def _mix(self, layer: int, own: Tensor, earlier: Tensor, number: Tensor) -> Tensor:
        """Local mixing that sees `own` inside a block, `earlier` in the blocks before it and nothing after it."""
        weight = self.nearby[layer].weight.to(own.dtype)
        reach, length = len(weight) // 2, own.shape[1]
        own, earlier = (F.pad(h, (0, 0, reach, reach)) for h in (own, earlier))
        blocks = F.pad(number, (reach, reach), value=-1)
        out = own[:, reach : reach + length] * weight[reach]
        for k in range(len(weight)):
            far, at = abs(k - reach) >= self.block, slice(k, k + length)
            if k != reach and not far:
                out = out + own[:, at] * ((blocks[at] == number)[:, None] * weight[k])
            if k < reach:
                out = out + earlier[:, at] * (weight[k] if far else (blocks[at] < number)[:, None] * weight[k])
        return out

    # -- sampling: one text, finished blocks kept ---------------------------------------------------------------
    def _nothing(self, tokens: Tensor) -> Cache:
        attention = self.body.blocks[0].attention
        b, heads, dim = len(tokens), attention.heads, self.body.dim
        keys = torch.zeros(b, heads, 0, dim // heads, device=tokens.device)
        return [(keys, keys, torch.zeros(b, 0, dim, device=tokens.device)) for _ in self.body.blocks]

    def _segment(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """States of tokens that follow what the cache holds, and the cache with them."""
        begin = cache[0][2].shape[1]
        at = torch.arange(begin + tokens.shape[1], device=tokens.device)
        number = at // self.block
        allowed = number[begin:, None] >= number[None, :]
        h, grown = self.embed(tokens, None, begin), []
        rotary = self.body.rotation(len(at), at[begin:], h.device)
        for i, (block, (keys, values, states)) in enumerate(zip(self.body.blocks, cache, strict=True)):
            if self.nearby:
                states = torch.cat([states, F.rms_norm(h, h.shape[-1:])], dim=1)
                start = max(0, begin - len(self.nearby[i].weight) // 2)
                seen = states[:, start:]
                h = h + self._mix(i, seen, seen, number[start:])[:, begin - start :]
            q, k, v = block.attention.project(block.norm1(h), rotary)
            keys, values = torch.cat([keys.to(k.dtype), k], dim=2), torch.cat([values.to(v.dtype), v], dim=2)
            h = h + block.attention.finish(attend(q, keys, values, allowed, block.attention.plain))
            h = h + block.mlp(block.norm2(h))
            grown.append((keys, values, states))
        return self.body.norm(h), grown

    def _from_cache(self, tokens: Tensor) -> Tensor:
        hidden = tokens == self.classes
        first = torch.where(hidden.any(1), hidden.float().argmax(1), tokens.shape[1] - 1) // self.block
        done, end = int(first.min()) * self.block, (int(first.max()) + 1) * self.block
        cache = self._nothing(tokens)
        if self._kept is not None:
            past, kept = self._kept
            size = past.shape[1]
            if size <= done and len(past) == len(tokens) and torch.equal(past, tokens[:, :size]):
                cache = kept
        begin = cache[0][2].shape[1]
        h, grown = self._segment(tokens[:, begin:end], cache)
        self._kept = (tokens[:, :done].clone(), [(k[:, :, :done], v[:, :, :done], s[:, :done]) for k, v, s in grown])
        out = torch.zeros(*tokens.shape, self.classes, device=tokens.device)
        out[:, begin:end] = self.logits(h)[:, : tokens.shape[1] - begin].to(out.dtype)
        return out
