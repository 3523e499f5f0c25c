"""What frames of a clip tell one another beyond cells: codes of whole frames, and filters across neighbouring frames.

Attention cell by cell loses what moves, attention over all cells is dear. Here each frame is summed up in a few numbers (where
things are, what they look like), these are mixed in time, and they steer how every frame is drawn, and with which shifts the
frames before and after are copied into it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.grid_layers import Unpatchify, zero
from suffuse.networks.layers import MLP, RMSNorm, Rotary, SelfAttention

WIDTH = 128
"""Numbers in the code of a frame."""


class FrameCode(nn.Module):
    """A vector for each frame that knows of all frames: looks at places of it, then attention over frames.

    Each of `looks` learnt queries at each resolution is a soft choice of cells; their mean features and mean place (spatial
    softmax, Finn et al. 2016) make the vector. Positions in time are relative (rotary).
    forward(one (B * T, C, H, W) a resolution, frames T, condition (B * T, condition)) -> (B * T, width).
    """

    def __init__(self, channels: Sequence[int], condition: int, width: int = WIDTH, looks: int = 4, layers: int = 1):
        super().__init__()
        self.look = nn.ModuleList(nn.Conv2d(c, looks, 1) for c in channels)
        self.norm = nn.ModuleList(RMSNorm(c) for c in channels)
        self.gather = nn.Linear(looks * sum(c + 2 for c in channels), width)
        self.condition = nn.Linear(condition, width)
        heads = max(1, width // 32)
        self.rotary = Rotary(width // heads, base=100.0)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(layers))
        self.attention = nn.ModuleList(SelfAttention(width, heads) for _ in range(layers))
        self.norms_each = nn.ModuleList(RMSNorm(width) for _ in range(layers))
        self.each = nn.ModuleList(MLP(width, 2 * width) for _ in range(layers))

    def forward(self, maps: Sequence[Tensor], frames: int, condition: Tensor) -> Tensor:
        parts = []
        for x, look, norm in zip(maps, self.look, self.norm, strict=True):
            weight = look(x).flatten(2).softmax(dim=-1)  # (B * T, looks, cells)
            seen = weight @ norm(x.flatten(2).transpose(1, 2)).to(weight.dtype)
            rows, columns = (torch.linspace(-1, 1, n, device=x.device) for n in x.shape[2:])
            place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flatten(0, 1).to(weight.dtype)
            parts += [seen.flatten(1), (weight @ place).flatten(1)]
        h = self.gather(torch.cat(parts, dim=1)) + self.condition(condition)
        h = h.unflatten(0, (-1, frames))
        turn = self.rotary(torch.arange(frames, device=h.device))
        for norm, attention, norm_each, each in zip(
            self.norms, self.attention, self.norms_each, self.each, strict=True
        ):
            h = h + attention(norm(h), turn)
            h = h + each(norm_each(h))
        return h.flatten(0, 1)


class MotionFilter(nn.Module):
    """Frames before, at and after a frame, filtered and added up: dynamic filters (De Brabandere et al. 2016).

    Each frame's code chooses `count` kernels of `side` x `side` taps in each of the three frames, one for all channels; a map
    from the finest features says where which of them is used. Starts at nothing.
    forward(x (B * T, C, H, W), features (B * T, width, h, w), code (B * T, code), frames T) -> (B * T, C, H, W).
    """

    def __init__(self, code: int, width: int, patch: tuple[int, ...], count: int = 4, side: int = 5):
        super().__init__()
        self.count, self.side = count, side
        self.kernel = nn.Sequential(nn.Linear(code, code), nn.SiLU(), zero(nn.Linear(code, count * 3 * side * side)))
        self.where = Unpatchify(2, width, count, patch)

    def forward(self, x: Tensor, features: Tensor, code: Tensor, frames: int) -> Tensor:
        total, channels, height, width = x.shape
        clip = x.unflatten(0, (-1, frames))
        before, after = F.pad(clip[:, :-1], (0, 0) * 3 + (1, 0)), F.pad(clip[:, 1:], (0, 0) * 3 + (0, 1))
        near = torch.stack([before, clip, after], dim=3).reshape(total * channels, 3, height, width)
        near = F.unfold(F.pad(near, (self.side // 2,) * 4, mode="replicate"), self.side)
        near = near.reshape(total, channels, -1, height * width)
        kernel = self.kernel(code).reshape(total, 1, self.count, -1).to(near.dtype)
        made = (kernel @ near).unflatten(-1, (height, width))  # (B * T, C, count, H, W)
        share = self.where(features)[..., :height, :width].sigmoid()
        return (made * share[:, None]).sum(dim=2)
