"""Reference outputs of diffusers 0.42 for the solver tests: same network, noise and grid.

    python -m venv peers && peers/bin/pip install torch==2.13.0 numpy diffusers==0.42.0
    peers/bin/python benchmarks/against_diffusers.py tests/diffusion/diffusers_reference.json

Only this script needs diffusers; the test reads the JSON it writes. float64 throughout.
"""

from __future__ import annotations

import json
import sys

import diffusers
import torch

STEPS = 20


def clean(x: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    """A smooth, non-linear stand-in for a trained network's clean prediction; the test holds the same formula."""
    return torch.tanh(1.5 * x / (alpha**2 + 0.5 * sigma**2)) * 0.8 + 0.1 * torch.sin(3 * x + alpha)


def run(scheduler, stochastic: bool) -> dict:
    scheduler.set_timesteps(STEPS)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 8, generator=generator, dtype=torch.float64)
    start, noises, ratios = x.clone(), [], []
    for t in scheduler.timesteps:
        bar = scheduler.alphas_cumprod[int(t)].double().item()
        alpha, sigma = bar**0.5, (1 - bar) ** 0.5
        eps = (x - alpha * clean(x, alpha, sigma)) / sigma
        ratios.append(sigma / alpha)
        extra = {}
        if stochastic:
            noise = torch.randn(1, 8, generator=generator, dtype=torch.float64)
            noises.append(noise.tolist())
            extra["variance_noise"] = noise
        x = scheduler.step(eps, t, x, **extra).prev_sample
    ends = getattr(scheduler, "sigmas", torch.zeros(1))
    ratios.append(float(ends[-1]))
    return {"start": start.tolist(), "ratios": ratios, "noises": noises, "end": x.tolist()}


def main() -> None:
    common = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    dpm = {**common, "timestep_spacing": "linspace", "final_sigmas_type": "zero", "thresholding": False}
    out = {"version": diffusers.__version__, "steps": STEPS}
    ddim = diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    out["ddim"] = run(ddim, False)
    for name, options in {
        "dpmpp2m": {"solver_order": 2, "algorithm_type": "dpmsolver++"},
        "dpmpp3m": {"solver_order": 3, "algorithm_type": "dpmsolver++"},
        "sde-dpmpp2m": {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"},
    }.items():
        scheduler = diffusers.DPMSolverMultistepScheduler(**dpm, **options, euler_at_final=True)
        out[name] = run(scheduler, name.startswith("sde"))
    for order in (2, 3):
        out[f"deis{order}"] = run(
            diffusers.DEISMultistepScheduler(
                **common, solver_order=order, timestep_spacing="linspace", lower_order_final=True
            ),
            False,
        )
        out[f"unipc{order}"] = run(
            diffusers.UniPCMultistepScheduler(
                **common,
                solver_order=order,
                solver_type="bh2",
                timestep_spacing="linspace",
                lower_order_final=True,
                final_sigmas_type="zero",
            ),
            False,
        )
    with open(sys.argv[1], "w") as file:
        json.dump(out, file, indent=1)


if __name__ == "__main__":
    main()
