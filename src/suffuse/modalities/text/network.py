"""The default network of text: a bidirectional transformer over tokens with tied embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.layers import LevelEmbedding, attention_bias
from suffuse.networks.transformer import TokenTransformer


class Nearby(nn.Module):
    """Mixes each channel over the `width` nearest tokens (a depthwise convolution that starts at zero), so that neighbours are
    seen from the first step of training: attention takes long to learn n-grams."""

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, dim))

    def forward(self, h: Tensor) -> Tensor:
        """(B, L, dim) to (B, L, dim); outside the text there are zeros."""
        width, length = len(self.weight), h.shape[1]
        padded = F.pad(h, (0, 0, width // 2, width // 2))
        out = padded[:, :length] * self.weight[0].to(h.dtype)
        for i in range(1, width):
            out = out + padded[:, i : i + length] * self.weight[i].to(h.dtype)
        return out


class TextNetwork(nn.Module):
    """raw = network(x, levels, context, targets): x["text"] (B, L) tokens with null = classes, logits (B, L, classes).

    labels: classes of x["label"] (B, 1), seen as a token before the text; its logits are (B, 1, labels). 0: no such field.
    anchored: learn embeddings of the place counted from the first and from the last token, for samples that begin and end
      (needs `length`, the most tokens of a sample); else only relative (rotary) places are seen.
    streams: tokens of several voices in turn; each voice has an embedding. 0: one stream.
    levels: condition on the noise level of each token. A masked token says its own level, so masked text needs none
      (Ou et al. 2024; Zheng et al. 2024), other priors do.
    nearby: width of the local mixing before each block; 0: none.
    Input and output embeddings are one table; `rank` below dim factorises it (classes x rank, rank x dim).
    """

    def __init__(
        self,
        classes: int,
        dim: int = 192,
        depth: int = 4,
        heads: int = 6,
        rank: int | None = None,
        labels: int = 0,
        length: int = 0,
        anchored: bool = False,
        streams: int = 0,
        levels: bool = False,
        nearby: int = 0,
    ):
        super().__init__()
        self.classes, self.length = classes, length
        width = rank or dim
        self.embedding = nn.Embedding(classes + 1, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.widen = nn.Linear(width, dim, bias=False) if rank else None
        self.narrow = nn.Linear(dim, width, bias=False) if rank else None
        self.label = nn.Embedding(labels + 1, dim) if labels else None
        self.label_head = nn.Linear(dim, labels) if labels else None
        self.first = nn.Embedding(length, dim) if anchored else None
        self.last = nn.Embedding(length, dim) if anchored else None
        self.voice = nn.Embedding(streams, dim) if streams else None
        for table in (self.first, self.last, self.voice):
            if table is not None:
                nn.init.normal_(table.weight, std=0.3)
        self.level = LevelEmbedding(dim) if levels else None
        self.body = TokenTransformer(dim, depth, heads, cond=dim if levels else None)
        self.nearby = nn.ModuleList(Nearby(dim, nearby) for _ in range(depth if nearby else 0))

    def embed(self, tokens: Tensor, exists: Tensor | None, begin: int = 0) -> Tensor:
        """(B, L) tokens, the first of them at place `begin`, to (B, L, dim)."""
        h = self.embedding(tokens)
        h = h if self.widen is None else self.widen(h)
        h = F.rms_norm(h, h.shape[-1:])
        at = torch.arange(tokens.shape[1], device=tokens.device)
        if self.first is not None:
            size = tokens.shape[1] if exists is None else exists.sum(-1, keepdim=True)
            to_end = (size - 1 - at).clamp(0, self.length - 1)
            h = h + self.first(at.clamp(max=self.length - 1)) + self.last(to_end)
        if self.voice is not None:
            h = h + self.voice((at + begin) % self.voice.num_embeddings)
        return h

    def logits(self, h: Tensor) -> Tensor:
        """(B, L, dim) to (B, L, classes)."""
        h = h if self.narrow is None else self.narrow(h)
        return F.linear(h, self.embedding.weight[: self.classes].to(h.dtype), self.bias.to(h.dtype))

    def blocks(self, h: Tensor, cond: Tensor | None, exists: Tensor | None, at: Tensor) -> Tensor:
        """The transformer, with local mixing of the text tokens before each block."""
        rotary, bias = self.body.rotation(h.shape[1], at, h.device), attention_bias(exists, None)
        real = None if exists is None else exists.unsqueeze(-1).to(h.dtype)
        skip = 0 if self.label is None else 1
        for i, block in enumerate(self.body.blocks):
            if self.nearby:
                text = F.rms_norm(h, h.shape[-1:]) if real is None else F.rms_norm(h, h.shape[-1:]) * real
                h = h + F.pad(self.nearby[i](text[:, skip:]), (0, 0, skip, 0))
            h = block(h, cond, rotary, bias)
        return self.body.norm(h) if cond is None else self.body.norm(h, cond)[0]

    def forward(
        self,
        x: dict[str, Tensor],
        levels: dict[str, Tensor],
        context: dict[str, Tensor],
        targets: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        tokens, exists = x["text"], context.get("exists:text")
        batch, length = tokens.shape
        if exists is not None:
            exists = exists.expand(batch, length)
        h = self.embed(tokens, exists)
        at = torch.arange(length, device=h.device)
        cond = None
        if self.level is not None:
            cond = self.level(levels["text"].expand(batch, length))
            if targets is not None:
                cond = cond + self.level(targets["text"].expand(batch, length)).flip(-1)
        if self.label is not None:
            h = torch.cat([self.label(x["label"]).to(h.dtype), h], dim=1)
            at = torch.cat([at[:1] - 1, at])
            exists = None if exists is None else F.pad(exists, (1, 0), value=True)
            cond = None if cond is None else F.pad(cond, (0, 0, 1, 0))
        h = self.blocks(h, cond, exists, at)
        if self.label is None:
            return {"text": self.logits(h)}
        return {"text": self.logits(h[:, 1:]), "label": self.label_head(h[:, :1])}
