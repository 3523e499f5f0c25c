"""Strong augmentation of 2-D and 3-D scans with masks: rotations, scalings, shifts, elastic warps, mirror images, contrast,
brightness, blur and noise (after Isensee et al. 2021, appendix 4), for a whole batch at once, where the generator lives."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(draw: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=draw, device=draw.device)


def field(batch: int, grid: tuple[int, ...], draw: torch.Generator, mirror: bool, angle: float) -> Tensor:
    """(batch, *grid, D) where each cell of a warped scan is read, in the -1..1 of `grid_sample`."""
    dims, here = len(grid), draw.device
    turn = torch.eye(dims, device=here).repeat(batch, 1, 1)
    for a in range(dims):
        for b in range(a + 1, dims):
            at = uniform(draw, -angle, angle, batch)
            plane = torch.eye(dims, device=here).repeat(batch, 1, 1)
            plane[:, a, a], plane[:, b, b], plane[:, a, b], plane[:, b, a] = at.cos(), at.cos(), -at.sin(), at.sin()
            turn = turn @ plane
    turn = turn * uniform(draw, 0.85, 1.2, batch, 1, 1) * uniform(draw, 0.93, 1.07, batch, dims, 1)
    if mirror:  # the last coordinate of grid_sample is the first axis after the reversal below
        turn[:, -1] *= torch.where(uniform(draw, 0, 1, batch, 1) < 0.5, -1.0, 1.0)
    extent = torch.tensor([float(g) for g in reversed(grid)], device=here)
    turn = turn * extent[None, None, :] / extent[None, :, None]
    shift = uniform(draw, -0.12, 0.12, batch, dims, 1)
    where = F.affine_grid(torch.cat([turn, shift], dim=2), [batch, 1, *grid], align_corners=False)
    coarse = 0.09 * torch.randn(batch, dims, *[4] * dims, generator=draw, device=here)
    coarse = coarse * uniform(draw, 0, 1, batch, *[1] * (dims + 1))
    mode = "bilinear" if dims == 2 else "trilinear"
    return where + F.interpolate(coarse, size=grid, mode=mode, align_corners=True).movedim(1, -1)


def warp(values: Tensor, where: Tensor) -> Tensor:
    """(B, C, *grid) values read at `where`, linearly, 0 outside."""
    return F.grid_sample(values, where, align_corners=False)


def contrast(image: Tensor, draw: torch.Generator) -> Tensor:
    """Images of about 0..1 after gamma, scaling, shift, blur and noise."""
    batch, ones = len(image), [1] * (image.dim() - 1)
    gamma = uniform(draw, -0.4, 0.4, batch, *ones).exp()
    out = image.clamp(0, 1.5) ** gamma * uniform(draw, 0.75, 1.25, batch, *ones) + uniform(
        draw, -0.1, 0.1, batch, *ones
    )
    mode = "bilinear" if image.dim() == 4 else "trilinear"
    low = F.interpolate(out, scale_factor=0.5, mode=mode)
    blurred = F.interpolate(low, size=image.shape[2:], mode=mode)
    out = torch.where(uniform(draw, 0, 1, batch, *ones) < 0.25, blurred, out)
    noise = torch.randn(image.shape, generator=draw, device=draw.device) * uniform(draw, 0, 0.08, batch, *ones)
    return out + torch.where(uniform(draw, 0, 1, batch, *ones) < 0.4, noise, 0.0)


def augment(
    image: Tensor,
    seen: Tensor,
    mask: Tensor | None,
    classes: int,
    draw: torch.Generator,
    *,
    mirror: bool = True,
    angle: float = math.pi / 12,
    colour: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A changed copy of images (B, C, *grid) in 0..1, of where they are seen (bool), and of masks (B, *grid) int64."""
    where = field(len(image), tuple(image.shape[2:]), draw, mirror, angle)
    parts = [image, seen.to(image.dtype)]
    if mask is not None:
        parts.append(F.one_hot(mask, classes).movedim(-1, 1).to(image.dtype)[:, 1:])
    c = image.shape[1]
    out = warp(torch.cat(parts, dim=1), where)
    there = out[:, c : 2 * c] > 0.99
    image = contrast(out[:, :c], draw) if colour else out[:, :c]
    if mask is None:
        return image, there, None
    share = out[:, 2 * c :]
    return image, there, torch.cat([1 - share.sum(1, keepdim=True), share], dim=1).argmax(1)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float, steps: int, done: float) -> None:
    """One step of a classifier or segmenter: `rate` warmed up over 30 steps, a cosine to 0 over the share `done`, gradients
    clipped to length 1."""
    for group in optimiser.param_groups:
        group["lr"] = rate * min(1, (steps + 1) / 30) * 0.5 * (1 + math.cos(math.pi * done))
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], 1.0)
    optimiser.step()
