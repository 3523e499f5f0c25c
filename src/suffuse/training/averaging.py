"""Averages of weights whose length is chosen after training (Karras et al., EDM2, arXiv 2312.02696, section 3, app. C).

Two running averages with power-function profiles are tracked and stored now and then. Any other profile is then a
linear combination of what was stored, fitted by least squares of the profiles themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from suffuse.errors import AskError


def exponent(width: float) -> float:
    """The exponent gamma of the power profile t^gamma whose relative deviation sigma_rel is `width`.

    sigma_rel = sqrt((gamma + 1) / ((gamma + 2)^2 (gamma + 3))) (EDM2, equation 126); falling from .289 at gamma = 0.
    """
    if not 0 < width < math.sqrt(1 / 12):
        raise AskError(f"The width of an average must lie between 0 and 0.288, not {width!r}.")
    inverse = width**-2
    roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
    return float(max(root.real for root in roots if abs(root.imag) < 1e-9 * max(1.0, abs(root))))


def keep(gamma: float, t: int) -> float:
    """The share beta of the old average kept at update t = 1, 2, ...: (1 - 1/t)^(gamma + 1) (EDM2, equation 3)."""
    return (1 - 1 / t) ** (gamma + 1)


class Averages:
    """Running power averages of named tensors, one set a width.

    parameters: name -> tensor; only floating-point tensors are averaged. Averages are float32 on the same device.
    """

    def __init__(self, parameters: Iterable[tuple[str, Tensor]], widths: Sequence[float]):
        pairs = [(name, value) for name, value in parameters if value.is_floating_point()]
        self.names = [name for name, _ in pairs]
        self.widths = tuple(float(w) for w in widths)
        self.gammas = [exponent(w) for w in self.widths]
        self.count = 0
        self.values = [[value.detach().float().clone() for _, value in pairs] for _ in self.widths]

    @torch.no_grad()
    def update(self, values: Sequence[Tensor]) -> None:
        """One more step: `values` are the tensors after it, in the order of `names`."""
        self.count += 1
        for gamma, average in zip(self.gammas, self.values, strict=True):
            torch._foreach_lerp_(average, [v.detach() for v in values], 1 - keep(gamma, self.count))

    def settle(self, values: Sequence[Tensor]) -> None:
        """Give the averages the memory layout of the parameters, after that was changed."""
        self.values = [[torch.empty_like(v).float().copy_(a) for v, a in zip(values, row)] for row in self.values]

    def tensors(self) -> dict[str, Tensor]:
        """All running averages as `position.name` -> tensor."""
        return {f"{k}.{n}": v for k, row in enumerate(self.values) for n, v in zip(self.names, row, strict=True)}

    def load(self, tensors: dict[str, Tensor], count: int) -> None:
        """Take back what `tensors()` gave and how many updates it had seen."""
        with torch.no_grad():
            for name, value in self.tensors().items():
                value.copy_(tensors[name])
        self.count = count

    def current(self, width: float) -> dict[str, Tensor] | None:
        """The running average of one tracked width, or None if it is not tracked."""
        if width not in self.widths:
            return None
        return dict(zip(self.names, self.values[self.widths.index(width)], strict=True))


def profile(gamma: float, length: int) -> np.ndarray:
    """The exact weight of each of `length` updates: (i^(gamma+1) - (i-1)^(gamma+1)) / length^(gamma+1)."""
    edges = (np.arange(length + 1, dtype=np.float64) / length) ** (gamma + 1)
    return np.diff(edges)


def weights(stored: Sequence[tuple[int, float]], length: int, width: float) -> np.ndarray:
    """Least-squares weights of stored averages for the profile of `width` at update `length`.

    stored: (updates seen, width) of each stored average. The inner products are those of the discrete profiles
    (EDM2's equation 132 is their continuous limit), solved in float64 with the sum of the weights bound to 1.
    """
    if not stored:
        raise AskError("No stored averages to rebuild from.")
    entries = [*((t, exponent(w)) for t, w in stored), (length, exponent(width))]
    longest = max(t for t, _ in entries)
    whole = {gamma: profile(gamma, longest) for _, gamma in entries}
    sums = {(a, b): np.cumsum(whole[a] * whole[b]) for a in whole for b in whole}

    def product(one: tuple[int, float], two: tuple[int, float]) -> float:
        """Inner product of two discrete profiles: they overlap up to the shorter one."""
        (s, a), (t, b) = one, two
        return float(sums[a, b][min(s, t) - 1] * (longest / s) ** (a + 1) * (longest / t) ** (b + 1))

    n = len(stored)
    gram = np.array([[product(one, two) for two in entries[:n]] for one in entries[:n]])
    side = np.array([product(one, entries[n]) for one in entries[:n]])
    scale = 1 / np.sqrt(np.diag(gram))
    system = np.zeros((n + 1, n + 1))
    system[:n, :n] = gram * scale[:, None] * scale[None, :]
    system[n, :n] = system[:n, n] = scale
    solution = np.linalg.lstsq(system, np.append(side * scale, 1.0), rcond=1e-13)[0][:n]
    return solution * scale


def rebuild(stored: Iterable[tuple[float, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Sum of weight * tensors over (weight, tensors), in float64, answered in float32; reads one at a time."""
    total: dict[str, Tensor] = {}
    for weight, tensors in stored:
        for name, value in tensors.items():
            term = value.double() * weight
            total[name] = total[name] + term if name in total else term
    return {name: value.float() for name, value in total.items()}
