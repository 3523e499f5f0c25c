"""video-diffusion-pytorch 0.7.0 trained and sampled for `video_generation.py`, in its own environment.

    python -m venv peers && peers/bin/pip install torch==2.13.0 numpy einops tqdm pillow
    peers/bin/pip install --no-deps video-diffusion-pytorch==0.7.0 einops-exts rotary-embedding-torch
    peers/bin/python benchmarks/video_peers.py films.npz made.npz --minutes 3 --count 64 --calls 25

Unet3D and GaussianDiffusion are the package's; the training loop is ours (Adam, EMA), as its own saves and reads GIF files.
Its own sampler needs 1,000 calls a film; samples are DDIM's (Song et al. 2021) with `--calls` calls.
Of the package's imports torchvision is stood in for (it reads GIFs), and its text encoder is not used.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch


def peer(size: int, frames: int, channels: int, dim: int) -> torch.nn.Module:
    """The package's diffusion over its 3-D U-Net, both with their defaults save the width and depth."""
    for name in ("torchvision", "torchvision.transforms", "torchvision.utils"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
    sys.modules["torchvision"].utils = sys.modules["torchvision.utils"]
    sys.modules["torchvision.transforms"].ToPILImage = sys.modules["torchvision.transforms"].ToTensor = object
    from video_diffusion_pytorch import GaussianDiffusion, Unet3D

    net = Unet3D(dim=dim, dim_mults=(1, 2, 4), channels=channels)
    return GaussianDiffusion(net, image_size=size, num_frames=frames, channels=channels, timesteps=1000)


def train(diffusion: torch.nn.Module, films: torch.Tensor, minutes: float, batch: int, rate: float, seed: int):
    """(the averaged model, steps, CPU seconds): films (n, C, T, H, W) uint8."""
    torch.manual_seed(seed)
    averaged = copy.deepcopy(diffusion)
    optimiser = torch.optim.Adam(diffusion.parameters(), rate)
    begun, steps = time.process_time(), 0
    while (used := time.process_time() - begun) < 60 * minutes:
        for group in optimiser.param_groups:  # ours decays too
            group["lr"] = rate * min(1.0, (steps + 1) / 20, 2 * (1 - used / (60 * minutes)) + 0.02)
        loss = diffusion(films[torch.randint(len(films), (batch,))].float() / 255)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
        optimiser.step()
        steps += 1
        keep = min(0.98, (1 + steps) / (10 + steps))
        with torch.no_grad():
            for a, b in zip(averaged.parameters(), diffusion.parameters()):
                a.lerp_(b, 1 - keep)
        if steps % 20 == 0:
            print(steps, f"{used:.0f} s", f"{loss.item():.4f}", flush=True)
    return averaged, steps, time.process_time() - begun


@torch.inference_mode()
def ddim(diffusion: torch.nn.Module, count: int, calls: int, batch: int = 16) -> np.ndarray:
    """(count, T, H, W, C) uint8."""
    shape = (diffusion.channels, diffusion.num_frames, diffusion.image_size, diffusion.image_size)
    times = torch.linspace(999, 0, calls).long()
    kept, out = diffusion.alphas_cumprod, []
    for first in range(0, count, batch):
        x = torch.randn(min(batch, count - first), *shape)
        for k, t in enumerate(times):
            eps = diffusion.denoise_fn(x, torch.full((len(x),), int(t)))
            clean = ((x - (1 - kept[t]).sqrt() * eps) / kept[t].sqrt()).clamp(-1, 1)
            after = kept[times[k + 1]] if k + 1 < calls else torch.tensor(1.0)
            eps = (x - kept[t].sqrt() * clean) / (1 - kept[t]).sqrt()
            x = after.sqrt() * clean + (1 - after).sqrt() * eps
        out.append(((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1).numpy())
    return np.concatenate(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("films", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--calls", type=int, default=25)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    with np.load(a.films) as loaded:
        films = torch.from_numpy(loaded["video"]).permute(0, 4, 1, 2, 3)
    _, channels, frames, size, _ = films.shape
    torch.manual_seed(a.seed)
    diffusion = peer(size, frames, channels, a.dim)
    averaged, steps, used = train(diffusion, films, a.minutes, a.batch, a.rate, a.seed)
    begun = time.process_time()
    made = ddim(averaged, a.count, a.calls)
    seconds = (time.process_time() - begun) / a.count
    parameters = sum(p.numel() for p in diffusion.parameters())
    np.savez_compressed(
        a.out, video=made, steps=steps, seconds=used, each=seconds, parameters=parameters, calls=a.calls
    )
    print(f"{steps} steps, {used:.0f} s, {seconds:.2f} s a film, {parameters:,} parameters", flush=True)


if __name__ == "__main__":
    main()
