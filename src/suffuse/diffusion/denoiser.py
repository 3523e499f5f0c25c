"""A network of any parametrisation as the prediction of the clean sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from suffuse.diffusion.process import Gaussian, Joint
from suffuse.diffusion.schedule import Cosine
from suffuse.diffusion.state import Fields

PARAMETRISATIONS = ("edm", "x0", "eps", "v", "velocity")


def check_parametrisation(name: str, process: Gaussian) -> None:
    """Refuse at construction what would divide by zero while sampling. Raises ValueError."""
    if name not in PARAMETRISATIONS:
        raise ValueError(f"unknown prediction '{name}': choose one of {', '.join(PARAMETRISATIONS)}")
    end = process.schedule.alpha(torch.ones((), dtype=torch.float64)).item()
    kind = type(process.schedule).__name__
    if name == "eps" and end == 0:
        raise ValueError(
            f"eps prediction cannot recover x0 at zero SNR, where the {kind} schedule ends: use 'edm', 'x0' or 'v'"
        )
    if name == "v" and end == 1:
        raise ValueError(f"v prediction needs a variance-preserving schedule, not {kind}: use 'edm', 'x0' or 'eps'")


def scalings(name: str, process: Gaussian, levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(c_in, c_skip, c_out) with clean = c_skip x + c_out raw, for any schedule (EDM 2022, eq. 7 and appendix B.6, written with
    x = alpha x0 + sigma noise and data deviation `process.std`)."""
    alpha, sigma, std = process.schedule.alpha(levels), process.schedule.sigma(levels), process.std
    if name == "edm" and std == 1 and isinstance(process.schedule, Cosine):
        return torch.ones((), dtype=alpha.dtype, device=alpha.device), alpha, sigma
    total = torch.sqrt(alpha**2 * std**2 + sigma**2)
    c_in = 1 / total
    if name == "edm":
        return c_in, alpha * std**2 / total**2, sigma * std / total
    if name == "x0":
        return c_in, torch.zeros_like(alpha), torch.full_like(alpha, std)
    if name == "eps":
        return c_in, 1 / alpha, -sigma / alpha
    if name == "v":
        norm = torch.sqrt(alpha**2 + sigma**2)
        return c_in, alpha / norm**2, -sigma / norm**2
    d_alpha, d_sigma = process.schedule.slopes(levels)
    span = d_sigma * alpha - sigma * d_alpha
    safe = torch.where(span == 0, torch.ones_like(span), span)
    return (
        c_in,
        torch.where(span == 0, 1 / alpha, d_sigma / safe),
        torch.where(span == 0, torch.zeros_like(span), -sigma / safe),
    )


class Denoiser(nn.Module):
    """Wraps `network(x, levels, context, targets) -> raw` into `denoiser(x, levels, context, targets) -> clean`.

    Gaussian fields come back as the expected clean values, equal to x where the level is 0; categorical fields as logits over
    their classes. parametrisation: per Gaussian field one of 'edm' (default), 'x0', 'eps', 'v', 'velocity'.
    flow_map: the network was distilled and takes the next levels as `targets`.
    """

    pure = True
    """Its answer depends on its arguments alone: the sampler need not ask twice for the same state."""

    def __init__(
        self, network: nn.Module, joint: Joint, parametrisation: dict[str, str] | None = None, flow_map: bool = False
    ):
        super().__init__()
        self.network, self.joint, self.flow_map = network, joint, flow_map
        self.parametrisation = {name: "edm" for name, p in joint.items() if not p.categorical} | (parametrisation or {})
        for name, kind in self.parametrisation.items():
            check_parametrisation(kind, joint[name])

    def forward(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        inside, scale = {}, {}
        for name, process in self.joint.items():
            if process.categorical:
                inside[name] = x[name]
            else:
                c_in, c_skip, c_out = scalings(self.parametrisation[name], process, levels[name])
                inside[name], scale[name] = c_in * x[name], (c_skip, c_out)
        seen = self.joint.canonical(x, levels)
        if self.flow_map:
            then = self.joint.canonical(x, levels if targets is None else targets)
            raw = self.network(inside, seen, context, then)
        else:
            raw = self.network(inside, seen, context, None)
        clean = {}
        for name, process in self.joint.items():
            if process.categorical:
                clean[name] = raw[name]
            else:
                c_skip, c_out = scale[name]
                clean[name] = process.noise_model.project(c_skip * x[name] + c_out * raw[name], context)
        return clean
