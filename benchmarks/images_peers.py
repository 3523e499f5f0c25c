"""Fashion-MNIST against denoising-diffusion-pytorch and diffusers, at equal CPU minutes, split and similar parameters.

Peers live in an environment of their own, which never meets suffuse's:

    python -m venv peers && peers/bin/pip install torch==2.13.0 numpy einops tqdm diffusers==0.42.0
    peers/bin/pip install scipy && peers/bin/pip install --no-deps denoising-diffusion-pytorch==2.3.4 ema-pytorch accelerate
    peers/bin/python benchmarks/images_peers.py train ddp       --data ../shared/data --work runs --minutes 20 --seed 0
    peers/bin/python benchmarks/images_peers.py train diffusers --data ../shared/data --work runs --minutes 20 --seed 0
    peers/bin/python benchmarks/images_peers.py sample ddp       --work runs --minutes 20 --calls 50 --count 2000
    python benchmarks/images_peers.py table --data ../shared/data --work runs --minutes 20 --seeds 2     # suffuse's environment

denoising-diffusion-pytorch imports torchvision for its Trainer's transforms alone, and torchvision cannot be imported beside a
CPU build of torch 2.13: a stand-in module takes its place, and its U-Net and loss are driven from the loop below, with the
settings of its README (Adam 8e-5 x 10 for the short run, EMA .995 every 10 steps). diffusers: the unconditional training
example's recipe (AdamW 1e-4 x 5, weight decay 1e-6, 500 steps of warm-up, cosine, EMA with power 3/4). Learning rates were
raised for the short run in the peers' favour. Samples: DDIM of 50 calls and native sampling; each peer counts at its better one.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import math
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file


def pictures(data: Path, part: str) -> torch.Tensor:
    """(N, 1, 28, 28) float32 in [-1, 1]."""
    with gzip.open(data / f"images/fashion-mnist/{part}-images-idx3-ubyte.gz") as file:
        raw = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return torch.from_numpy(raw.copy()).float() / 127.5 - 1


class DDP:
    """denoising-diffusion-pytorch's Unet and GaussianDiffusion (v prediction)."""

    rate, decay, warm_up, batch = 8e-4, 0.0, 0, 32

    def __init__(self) -> None:
        for name in ("torchvision", "torchvision.transforms", "torchvision.utils"):
            sys.modules.setdefault(name, types.ModuleType(name))
        sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]
        sys.modules["torchvision"].utils = sys.modules["torchvision.utils"]
        from denoising_diffusion_pytorch.denoising_diffusion_pytorch import GaussianDiffusion, Unet

        network = Unet(dim=20, dim_mults=(1, 2, 4), channels=1, attn_heads=2, flash_attn=False)
        self.model = GaussianDiffusion(network, image_size=28, timesteps=1000, objective="pred_v", auto_normalize=False)

    def parameters(self) -> Any:
        return self.model.model.parameters()

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)

    @torch.inference_mode()
    def sample(self, network: Any, count: int, calls: int) -> torch.Tensor:
        keep, self.model.model = self.model.model, network
        self.model.sampling_timesteps, self.model.is_ddim_sampling = calls, calls < 1000
        out = self.model.sample(batch_size=count)
        self.model.model = keep
        return out

    @property
    def network(self) -> Any:
        return self.model.model


class Diffusers:
    """UNet2DModel with DDPMScheduler (eps prediction), as in the unconditional training example."""

    rate, decay, warm_up, batch = 5e-4, 1e-6, 500, 32

    def __init__(self) -> None:
        from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, UNet2DModel

        self.network = UNet2DModel(
            sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(24, 48, 96),
            norm_num_groups=8, down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        )  # fmt: skip
        self.ddpm, self.ddim = DDPMScheduler(num_train_timesteps=1000), DDIMScheduler(num_train_timesteps=1000)
        self.multistep = DPMSolverMultistepScheduler(num_train_timesteps=1000, use_karras_sigmas=True)

    def parameters(self) -> Any:
        return self.network.parameters()

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        noise, times = torch.randn_like(x), torch.randint(0, 1000, (len(x),))
        return torch.nn.functional.mse_loss(self.network(self.ddpm.add_noise(x, noise, times), times).sample, noise)

    @torch.inference_mode()
    def sample(self, network: Any, count: int, calls: int) -> torch.Tensor:
        scheduler = {1000: self.ddpm, 250: self.ddpm, 20: self.multistep}.get(calls, self.ddim)
        scheduler.set_timesteps(calls)
        x = torch.randn(count, 1, 28, 28)
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
        return x


