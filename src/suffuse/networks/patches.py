"""A transformer over patches of a grid of one, two or three axes; a drop-in for `UNet` (same call, same answer)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.grid_layers import Patchify, Unpatchify, pad_to_multiple, per_axis, zero
from suffuse.networks.transformer import TokenTransformer


class PatchTransformer(nn.Module):
    """Patches as tokens with fixed sine positions and adaLN-zero conditioning (Peebles & Xie 2023, DiT).

        net = PatchTransformer(in_channels=2, out_channels=1, dims=2, width=128, depth=6, patch=4)
        y, pooled = net(x, condition, pooled=True)      # x (B, 2, H, W), condition (B, 128)

    width, depth, heads: of the transformer. patch: cells of a patch (one number or one an axis). condition: width of
    the conditioning vector. tokens: width of further tokens (a caption, say) that join the sequence; 0: none.
    features: attribute, width of the pooled features. Any input size works (padded to whole patches, cropped back).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dims: int = 2,
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        condition: int = 128,
        tokens: int = 0,
        patch: int | tuple[int, ...] = 4,
    ):
        super().__init__()
        self.dims, self.in_channels, self.out_channels, self.features = dims, in_channels, out_channels, width
        self.multiple = per_axis(patch, dims)
        self.stem = Patchify(dims, in_channels, width, self.multiple)
        self.position = nn.Linear(dims * 2 * (width // 4), width)
        self.token_in = nn.Linear(tokens, width) if tokens else None
        self.body = TokenTransformer(width, depth, heads, cond=condition, rotary=False)
        self.head = zero(Unpatchify(dims, width, out_channels, self.multiple))

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        tokens: Tensor | None = None,
        exists: Tensor | None = None,
        pooled: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x: (B, in_channels, *grid); condition: (B, condition); tokens: (B, L, tokens); exists: (B, L) bool.

        Returns (B, out_channels, *grid), and with `pooled` also the mean of the patch tokens, (B, features).
        """
        grid = x.shape[2:]
        h = self.stem(pad_to_multiple(x, self.multiple))
        shape = h.shape
        cells = math.prod(shape[2:])
        h = h.flatten(2).transpose(1, 2) + self.position(sine_positions(shape[2:], shape[1] // 4, x.device).to(h.dtype))
        mask = None
        if self.token_in is not None and tokens is not None:
            h = torch.cat([h, self.token_in(tokens)], dim=1)
            mask = None if exists is None else F.pad(exists, (cells, 0), value=True)
        h = self.body(h, condition[:, None, :], key_mask=mask)[:, :cells]
        y = self.head(h.transpose(1, 2).reshape(shape))[(..., *(slice(size) for size in grid))]
        return (y, h.mean(dim=1)) if pooled else y


def sine_positions(grid: torch.Size | tuple[int, ...], features: int, device: torch.device | str) -> Tensor:
    """(cells, len(grid) * 2 * features): sine and cosine of each coordinate, wavelengths 2 to 512 cells."""
    frequency = 2 * math.pi / (2 * 256 ** (torch.arange(features, device=device) / max(features - 1, 1)))
    axes = torch.meshgrid(*(torch.arange(size, device=device) for size in grid), indexing="ij")
    angles = torch.stack(axes, dim=-1).reshape(-1, len(grid), 1) * frequency
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)
