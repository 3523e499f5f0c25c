"""The left-to-right peer of the text benchmark: a causal transformer of the same layers, size and training, with a cache.

    python benchmarks/text_ar.py TRAIN.txt -o ar.pt --minutes 12 --dim 176 --depth 4 --heads 4 --length 128

It shares its layers with the masked model (blocks, local mixing, rotary positions, tied embeddings), so that the comparison
is one of the objective and of the order, not of the architecture. It is no part of the package.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.modalities.text import Text
from suffuse.modalities.text.vocabulary import Vocabulary
from suffuse.networks.layers import attend
from suffuse.networks.transformer import TokenTransformer, causal
from suffuse.training.optimiser import Optimiser
from suffuse.training.recipe import Recipe


class LeftToRightModel(nn.Module):
    """logits (B, L, classes) of each next token, from tokens (B, L); the first token is a start token, `classes`."""

    def __init__(self, classes: int, dim: int, depth: int, heads: int, length: int, nearby: int = 4):
        super().__init__()
        self.classes, self.length = classes, length
        self.sizes = {"dim": dim, "depth": depth, "heads": heads, "nearby": nearby}
        self.embedding = nn.Embedding(classes + 1, dim)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.bias = nn.Parameter(torch.zeros(classes))
        self.body = TokenTransformer(dim, depth, heads)
        self.nearby = nn.ParameterList(nn.Parameter(torch.zeros(nearby, dim)) for _ in range(depth))

    def embed(self, tokens: Tensor) -> Tensor:
        h = self.embedding(tokens)
        return F.rms_norm(h, h.shape[-1:])

    def logits(self, h: Tensor) -> Tensor:
        return F.linear(h, self.embedding.weight[: self.classes].to(h.dtype), self.bias.to(h.dtype))

    def mix(self, i: int, past: Tensor) -> Tensor:
        """The masked model's local mixing, of the left side only: `past` (B, nearby - 1 + L, dim) to (B, L, dim)."""
        weight = self.nearby[i]
        length = past.shape[1] - len(weight) + 1
        return sum(past[:, k : k + length] * weight[k] for k in range(len(weight)))

    def forward(self, tokens: Tensor) -> Tensor:
        h, bias = self.embed(tokens), causal(tokens.shape[1], tokens.device)
        rotary = self.body.rotation(tokens.shape[1], None, h.device)
        for i, block in enumerate(self.body.blocks):
            h = h + self.mix(i, F.pad(F.rms_norm(h, h.shape[-1:]), (0, 0, len(self.nearby[i]) - 1, 0)))
            h = block(h, None, rotary, bias)
        return self.logits(self.body.norm(h))

    def shifted(self, text: Tensor) -> Tensor:
        return F.pad(text[:, :-1], (1, 0), value=self.classes)

    def step(self, token: Tensor, place: int, cache: list) -> Tensor:
        """One token (B, 1) at `place` with the keys and values of all before it; returns logits (B, classes)."""
        h = self.embed(token)
        rotary = self.body.rotation(1, torch.tensor([place]), h.device)
        for i, block in enumerate(self.body.blocks):
            new = F.rms_norm(h, h.shape[-1:])
            past = torch.cat([cache[i][2], new], 1) if place else F.pad(new, (0, 0, len(self.nearby[i]) - 1, 0))
            h = h + self.mix(i, past)
            q, k, v = block.attention.project(block.norm1(h), rotary)
            if place:
                k, v = torch.cat([cache[i][0], k], 2), torch.cat([cache[i][1], v], 2)
            cache[i] = (k, v, past[:, 1:])
            h = h + block.attention.finish(attend(q, k, v))
            h = h + block.mlp(block.norm2(h))
        return self.logits(self.body.norm(h))[:, 0]

    @torch.inference_mode()
    def generate(self, n: int, length: int, temperature: float = 1.0, seed: int = 0, cached: bool = True) -> Tensor:
        """(n, length) tokens, one a call; at most the window it was trained on."""
        draw = torch.Generator().manual_seed(seed)
        text = torch.full((n, 1), self.classes)
        cache: list = [None] * len(self.body.blocks)
        for place in range(length):
            logits = self.step(text[:, -1:], place, cache) if cached else self.forward(text)[:, -1]
            p = torch.softmax(logits.double() / temperature, -1)
            text = torch.cat([text, torch.multinomial(p, 1, generator=draw)], 1)
        return text[:, 1:]

    @torch.inference_mode()
    def nats(self, text: Tensor) -> Tensor:
        """-log p of each token, (B, L)."""
        return F.cross_entropy(self.forward(self.shifted(text)).transpose(1, 2), text, reduction="none")


