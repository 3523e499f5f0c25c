"""Guidance: wrappers from denoiser to denoiser. They compose, and say whether they need gradients.

A denoiser is any `denoiser(x, levels, context, targets=None) -> clean`, all dicts of fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.state import Fields

Denoise = Callable[..., Fields]


def _mix(joint: Joint, without: Fields, within: Fields, weight: float | Tensor) -> Fields:
    """without + weight (within - without): on clean values, and on log-softmax for categorical fields (before forbidden
    tokens become -inf)."""
    out = {}
    for name, process in joint.items():
        a, b = without[name], within[name]
        if process.categorical:
            a, b = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
        w = weight if not isinstance(weight, Tensor) else weight.reshape(-1, *(1,) * (a.ndim - 1)).to(a.dtype)
        out[name] = a + w * (b - a)
    return out


def _noisiest(joint: Joint, levels: Fields, names: Iterable[str]) -> Tensor:
    """(B,) the highest level of the fields being asked, per sample."""
    return torch.stack([levels[n].flatten(1).amax(1) for n in names]).amax(0)


class ClassifierFree:
    """D = D_u + w (D_c - D_u) (Ho & Salimans 2022), both from one batched call.

    hold: the condition fields; D_u sees them held at level 1. interval: guide only while the highest level of the other
    fields lies within it, and call the network once elsewhere (Kynkaanniemi et al. 2024). against: values of held fields
    that D_u sees as given (a negative prompt): the result moves away from them instead of from the average.
    """

    needs_gradients = False

    def __init__(
        self,
        denoiser: Denoise,
        joint: Joint,
        weight: float,
        hold: Iterable[str],
        interval: tuple[float, float] = (0.0, 1.0),
        against: Fields | None = None,
    ):
        self.denoiser, self.joint, self.weight, self.interval = denoiser, joint, weight, interval
        self.hold, self.against = tuple(hold), against or {}
        self.asked = tuple(n for n in joint if n not in self.hold)

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        level = _noisiest(self.joint, levels, self.asked)
        inside = (level >= self.interval[0]) & (level <= self.interval[1])
        if not self.hold or self.weight == 1.0 or not bool(inside.any()):
            return self.denoiser(x, levels, context, targets)
        size = len(level)

        def double(value: Fields) -> Fields:
            return {k: torch.cat([v, v]) if v.shape[0] == size else v for k, v in value.items()}

        both, high = double(x), double(levels)
        then = None if targets is None else double(targets)
        for name in self.hold:
            if name in self.against:
                other, level_of = self.against[name], torch.zeros_like(levels[name])
            else:
                other, level_of = self.joint[name].null(x[name]), torch.ones_like(levels[name])
            both[name] = torch.cat([x[name], other])
            high[name] = torch.cat([levels[name], level_of])
            if then is not None and targets is not None:
                then[name] = torch.cat([targets[name], level_of])
        clean = self.denoiser(both, high, double(context), then)
        within = {n: v[:size] for n, v in clean.items()}
        without = {n: v[size:] for n, v in clean.items()}
        weight = torch.where(inside, torch.full_like(level, self.weight), torch.ones_like(level))
        return _mix(self.joint, without, within, weight)


class Autoguidance:
    """D = D_bad + w (D - D_bad), where D_bad is a smaller or less trained model of the same question (Karras et al. 2024)."""

    needs_gradients = False

    def __init__(
        self, denoiser: Denoise, bad: Denoise, joint: Joint, weight: float, interval: tuple[float, float] = (0.0, 1.0)
    ):
        self.denoiser, self.bad, self.joint, self.weight, self.interval = denoiser, bad, joint, weight, interval

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        clean = self.denoiser(x, levels, context, targets)
        level = _noisiest(self.joint, levels, self.joint)
        inside = (level >= self.interval[0]) & (level <= self.interval[1])
        if self.weight == 1.0 or not bool(inside.any()):
            return clean
        weight = torch.where(inside, torch.full_like(level, self.weight), torch.ones_like(level))
        return _mix(self.joint, self.bad(x, levels, context, targets), clean, weight)


class DynamicThreshold:
    """Clean values beyond the `quantile` of each sample's magnitudes (and beyond `limit`) are scaled back to `limit`
    (Saharia et al. 2022, section 2.3)."""

    needs_gradients = False

    def __init__(self, denoiser: Denoise, field: str, quantile: float = 0.995, limit: float = 1.0):
        self.denoiser, self.field, self.quantile, self.limit = denoiser, field, quantile, limit

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        clean = self.denoiser(x, levels, context, targets)
        value = clean[self.field]
        bound = torch.quantile(value.flatten(1).abs().float(), self.quantile, dim=1).to(value.dtype)
        bound = bound.clamp(min=self.limit).reshape(-1, *(1,) * (value.ndim - 1))
        return {**clean, self.field: value.clamp(-bound, bound) * (self.limit / bound)}


class Operator(Protocol):
    """A linear measurement y = A x on a field: `apply` A, `adjoint` A^T, `inverse` the pseudo-inverse A^+."""

    def apply(self, x: Tensor) -> Tensor: ...

    def adjoint(self, y: Tensor) -> Tensor: ...

    def inverse(self, y: Tensor) -> Tensor: ...


class DDNM:
    """Linear measurements: the clean prediction's range space is replaced by the measurement, D + A^+(y - A D), damped by the
    measurement noise: lambda = min(1, sigma_t / (alpha_t sigma_y)) (Wang et al. 2022, eq. 10 and 17)."""

    needs_gradients = False

    def __init__(
        self, denoiser: Denoise, joint: Joint, field: str, operator: Operator, measurement: Tensor, noise: float = 0.0
    ):
        self.denoiser, self.process, self.field = denoiser, joint[field], field
        self.operator, self.measurement, self.noise = operator, measurement, noise

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        clean = self.denoiser(x, levels, context, targets)
        value = clean[self.field]
        pull = self.operator.inverse(self.measurement - self.operator.apply(value))
        if self.noise > 0:
            schedule = self.process.schedule
            level = levels[self.field]
            ratio = schedule.sigma(level) / (schedule.alpha(level).clamp(min=1e-6) * self.noise)
            pull = ratio.clamp(max=1.0) * pull
        return {**clean, self.field: value + pull}


class Anchor:
    """Keeps a Gaussian field near `anchor`: the answer is seen through an observation of it with error `spread`.

    With r_t^2 = sigma_t^2 s^2 / (alpha_t^2 s^2 + sigma_t^2), the spread of x_0 given x_t for data of deviation s, the clean
    prediction becomes the posterior mean (D / r_t^2 + anchor / spread^2) / (1 / r_t^2 + 1 / spread^2); exact where x_0 given x_t
    is N(D, r_t^2) (the identity operator in Song et al. 2023, eq. 7, without its Jacobian). spread: in the field's units.
    """

    needs_gradients = False

    def __init__(self, denoiser: Denoise, joint: Joint, field: str, anchor: Tensor, spread: float):
        if not spread > 0:
            raise ValueError(f"the spread must be above 0, not {spread}")
        process = joint[field]
        assert isinstance(process, Gaussian)
        self.denoiser, self.process, self.field, self.anchor, self.spread = denoiser, process, field, anchor, spread

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        clean = self.denoiser(x, levels, context, targets)
        level, value = levels[self.field], clean[self.field]
        variance = posterior_variance(
            self.process.schedule.alpha(level), self.process.schedule.sigma(level), self.process.std
        )
        gain = variance / (variance + self.spread**2)
        return {**clean, self.field: value + gain * (self.anchor - value)}


def posterior_variance(alpha: Tensor, sigma: Tensor, std: float) -> Tensor:
    """Variance of x_0 given x_t where x_0 is Gaussian of deviation `std`: sigma^2 std^2 / (alpha^2 std^2 + sigma^2)."""
    return sigma**2 * std**2 / (alpha**2 * std**2 + sigma**2)


class _Gradient:
    """What PiGDM and DPS share: the clean prediction with its graph to x kept."""

    needs_gradients = True

    def __init__(self, denoiser: Denoise, joint: Joint, field: str, operator: Any, measurement: Tensor, noise: float):
        self.denoiser, self.field, self.operator, self.measurement, self.noise = (
            denoiser,
            field,
            operator,
            measurement,
            noise,
        )
        process = joint[field]
        assert isinstance(process, Gaussian)
        self.process = process

    def _tracked(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None) -> tuple[Tensor, Fields]:
        value = x[self.field].detach().requires_grad_(True)
        return value, self.denoiser({**x, self.field: value}, levels, context, targets)

    def _signal(self, levels: Fields) -> tuple[Tensor, Tensor]:
        level = levels[self.field]
        return self.process.schedule.alpha(level), self.process.schedule.sigma(level)


class PiGDM(_Gradient):
    """Linear measurements: D' = D + (sigma_t^2 / alpha_t) J^T A^T (r_t^2 A A^T + sigma_y^2)^-1 (y - A D), which is the posterior
    mean when x_0 given x_t is N(D, r_t^2) (Song et al. 2023, eq. 8), with r_t^2 = sigma_t^2 s^2 / (alpha_t^2 s^2 + sigma_t^2) for
    data of deviation s. The inverse is by conjugate gradients."""

    def __init__(
        self,
        denoiser: Denoise,
        joint: Joint,
        field: str,
        operator: Operator,
        measurement: Tensor,
        noise: float = 0.0,
        iterations: int = 12,
    ):
        super().__init__(denoiser, joint, field, operator, measurement, noise)
        self.iterations = iterations

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        alpha, sigma = self._signal(levels)
        with torch.enable_grad():
            value, clean = self._tracked(x, levels, context, targets)
            mean = clean[self.field]
            spread = posterior_variance(alpha, sigma, self.process.std)
            spread = spread.amax(dim=tuple(range(1, spread.ndim)), keepdim=True)
            gap = self.measurement - self.operator.apply(mean)
            solved = self._solve(gap.detach(), spread.reshape(-1, *(1,) * (gap.ndim - 1)))
            (gradient,) = torch.autograd.grad((solved * self.operator.apply(mean)).sum(), value)
        # posterior score = score + gradient, and D = (x + sigma^2 score) / alpha by Tweedie
        pull = torch.where(alpha > 1e-3, sigma**2 / alpha.clamp(min=1e-3), torch.zeros_like(alpha)) * gradient
        late = alpha <= 1e-3
        if bool(late.any()):
            direct = spread * self.operator.adjoint(solved)
            pull = torch.where(late, direct, pull)
        return {n: v.detach() for n, v in clean.items()} | {self.field: (mean + pull).detach()}

    def _solve(self, gap: Tensor, spread: Tensor) -> Tensor:
        """(spread A A^T + noise^2) z = gap, per sample."""
        floor = self.noise**2 + 1e-6

        def matrix(z: Tensor) -> Tensor:
            return spread * self.operator.apply(self.operator.adjoint(z)) + floor * z

        def dot(a: Tensor, b: Tensor) -> Tensor:
            return (a * b).flatten(1).sum(1).reshape(-1, *(1,) * (a.ndim - 1))

        z, residual = torch.zeros_like(gap), gap
        direction, size = residual, dot(residual, residual)
        for _ in range(self.iterations):
            image = matrix(direction)
            rate = size / dot(direction, image).clamp(min=1e-20)
            z, residual = z + rate * direction, residual - rate * image
            fresh = dot(residual, residual)
            direction, size = residual + fresh / size.clamp(min=1e-20) * direction, fresh
        return z


class DPS(_Gradient):
    """Any differentiable measurement y = A(x): after each step, x moves by `scale` along the gradient of |y - A(D)| to x_t
    (Chung et al. 2022, algorithm 1). Expressed as a change of the clean prediction, which the step to `targets` weighs with
    alpha_s - alpha_t sigma_s / sigma_t."""

    def __init__(
        self,
        denoiser: Denoise,
        joint: Joint,
        field: str,
        operator: Callable[[Tensor], Tensor],
        measurement: Tensor,
        scale: float = 1.0,
    ):
        super().__init__(denoiser, joint, field, operator, measurement, 0.0)
        self.scale = scale

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        with torch.enable_grad():
            value, clean = self._tracked(x, levels, context, targets)
            apply = self.operator if callable(self.operator) else self.operator.apply
            residual = (self.measurement - apply(clean[self.field])).flatten(1).norm(dim=1)
            (gradient,) = torch.autograd.grad(residual.sum(), value)
        move = self.scale / self._share(levels, targets) * gradient
        return {n: v.detach() for n, v in clean.items()} | {self.field: (clean[self.field] - move).detach()}

    def _share(self, levels: Fields, targets: Fields | None) -> Tensor:
        """How much of a change of the clean prediction arrives in x after the step."""
        if targets is None:
            return torch.ones(())
        (alpha, sigma), (alpha_s, sigma_s) = self._signal(levels), self._signal(targets)
        ratio = torch.where(sigma > 0, sigma_s / sigma.clamp(min=1e-12), torch.ones_like(sigma))
        return (alpha_s - alpha * ratio).clamp(min=1e-2)
