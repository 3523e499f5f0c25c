"""Likelihood of masked text: bounds by exact counts and by random levels, and chain-rule scores in any order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Fields
from suffuse.modalities.text.maps import exact_mask


def _logits(denoiser: Any, batch: Batch, tokens: Tensor, hold_label: bool) -> Tensor:
    """log-softmax (B, L, K) of the text, everything else as it is in the batch."""
    x = {**batch.x, "text": tokens}
    context = dict(batch.context) | {f"exists:{k}": v for k, v in batch.exists.items()}
    if hold_label and "label" in x:
        x["label"] = torch.full_like(x["label"], denoiser.joint["label"].classes)
    levels: Fields = {k: torch.zeros_like(v, dtype=torch.float32) for k, v in x.items()}
    levels["text"] = (tokens == denoiser.joint["text"].classes).float()
    return torch.log_softmax(denoiser(x, levels, context)["text"].float(), dim=-1)


def _shape(batch: Batch, asked: Tensor | None) -> tuple[Tensor, Tensor]:
    """Which tokens are scored (B, L) bool, and how many (B, 1)."""
    text = batch.x["text"]
    real = batch.exists.get("text", torch.ones_like(text, dtype=torch.bool)).expand(text.shape)
    real = real if asked is None else real & asked.expand(text.shape)
    return real, real.sum(1, keepdim=True)


@torch.inference_mode()
def exact_count_bound(
    denoiser: Any, batch: Batch, draws: int = 16, seed: int = 0, asked: Tensor | None = None, hold_label: bool = False
) -> Tensor:
    """-log p(text) in nats at most, (B,): for n uniform on 1..L mask exactly n tokens; L times their mean cross-entropy (Ou et
    al. 2024, eq. 12). The draws are stratified over n. asked: (B, L) bool, the tokens in question, the others given."""
    text, classes = batch.x["text"], denoiser.joint["text"].classes
    real, count = _shape(batch, asked)
    index = torch.arange(len(text)) if batch.index is None else batch.index
    random, total = Random(seed), torch.zeros(len(text), dtype=torch.float64)
    shift = random.uniform((1,), index, 0, "shift")
    for k in range(draws):
        u = (k + shift) / draws
        order = random.uniform((text.shape[1],), index, k, "order")
        masked = exact_mask(order, real, u, getattr(denoiser.network, "block", 0)) & real
        n = masked.sum(1, keepdim=True)
        log_p = _logits(denoiser, batch, torch.where(masked, classes, text), hold_label)
        ce = -log_p.gather(-1, text.clamp(max=classes - 1).unsqueeze(-1)).squeeze(-1)  # null: not asked
        total += ((ce * masked).sum(1).double() / n[:, 0]) * count[:, 0]
    return total / draws


@torch.inference_mode()
def monte_carlo_bound(denoiser: Any, batch: Batch, draws: int = 64, seed: int = 0, hold_label: bool = False) -> Tensor:
    """The same bound by random levels: t uniform (stratified), each token masked with probability t, cross-entropy over t
    (Sahoo et al. 2024, eq. 10). Noisier; the two must agree."""
    text, classes = batch.x["text"], denoiser.joint["text"].classes
    real, _ = _shape(batch, None)
    index = torch.arange(len(text)) if batch.index is None else batch.index
    random, total = Random(seed + 1), torch.zeros(len(text), dtype=torch.float64)
    shift = random.uniform((1,), index, 0, "shift")
    for k in range(draws):
        t = ((k + shift) / draws).clamp(min=1e-4)
        masked = (random.uniform((text.shape[1],), index, k, "mask") < t) & real
        log_p = _logits(denoiser, batch, torch.where(masked, classes, text), hold_label)
        ce = -log_p.gather(-1, text.clamp(max=classes - 1).unsqueeze(-1)).squeeze(-1)  # null: not asked
        total += (ce * masked / t).sum(1).double()
    return total / draws


@torch.inference_mode()
def chain_score(denoiser: Any, batch: Batch, order: Tensor, hold_label: bool = False) -> Tensor:
    """Exact log p of tokens in a given order, in nats, (B, M): order (B, M) positions; the tokens named are masked and opened one
    after another, those not named are given. M network calls."""
    text, classes = batch.x["text"], denoiser.joint["text"].classes
    tokens = text.scatter(1, order, classes)
    out = []
    for k in range(order.shape[1]):
        place = order[:, k : k + 1]
        truth = text.gather(1, place)
        log_p = _logits(denoiser, batch, tokens, hold_label)
        here = log_p.gather(1, place.unsqueeze(-1).expand(-1, -1, log_p.shape[-1])).squeeze(1)
        out.append(here.gather(1, truth))
        tokens = tokens.scatter(1, place, truth)
    return torch.cat(out, dim=1)


def bits_per_token(nats: Tensor, batch: Batch) -> float:
    """Mean bits a token of a batch's bounds."""
    return float(nats.sum() / _shape(batch, None)[1].sum() / 0.6931471805599453)


def mean_bits(
    model: Any, data: Any, examples: int = 256, draws: int = 16, batch: int = 32, hold_label: bool = False
) -> float:
    """Bits a token (upper bound) over evenly spaced examples of a data set."""
    rows = torch.linspace(0, len(data) - 1, min(examples, len(data))).long().unique()
    nats, tokens = 0.0, 0
    for part in rows.split(batch):
        b = data.batch(part)
        nats += float(exact_count_bound(model.denoiser, b, draws, hold_label=hold_label).sum())
        tokens += int(_shape(b, None)[1].sum())
    return nats / tokens / 0.6931471805599453


__all__ = ["bits_per_token", "chain_score", "exact_count_bound", "mean_bits", "monte_carlo_bound"]
