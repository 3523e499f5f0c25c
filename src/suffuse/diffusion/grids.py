"""Time grids: descending clocks from `top` to 0 in a given number of steps, as float64 tensors (steps + 1,)."""

from __future__ import annotations

import torch
from torch import Tensor

from suffuse.diffusion.schedule import Schedule


def uniform(schedule: Schedule, steps: int, top: float = 1.0) -> Tensor:
    """Equal steps of the clock."""
    return torch.linspace(top, 0.0, steps + 1, dtype=torch.float64)


def trailing(schedule: Schedule, steps: int, top: float = 1.0, train_steps: int = 1000) -> Tensor:
    """The discrete 'trailing' spacing of Lin et al. 2023 (table 2) on `train_steps` integer times."""
    times = torch.round(torch.arange(steps, 0, -1, dtype=torch.float64) * train_steps / steps) / train_steps
    return torch.cat([times * top, torch.zeros(1, dtype=torch.float64)])


def quadratic(schedule: Schedule, steps: int, top: float = 1.0) -> Tensor:
    """Equal steps of the clock's root: short ones near data (DDIM, Song et al. 2021, appendix D.2)."""
    return top * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 2


def midway(schedule: Schedule, steps: int, top: float = 1.0) -> Tensor:
    """Between 'uniform' and 'quadratic': equal steps of the clock to the power 2/3."""
    return top * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 1.5


def adding(schedule: Schedule, steps: int, top: float = 1.0) -> Tensor:
    """Equal steps of the clock to the power 4/3: where edges are only ever added, few of them in any one step."""
    return top * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 0.75


def karras(
    schedule: Schedule, steps: int, top: float = 1.0, rho: float = 7.0, low: float = 0.002, high: float = 80.0
) -> Tensor:
    """Equal steps of (sigma/alpha)^(1/rho) from `high` (or the level `top`, if lower) to `low`, then 0 (EDM 2022, eq. 5)."""
    log_ratio = -schedule.log_snr(torch.tensor([top, 0.5], dtype=torch.float64))[0].item()
    start = min(high, torch.tensor(log_ratio).double().exp().item())
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    ratio = (start ** (1 / rho) + ramp * (low ** (1 / rho) - start ** (1 / rho))) ** rho
    times = schedule.time(-torch.log(ratio))
    times[0] = top
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


def log_snr(schedule: Schedule, steps: int, top: float = 1.0, low: float = 0.01, high: float = 50.0) -> Tensor:
    """Equal steps of log-SNR between noise-to-signal ratios `high` and `low`, then 0; the first time is `top` itself."""
    log_ratio = -schedule.log_snr(torch.tensor([top, 0.5], dtype=torch.float64))[0].item()
    start = min(torch.tensor(high).double().log().item(), log_ratio)
    times = schedule.time(-torch.linspace(start, float(torch.tensor(low).log()), steps, dtype=torch.float64))
    times[0] = top
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


def rho3(schedule: Schedule, steps: int, top: float = 1.0) -> Tensor:
    """Karras' grid with a gentler exponent and a floor that 8-bit data can feel."""
    return karras(schedule, steps, top, rho=3.0, low=0.01, high=80.0)


GRIDS = {
    "uniform": uniform,
    "trailing": trailing,
    "quadratic": quadratic,
    "midway": midway,
    "adding": adding,
    "karras": karras,
    "log_snr": log_snr,
    "rho3": rho3,
}
