"""Sugar verbs of text: fill blanks, extend, rewrite, stream and score. Each is a task put to the engine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.orders import Blocks, EntropyBounded
from suffuse.diffusion.path import Clock
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Task
from suffuse.errors import AskError
from suffuse.modalities.text import asking
from suffuse.modalities.text.scoring import chain_score, exact_count_bound

NEAR = 16
"""How many tokens to the right of a blank are looked at when its length is chosen."""


def fill(
    model: Any, text: str, blank: str = "", n: int = 1, label: str = "", seed: int = 0, mark: str = "_", **sampling: Any
) -> list[Any]:
    """Fill the blanks of a text: "the ___ of the king". Each underscore is one token, unless `blank` says otherwise.

    blank: "6" (every blank has 6 tokens), "3,8" (one number a blank) or "2-10" (each blank finds its own length, by how likely
    the text to its right is after a blank of that length; exact under the model up to the nearest 16 tokens).
    suffuse fill tang "春____，江____。花____，月____。" -n 2
    """
    asked = _only(label=label)
    low, high, sizes = _blank(blank)
    if high is None:
        return model.sample(n, text, blank=sizes, mark=mark, seed=seed, **asked, **sampling)
    chosen = blank_lengths(model, text, n, low, high, seed=seed, mark=mark, label=label)
    out = []
    for number, lengths in enumerate(chosen):
        out += model.sample(1, text, blank=lengths, mark=mark, seed=seed, start=number, **asked, **sampling)
    return out


def _blank(blank: Any) -> tuple[int, int | None, Any]:
    """(low, high or None for given lengths, lengths) of what a person wrote."""
    if blank in ("", None):
        return 0, None, None
    if isinstance(blank, tuple):
        return int(blank[0]), int(blank[1]), None
    if isinstance(blank, (int, list)):
        return 0, None, blank
    try:
        if "-" in blank:
            low, high = (int(p) for p in blank.split("-"))
            if not 0 <= low <= high:
                raise AskError(f"blank {blank!r} is no range: write low-high, such as 2-10")
            return low, high, None
        sizes = [int(p) for p in blank.split(",")]
    except ValueError:
        raise AskError(
            f"blank {blank!r} is neither a number, numbers parted by commas, nor a range such as 2-10"
        ) from None
    return 0, None, sizes[0] if len(sizes) == 1 else sizes


@torch.inference_mode()
def blank_lengths(
    model: Any, text: Any, n: int, low: int, high: int, seed: int = 0, mark: str = "_", label: str = ""
) -> list[list[int]]:
    """Lengths for each blank of a template, drawn n times in proportion to p(length) p(right side | left side, length).

    The probability of what follows, with the blank itself marginalised (masked), is the chain rule over its nearest tokens;
    p(length) is uniform over low..high. Blanks are settled from left to right. 16 network calls a blank.
    """
    words = model.modality.vocabulary
    pieces = asking._split(text, words, mark)
    places = [i for i, p in enumerate(pieces) if isinstance(p, int)]
    if not places:
        raise AskError(f"there is no blank in the text: mark one with {mark * 3}")
    known = sum(len(p) for p in pieces if not isinstance(p, int))
    room = model.modality.length - known - low * (len(places) - 1)
    if room < low:
        raise AskError(
            f"blanks of at least {low} tokens do not fit: the text has {known} and the model takes {model.modality.length}"
        )
    high = min(high, room)
    random, chosen = Random(seed), [[] for _ in range(n)]
    for blank, place in enumerate(places):
        templates, begins = [], []
        for size in range(low, high + 1):
            sizes = {p: size if p == place else low for p in places}
            templates.append(
                np.concatenate(
                    [np.full(sizes[i], -1) if isinstance(p, int) else p for i, p in enumerate(pieces)]
                ).tolist()
            )
            begins.append(size + sum(sizes[i] if isinstance(p, int) else len(p) for i, p in enumerate(pieces[:place])))
        cdf = torch.softmax(_following(model, templates, begins, label), 0).cumsum(0)
        for number in range(n):
            u = random.uniform((), torch.tensor([number]), blank, "blank length")
            chosen[number].append(low + int(torch.searchsorted(cdf, u.double()).clamp(max=high - low)))
    return chosen


def _following(model: Any, templates: list[list[int]], begins: list[int], label: str) -> Tensor:
    """(candidates,) log p of up to NEAR known tokens from a position on, given what is known before it."""
    after = [[i for i in range(b, len(t)) if t[i] >= 0][:NEAR] for t, b in zip(templates, begins, strict=True)]
    if not after[0]:
        return torch.zeros(len(templates), dtype=torch.float64)
    task = model.modality.request(len(templates), templates, index=torch.arange(len(templates)), **_only(label=label))
    batch = known_batch(model, task)
    classes = model.joint["text"].classes
    for row, begin in enumerate(begins):  # what stands after the blank is scored or unknown
        later = torch.tensor([i for i in range(begin, len(templates[row])) if i not in after[row]], dtype=torch.long)
        batch.x["text"][row, later.to(batch.x["text"].device)] = classes
    return chain_score(model.denoiser, batch, torch.tensor(after, device=model.device)).sum(1).double().cpu()


def known_batch(model: Any, task: Task) -> Batch:
    """What a task gives, as a batch for scoring: everything unknown is the null token."""
    x = {name: torch.where(task.given[name], value, model.joint[name].classes) for name, value in task.x.items()}
    return Batch(x, exists=task.exists, index=torch.arange(len(task))).to(model.device)


def _only(**asked: Any) -> dict[str, Any]:
    return {k: v for k, v in asked.items() if v not in (None, "")}


def extend(
    model: Any,
    prefix: str,
    length: int = 400,
    stop: str = "",
    keep: float = 0.5,
    seed: int = 0,
    n: int = 1,
    **sampling: Any,
) -> list[Any]:
    """Continue a text beyond the model's window, to `length` tokens or a stop string.

    Rolls on in windows: the last `keep` share of a window is given, the rest is written. Only for models of packed windows.
    suffuse extend MODEL "ROMEO:" --length 600
    """
    return [_drain(stream(model, prefix, length, stop, keep, seed, start=k, block=0, **sampling)) for k in range(n)]


def _drain(pieces: Iterator[Any]) -> Any:
    parts = list(pieces)
    return "".join(parts) if all(isinstance(p, str) for p in parts) else [t for p in parts for t in p]


def stream(
    model: Any,
    prefix: Any,
    length: int = 400,
    stop: str = "",
    keep: float = 0.5,
    seed: int = 0,
    start: int = 0,
    block: int = 16,
    gamma: float = 0.3,
    **asked: Any,
) -> Iterator[Any]:
    """Yield a text piece by piece, each as soon as nothing to its left is open any more. The first piece is the prefix.

    block: tokens are opened in blocks of this size from the left, inside a block by bounded entropy (gamma nats a call); 0
    lets all of a window open in any order, so pieces are windows. stop: ends the text where this string appears.
    """
    modality = model.modality
    if modality.form != "packed":
        raise AskError("this model writes whole samples, which end by themselves: use sample with prefix=")
    if not 0 < keep < 1:
        raise AskError(f"keep is the share of a window that is given to the next one, between 0 and 1, not {keep}")
    words, window = modality.vocabulary, modality.length
    request = {k: asked.pop(k) for k in ("label", "forbid", "temperature", "top_p") if k in asked}
    settled = words.encode(prefix).tolist() if prefix is not None and len(prefix) else []
    waiting = words.decode([])
    if settled:
        yield words.decode(settled)
    round_number, hold = 0, max(len(stop) - 1, 0)
    network = model.denoiser.network
    if modality.block:  # finished blocks are kept, with their keys and values
        network.cached, block = True, modality.block
    while len(settled) < length:
        past = settled[-max(int(window * keep), 1) :]
        room = min(window - len(past), length - len(settled))
        task = modality.request(1, past + [-1] * room, index=torch.tensor([start]), **request)
        settings = dict(asked)
        if block and "path" not in settings:
            settings.pop("steps", None)
            settings["path"] = Clock(room, order=Blocks(block, EntropyBounded(gamma)))
        shown = len(past)
        for event in model.events(task, seed=seed + 7919 * round_number, **settings):
            row = event.x["text"][0, : len(past) + room].cpu()
            hidden = (row == words.size).nonzero()
            ready = int(hidden[0]) if len(hidden) else len(row)
            if ready == shown:
                continue
            waiting += words.decode(row[shown:ready].numpy())
            shown = ready
            text, ended = asking.cut_at(waiting, [stop] if stop else [])
            if ended:
                yield text
                return
            if len(waiting) > hold:
                yield waiting[: len(waiting) - hold]
                waiting = waiting[len(waiting) - hold :]
        settled += row[len(past) :].tolist()
        round_number += 1
    if waiting:
        yield waiting


def rewrite(
    model: Any, text: str, strength: float = 0.5, n: int = 1, label: str = "", seed: int = 0, **sampling: Any
) -> list[Any]:
    """Write a text anew: a share `strength` of its tokens is masked at random and written again.

    suffuse rewrite tang "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。" --strength 0.3 -n 4
    """
    return model.edit(text, strength, given=_only(label=label) or None, n=n, seed=seed, **sampling)


def score(
    model: Any, text: str, order: str = "any", label: str = "", draws: int = 64, seed: int = 0
) -> dict[str, float]:
    """How likely a text is, in bits. order: 'any' (mean over all orders: an upper bound), 'left' or 'right' (the chain rule from
    that side, exact for that order).

    suffuse score tang "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。"
    """
    task = model.modality.request(1, text, index=torch.arange(1), **_only(label=label))
    batch, known = known_batch(model, task), task.given["text"].to(model.device)
    count = int(known.sum())
    if not count:
        raise AskError("there is no text to score")
    if order == "any":
        nats = float(exact_count_bound(model.denoiser, batch, draws, seed, asked=known))
    elif order in ("left", "right"):
        places = known[0].nonzero()[:, 0]
        nats = -float(chain_score(model.denoiser, batch, (places if order == "left" else places.flip(0))[None]).sum())
    else:
        raise AskError(f"order must be 'any', 'left' or 'right', not {order!r}")
    return {"bits": nats / math.log(2), "bits_per_token": nats / math.log(2) / count, "tokens": count}


VERBS = {"fill": fill, "extend": extend, "stream": stream, "rewrite": rewrite, "score": score}
