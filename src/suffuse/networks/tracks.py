"""The path of what moves through a clip: a small network for it, and what a clip's network makes of it.

A thing that moves is seen as if it stood still (flexible sprites in layers, Jojic & Frey 2001): frames are moved so that it comes
to the middle, averaged, the cleaner the heavier, and this picture is moved back to its place in every frame. So a frame of noise
is shown what all other frames know of the thing it should hold, wherever it was in them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.grid_layers import Patchify, zero
from suffuse.networks.layers import LevelEmbedding, Rotary, TransformerBlock, zero_init

WAVES = 4
"""Sines and cosines of a coordinate that the path's network sees, each twice as fast as the one before."""


class PathNetwork(nn.Module):
    """A transformer over frames: forward(path (B, T, 2), level (B, T, 1)) -> (B, T, 2). Positions in time are relative."""

    def __init__(self, width: int = 64, depth: int = 4, heads: int = 2, condition: int = 64):
        super().__init__()
        self.stem = nn.Linear(2 * (1 + 2 * WAVES), width)
        self.level, self.rotary = LevelEmbedding(condition), Rotary(width // heads, base=100.0)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, condition) for _ in range(depth))
        self.head = zero_init(nn.Linear(width, 2))

    def forward(self, path: Tensor, level: Tensor) -> Tensor:
        waves = [path] + [wave(2.0**k * path) for k in range(WAVES) for wave in (torch.sin, torch.cos)]
        h = self.stem(torch.cat(waves, dim=-1))
        condition = self.level(level.expand(*path.shape[:2], 1)[..., 0])
        turn = self.rotary(torch.arange(path.shape[1], device=path.device))
        for block in self.blocks:
            h = block(h, condition, turn)
        return self.head(h)


def moved(x: Tensor, place: Tensor) -> Tensor:
    """Pictures (N, C, H, W) whose point `place` (N, 2: column and row, from -1 to 1) comes to the middle; borders go on."""
    turn = torch.eye(2, dtype=x.dtype, device=x.device).expand(len(x), 2, 2)
    grid = F.affine_grid(torch.cat([turn, place[:, :, None].to(x.dtype)], dim=2), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def coordinates(count: int, device: torch.device | None = None) -> Tensor:
    """(count,) middles of pixels along an axis that goes from -1 to 1."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1


def where(place: Tensor, level: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, T, 3, H, W): how far each pixel lies from the place (B, T, 2) in columns and in rows, from -1 to 1 across the
    frame, and the level (B, T, 1) at which the place is known."""
    batch, frames = place.shape[:2]
    rows, columns = (coordinates(n, place.device) for n in size)
    across = (columns - place[..., :1])[:, :, None, :].expand(batch, frames, *size)
    down = (rows - place[..., 1:])[:, :, :, None].expand(batch, frames, *size)
    known = level.expand(batch, frames, 1)[..., None].expand(batch, frames, *size)
    return torch.stack([across, down, known], dim=2)


class TrackMix(nn.Module):
    """What all frames show of the moving thing, put where each frame has it. Both answers start at nothing.

    Frames are moved by whole pixels, so that what moves by whole pixels is copied without blur.
    forward(x (B * T, C, H, W), features (B * T, width, h, w), code (B * T, code), level (B * T,), place (B * T, 2), frames T) ->
    features to add (B * T, width, h, w) and pixels to add (B * T, C, H, W).
    """

    def __init__(self, channels: int, width: int, code: int, patch: tuple[int, ...], features: int = 8):
        super().__init__()
        self.trust, self.narrow = zero(nn.Linear(code, 1)), nn.Conv2d(width, features, 1)
        self.show, self.tell = zero(Patchify(2, channels, width, patch)), zero(nn.Conv2d(features, width, 1))
        self.paint = zero(nn.Linear(code, channels))

    def forward(
        self, x: Tensor, features: Tensor, code: Tensor, level: Tensor, place: Tensor, frames: int
    ) -> tuple[Tensor, Tensor]:
        size = torch.tensor(x.shape[:1:-1], device=x.device) / 2  # half of columns and rows
        share = (self.trust(code)[:, 0].float() - 6 * level.float()).unflatten(0, (-1, frames)).softmax(dim=1)
        spot = (place.float() * size).unflatten(0, (-1, frames))
        first = spot.gather(1, share.argmax(1)[:, None, None].expand(-1, 1, 2))
        whole = ((spot - (first - first.round())).round() / size).flatten(0, 1)
        out = []
        for picture in (x.float(), self.narrow(features).float()):
            still = moved(picture, whole).unflatten(0, (-1, frames)) * share[..., None, None, None]
            still = still.sum(dim=1, keepdim=True).expand(-1, frames, -1, -1, -1).flatten(0, 1)
            out.append(moved(still, -whole))
        pixels, told = out
        stride = self.show.project.stride
        rest = [n * s - m for n, s, m in zip(features.shape[2:], stride, x.shape[2:], strict=True)]
        shown = F.pad(pixels, (0, rest[1], 0, rest[0]), mode="replicate") if any(rest) else pixels
        add = self.show(shown.to(features.dtype)) + self.tell(told.to(features.dtype))
        return add, self.paint(code).float()[:, :, None, None] * pixels
