"""The cheap baseline inside the network: what linear interpolation and the seasonal naive method say, from known entries.

All functions work on a batch of windows: values and known masks (B, N, T), times (B, T) in units of the median step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Baseline:
    """linear: interpolation of the known values in real time, the nearest one outside their range; seasonal (B, N, T, K):
    the value the fewest seasons ago or ahead, for each of K seasons; mean: mean over the (near) known nodes at that time;
    lifted: that mean plus the interpolated deviation from it; left, right: time to the nearest known entry before and
    after; change: between these two; own, spread: mean and deviation of the node's known values in the window; profile
    (B, N, T, K): mean of its known values at the same phase of each season; has_*: where there is one. The others (B, N, T);
    absent values are 0."""

    linear: Tensor
    lifted: Tensor
    seasonal: Tensor
    mean: Tensor
    left: Tensor
    right: Tensor
    change: Tensor
    own: Tensor
    spread: Tensor
    profile: Tensor
    has_left: Tensor
    has_right: Tensor
    has_season: Tensor
    has_mean: Tensor
    has_own: Tensor
    has_profile: Tensor


def baseline(
    values: Tensor, known: Tensor, times: Tensor, seasons: Sequence[int] = (), near: Tensor | None = None
) -> Baseline:
    """values (B, N, T), known (B, N, T) bool, times (B, T) ascending, seasons in steps (for regular times), near (N, N) the
    weights of other nodes in the mean over nodes (default: all the same)."""
    size = values.shape[-1]
    place = torch.arange(size, device=values.device).expand_as(known)
    before = torch.where(known, place, -1).cummax(-1).values
    after = torch.where(known, place, size).flip(-1).cummin(-1).values.flip(-1)
    has_left, has_right = before >= 0, after < size
    before, after = before.clamp(min=0), after.clamp(max=size - 1)
    clock = times[:, None].expand(values.shape)
    time_before, time_after = clock.gather(-1, before), clock.gather(-1, after)
    share = ((clock - time_before) / (time_after - time_before).clamp(min=1e-6)).clamp(0, 1)

    def interpolate(line: Tensor) -> Tensor:
        first, second = line.gather(-1, before), line.gather(-1, after)
        edge = torch.where(has_left, first, second * has_right)
        return torch.where(has_left & has_right, torch.lerp(first, second, share), edge)

    linear = interpolate(values)
    change = (values.gather(-1, after) - values.gather(-1, before)) * (has_left & has_right)
    weight = known.to(values.dtype)
    if near is None:
        count = weight.sum(1, keepdim=True)
        mean = ((values * weight).sum(1, keepdim=True) / count.clamp(min=1)).expand_as(values)
    else:
        count = near @ weight
        mean = near @ (values * weight) / count.clamp(min=1e-6)
    lifted = mean + interpolate((values - mean) * weight)
    own, spread, total = (t.expand_as(values) for t in mean_and_spread(values, weight))
    seasonal, has_season = stacked([seasonal_naive(values, known, times, s) for s in seasons], values, known)
    profile, has_profile = stacked([seasonal_mean(values, known, times, s) for s in seasons], values, known)
    left = torch.where(has_left, clock - time_before, 0)
    right = torch.where(has_right, time_after - clock, 0)
    return Baseline(
        linear,
        lifted,
        seasonal,
        mean,
        left,
        right,
        change,
        own,
        spread,
        profile,
        has_left,
        has_right,
        has_season,
        (count > 0).expand_as(known),
        total > 0,
        has_profile,
    )


def mean_and_spread(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and deviation over time of the entries of weight 1, and their number: (B, N, 1) each; 0 where there are none."""
    total = weight.sum(-1, keepdim=True)
    mean = (values * weight).sum(-1, keepdim=True) / total.clamp(min=1)
    spread = (((values - mean) * weight).square().sum(-1, keepdim=True) / total.clamp(min=1)).sqrt()
    return mean, spread, total


def stacked(pairs: list[tuple[Tensor, Tensor]], values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Values and flags of K seasons on a last axis; of width 0 where there are none."""
    if not pairs:
        return values.new_zeros((*values.shape, 0)), known.new_zeros((*values.shape, 0))
    return torch.stack([v for v, _ in pairs], -1), torch.stack([f for _, f in pairs], -1)


def regular(times: Tensor) -> Tensor:
    """(B,) whether times (B, T) lie equally far apart, to a hundredth."""
    apart = times.diff(dim=-1)
    return (apart - apart[:, :1]).abs().amax(-1) < 0.01 * apart[:, 0].abs()


def seasonal_mean(values: Tensor, known: Tensor, times: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """The mean of the known values at the same phase, where there are any and the times are regular."""
    size = values.shape[-1]
    if season >= size:
        return torch.zeros_like(values), torch.zeros_like(known)

    def total(x: Tensor) -> Tensor:
        phases = F.pad(x, (0, -size % season)).unflatten(-1, (-1, season)).sum(-2)
        return phases[..., torch.arange(size, device=x.device) % season]

    weight = known.to(values.dtype)
    count = total(weight)
    found = (count > 0) & regular(times)[:, None, None]
    return total(values * weight) / count.clamp(min=1) * found, found


def seasonal_naive(values: Tensor, known: Tensor, times: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """The known value the fewest seasons back or ahead (back when equally far), and where there is one."""
    size = values.shape[-1]
    if season >= size:
        return torch.zeros_like(values), torch.zeros_like(known)
    place = torch.arange(size, device=values.device).expand_as(known)

    def last(index: Tensor) -> Tensor:
        """The largest index of the same phase at least one season before each place."""
        rows = F.pad(index, (season, -size % season), value=-2 * size).unflatten(-1, (-1, season))
        return rows.cummax(-2).values.flatten(-2)[..., :size]

    before = last(torch.where(known, place, -2 * size))
    after = -last(torch.where(known, -place, -2 * size).flip(-1)).flip(-1)
    back, ahead = place - before, after - place
    source = torch.where(back <= ahead, before, after).clamp(0, size - 1)
    clock = times[:, None].expand(values.shape)
    apart = (clock - clock.gather(-1, source) - (place - source)).abs()
    found = (torch.minimum(back, ahead) < size) & (apart < 0.01 * (place - source).abs())
    return values.gather(-1, source) * found, found
