"""The level maps that a text model is trained on: how many tokens are masked, and which."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start

FREE = ("generate", "unlabelled", "classify")
"""Tasks that mask any tokens; the others mask what follows a prefix, or a gap."""


def starting_levels(
    task: str, batch: Batch, random: Random, step: int, masked: bool, labels: bool, block: int
) -> Start:
    """Masked prior: exactly n tokens at level 1, n uniform on 1..L (in each block the same n of `block`), or a share of those
    that follow a prefix or lie in a gap. Other priors: the clock's levels, on the same tokens."""
    text, index = batch.x["text"], batch.index
    size, length = text.shape
    exists = batch.exists.get("text", torch.ones_like(text, dtype=torch.bool)).expand(size, length)
    zero, one = torch.zeros(1, 1, device=text.device), torch.ones(1, 1, device=text.device)
    u = random.uniform((3,), index, step, f"task/{task}").to(text.device)
    order = random.uniform((length,), index, step, f"order/{task}").to(text.device)
    if task not in FREE:
        level = _stretch(task, exists, u, order if masked else None)
    elif not masked:
        level = one
    else:
        level = exact_mask(order, exists, u[:, :1], block).float()
    levels, held = {"text": level}, {}
    if labels:
        levels["label"] = one if task in ("unlabelled", "classify") else zero
        if task == "unlabelled":
            held["label"] = torch.ones(1, 1, dtype=torch.bool, device=text.device)
    return Start(levels, held, torch.ones(size, dtype=torch.bool) if masked else None)


def exact_mask(order: Tensor, exists: Tensor, share: Tensor, block: int = 0) -> Tensor:
    """(B, L) bool: the n existing tokens of lowest `order`, n = 1 + floor(share L); with blocks, n of every block."""
    if block:
        count = 1 + (share * block).long().clamp(max=block - 1)
        inside = order.unflatten(1, (-1, block))
        return (inside.argsort(2).argsort(2) < count.unsqueeze(2)).flatten(1)
    total = exists.sum(1, keepdim=True)
    count = 1 + (share * total).long().clamp(max=total - 1)
    return order.masked_fill(~exists, 2.0).argsort(1).argsort(1) < count


def _stretch(task: str, exists: Tensor, u: Tensor, order: Tensor | None) -> Tensor:
    """Level 1 on what follows a random prefix, or on a random gap; with `order`, on a random share of it."""
    count, at = exists.sum(1, keepdim=True), torch.arange(exists.shape[1], device=exists.device)
    begin = (u[:, :1] * count).long()
    width = 1 + (u[:, 1:2] * (count - begin)).long() if task == "blank" else count
    level = ((at >= begin) & (at < begin + width)).float()
    return level if order is None else level * (order < u[:, 2:]).float()
