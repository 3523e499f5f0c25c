"""A further score of line 6 of the scans room: denoising errors set against how much detail a picture holds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def detail(x: Tensor, scales: int = 3) -> Tensor:
    """(n, scales + 1) how much detail pictures (n, 1, H, W) hold at each scale of a Laplacian pyramid, as log mean square, and
    log variance."""
    out, low = [x.flatten(1).var(1)], x
    for _ in range(scales):
        small = F.avg_pool2d(low, 2)
        out.append((low - F.interpolate(small, size=low.shape[2:], mode="bilinear")).square().flatten(1).mean(1))
        low = small
    return torch.stack(out, dim=1).clamp(min=1e-8).log()


def beyond_detail(errors: Tensor, x: Tensor, usual_errors: Tensor, usual: Tensor) -> Tensor:
    """(n, levels) log denoising errors (n, levels) less what a linear fit on normal pictures expects from their detail (after
    Serra et al. 2020), in deviations of normal pictures."""
    a = torch.cat([detail(usual), torch.ones(len(usual), 1)], dim=1)
    weights = torch.linalg.lstsq(a, usual_errors).solution
    rest = usual_errors - a @ weights
    b = torch.cat([detail(x), torch.ones(len(x), 1)], dim=1)
    return (errors - b @ weights) / rest.std(0)
