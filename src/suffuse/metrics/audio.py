"""Distances between sounds of one length: log-spectral and mel-cepstral, in dB, a value a frame averaged over a clip.

Intrusive quality (PESQ, STOI) comes from published packages and is measured in benchmarks only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_spectral_distance(true: Tensor, made: Tensor, depth: float = 80.0) -> Tensor:
    """(B, F, T) magnitudes -> (B,) dB: the root mean square over bins of the difference in dB, averaged over frames
    (Gray & Markel 1976). Both are floored `depth` dB below the true clip's peak, so that silence compares as silence."""
    floor = true.amax((1, 2), keepdim=True).clamp(min=1e-12) * 10 ** (-depth / 20)
    gap = 20 * (torch.maximum(true, floor).log10() - torch.maximum(made, floor).log10())
    return gap.square().mean(1).sqrt().mean(1)


def mel_cepstral_distance(true: Tensor, made: Tensor, coefficients: int = 13) -> Tensor:
    """(B, M, T) natural logarithms of mel-band magnitudes -> (B,) dB (Kubichek 1993): (10 / ln 10) sqrt(2 sum of squared
    differences of cepstral coefficients 1..coefficients), where log = c_0 + 2 sum c_k cos; averaged over frames, unwarped."""
    bands = true.shape[1]
    k = torch.arange(1, coefficients + 1, dtype=true.dtype)[:, None]
    position = torch.arange(bands, dtype=true.dtype) + 0.5
    cosines = torch.cos(math.pi / bands * k * position) / bands
    gap = cosines.to(true.device) @ (true - made)
    return (10 / math.log(10)) * (2 * gap.square().sum(1)).sqrt().mean(1)


def spectral_convergence(true: Tensor, made: Tensor) -> Tensor:
    """(B, F, T) magnitudes -> (B,): Frobenius norm of the difference over that of the true one."""
    return (true - made).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1).clamp(min=1e-12)
