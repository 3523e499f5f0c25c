"""Counter-based randomness: a function of (seed, sample, step, field, entry), not a stream.

Philox 4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011), vectorised in
torch. Sample 7 of a batch of 64 equals sample 7 drawn alone, in any batch, shard, device or resumed run.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF
_MULTIPLY = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


_KERNEL = """
template <typename T> void philox(T i, T j, T m, T n, T k, T l, T& o, T& p, T& q, T& r) {
  unsigned int a = (unsigned int) i, b = (unsigned int) j, c = (unsigned int) m, d = (unsigned int) n;
  unsigned int k0 = (unsigned int) k, k1 = (unsigned int) l;
  for (int round = 0; round < 10; ++round) {
    unsigned long long left = 0xD2511F53ULL * a, right = 0xCD9E8D57ULL * c;
    a = (unsigned int) (right >> 32) ^ b ^ k0;
    b = (unsigned int) right;
    c = (unsigned int) (left >> 32) ^ d ^ k1;
    d = (unsigned int) left;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  o = a; p = b; q = c; r = d;
}
"""
"""The same in one CUDA kernel: some 140 launches less a draw."""


@lru_cache(maxsize=1)
def _on_cuda() -> Callable[..., Any] | None:
    """The kernel, or None where it cannot be built."""
    try:
        made = torch.cuda.jiterator._create_multi_output_jit_fn(_KERNEL, num_outputs=4, k=0, l=0)
        made(*[torch.zeros(1, dtype=torch.int64, device="cuda")] * 4)
        return made
    except (RuntimeError, AssertionError, AttributeError):
        return None


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ten rounds of Philox on four int64 tensors that hold 32-bit words; returns four such tensors."""
    a, b, c, d = counter
    if a.is_cuda and (kernel := _on_cuda()) is not None:
        return kernel(a, b, c, d, k=key[0], l=key[1])
    k0, k1 = key
    for _ in range(10):
        left, right = a * _MULTIPLY[0], c * _MULTIPLY[1]
        a, b, c, d = (
            ((right >> 32) & _LOW) ^ b ^ k0,
            right & _LOW,
            ((left >> 32) & _LOW) ^ d ^ k1,
            left & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return a, b, c, d


@dataclass(frozen=True)
class Random:
    """All randomness of one run. `seed` is any non-negative 64-bit integer."""

    seed: int = 0

    def bits(self, count: int, index: Tensor, step: int, field: str) -> Tensor:
        """(len(index), count) int64 tensor of uniform 32-bit words."""
        device = index.device
        blocks = torch.arange(-(-count // 4), device=device)
        row = index.to(torch.int64)[:, None] & _LOW
        high = (index.to(torch.int64)[:, None] >> 32) & _LOW
        name = zlib.crc32(field.encode())
        shape = (len(index), len(blocks))
        counter = (blocks.expand(shape), row.expand(shape), torch.full(shape, step & _LOW, device=device), high ^ name)
        words = philox(
            (counter[0], counter[1], counter[2], counter[3].expand(shape)), (self.seed & _LOW, self.seed >> 32 & _LOW)
        )
        return torch.stack(words, dim=-1).flatten(1)[:, :count]

    def uniform(
        self, shape: Sequence[int], index: Tensor, step: int, field: str, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """(len(index), *shape) uniforms in (0, 1), 52-bit for float64 and 23-bit otherwise; never 0 or 1."""
        count = math.prod(shape)
        if dtype == torch.float64:
            words = self.bits(2 * count, index, step, field)
            value = ((words[:, ::2] >> 6) * 67108864.0 + (words[:, 1::2] >> 6).double() + 0.5) / 4503599627370496.0
        else:
            value = ((self.bits(count, index, step, field) >> 9).float() + 0.5) / 8388608.0
        return value.to(dtype).reshape(len(index), *shape)

    def normal(
        self, shape: Sequence[int], index: Tensor, step: int, field: str, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """(len(index), *shape) standard normals by Box-Muller."""
        count = math.prod(shape)
        pairs = -(-count // 2)
        u = self.uniform((2, pairs), index, step, field, dtype if dtype == torch.float64 else torch.float32)
        radius = torch.sqrt(-2 * torch.log(u[:, 0]))
        angle = 2 * math.pi * u[:, 1]
        value = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)[:, :count]
        return value.to(dtype).reshape(len(index), *shape)

    def integers(self, high: int, shape: Sequence[int], index: Tensor, step: int, field: str) -> Tensor:
        """(len(index), *shape) int64 integers in [0, high)."""
        words = self.bits(2 * math.prod(shape), index, step, field)
        wide = ((words[:, ::2] & 0x3FFFFFFF) << 32) | words[:, 1::2]
        return (wide % high).reshape(len(index), *shape)
