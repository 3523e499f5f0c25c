"""How one field is noised, how a loss is taken on it, and one exact step back. `Joint` does it for all fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse.diffusion.noise import Noise, White
from suffuse.diffusion.random import Random
from suffuse.diffusion.schedule import Cosine, Linear, Schedule
from suffuse.diffusion.state import Fields


def draw_from(logits: Tensor, uniform: Tensor) -> Tensor:
    """Inverse-CDF draw in float64. logits (..., K), uniform (...) in (0, 1); returns int64 classes (...).

    (Gumbel noise in float32 silently lowers the temperature: Zheng et al. 2024, section 4.)
    """
    cdf = torch.softmax(logits.double(), dim=-1).cumsum(-1)
    threshold = uniform.double().unsqueeze(-1) * cdf[..., -1:]
    return torch.searchsorted(cdf, threshold, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


@dataclass(frozen=True)
class Gaussian:
    """x_t = alpha(t) x_0 + sigma(t) noise.

    warp: this field's level at a shared clock c is c ** warp. std: the data's standard deviation (for preconditioning).
    weighting: 'edm' (unit-variance target of the preconditioned network, Karras et al. 2022, table 1), 'x0' (plain squared
    error of the clean prediction) or 'min_snr' (Hang et al. 2023, gamma 5, in x0 space).
    """

    schedule: Schedule = field(default_factory=Cosine)
    noise_model: Noise = field(default_factory=White)
    warp: float = 1.0
    std: float = 1.0
    weighting: str = "edm"

    categorical = False
    masked = False

    def level(self, clock: Tensor) -> Tensor:
        return clock**self.warp

    def canonical(self, x: Tensor, levels: Tensor) -> Tensor:
        """The level a network sees, 2/pi atan(sigma/alpha): independent of the schedule's own clock."""
        if isinstance(self.schedule, Cosine):
            return levels
        return torch.atan2(self.schedule.sigma(levels), self.schedule.alpha(levels)) * (2 / torch.pi)

    def null(self, x: Tensor) -> Tensor:
        """What a held entry's value is replaced by."""
        return torch.zeros_like(x)

    def noise(self, like: Tensor, context: Fields, random: Random, index: Tensor, step: int, name: str) -> Tensor:
        return self.noise_model.sample(like, context, random, index, step, name)

    def corrupt(self, x0: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
        """A clean field at `levels` (which broadcast against it), from noise that may be shared between calls."""
        return self.schedule.alpha(levels) * x0 + self.schedule.sigma(levels) * noise

    def loss(self, clean: Tensor, x0: Tensor, x: Tensor, levels: Tensor) -> Tensor:
        """Weighted squared error per entry, the shape of x0. Entries at level 0 carry none."""
        return self.loss_weight(levels) * (clean - x0) ** 2

    def loss_weight(self, levels: Tensor) -> Tensor:
        alpha, sigma = self.schedule.alpha(levels), self.schedule.sigma(levels)
        floor = sigma.clamp(min=1e-4)
        if self.weighting == "edm":
            weight = (alpha**2 * self.std**2 + sigma**2) / (floor * self.std) ** 2
        elif self.weighting == "min_snr":
            weight = (alpha / floor).square().clamp(max=5.0)
        else:
            weight = torch.ones_like(alpha)
        return torch.where(levels > 0, weight, torch.zeros_like(weight))

    def log_prior(self, x: Tensor) -> Tensor:
        """Log density of white noise at level 1, summed per sample, in nats."""
        sigma = self.schedule.sigma(torch.ones((), dtype=x.dtype))
        value = -0.5 * ((x / sigma) ** 2 + torch.log(2 * torch.pi * sigma**2))
        return value.flatten(1).sum(1)


@dataclass(frozen=True)
class Categorical:
    """x_t keeps x_0 with probability alpha(t) and is otherwise drawn from the prior (Austin et al. 2021; Campbell et al. 2024).

    classes: K. Values are 0..K-1; the null token, which is also the mask, is K.
    prior: 'mask', 'uniform' or K probabilities (such as the data's marginal). Under 'mask' the network sees realised levels.
    emphasis: under the other priors the loss is divided by level ** emphasis. With levels drawn as clock ** 2, an emphasis of 1/2
    weighs every level as the likelihood bound does; 0 leaves most of the loss to levels at which little can be told.
    """

    classes: int
    prior: str | Sequence[float] = "mask"
    schedule: Schedule = field(default_factory=Linear)
    warp: float = 1.0
    emphasis: float = 0.0

    categorical = True

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ValueError(f"a categorical field needs at least one class, not {self.classes}")
        if not isinstance(self.prior, str):
            prior = tuple(float(p) for p in self.prior)
            if len(prior) != self.classes or min(prior) < 0 or abs(sum(prior) - 1) > 1e-4:
                raise ValueError(f"the prior must be {self.classes} probabilities that add up to 1")
            object.__setattr__(self, "prior", prior)
        elif self.prior not in ("mask", "uniform"):
            raise ValueError(f"the prior must be 'mask', 'uniform' or probabilities, not '{self.prior}'")

    @property
    def masked(self) -> bool:
        return isinstance(self.prior, str) and self.prior == "mask"

    def probabilities(self, device: torch.device | str = "cpu") -> Tensor:
        """(K,) float64 prior over the classes; not defined for the mask prior."""
        if isinstance(self.prior, str):
            return torch.full((self.classes,), 1 / self.classes, dtype=torch.float64, device=device)
        return torch.tensor(self.prior, dtype=torch.float64, device=device)

    def level(self, clock: Tensor) -> Tensor:
        return clock**self.warp

    def canonical(self, x: Tensor, levels: Tensor) -> Tensor:
        if self.masked:
            return (x == self.classes).to(levels.dtype)
        return (1 - self.schedule.alpha(levels)).expand(
            torch.broadcast_shapes(levels.shape, x.shape[:1] + (1,) * (x.ndim - 1))
        )

    def null(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.classes)

    def noise(
        self, like: Tensor, context: Fields, random: Random, index: Tensor, step: int, name: str
    ) -> tuple[Tensor, Tensor]:
        """(when, what): uniforms that say at which level an entry is lost, and the token that replaces it."""
        shape = like.shape[1:]
        when = random.uniform(shape, index, step, name)
        if self.masked:
            return when, torch.full_like(like, self.classes)
        what = random.uniform(shape, index, step, name + "/prior")
        edges = self.probabilities(like.device).cumsum(0)
        token = torch.searchsorted(edges, what.double() * edges[-1], right=True).clamp(max=self.classes - 1)
        return when, token

    def corrupt(self, x0: Tensor, noise: tuple[Tensor, Tensor], levels: Tensor) -> Tensor:
        when, what = noise
        return torch.where(when < 1 - self.schedule.alpha(levels), what, x0)

    def loss(self, clean: Tensor, x0: Tensor, x: Tensor, levels: Tensor) -> Tensor:
        """Cross-entropy per entry in nats. Masked prior: on masked entries only, times -alpha'/(1 - alpha), so that its mean over
        uniform levels bounds the likelihood (Sahoo et al. 2024, eq. 10)."""
        target = x0.clamp(max=self.classes - 1)
        entropy = F.cross_entropy(clean.flatten(0, -2), target.flatten(), reduction="none").reshape(x0.shape)
        if self.masked:
            slope = -self.schedule.slopes(levels)[0]
            weight = slope / (1 - self.schedule.alpha(levels)).clamp(min=1e-3)
            return torch.where(x == self.classes, entropy * weight, torch.zeros_like(entropy))
        if self.emphasis:
            entropy = entropy * levels.clamp(min=1e-3) ** -self.emphasis
        return torch.where(levels > 0, entropy, torch.zeros_like(entropy))

    def jump(self, levels: Tensor, next_levels: Tensor) -> Tensor:
        """Probability that a lost entry is regained on the way down: (alpha_s - alpha_t) / (1 - alpha_t)."""
        lost = (1 - self.schedule.alpha(levels)).clamp(min=1e-12)
        return ((self.schedule.alpha(next_levels) - self.schedule.alpha(levels)) / lost).clamp(0, 1)

    def transition(
        self, x: Tensor, probabilities: Tensor, levels: Tensor, next_levels: Tensor, stochasticity: float
    ) -> Tensor:
        """The law of x_s given x_t for predicted clean probabilities (..., K), for uniform and marginal priors.

        stochasticity 0: an entry jumps to a predicted clean value with probability `jump`, else stays (minimal jumps, the
        rate matrix of discrete flow matching). 1: the Markov posterior (Austin et al. 2021, eq. 3) averaged over predictions.
        Between: the convex mixture, which keeps the same marginals. Returns (..., K).
        """
        p = probabilities.double()
        here = F.one_hot(x.clamp(max=self.classes - 1), self.classes).double()
        jump = self.jump(levels.double(), next_levels.double()).unsqueeze(-1)
        quiet = jump * p + (1 - jump) * here
        if stochasticity == 0:
            return quiet
        prior = self.probabilities(p.device)
        a_t = self.schedule.alpha(levels.double()).unsqueeze(-1)
        a_s = self.schedule.alpha(next_levels.double()).unsqueeze(-1)
        keep = torch.where(a_s > 0, a_t / a_s.clamp(min=1e-300), torch.ones_like(a_s))
        pi_here = (here * prior).sum(-1, keepdim=True)
        evidence = a_t * here + (1 - a_t) * pi_here
        share = p / evidence.clamp(min=1e-300)
        back = (keep * here + (1 - keep) * pi_here) * (a_s * share + (1 - a_s) * prior * share.sum(-1, keepdim=True))
        back = back / back.sum(-1, keepdim=True).clamp(min=1e-300)
        return (1 - stochasticity) * quiet + stochasticity * back

    def reverse(
        self, x: Tensor, clean: Tensor, levels: Tensor, next_levels: Tensor, uniform: Tensor, stochasticity: float = 0.0
    ) -> Tensor:
        """One step from levels to next_levels. Masked prior: levels are realised; entries whose next level is 0 are opened from
        the logits `clean`, entries whose next level is 1 are masked. uniform: x-shaped draws in (0, 1)."""
        if self.masked:
            now, then = levels.expand(x.shape) > 0.5, next_levels.expand(x.shape) > 0.5
            opened = now & ~then
            out = torch.where(then & ~now, torch.full_like(x, self.classes), x)
            if opened.any():
                out[opened] = draw_from(clean[opened], uniform[opened])
            return out
        moving = (next_levels < levels).expand(x.shape)
        law = self.transition(x, torch.softmax(clean.double(), -1), levels, next_levels, stochasticity)
        cdf = law.cumsum(-1)
        drawn = torch.searchsorted(cdf, uniform.double().unsqueeze(-1) * cdf[..., -1:], right=True).squeeze(-1)
        return torch.where(moving, drawn.clamp(max=self.classes - 1), x)


Process = Gaussian | Categorical


@dataclass
class Joint:
    """One process per field, in a fixed order. `weights` are the fields' shares of the training loss (default 1)."""

    processes: dict[str, Process]
    weights: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def __iter__(self):
        return iter(self.processes)

    def items(self):
        return self.processes.items()

    def null(self, x: Fields, held: Fields) -> Fields:
        """x with held entries replaced by their null value."""
        out = dict(x)
        for name, mask in held.items():
            out[name] = torch.where(mask, self[name].null(x[name]), x[name])
        return out

    def noise(self, x: Fields, context: Fields, random: Random, index: Tensor, step: int) -> dict[str, Any]:
        return {name: p.noise(x[name], context, random, index, step, name) for name, p in self.items()}

    def corrupt(self, x0: Fields, noise: dict[str, Any], levels: Fields) -> Fields:
        return {name: p.corrupt(x0[name], noise[name], levels[name]) for name, p in self.items()}

    def canonical(self, x: Fields, levels: Fields) -> Fields:
        return {name: p.canonical(x[name], levels[name]) for name, p in self.items()}


def full_levels(joint: Joint, x: Fields, levels: Fields) -> Fields:
    """Levels for every field: those given, and 1 everywhere for the rest."""
    out = {}
    for name in joint:
        ones = torch.ones((x[name].shape[0],) + (1,) * (x[name].ndim - 1), device=x[name].device)
        out[name] = levels[name].to(x[name].device) if name in levels else ones
    return out