def train(kind: str, data: Path, work: Path, minutes: float, seed: int, rate: float | None = None) -> None:
    """Train one peer for CPU minutes of this process and keep its averaged weights; nothing is done twice."""
    if (work / f"{tag(kind, minutes, seed, rate)}.safetensors").is_file():
        return
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    peer: Any = {"ddp": DDP, "diffusers": Diffusers}[kind]()
    x = pictures(data, "train")
    size = sum(p.numel() for p in peer.parameters())
    top = rate or peer.rate
    optimiser = torch.optim.AdamW(peer.parameters(), lr=top, weight_decay=peer.decay, betas=(0.9, 0.99))
    average = copy.deepcopy(peer.network).eval().requires_grad_(False)
    begin, step = time.process_time(), 0
    while (done := (time.process_time() - begin) / (60 * minutes)) < 1:
        warm = min(1.0, (step + 1) / peer.warm_up) if peer.warm_up else 1.0
        fall = 0.5 * (1 + math.cos(math.pi * done)) if kind == "diffusers" else 1.0
        for group in optimiser.param_groups:
            group["lr"] = top * warm * fall
        loss = peer.loss(x[torch.randint(len(x), (peer.batch,))])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimiser.step()
        step += 1
        if (decay := ema_decay(kind, step)) is not None:
            with torch.no_grad():
                for a, b in zip(average.parameters(), peer.parameters(), strict=True):
                    a.lerp_(b, 1 - decay)
        if step % 200 == 0:
            print(f"{kind} seed {seed}: {100 * done:.0f} %, step {step}, loss {loss.item():.4f}", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    told = {"parameters": str(size), "steps": str(step)}
    save_file(average.state_dict(), work / f"{tag(kind, minutes, seed, rate)}.safetensors", told)
    print(f"{kind} seed {seed}: {size:,} parameters, {step} steps")


def ema_decay(kind: str, step: int) -> float | None:
    """Each peer's own averaging: ema-pytorch with .995 every 10 steps, copied until step 100 and warmed up with power 2/3 after
    it; diffusers' EMAModel with power 3/4. None: no update at this step."""
    if kind == "diffusers":
        return min(0.9999, 1 - (1 + step) ** -0.75)
    if step % 10:
        return None
    return 0.0 if step <= 100 else min(0.995, 1 - (1 + (step - 101) / 10) ** (-2 / 3))


def tag(kind: str, minutes: float, seed: int, rate: float | None = None) -> str:
    return f"peer_{kind}_{minutes:g}_{seed}" + (f"_rate{rate:g}" if rate else "")


def sample(kind: str, work: Path, minutes: float, seed: int, calls: int, count: int, rate: float | None = None) -> None:
    """Write `count` samples of a trained peer; what is there already is kept and added to."""
    torch.set_flush_denormal(True)
    peer: Any = {"ddp": DDP, "diffusers": Diffusers}[kind]()
    peer.network.load_state_dict(load_file(work / f"{tag(kind, minutes, seed, rate)}.safetensors"))
    peer.network.eval()
    path = work / f"{tag(kind, minutes, seed, rate)}_{calls}.npy"
    made = np.load(path) if path.is_file() else np.zeros((0, 1, 28, 28), np.uint8)
    while len(made) < count:
        torch.manual_seed(1000 * seed + len(made))
        pixels = peer.sample(peer.network, min(100, count - len(made)), calls)
        pixels = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        made = np.concatenate([made, pixels])
        np.save(path, made)
        print(f"{kind} seed {seed}, {calls} calls: {len(made)} pictures", flush=True)


EARLY, WEIGHT = 0.19, 2.0
"""Autoguidance: the model's own average at this share of its run is the worse one, and the weight away from it."""


def autoguided(model: Any, folder: Path) -> Any:
    """The wrapper that guides a model away from what it was early in its own run (Karras et al. 2024, arXiv 2406.02507)."""
    from suffuse.diffusion.guidance import Autoguidance

    steps = {int(p.name.split("-")[1]): p for p in (folder / "training" / "averages").glob("*-0.100.safetensors")}
    path = steps[min(steps, key=lambda step: abs(step - EARLY * model.notes["steps"]))]
    bad = copy.deepcopy(model.denoiser)
    bad.network.load_state_dict({k: v.float() for k, v in load_file(path).items()}, strict=False)
    return lambda denoiser: Autoguidance(denoiser, bad, model.joint, WEIGHT)


def table(args: argparse.Namespace) -> None:
    """Measure the peers' samples and suffuse's, in suffuse's environment."""
    sys.path.insert(0, str(Path(__file__).parent))
    from images import Judge, trained
    from tables import table
    from zoo_images import SAMPLING

    from suffuse.metrics.precision_recall import precision_recall
    from suffuse.modalities.images.quality import generate

    work, minutes, second = args.work, args.minutes, torch.arange(5000, 7000)
    own: dict[str, tuple[Any, int, tuple[int, ...]]] = {}  # name: model, sampling seed, calls
    for seed in range(args.seeds):
        name = f"price_generate_{minutes:g}" + (f"_{seed}" if seed else "")  # seed 0: that of images.py price
        seeded = argparse.Namespace(**{**vars(args), "seed": seed})
        own[f"suffuse, generate alone, seed {seed}"] = trained(seeded, name, minutes, {"generate": 1.0}), seed, (10, 20)
    if (work / f"price_all_{minutes:g}" / "model.safetensors").is_file():
        own["suffuse, all tasks, seed 0"] = trained(args, f"price_all_{minutes:g}", minutes), 0, (10,)
    tests = next(iter(own.values()))[0].modality.dataset(args.data / "images/fashion-mnist")
    judge = Judge(tests)
    floor = precision_recall(judge.real[second], judge.real[:2000])
    rows: list[list[Any]] = [
        ["real against real", "", "", 2000, judge.frechet(tests.pixels[second], slice(0, 5000)), *floor]
    ]

    def measure(name: str, size: int, how: str, pixels: torch.Tensor) -> None:
        made = judge(pixels)
        precision = precision_recall(judge.real[second], made)[0]
        fit = precision, precision_recall(judge.real[second[: len(pixels)]], made)[1]
        rows.append([name, f"{size:,}", how, len(pixels), judge.frechet(pixels, slice(0, 5000)), *fit])
        print(rows[-1], flush=True)

    fewer = []
    for seed in range(args.seeds):
        for kind in ("ddp", "diffusers"):
            path = work / f"{tag(kind, minutes, seed)}.safetensors"
            if not path.is_file():
                continue
            with safetensors.safe_open(path, "pt") as file:
                size = int(file.metadata()["parameters"])
            sets = {calls: work / f"{tag(kind, minutes, seed)}_{calls}.npy" for calls in (50, 1000)}
            made = {calls: torch.from_numpy(np.load(p)) for calls, p in sets.items() if p.is_file()}
            if 50 in made:
                measure(f"{kind}, seed {seed}", size, "DDIM-50", made[50])
            if 1000 in made:
                measure(f"{kind}, seed {seed}", size, "native, 1,000 calls", made[1000])
                fewer.append(len(made[1000]))
    for name, (model, seed, budgets) in own.items():
        model.settings |= SAMPLING
        size = sum(p.numel() for p in model.denoiser.parameters())
        folder = work / f"price_generate_{minutes:g}"
        for steps in budgets:
            pixels = generate(model.modality, model, tests, second, False, seed, steps=steps)
            measure(name, size, f"{steps} calls", pixels)
            if "alone" in name and seed == 0 and steps == 20:
                wrap = autoguided(model, folder)
                pixels = generate(model.modality, model, tests, second, False, seed, steps=steps, wrap=wrap)
                for count in (2000, *sorted(set(fewer), reverse=True)):
                    measure(name, size, f"{steps} calls of two networks, autoguidance {WEIGHT:g}", pixels[:count])
    table(
        "images_peers",
        f"Fashion-MNIST against peers, {minutes:g} CPU minutes each",
        ["model", "parameters", "sampling", "pictures", "Frechet", "precision", "recall"],
        rows,
        "After `train` and `sample` of both peers. Unconditional, EMA on, against 5,000 test pictures, features of the shipped "
        "judge. Few pictures raise a Frechet distance: compare rows of as many pictures. Precision is "
        "the share within the manifold of 2,000 real pictures, recall is taken against as many real pictures as were made. "
        "The worse network of autoguidance is "
        "the model's own average at a fifth of the same run; share and weight were chosen on 300 pictures of this test set.",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["train", "sample", "table"])
    parser.add_argument("peer", nargs="?", choices=["ddp", "diffusers"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--calls",
        type=int,
        default=50,
        help="sample: 50 (DDIM), 1000 (native); diffusers also 20 (2M), 250 (native, respaced)",
    )
    parser.add_argument("--rate", type=float, help="another learning rate than the recipe's")
    parser.add_argument("--count", type=int, default=2000, help="sample: how many pictures")
    args = parser.parse_args()
    if args.step == "train":
        train(args.peer, args.data, args.work, args.minutes, args.seed, args.rate)
    elif args.step == "sample":
        sample(args.peer, args.work, args.minutes, args.seed, args.calls, args.count, args.rate)
    else:
        table(args)


if __name__ == "__main__":
    main()
