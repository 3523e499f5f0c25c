"""MONAI's 3-D diffusion network on volumes prepared by `scans_volumes.py`; run by the Python of an environment that has it.

    python -m venv peers && peers/bin/pip install torch==2.13.0 numpy safetensors && peers/bin/pip install --no-deps monai==1.6.1
    python benchmarks/scans.py volumes --peers peers/bin/python ...

Network, schedule and samplers are MONAI's own: `DiffusionModelUNet` as in its 3-D DDPM tutorial (three resolutions, attention at
the lowest, 1,000 steps of a scaled linear schedule, noise predicted, Adam), made as small as suffuse's network. The tutorial's
rate (5e-5, for days on a GPU) is raised for the short run, an average of the weights is kept, both in the peer's favour.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler

SCHEDULE = {"num_train_timesteps": 1000, "schedule": "scaled_linear_beta", "beta_start": 0.0005, "beta_end": 0.0195}


def network() -> torch.nn.Module:
    return DiffusionModelUNet(
        spatial_dims=3, in_channels=1, out_channels=1, channels=(16, 32, 64), num_res_blocks=1,
        attention_levels=(False, False, True), num_head_channels=32, norm_num_groups=16,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", type=Path, help=".npy (N, X, Y, Z) in 0..1")
    parser.add_argument("out", type=Path, help=".npz of samples")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--calls", type=int, default=25)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(a.seed)
    x = torch.from_numpy(np.load(a.volumes)).float()[:, None] * 2 - 1
    net, schedule = network(), DDPMScheduler(**SCHEDULE)
    average = copy.deepcopy(net).eval().requires_grad_(False)
    optimiser = torch.optim.Adam(net.parameters(), lr=a.rate)
    begun, step = time.process_time(), 0
    while (done := (time.process_time() - begun) / 60 / a.minutes) < 1:
        clean = x[torch.randint(len(x), (a.batch,))]
        noise, at = torch.randn_like(clean), torch.randint(1000, (a.batch,))
        with torch.autocast("cpu", torch.bfloat16):
            guess = net(schedule.add_noise(clean, noise, at), at)
        loss = torch.nn.functional.mse_loss(guess.float(), noise)
        for group in optimiser.param_groups:
            group["lr"] = a.rate * min(1, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * done))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        with torch.no_grad():
            for old, new in zip(average.parameters(), net.parameters(), strict=True):
                old.lerp_(new, max(1 - 0.995, step**-0.75))
        if step % 20 == 0:
            print(f"MONAI: {100 * done:.0f} %, step {step}, loss {loss.item():.4f}", flush=True)
    sampler, made = DDIMScheduler(**SCHEDULE, clip_sample=True), []
    sampler.set_timesteps(a.calls)
    begun = time.process_time()
    with torch.inference_mode():
        while sum(map(len, made)) < a.count:
            y = torch.randn(min(20, a.count - sum(map(len, made))), *x.shape[1:])
            for t in sampler.timesteps:
                with torch.autocast("cpu", torch.bfloat16):
                    guess = average(y, t.expand(len(y)))
                y, _ = sampler.step(guess.float(), int(t), y)
            made.append(((y[:, 0] + 1) / 2).half().numpy())
    size = sum(p.numel() for p in net.parameters())
    spent = time.process_time() - begun
    np.savez(a.out, made=np.concatenate(made), parameters=size, steps=step, seconds=spent, calls=a.calls)


if __name__ == "__main__":
    main()
