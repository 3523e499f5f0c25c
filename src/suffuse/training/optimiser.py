"""AdamW for everything, or Muon for the hidden matrices with AdamW for the rest.

Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024): the momentum of a matrix is
replaced by the nearest (semi-)orthogonal matrix, found by a few Newton-Schulz steps. Its update is scaled to the usual
size of AdamW's (0.2 sqrt(max(rows, columns)); Liu et al., arXiv 2502.16982), so one learning rate and one weight
decay serve both. Convolution kernels are matrices of (out, in * window).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from suffuse.errors import ModelError

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Newton-Schulz coefficients of Jordan et al.: singular values go to about [0.7, 1.2] in five steps, from 1e-3 up."""


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: (batch, rows, columns) -> the same shape, singular values near 1.

    X <- a X + (b A + c A^2) X with A = X X^T, after division by the Frobenius norm; the shorter side leads.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    a, b, c = QUINTIC
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def is_hidden_matrix(module: nn.Module, value: Tensor) -> bool:
    """Whether Muon suits a parameter: a matrix or kernel with both sides at least 16, and no embedding table."""
    if isinstance(module, nn.Embedding) or value.ndim < 2:
        return False
    return min(value.shape[0], value[0].numel()) >= 16


class Optimiser:
    """One `step(rate)` a training step; state as plain named tensors.

    network: its parameters that require gradients are trained. kind: 'adamw' or 'muon'.
    """

    def __init__(
        self,
        network: nn.Module,
        kind: str = "adamw",
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ):
        self.betas, self.momentum, self.weight_decay = betas, momentum, weight_decay
        self.matrices: dict[str, nn.Parameter] = {}
        rest: dict[str, nn.Parameter] = {}
        seen: set[int] = set()
        for prefix, module in network.named_modules():
            for short, value in module.named_parameters(recurse=False):
                if not value.requires_grad or id(value) in seen:
                    continue
                seen.add(id(value))
                name = f"{prefix}.{short}" if prefix else short
                muon = kind == "muon" and is_hidden_matrix(module, value)
                (self.matrices if muon else rest)[name] = value
        self.rest = rest
        self.velocity = {name: torch.zeros_like(value) for name, value in self.matrices.items()}
        self.first = {name: torch.zeros_like(value) for name, value in rest.items()}
        self.second = {name: torch.zeros_like(value) for name, value in rest.items()}
        self.count = {name: torch.zeros((), device=value.device) for name, value in rest.items()}
        self._buckets = _by_shape(self.matrices)

    def parameters(self) -> Iterable[nn.Parameter]:
        """Every trained parameter."""
        yield from self.matrices.values()
        yield from self.rest.values()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for value in self.parameters():
            value.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update every parameter that has a gradient, at a learning rate."""
        for decay, matrices in ((self.weight_decay, True), (0.0, False)):
            names = [n for n, v in self.rest.items() if v.grad is not None and (v.ndim >= 2) == matrices]
            if names:
                self._adamw(names, rate, decay)
        for (rows, columns), names in self._buckets.items():
            names = [n for n in names if self.matrices[n].grad is not None]
            if not names:
                continue
            grads = [self.matrices[n].grad for n in names]
            velocity = [self.velocity[n] for n in names]
            torch._foreach_mul_(velocity, self.momentum)
            torch._foreach_add_(velocity, grads)
            ahead = torch._foreach_add(grads, velocity, alpha=self.momentum)
            update = orthogonalise(torch.stack([a.reshape(rows, columns) for a in ahead]))
            size = 0.2 * max(rows, columns) ** 0.5
            values = [self.matrices[n] for n in names]
            torch._foreach_mul_(values, 1 - rate * self.weight_decay)
            torch._foreach_add_(
                values, [u.reshape(v.shape) for u, v in zip(update, values, strict=True)], alpha=-rate * size
            )

    def _adamw(self, names: list[str], rate: float, decay: float) -> None:
        """Decoupled AdamW (Loshchilov & Hutter, arXiv 1711.05101), all parameters in one fused call.

        torch's own kernel without torch.optim's wrapper, whose first use imports the compiler for four seconds.
        """
        values, grads = [self.rest[n] for n in names], [self.rest[n].grad for n in names]
        first, second = [self.first[n] for n in names], [self.second[n] for n in names]
        counts = [self.count[n] for n in names]
        torch._foreach_add_(counts, 1)
        torch._fused_adamw_(
            values, grads, first, second, [], counts, lr=rate, beta1=self.betas[0], beta2=self.betas[1],
            weight_decay=decay, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip

    def _state(self) -> dict[str, dict[str, Tensor]]:
        return {"velocity": self.velocity, "first": self.first, "second": self.second, "count": self.count}

    def settle(self) -> None:
        """Give the state the memory layout of the parameters, after that was changed."""
        for row in (self.velocity, self.first, self.second):
            for name in row:
                value = self.matrices.get(name, self.rest.get(name))
                row[name] = torch.empty_like(value).copy_(row[name])

    def tensors(self) -> dict[str, Tensor]:
        """The whole state as named tensors (safetensors holds them)."""
        return {f"{kind}.{name}": value for kind, row in self._state().items() for name, value in row.items()}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `tensors()` gave. Raises `ModelError` if it belongs to another network."""
        ours = self.tensors()
        wrong = sorted(ours.keys() ^ tensors.keys()) or [k for k in ours if ours[k].shape != tensors[k].shape]
        if wrong:
            raise ModelError(f"The optimiser state belongs to another network ({wrong[0]} does not fit).")
        for name, value in ours.items():
            value.copy_(tensors[name])


def _by_shape(matrices: dict[str, nn.Parameter]) -> dict[tuple[int, int], list[str]]:
    """Names of matrices of equal (rows, columns), so that each bucket is orthogonalised in one batched product."""
    buckets: dict[tuple[int, int], list[str]] = {}
    for name, value in matrices.items():
        buckets.setdefault((value.shape[0], value[0].numel()), []).append(name)
    return buckets
