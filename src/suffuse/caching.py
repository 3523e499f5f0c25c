"""Block caching: the inner blocks of a deep transformer answer once for several network calls.

Neighbouring levels get nearly the same residuals from the inner blocks (DeepCache, Ma et al. 2024, arXiv 2312.00858; for
transformers, Chen et al. 2024, arXiv 2406.01125), so they may be reused. It changes the samples: off unless asked for, its
cost in quality stands in docs/sampling.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from suffuse.errors import AskError
from suffuse.networks.layers import TransformerBlock


class Memory:
    """The residual of one block, computed every `every` calls, and whenever the shape of its input changes."""

    def __init__(self, every: int):
        self.every, self.left = every, 0
        self.residual: Tensor | None = None

    def recall(self, x: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        if self.residual is not None and self.left and self.residual.shape == x.shape:
            self.left -= 1
            return x + self.residual
        after = compute()
        self.residual, self.left = after - x, self.every - 1
        return after


def inner_blocks(network: nn.Module) -> list[TransformerBlock]:
    """All transformer blocks of a network but the first and the last of each stack."""
    found: list[TransformerBlock] = []
    for module in network.modules():
        if isinstance(module, nn.ModuleList):
            blocks = [block for block in module if isinstance(block, TransformerBlock)]
            found += blocks[1:-1]
    return found


@contextmanager
def reused_blocks(network: nn.Module, every: int) -> Iterator[None]:
    """While it is open, the inner blocks of `network` compute in every `every`-th call and repeat themselves in between.

    Raises `AskError` where there is nothing to reuse.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise AskError(f"reuse must be a whole number of calls of at least 1, not {every!r}")
    blocks = inner_blocks(network) if every > 1 else []
    if every > 1 and not blocks:
        raise AskError("this network has no transformer of three or more blocks, whose inner ones could be reused")
    for block in blocks:
        block.memory = Memory(every)
    try:
        yield
    finally:
        for block in blocks:
            block.memory = None
