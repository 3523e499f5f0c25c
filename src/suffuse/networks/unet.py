"""A U-Net over grids of one, two or three axes, shared by images, video, shapes, scans and audio.

    net = UNet(in_channels=2, out_channels=1, dims=2, widths=(64, 128), patch=2)
    y = net(x, condition)                        # x (B, 2, H, W), condition (B, 128) -> (B, 1, H, W)
    y, pooled = net(x, condition, pooled=True)   # pooled (B, widths[-1]): mean of the lowest resolution

It knows nothing of fields and levels: whoever calls it puts level maps among the channels of `x` and level, label or
caption embeddings into `condition` (added up, before any non-linearity). Any input size works: the grid is padded to a
multiple of `net.multiple` and cropped back. Built for CPUs: 3x3 convolutions at 14 x 14 and below reach near the speed
of a matrix product, wide early layers do not, so a `patch` stem is the cheap way in. The last layer starts at zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.grid_layers import (
    _CONV,
    GridAttention,
    GridBlock,
    Patchify,
    Unpatchify,
    Upsample,
    convolution,
    group_norm,
    pad_to_multiple,
    per_axis,
    zero,
)


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with adaptive group norm (Dhariwal & Nichol 2021).

    widths: channels at each resolution, highest resolution first.
    blocks: residual blocks at each resolution on the way down, and again on the way up (one number or one each).
    attention: per resolution, whether its blocks are followed by attention; default: only at the lowest.
    condition: width of the conditioning vector. tokens: width of tokens to attend to (0: none), e.g. a caption.
    patch: cells folded into channels by the stem (one number or one an axis). strides: shrinkage between resolutions
    (one number, one an axis, or a list of one such for each of the len(widths) - 1 steps down).
    features: attribute, width of the pooled features.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dims: int = 2,
        widths: Sequence[int] = (64, 128),
        blocks: int | Sequence[int] = 1,
        attention: Sequence[bool] | None = None,
        condition: int = 128,
        tokens: int = 0,
        patch: int | tuple[int, ...] = 1,
        strides: int | tuple[int, ...] | Sequence[tuple[int, ...]] = 2,
    ):
        super().__init__()
        levels = len(widths)
        counts = [blocks] * levels if isinstance(blocks, int) else list(blocks)
        attention = [level == levels - 1 for level in range(levels)] if attention is None else list(attention)
        patch = per_axis(patch, dims)
        each = strides if isinstance(strides, list) else [strides] * (levels - 1)
        steps = [per_axis(stride, dims) for stride in each]
        if not len(counts) == len(attention) == len(steps) + 1 == levels:
            raise ValueError(f"widths name {levels} resolutions; blocks, attention and strides must fit them")
        self.dims, self.in_channels, self.out_channels, self.features = dims, in_channels, out_channels, widths[-1]
        self.multiple = tuple(p * _product(step[axis] for step in steps) for axis, p in enumerate(patch))

        def stage(level: int) -> nn.ModuleList:
            layers = nn.ModuleList()
            for _ in range(counts[level]):
                layers.append(GridBlock(dims, widths[level], condition))
                if attention[level]:
                    layers.append(GridAttention(dims, widths[level], tokens))
            return layers

        folded = any(p > 1 for p in patch)
        stem = Patchify(dims, in_channels, widths[0], patch) if folded else convolution(dims, in_channels, widths[0])
        self.stem = stem
        self.down = nn.ModuleList(stage(level) for level in range(levels))
        self.shrink = nn.ModuleList(Patchify(dims, widths[i], widths[i + 1], steps[i]) for i in range(levels - 1))
        self.grow = nn.ModuleList(Upsample(dims, widths[i + 1], widths[i], steps[i]) for i in range(levels - 1))
        self.merge = nn.ModuleList(_CONV[dims](2 * widths[i], widths[i], 1) for i in range(levels))
        self.up = nn.ModuleList(stage(level) for level in range(levels))
        self.norm = group_norm(widths[0])
        self.head = zero(
            Unpatchify(dims, widths[0], out_channels, patch) if folded else convolution(dims, widths[0], out_channels)
        )

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        tokens: Tensor | None = None,
        exists: Tensor | None = None,
        pooled: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x: (B, in_channels, *grid); condition: (B, condition); tokens: (B, L, tokens); exists: (B, L) bool.

        Returns (B, out_channels, *grid), and with `pooled` also the mean of the lowest resolution, (B, features).
        """
        grid = x.shape[2:]
        condition = F.silu(condition)
        h = self.stem(pad_to_multiple(x, self.multiple))
        skips = []
        for level, stage in enumerate(self.down):
            first = h
            h = self._run(stage, h, condition, tokens, exists)
            skips.append(first if level == len(self.down) - 1 else h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        middle = None
        for level in reversed(range(len(self.up))):
            h = self.merge[level](torch.cat([h, skips[level]], dim=1))
            h = self._run(self.up[level], h, condition, tokens, exists)
            if middle is None:
                middle = h.flatten(2).mean(dim=2)
            if level:
                h = self.grow[level - 1](h)
        y = self.head(F.silu(self.norm(h)))
        y = y[(..., *(slice(size) for size in grid))]
        return (y, middle) if pooled else y

    @staticmethod
    def _run(
        stage: nn.ModuleList, h: Tensor, condition: Tensor, tokens: Tensor | None, exists: Tensor | None
    ) -> Tensor:
        for layer in stage:
            h = layer(h, condition) if isinstance(layer, GridBlock) else layer(h, tokens, exists)
        return h


def _product(values) -> int:
    result = 1
    for value in values:
        result *= value
    return result