def train(
    source: str,
    minutes: float,
    dim: int,
    depth: int,
    heads: int,
    length: int,
    batch: int,
    rate: float,
    seed: int = 0,
    valid: str | None = None,
    device: str = "cpu",
):
    """The masked trainer's recipe (Muon, warm-up, decay to zero, the same clock), on next-token cross-entropy.

    valid: text on which the model is tried 40 times; the weights that did best are kept, since it may overfit a small text.
    device: minutes are those of this process on a CPU, of the wall clock elsewhere.
    """
    torch.set_num_threads(1)
    clock = time.thread_time if device == "cpu" else time.perf_counter
    made, data = Text.read(source, length=length, form="packed")
    held = made.dataset(valid) if valid else None
    torch.manual_seed(seed)
    model = LeftToRightModel(made.vocabulary.size, dim, depth, heads, length).to(device)
    recipe = Recipe(minutes=minutes, batch=batch, learning_rate=rate, optimiser="muon")
    optimiser = Optimiser(model, "muon", recipe.betas, recipe.momentum, recipe.weight_decay)
    begun, step, ema, tried, best = clock(), 0, None, 0, (math.inf, 0, None)
    draw = torch.Generator().manual_seed(seed)
    while (progress := (clock() - begun) / 60 / minutes) < 1:
        text = data.batch(torch.randint(len(data), (batch,), generator=draw)).x["text"].to(device)
        loss = F.cross_entropy(model(model.shifted(text)).flatten(0, 1), text.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step(recipe.rate(progress))
        for p in model.parameters():
            p.grad = None
        step += 1
        ema = loss.item() if ema is None else 0.98 * ema + 0.02 * loss.item()
        if step % 100 == 0:
            print(f"{progress:.2f} step {step} loss {ema:.4f} nats", flush=True)
        if held is not None and int(40 * progress) > tried:
            tried, found = int(40 * progress), bits(model, held)
            if found < best[0]:
                best = (found, step, {k: v.detach().clone() for k, v in model.state_dict().items()})
    notes = {"steps": step, "seconds": clock() - begun, "loss": ema, "device": device}
    if held is not None and bits(model, held) > best[0]:
        model.load_state_dict(best[2])
        notes["best"] = {"step": best[1], "bits": best[0]}
    return model.cpu(), made, notes


def save(path: Path, model: LeftToRightModel, made: Text, notes: dict, sizes: dict) -> None:
    from safetensors.torch import save_file

    save_file(
        model.state_dict(),
        str(path),
        {"made": json.dumps({"vocabulary": made.vocabulary.config, "sizes": sizes, "notes": notes})},
    )


def load(path: Path) -> tuple[LeftToRightModel, Vocabulary, dict]:
    from safetensors import safe_open

    with safe_open(str(path), "pt") as f:
        made = json.loads(f.metadata()["made"])
        words = Vocabulary(**made["vocabulary"])
        model = LeftToRightModel(words.size, **made["sizes"])
        model.load_state_dict({k: f.get_tensor(k) for k in f.keys()})  # noqa: SIM118
    return model.eval(), words, made["notes"]


def bits(model: LeftToRightModel, data, examples: int = 256) -> float:
    """Bits a token over evenly spaced windows."""
    rows = torch.as_tensor(np.linspace(0, len(data) - 1, min(examples, len(data)))).long()
    device = model.bias.device
    nats = [model.nats(data.batch(r).x["text"].to(device)).mean().item() for r in rows.split(32)]
    return float(np.mean(nats) / math.log(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12)
    for name, value in (("dim", 176), ("depth", 4), ("heads", 4), ("length", 128), ("batch", 24)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--valid", help="keep the weights that do best on this text")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    sizes = {k: getattr(asked, k) for k in ("dim", "depth", "heads", "length")}
    more = {"valid": asked.valid, "device": asked.device}
    model, made, notes = train(asked.source, asked.minutes, **sizes, batch=asked.batch, rate=asked.rate, **more)
    save(asked.output, model, made, notes, sizes)
    print(notes, sum(p.numel() for p in model.parameters()), "parameters")


if __name__ == "__main__":
    main()
