"""Does a latent stage pay? Noto Emoji at 64 pixels: diffusion on pixels or on an autoencoder's codes, equal minutes.

    python benchmarks/latent.py --data ../shared/data --work runs --minutes 10

Both generate without captions, with the same U-Net family and recipe. Codes: a convolutional autoencoder (L1 on the picture and
on its differences) folds 64 x 64 into 16 x 16 cells of 8 channels, kept with 8 bits each as pictures are; it takes a quarter
of the minutes. Frechet distances are in the 64 features of a frozen network that tells captions from pictures
(images_captions.py), to the training pictures; held-out pictures and the autoencoder's copies of training pictures beside.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from images_captions import Judge, train_judge
from tables import table
from torch import Tensor, nn
from zoo_images import MODELS, RECIPE, SAMPLING, source

import suffuse
from suffuse.metrics.frechet import frechet
from suffuse.modalities.images import Images
from suffuse.modalities.images.dataset import ImageData
from suffuse.modalities.images.quality import generate
from suffuse.training.recipe import Recipe
from suffuse.training.trainer import Trainer


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))


class Autoencoder(nn.Module):
    """Pictures (B, C, H, W) in [-1, 1] to codes (B, 8, H / 4, W / 4) in [-1, 1] and back."""

    def __init__(self, channels: int, codes: int = 8, widths: tuple[int, int] = (64, 96)):
        super().__init__()
        low, high = widths
        self.down = nn.Sequential(
            nn.Conv2d(channels, low, 4, 2, 1), block(low, low), nn.SiLU(),
            nn.Conv2d(low, high, 2, 2), block(high, high), block(high, codes), nn.Tanh(),
        )  # fmt: skip
        self.up = nn.Sequential(
            nn.Conv2d(codes, high, 3, padding=1), block(high, high), nn.Upsample(scale_factor=2),
            block(high, low), block(low, low), nn.Upsample(scale_factor=2), block(low, 32), block(32, channels),
        )  # fmt: skip

    def encode(self, pixels: Tensor) -> Tensor:
        """uint8 pictures to uint8 codes."""
        parts = [self.down(part.float() / 127.5 - 1) for part in pixels.split(128)]
        return ((torch.cat(parts) + 1) * 127.5).round().to(torch.uint8)

    def decode(self, codes: Tensor) -> Tensor:
        parts = [self.up(part.float() / 127.5 - 1) for part in codes.split(128)]
        return ((torch.cat(parts) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def train_autoencoder(pixels: Tensor, minutes: float, seed: int) -> Autoencoder:
    torch.manual_seed(seed)
    model = Autoencoder(pixels.shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99))
    begin = time.process_time()
    while (done := (time.process_time() - begin) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, done / 0.03 + 0.01) * (1 - done) + 1e-6
        x = pixels[torch.randint(len(pixels), (32,))].float() / 127.5 - 1
        code = model.down(x)
        made = model.up(code + 0.02 * torch.randn_like(code))
        loss = F.l1_loss(made, x)
        for axis in (2, 3):
            loss = loss + F.l1_loss(made.diff(dim=axis), x.diff(dim=axis))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def trained(modality: Images, data: ImageData, minutes: float, folder: Path, seed: int) -> Any:
    torch.manual_seed(seed)
    model = suffuse.Model.new(modality)
    recipe = Recipe.make(minutes=minutes, tasks={"generate": 1.0}, seed=seed, **RECIPE)
    trainer = Trainer(modality, data, model.denoiser, recipe, folder, resume=True)
    print(folder.name, trainer.run(), sum(p.numel() for p in model.denoiser.parameters()), "parameters", flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    folder = args.work / f"latent_{args.minutes:g}"
    folder.mkdir(parents=True, exist_ok=True)
    full, data = Images.read(source("emoji", args.data, args.work, "train"), **MODELS["emoji"]["read"])
    pixels = full.dataset(source("emoji", args.data, args.work, "test")).pixels
    modality = Images(**{**full.config, "vocabulary": [], "caption_length": 0})
    place = folder / "judge.pt"
    judge = Judge(len(full.config["vocabulary"]))
    if not place.is_file():
        judge = train_judge(data.pixels, data.captions, len(full.config["vocabulary"]), 2.0, args.seed)
        torch.save(judge.state_dict(), place)
    judge.load_state_dict(torch.load(place, weights_only=True))
    judge.eval()

    @torch.inference_mode()
    def features(x: Tensor) -> Tensor:
        return torch.cat([judge.pictures(part.float() / 255) for part in x.split(128)])

    real = features(data.pixels)
    rows = [["held-out pictures", "", "", len(pixels), 1000 * frechet(features(pixels), real)]]

    def report(name: str, model: Any, like: ImageData, decode: Any, minutes: float) -> None:
        model.settings |= {**SAMPLING, "guidance": 1.0}
        begin = time.process_time()
        chosen = torch.arange(args.samples)
        made = decode(generate(model.modality, model, like, chosen, False, args.seed, steps=10))
        spent = time.process_time() - begin
        rows.append([name, minutes, 10, args.samples, 1000 * frechet(features(made), real), args.samples / spent])
        print(rows[-1], flush=True)
        torch.save(made[:64], folder / f"{name.split()[0]}.pt")

    plain = ImageData(modality.config, data.pixels, None, None)
    model = trained(modality, plain, args.minutes, folder / "pixels", args.seed)
    report("pixels", model, plain, lambda x: x, args.minutes)

    place = folder / "autoencoder.pt"
    coder = Autoencoder(data.pixels.shape[1])
    if not place.is_file():
        coder = train_autoencoder(data.pixels, args.minutes / 4, args.seed)
        torch.save(coder.state_dict(), place)
    coder.load_state_dict(torch.load(place, weights_only=True))
    with torch.inference_mode():
        codes = coder.encode(data.pixels)
        copies = coder.decode(codes[: args.samples])
    rows.append(
        ["the autoencoder's copies", args.minutes / 4, "", len(copies), 1000 * frechet(features(copies), real), ""]
    )
    unit = codes[::4].float() / 127.5 - 1
    config = {
        **modality.config, "channels": codes.shape[1], "size": list(codes.shape[2:]),
        "mean": round(unit.mean().item(), 4), "deviation": round(unit.std().item(), 4),
        "network": {"backbone": "unet", "widths": [96, 128], "patch": 1},
    }  # fmt: skip
    latent = Images(**config)
    coded = ImageData(config, codes, None, None)
    model = trained(latent, coded, 0.75 * args.minutes, folder / "codes", args.seed)
    with torch.inference_mode():
        report("codes of an autoencoder", model, coded, coder.decode, args.minutes)
    table(
        "latent",
        "A latent stage: Noto Emoji at 64 pixels, equal CPU minutes of one thread",
        ["diffusion on", "CPU minutes", "calls", "pictures", "Frechet x 1000", "pictures a CPU second"],
        [[*row, ""] if len(row) == 5 else row for row in rows],
        "Distances to all training pictures. The minutes of the codes include the autoencoder's quarter.",
    )


if __name__ == "__main__":
    main()
