"""Attention over tokens on two axes, (node, time): time mixing per node at real times, node mixing per time with a bias.

The network comes in two parts. The *encoder* sees what does not change between denoising steps (the known values and
where they lie) and computes, once, the features and the attention maps that the *decoder* uses; the decoder sees the
noisy values and does one cheap mixing step a layer with these maps. Many samples of one question share its maps: they
are folded into the width of the values. With `share=False` the decoder computes its own maps in every call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.layers import LevelEmbedding, RMSNorm, Rotary, rotate, zero_init


class Maps(nn.Module):
    """Attention weights over one axis: tokens (..., L, dim) -> (..., heads, L, L), queries and keys normalised."""

    def __init__(self, dim: int, heads: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.qk = nn.Linear(dim, 2 * heads * head_dim, bias=False)
        self.norm = RMSNorm(head_dim)
        self.sharpness = nn.Parameter(torch.zeros(heads, 1, 1))

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, bias: Tensor | None) -> Tensor:
        """x (R, L, dim); rotary as from `Rotary`, or None; bias broadcastable to (R, heads, L, L), or None."""
        rows, length, _ = x.shape
        q, k = self.qk(x).view(rows, length, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k = self.norm(q) * (torch.exp(self.sharpness) / math.sqrt(self.head_dim)), self.norm(k)
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        scores = q @ k.transpose(-1, -2)
        return (scores if bias is None else scores + bias).softmax(dim=-1)


@dataclass
class Encoded:
    """What the encoder hands to the decoder: features (Q, N, T, dim), maps per decoder layer, and the places."""

    features: Tensor
    time_maps: list[Tensor]
    node_maps: list[Tensor]
    places: Places


@dataclass
class Places:
    """Rotary angles of the times (Q N, 1, T, head_dim), bias over times (Q N, 1, 1, T) and over nodes (heads, N, N)."""

    rotary: tuple[Tensor, Tensor]
    time_bias: Tensor | None
    node_bias: Tensor | None


def mix(maps: Tensor, values: Tensor) -> Tensor:
    """Apply maps (R, heads, L, L) to values (R, S, L, dim), S samples a map folded into the width."""
    rows, samples, length, dim = values.shape
    heads = maps.shape[1]
    v = values.view(rows, samples, length, heads, dim // heads).permute(0, 3, 2, 1, 4).reshape(rows, heads, length, -1)
    out = (maps @ v).view(rows, heads, length, samples, dim // heads)
    return out.permute(0, 3, 2, 1, 4).reshape(rows, samples, length, dim)


class AxialLayer(nn.Module):
    """Time and node mixing side by side, then a gated perceptron; both modulated per sample when `cond` is given.

    h (Q, S, N, T, dim): Q questions, S samples each. Maps may be handed in; else they are computed from h (S = 1 map each).
    """

    def __init__(self, dim: int, heads: int, nodes: bool, cond: int | None, own_maps: bool, hidden: int | None = None):
        super().__init__()
        hidden = hidden or 3 * dim // 2
        self.nodes, self.own_maps = nodes, own_maps
        self.norm1, self.norm2 = (RMSNorm(dim, affine=cond is None) for _ in range(2))
        self.value = nn.Linear(dim, (2 if nodes else 1) * dim, bias=False)
        self.out = nn.Linear((2 if nodes else 1) * dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, 2 * hidden, bias=False), nn.Linear(hidden, dim, bias=False)
        self.modulation = zero_init(nn.Linear(cond, 6 * dim)) if cond else None
        if cond is None:
            zero_init(self.out), zero_init(self.down)
        if own_maps:
            self.time_maps = Maps(dim, heads, max(dim // heads, 8))
            self.node_maps = Maps(dim, heads, max(dim // heads, 8)) if nodes else None

    def forward(
        self, h: Tensor, places: Places, cond: Tensor | None = None, maps: tuple[Tensor, Tensor | None] | None = None
    ) -> Tensor:
        questions, samples, nodes, times, dim = h.shape
        if cond is None:
            u, gate1, v2, gate2 = self.norm1(h), 1.0, None, 1.0
        else:
            shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(cond)[:, :, None, None].chunk(6, dim=-1)
            u = torch.addcmul(shift1, self.norm1(h), 1 + scale1)
        value = self.value(u)
        if maps is None:
            flat, places = u.reshape(questions * samples, nodes, times, dim), spread(places, samples)
            maps = (
                time_maps(self.time_maps, flat, places),
                node_maps(self.node_maps, flat, places) if self.nodes else None,
            )
            value = value.reshape(questions * samples, 1, nodes, times, -1)
        rows, folded = value.shape[:2]
        along = value[..., :dim].transpose(1, 2).reshape(rows * nodes, folded, times, dim)
        mixed = mix(maps[0], along).view(rows, nodes, folded, times, dim).transpose(1, 2)
        if self.nodes:
            across = value[..., dim:].permute(0, 3, 1, 2, 4).reshape(rows * times, folded, nodes, dim)
            across = mix(maps[1], across).view(rows, times, folded, nodes, dim).permute(0, 2, 3, 1, 4)
            mixed = torch.cat([mixed, across], dim=-1)
        h = h + gate1 * self.out(mixed).reshape(h.shape)
        v2 = self.norm2(h) if cond is None else torch.addcmul(shift2, self.norm2(h), 1 + scale2)
        left, right = self.up(v2).chunk(2, dim=-1)
        return h + gate2 * self.down(left * F.silu(right))


def time_maps(maps: Maps, h: Tensor, places: Places) -> Tensor:
    """(R, N, T, dim) -> (R N, heads, T, T)."""
    return maps(h.flatten(0, 1), places.rotary, places.time_bias)


def node_maps(maps: Maps, h: Tensor, places: Places) -> Tensor:
    """(R, N, T, dim) -> (R T, heads, N, N)."""
    return maps(h.transpose(1, 2).flatten(0, 1), None, places.node_bias)


def spread(places: Places, samples: int) -> Places:
    """Places of Q questions for Q S rows."""
    if samples == 1:
        return places

    def repeat(x: Tensor) -> Tensor:
        return x.repeat_interleave(samples, 0) if x.shape[0] > 1 else x

    bias = None if places.time_bias is None else repeat(places.time_bias)
    return Places(tuple(repeat(r) for r in places.rotary), bias, places.node_bias)


class AxialTransformer(nn.Module):
    """Encoder of known features and decoder of noisy ones over (node, time) tokens.

    given, noisy, outputs: numbers of features and answers a token; longest: the longest span of times, in the unit of
    `times`; node_bias: (N, N) similarity of nodes (an adjacency, or minus distances), scaled per head by learnt weights;
    memory: a GRU over the times of each node, in both directions, reads the known features first (as the recurrent
    condition of TimeGrad, Rasul et al. 2021); encoder_layers=0 leaves it alone. dropout: the share of what the encoder takes in
    and hands on that training leaves out, against learning few series by heart.
    """

    def __init__(
        self,
        given: int,
        noisy: int,
        outputs: int = 1,
        *,
        dim: int = 64,
        heads: int = 4,
        encoder_layers: int = 2,
        layers: int = 3,
        nodes: bool = True,
        share: bool = True,
        memory: bool = False,
        longest: float = 256.0,
        node_bias: Tensor | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.share, self.nodes, self.heads, self.dropout = share, nodes, heads, dropout
        self.given, self.noisy = nn.Linear(given, dim), nn.Linear(noisy, dim)
        self.memory = nn.GRU(dim, dim // 2, batch_first=True, bidirectional=True) if memory else None
        self.recall = nn.Linear(dim // 2 * 2, dim, bias=False) if memory else None
        self.rotary = Rotary(max(dim // heads, 8), base=max(longest, 16.0))
        self.level = LevelEmbedding(dim)
        self.target = zero_init(nn.Linear(dim, dim))
        self.encoder = nn.ModuleList(AxialLayer(dim, heads, nodes, None, True) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(AxialLayer(dim, heads, nodes, dim, not share) for _ in range(layers))
        if share:
            self.time_maps = nn.ModuleList(Maps(dim, heads, max(dim // heads, 8)) for _ in range(layers))
            self.node_maps = nn.ModuleList(
                Maps(dim, heads, max(dim // heads, 8)) for _ in range(layers if nodes else 0)
            )
        self.encoder_norm, self.norm = RMSNorm(dim), RMSNorm(dim)
        self.head = zero_init(nn.Linear(dim, outputs))
        self.register_buffer("bias", node_bias.float() if node_bias is not None else None, persistent=False)
        if node_bias is not None:
            self.bias_weight = nn.Parameter(torch.linspace(0.5, 4, heads)[:, None, None])

    def places(self, times: Tensor, exists: Tensor | None, nodes: int) -> Places:
        """times (Q, T); exists (Q, N, T) bool or None; times that exist nowhere for a node are not attended to."""
        rotary = self.rotary(times.repeat_interleave(nodes, 0))
        time_bias = None
        if exists is not None and not bool(exists.all()):
            known = exists.expand(-1, nodes, -1).flatten(0, 1)
            known = known | ~known.any(-1, keepdim=True)
            time_bias = torch.zeros(known.shape, device=known.device).masked_fill(~known, -1e4)[:, None, None]
        bias = None if self.bias is None else self.bias_weight * self.bias
        return Places(rotary, time_bias, bias)

    def encode(self, features: Tensor, times: Tensor, exists: Tensor | None = None) -> Encoded:
        """features (Q, N, T, given), times (Q, T), exists (Q, N or 1, T) bool or None."""
        places = self.places(times, exists, features.shape[1])
        h = F.dropout(self.given(features), self.dropout, self.training)
        if self.memory is not None:
            h = h + self.recall(self.memory(h.flatten(0, 1))[0]).view(h.shape)
        h = h[:, None]
        for layer in self.encoder:
            h = layer(h, places)
        h = F.dropout(self.encoder_norm(h[:, 0]), self.dropout, self.training)
        if not self.share:
            return Encoded(h, [], [], places)
        along = [time_maps(m, h, places) for m in self.time_maps]
        across = [node_maps(m, h, places) for m in self.node_maps]
        return Encoded(h, along, across, places)

    def decode(self, encoded: Encoded, noisy: Tensor, level: Tensor, target: Tensor | None = None) -> Tensor:
        """noisy (Q S, N, T, noisy) with the S samples of a question next to each other; level (Q S,): answers
        (Q S, N, T, outputs). target: next levels (Q S,) of a flow map."""
        questions = encoded.features.shape[0]
        cond = self.level(level)
        if target is not None:
            cond = cond + self.target(self.level(target))
        cond = F.silu(cond).view(questions, -1, cond.shape[-1])
        h = self.noisy(noisy).view(questions, -1, *noisy.shape[1:3], encoded.features.shape[-1])
        h = h + encoded.features[:, None]
        for k, layer in enumerate(self.decoder):
            maps = (encoded.time_maps[k], encoded.node_maps[k] if self.nodes else None) if self.share else None
            h = layer(h, encoded.places, cond, maps)
        return self.head(self.norm(h)).view(*noisy.shape[:3], -1)
