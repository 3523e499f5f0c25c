"""Do emoji made from held-out captions show what was asked? A small contrastive model looks for the caption among 50.

    python benchmarks/images_captions.py --data ../shared/data --work runs --minutes 4

The judge (convolutions for pictures, a bag of words for captions; Radford et al. 2021, InfoNCE) is trained on the training part
alone and has never seen the generator. A caption counts as found when it scores highest for the picture among 50 held-out
captions, itself among them; shuffled: the same pictures with the captions of others.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import suffuse
from suffuse.modalities.images.quality import generate

sys.path.insert(0, str(Path(__file__).parent))
from tables import table  # noqa: E402
from zoo_images import source  # noqa: E402


class Judge(nn.Module):
    """Pictures (B, 3, 64, 64) in [0, 1] and caption tokens (B, L) as unit vectors (B, 64)."""

    def __init__(self, tokens: int, width: int = 64):
        super().__init__()
        sizes = [3, 24, 48, 64, 96]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(sizes, sizes[1:], strict=False))
        self.norms = nn.ModuleList(nn.GroupNorm(8, b) for b in sizes[1:])
        self.picture = nn.Linear(96 * 4, width)
        self.words = nn.Embedding(tokens, 96, padding_idx=0)
        self.caption = nn.Sequential(nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, width))
        self.scale = nn.Parameter(torch.tensor(2.5))

    def pictures(self, x: Tensor) -> Tensor:
        h = x * 2 - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = F.silu(norm(convolution(h)))
        return F.normalize(self.picture(F.adaptive_avg_pool2d(h, 2).flatten(1)), dim=1)

    def captions(self, tokens: Tensor) -> Tensor:
        seen = (tokens > 0).float()[..., None]
        pooled = (self.words(tokens) * seen).sum(1) / seen.sum(1).clamp(min=1).sqrt()
        return F.normalize(self.caption(pooled), dim=1)


def train_judge(pixels: Tensor, tokens: Tensor, classes: int, minutes: float, seed: int) -> Judge:
    torch.manual_seed(seed)
    judge = Judge(classes)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.05)
    begin = time.process_time()
    while (done := (time.process_time() - begin) / (60 * minutes)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, done / 0.05 + 0.01) * (1 - done) + 1e-6
        rows = torch.randint(len(pixels), (128,))
        x = pixels[rows].float() / 255
        shift = torch.randint(-3, 4, (2,)).tolist()
        x = x.roll(shift, (2, 3))
        logits = judge.scale.exp() * judge.pictures(x) @ judge.captions(tokens[rows]).T
        same = (tokens[rows][:, None] == tokens[rows][None]).all(-1)
        target = same.float() / same.sum(1, keepdim=True)
        loss = F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return judge.eval()


@torch.no_grad()
def found(judge: Judge, pixels: Tensor, tokens: Tensor, asked: Tensor, seed: int) -> float:
    """Share of pictures whose asked caption (position in `tokens`) beats 49 other held-out captions."""
    pictures = torch.cat([judge.pictures(part.float() / 255) for part in pixels.split(128)])
    texts = judge.captions(tokens)
    generator = torch.Generator().manual_seed(seed)
    right = 0
    for k, position in enumerate(asked.tolist()):
        others = torch.randperm(len(tokens), generator=generator)
        others = others[others != position][:49]
        scores = texts[torch.cat([torch.tensor([position]), others])] @ pictures[k]
        right += int(scores.argmax() == 0)
    return right / len(asked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="emoji")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    model = suffuse.load(args.model)
    train = model.modality.dataset(source("emoji", args.data, args.work, "train"))
    test = model.modality.dataset(source("emoji", args.data, args.work, "test"))
    judge = train_judge(train.pixels, train.captions, len(model.modality.config["vocabulary"]), args.minutes, args.seed)
    rows = torch.arange(len(test))
    shuffled = rows.roll(len(rows) // 2)
    found_rows = [["real held-out pictures", "", "", 100 * found(judge, test.pixels, test.captions, rows, 1), ""]]
    for guidance in (1.0, 2.0, 4.0):
        made = generate(model.modality, model, test, rows, True, args.seed, steps=10, guidance=guidance)
        own = 100 * found(judge, made, test.captions, rows, 1)
        other = 100 * found(judge, made, test.captions, shuffled, 1)
        found_rows.append(["made from held-out captions", 10, guidance, own, other])
        print(found_rows[-1], flush=True)
    notes = (
        f"{len(test)} held-out captions; by chance 2 %. The judge was trained for {args.minutes:g} CPU minutes on {len(train)} "
        "training pictures."
    )
    head = ["pictures", "calls", "guidance", "caption found among 50 (%)", "shuffled (%)"]
    table("images_captions", "Emoji from held-out captions", head, found_rows, notes)


if __name__ == "__main__":
    main()
