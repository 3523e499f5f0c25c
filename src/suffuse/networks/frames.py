"""A 1-D convolutional network over frames: several fields (B, C, T) that share one time axis, and labels (B, 1).

Blocks are ConvNeXt's (Liu et al. 2022), as Vocos (Siuzdak 2023) uses them for sound, with adaptive norms; some are followed
by attention over all frames. A complex field may have a filter head: for each bin a few complex taps that are applied across
frames to the noisy input, which carries phase from frame to frame far better than a plain linear head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.layers import AdaptiveNorm, LevelEmbedding, Rotary, SelfAttention, attention_bias, zero_init

GROUPS = 16
"""A level map over channels is shown to the network as its means over so many groups of channels."""


class FrameBlock(nn.Module):
    """Depthwise convolution over time, adaptive norm, two-layer GELU perceptron; (B, T, width), gated residual."""

    def __init__(self, width: int, cond: int, kernel: int = 7, expansion: int = 2):
        super().__init__()
        self.mix = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = AdaptiveNorm(width, cond)
        nn.init.constant_(self.norm.modulation.bias[2 * width :], 0.5)  # the gate: half open, else nothing would move
        self.up, self.down = nn.Linear(width, expansion * width), nn.Linear(expansion * width, width)

    def forward(self, h: Tensor, cond: Tensor, exists: Tensor | None = None) -> Tensor:
        h = h if exists is None else h * exists
        y, gate = self.norm(self.mix(h.transpose(1, 2)).transpose(1, 2), cond)
        return h + gate * self.down(F.gelu(self.up(y)))


class FrameAttention(nn.Module):
    """Rotary self-attention over all existing frames, adaptive norm, gated residual."""

    def __init__(self, width: int, cond: int, heads: int):
        super().__init__()
        self.norm, self.attention = AdaptiveNorm(width, cond), SelfAttention(width, heads)
        nn.init.constant_(self.norm.modulation.bias[2 * width :], 0.5)
        self.rotary = Rotary(width // heads)

    def forward(self, h: Tensor, cond: Tensor, exists: Tensor | None = None) -> Tensor:
        y, gate = self.norm(h, cond)
        rotary = self.rotary(torch.arange(h.shape[1], device=h.device))
        bias = attention_bias(None if exists is None else exists[..., 0] > 0, None)
        return h + gate * self.attention(y, rotary, bias)


class TapHead(nn.Module):
    """Filters the noisy complex input across frames with taps that the features choose.

    forward(h (B, T / patch, width), x (B, 2F, T), real parts first) -> (B, 2F, T). The taps start at zero.
    """

    def __init__(self, width: int, channels: int, taps: int = 5, rank: int = 64, patch: int = 1):
        super().__init__()
        if channels % 2 or taps % 2 == 0:
            raise ValueError(f"a filter head needs complex channels and an odd number of taps, got {channels}, {taps}")
        self.taps, self.bins = taps, channels // 2
        self.down, self.up = nn.Linear(width, rank * patch), zero_init(nn.Linear(rank, channels * taps))

    def forward(self, h: Tensor, x: Tensor) -> Tensor:
        b, t = h.shape[0], x.shape[-1]
        weight = self.up(self.down(h).view(b, t, -1)).view(b, t, self.taps, 2, self.bins)
        x = F.pad(x.transpose(1, 2).to(h.dtype), (0, 0, self.taps // 2, self.taps // 2)).view(b, -1, 2, self.bins)
        real = imaginary = 0
        for k in range(self.taps):
            xr, xi = x[:, k : k + t, 0], x[:, k : k + t, 1]
            wr, wi = weight[:, :, k, 0], weight[:, :, k, 1]
            real = real + wr * xr - wi * xi
            imaginary = imaginary + wr * xi + wi * xr
        return torch.cat([real, imaginary], dim=-1).transpose(1, 2)


class FrameNetwork(nn.Module):
    """raw = network(x, levels, context, targets) for fields over frames and labels of the whole clip.

    channels: channels of each frame field, (B, C, T) each, all of one T. classes: number of classes of each label (B, 1).
    unanswered: frame fields that are seen only; raw has no entry for them.
    attention: after which blocks (0, 1, ...) attention over all frames follows. taps: filter length by complex field whose
    filtered values are added to the answer for `filters[field]` (default: for itself).
    patch: so many adjacent frames make one token (a time axis that is no multiple of it is padded).
    context may hold "exists:FIELD" of a frame field, (B, 1, T): frames that are padding are kept at zero and not attended to.
    """

    def __init__(
        self,
        channels: dict[str, int],
        classes: dict[str, int] | None = None,
        unanswered: Sequence[str] = (),
        width: int = 192,
        depth: int = 6,
        kernel: int = 7,
        expansion: int = 2,
        attention: Sequence[int] = (),
        heads: int = 4,
        taps: dict[str, int] | None = None,
        filters: dict[str, str] | None = None,
        rank: int = 64,
        cond: int = 64,
        patch: int = 1,
    ):
        super().__init__()
        classes, taps = classes or {}, taps or {}
        self.channels, self.classes, self.patch = dict(channels), dict(classes), patch
        self.answered = [f for f in channels if f not in unanswered]
        names = [*channels, *classes]
        self.inputs = nn.ModuleDict({f: nn.Linear(patch * c, width) for f, c in channels.items()})
        self.tokens = nn.ModuleDict({f: nn.Embedding(k + 1, cond) for f, k in classes.items()})
        self.levels = nn.ModuleDict({f: LevelEmbedding(cond) for f in names})
        self.targets = nn.ModuleDict({f: LevelEmbedding(cond) for f in names})
        for embedding in self.targets.values():
            zero_init(embedding.mlp[-1])
        self.frame_level = nn.ModuleDict({f: LevelEmbedding(cond // 2, features=16, highest=8.0) for f in channels})
        self.groups = nn.ModuleDict(
            {f: nn.Linear(cond // 2 + patch * min(GROUPS, c), width) for f, c in channels.items()}
        )
        self.blocks = nn.ModuleList(FrameBlock(width, cond, kernel, expansion) for _ in range(depth))
        self.attention = nn.ModuleDict({str(i): FrameAttention(width, cond, heads) for i in sorted(set(attention))})
        self.norm = AdaptiveNorm(width, cond, gated=False)
        self.outputs = nn.ModuleDict({f: zero_init(nn.Linear(width, patch * channels[f])) for f in self.answered})
        self.taps = nn.ModuleDict({f: TapHead(width, channels[f], n, rank, patch) for f, n in taps.items()})
        self.filters = {f: [s for s in taps if (filters or {}).get(s, s) == f] for f in self.answered}
        self.logits = nn.ModuleDict({f: zero_init(nn.Linear(width, k)) for f, k in classes.items()})

    def condition(self, x: dict[str, Tensor], levels: dict[str, Tensor], targets: dict[str, Tensor] | None) -> Tensor:
        """(B, 1, cond): the highest level of each field, and the labels."""
        total = 0
        for name in (*self.channels, *self.classes):
            total = total + self.levels[name](levels[name].flatten(1).amax(1))
            if targets is not None:
                total = total + self.targets[name](targets[name].flatten(1).amax(1))
        for name in self.classes:
            total = total + self.tokens[name](x[name][:, 0])
        return F.silu(total)[:, None]

    def tokens_of(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T / patch, patch C)."""
        return x.reshape(x.shape[0], -1, self.patch * x.shape[2])

    def frames(self, name: str, x: Tensor, level: Tensor) -> Tensor:
        """One field with its level map as features: (B, T / patch, width)."""
        h = self.inputs[name](self.tokens_of(x.transpose(1, 2).to(self.inputs[name].weight.dtype)))
        count = min(GROUPS, self.channels[name])
        half = level[:, : level.shape[1] // 2] if name in self.taps and level.shape[1] > 1 else level
        coarse = F.adaptive_avg_pool1d(half.float().transpose(1, 2), count)  # (B, 1 or T, groups)
        coarse = coarse.repeat(1, 1, self.patch) if coarse.shape[1] == 1 else self.tokens_of(coarse)
        embedded = self.frame_level[name](coarse.mean(-1))
        return h + self.groups[name](torch.cat([embedded, coarse.to(embedded.dtype)], dim=-1))

    def forward(
        self,
        x: dict[str, Tensor],
        levels: dict[str, Tensor],
        context: dict[str, Tensor] | None = None,
        targets: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        exists = next((v for f in self.channels if (v := (context or {}).get(f"exists:{f}")) is not None), None)
        total = next(x[f].shape[-1] for f in self.channels)
        rest = -total % self.patch
        if rest:
            x = {f: F.pad(v, (0, rest)) if f in self.channels else v for f, v in x.items()}
            levels = {f: _stretch(v, rest) if f in self.channels else v for f, v in levels.items()}
            first = next(iter(x.values()))
            exists = F.pad(first.new_ones(1, 1, total) if exists is None else exists.float(), (0, rest))
        cond = self.condition(x, levels, targets)
        h = sum(self.frames(f, x[f], levels[f]) for f in self.channels)
        if exists is not None:
            exists = self.tokens_of(exists[:, :1].transpose(1, 2).to(h.dtype)).amax(-1, keepdim=True)
        for i, block in enumerate(self.blocks):
            h = block(h, cond, exists)
            if str(i) in self.attention:
                h = self.attention[str(i)](h, cond, exists)
        h, _ = self.norm(h, cond)
        raw = {}
        for name in self.answered:
            raw[name] = self.outputs[name](h).reshape(h.shape[0], -1, self.channels[name]).transpose(1, 2)
            for source in self.filters.get(name, ()):
                raw[name] = raw[name] + self.taps[source](h, x[source])
            raw[name] = raw[name][..., :total]
        if self.classes:
            mean = h.mean(1) if exists is None else (h * exists).sum(1) / exists.sum(1).clamp(min=1)
            raw |= {name: head(mean)[:, None] for name, head in self.logits.items()}
        return raw


def _stretch(level: Tensor, rest: int) -> Tensor:
    """A level map with its last frame repeated `rest` times, where it has a time axis."""
    return level if level.shape[-1] == 1 else F.pad(level, (0, rest), mode="replicate")
