"""A 2-D U-Net inflated along time: an image network on every frame, and mixing of frames in between.

    net = InflatedUNet(in_channels=2, out_channels=1, widths=(64, 128), patch=2, level_channel=1)
    y = net(x, condition)                       # x (B, 2, T, H, W), condition (B, 128) -> (B, 1, T, H, W)
    net.frame.load_state_dict(image_unet.state_dict())      # start from an image model

Factorised as in Ho et al. 2022 (video diffusion models) and Blattmann et al. 2023 (align your latents): the spatial layers
are those of `UNet` and see one frame at a time; the temporal layers start as the identity, so that an inflated network
answers at first exactly as the image network would, frame by frame. Mixing cell by cell loses what moves from cell to cell;
`whole` adds blocks in which all cells of all frames see each other (`SpaceTime`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.grid_layers import Patchify, group_norm, pad_to_multiple, zero
from suffuse.networks.layers import LevelEmbedding, Rotary, attend, rotate
from suffuse.networks.motion import WIDTH, FrameCode, MotionFilter
from suffuse.networks.spacetime import SpaceTime
from suffuse.networks.tracks import TrackMix
from suffuse.networks.unet import UNet


class FrameMix(nn.Module):
    """Mixes frames at every cell: a convolution over three neighbouring frames, then (optionally) attention over all.

    forward(x (B * T, C, H, W), frames T) -> the same shape. Attention is relative in time (rotary), so that clips may be
    longer than those in training. Both parts are residual and start at zero.
    """

    def __init__(self, channels: int, attention: bool = True, head: int = 32):
        super().__init__()
        self.norm = group_norm(channels)
        self.near = zero(nn.Conv2d(3 * channels, channels, 1))
        self.heads, self.plain = max(1, channels // head), False
        self.attends = attention
        if attention:
            self.norm_far = group_norm(channels)
            self.rotary = Rotary(channels // self.heads, base=100.0)
            self.qkv = nn.Linear(channels, 3 * channels)
            self.out = zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        total, channels, height, width = x.shape
        h = F.silu(self.norm(x)).unflatten(0, (-1, frames))
        before, after = F.pad(h[:, :-1], (0, 0) * 3 + (1, 0)), F.pad(h[:, 1:], (0, 0) * 3 + (0, 1))
        x = x + self.near(torch.cat([before, h, after], dim=2).flatten(0, 1))
        if not self.attends:
            return x
        cells = height * width
        h = self.norm_far(x).unflatten(0, (-1, frames)).flatten(3).permute(0, 3, 1, 2).reshape(-1, frames, channels)
        q, k, v = self.qkv(h).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        turn = self.rotary(torch.arange(frames, device=x.device))
        h = attend(rotate(q, turn), rotate(k, turn), v, None, self.plain)
        h = self.out(h.transpose(1, 2).reshape(-1, frames, channels))
        h = h.reshape(-1, cells, frames, channels).permute(0, 2, 3, 1)
        return x + h.reshape(total, channels, height, width)


class InflatedUNet(nn.Module):
    """`UNet` on each frame of a clip with `FrameMix` after each of its stages; same call as a UNet with dims=3.

    widths, blocks, attention, condition, tokens, patch, strides: of the 2-D U-Net. level_channel: the input channel that
    holds the noise levels; each frame's mean level then joins its condition, so that frames may differ in level.
    far: per resolution, whether each cell attends to itself in all frames there (default: at the lowest only).
    whole: per resolution, how many blocks of attention over all cells of all frames follow the mixing on each way
    (default: none).
    code: whether each frame's code (`FrameCode`) steers the way up, and filters across frames (`MotionFilter`) add to the answer.
    path: whether three more input channels (`tracks.where`) tell where in each frame the moving thing is; what all frames show of
    it is then put there (`TrackMix`). It needs `code`.
    frame: attribute, the 2-D UNet, whose weights may be an image model's. features: width of the pooled features.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        widths: Sequence[int] = (64, 128),
        blocks: int | Sequence[int] = 1,
        attention: Sequence[bool] | None = None,
        condition: int = 128,
        tokens: int = 0,
        patch: int | tuple[int, ...] = 1,
        strides: int | tuple[int, ...] | Sequence[tuple[int, ...]] = 2,
        level_channel: int | None = None,
        far: Sequence[bool] | None = None,
        whole: Sequence[int] | None = None,
        code: bool = False,
        path: bool = False,
    ):
        super().__init__()
        self.frame = UNet(in_channels, out_channels, dims=2, widths=widths, blocks=blocks, attention=attention,
                          condition=condition, tokens=tokens, patch=patch, strides=strides)  # fmt: skip
        self.dims, self.in_channels, self.out_channels, self.features = 3, in_channels, out_channels, widths[-1]
        self.level_channel = level_channel
        self.frame_level = None if level_channel is None else LevelEmbedding(condition)
        if self.frame_level is not None:
            zero(self.frame_level.mlp[-1])
        counts = [0] * len(widths) if whole is None else list(whole)
        far = [level == len(widths) - 1 for level in range(len(widths))] if far is None else list(far)
        self.mix_down = nn.ModuleList(FrameMix(width, attends) for width, attends in zip(widths, far, strict=True))
        self.mix_up = nn.ModuleList(FrameMix(width, attends) for width, attends in zip(widths, far, strict=True))

        def blocks_of(width: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(SpaceTime(width) for _ in range(count))

        self.whole_down = nn.ModuleList(blocks_of(w, n) for w, n in zip(widths, counts, strict=True))
        self.whole_up = nn.ModuleList(blocks_of(w, n) for w, n in zip(widths, counts, strict=True))
        self.code = FrameCode(widths, condition) if code else None
        if code:
            patch = (patch, patch) if isinstance(patch, int) else tuple(patch)
            self.steer = zero(nn.Linear(WIDTH, condition))
            self.motion = MotionFilter(WIDTH, widths[0], patch)
        self.tracks = None
        if path:
            self.where = zero(Patchify(2, 3, widths[0], patch))
            self.tracks = TrackMix(out_channels, widths[0], WIDTH, patch)

    def last_up(self, stage: int) -> nn.Module:
        """The layer whose output is the features of a stage on the way up (0 the finest, -1 the coarsest)."""
        return self.whole_up[stage][-1] if len(self.whole_up[stage]) else self.mix_up[stage]

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        tokens: Tensor | None = None,
        exists: Tensor | None = None,
        pooled: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """x: (B, in_channels, T, H, W), three channels more with `path`; condition: (B, condition); tokens: (B, L, tokens);
        exists: (B, L) bool.

        Returns (B, out_channels, T, H, W), and with `pooled` also the mean over frames and cells, (B, features).
        """
        net, (batch, _, frames, height, width) = self.frame, x.shape
        condition = condition[:, None, :].expand(batch, frames, -1)
        if self.frame_level is not None:
            condition = condition + self.frame_level(x[:, self.level_channel].mean(dim=(2, 3)))
        condition = condition.flatten(0, 1)
        plain, condition = condition, F.silu(condition)
        if tokens is not None:
            tokens = tokens.repeat_interleave(frames, dim=0)
            exists = None if exists is None else exists.repeat_interleave(frames, dim=0)
        each = x.transpose(1, 2).flatten(0, 1)
        noisy, known = each[:, : self.out_channels], x[:, self.level_channel or 0].mean(dim=(2, 3)).flatten()
        h = net.stem(pad_to_multiple(each[:, : self.in_channels], net.multiple))
        if self.tracks is not None:
            place = -each[:, self.in_channels : self.in_channels + 2].float().mean(dim=(2, 3))
            h = h + self.where(pad_to_multiple(each[:, self.in_channels :], net.multiple))
        skips, maps, last = [], [], len(net.down) - 1
        for level, stage in enumerate(net.down):
            first = h
            h = self.mix_down[level](net._run(stage, h, condition, tokens, exists), frames)
            for block in self.whole_down[level]:
                h = block(h, frames)
            skips.append(first if level == last else h)
            maps.append(h)
            if level < last:
                h = net.shrink[level](h)
        code = middle = None
        if self.code is not None:
            code = self.code(maps, frames, condition)
            condition = F.silu(plain + self.steer(code))
        for level in reversed(range(len(net.up))):
            h = net.merge[level](torch.cat([h, skips[level]], dim=1))
            if not level and self.tracks is not None:
                shown, painted = self.tracks(noisy, maps[0], code, known, place, frames)
                h = h + shown
            h = self.mix_up[level](net._run(net.up[level], h, condition, tokens, exists), frames)
            for block in self.whole_up[level]:
                h = block(h, frames)
            if middle is None:
                middle = h.flatten(2).mean(dim=2).unflatten(0, (batch, frames)).mean(dim=1)
            if level:
                h = net.grow[level - 1](h)
        h = F.silu(net.norm(h))
        y = net.head(h)[..., :height, :width]
        if code is not None:
            y = y + self.motion(noisy, h, code, frames)
        if self.tracks is not None:
            y = y + painted
        y = y.unflatten(0, (batch, frames)).transpose(1, 2)
        return (y, middle) if pooled else y
