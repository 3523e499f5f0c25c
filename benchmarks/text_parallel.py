"""Lines of text.py about drawing many tokens a call: quality, speed, diversity, orders, steps."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import text_ar
import torch
from text_common import HEAD, Bench, Rows, figures

import suffuse
from suffuse.diffusion.orders import Ancestral, Blocks, EntropyBounded, Even, Remask, Stripes
from suffuse.diffusion.path import Clock
from suffuse.metrics.text import KneserNey, distinct, repeated, unigram_entropy


def counted(bench: Bench, n: int, path: Any, **asked: Any) -> tuple[list[str], float]:
    """Texts drawn along an adaptive path, and the mean number of calls a sample needed by itself."""
    model = bench.english
    task = model.modality.request(n, None, index=torch.arange(n), **asked)
    needed = torch.zeros(n)
    for event in model.events(task, path=path, seed=1):
        open_ = (event.x["text"] == model.joint["text"].classes).any(1)
        needed[open_] = event.step
    return model.modality.decode(event.x, task), float((needed + 1).mean())


def line_3(bench: Bench) -> tuple[list[str], Rows]:
    """Parallel: tokens a call against quality, texts of 128 characters; real text and the left-to-right model beside."""
    n, length = bench.asked.samples, 128
    rows: Rows = [["real", "", *figures(bench, bench.windows("shakespeare_train.txt", n, length))]]
    vocabulary = bench.english.modality.vocabulary
    for temperature in (0.8, 0.9, 1.0, 1.1):
        out = bench.ar.generate(n, length, temperature, seed=1).numpy()
        rows.append(
            [f"left to right, temperature {temperature}", 1.0, *figures(bench, [vocabulary.decode(r) for r in out])]
        )
    for temperature in (0.8, 0.9, 0.95, 1.0, 1.1):
        for steps in (8, 16, 32):
            texts = bench.english.sample(n, steps=steps, temperature=temperature, seed=1)
            rows.append([f"masked, stripes, temperature {temperature}", length / steps, *figures(bench, texts)])
    for temperature in (0.9, 1.0):
        for steps in (16, 32):
            path = Clock(steps, order=Even())
            texts = bench.english.sample(n, path=path, temperature=temperature, seed=1)
            rows.append([f"masked, random order, temperature {temperature}", length / steps, *figures(bench, texts)])
    texts, calls = counted(bench, n, Clock(length, order=EntropyBounded(0.5)))
    rows.append(["masked, entropy-bounded 0.5, temperature 1.0", length / calls, *figures(bench, texts)])
    return ["sampler", "tokens a call", *HEAD], rows


def line_4(bench: Bench) -> tuple[list[str], Rows]:
    """Seconds for one text at batch 1 (median of five interleaved runs): of 128 characters by the models above, of 256 by
    networks of their sizes with a window of 256 and untrained weights, on which the time does not depend."""
    rows: Rows = []
    for length, models in ((128, (bench.ar, bench.english)), (256, untrained(bench, 256))):
        left, masked = models
        names = [f"left to right, {kind}" for kind in ("cached", "uncached")]
        names += [f"masked, {length // tokens} calls" for tokens in (16, 8, 4)]
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for repeat in range(5):
            for name in names:
                begun = time.perf_counter()
                if name.startswith("left"):
                    left.generate(1, length, seed=repeat, cached="un" not in name)
                else:
                    masked.sample(1, steps=int(name.split()[1]), seed=repeat)
                seconds[name].append(time.perf_counter() - begun)
        middle = {k: float(np.median(v)) for k, v in seconds.items()}
        fast, slow = (middle[name] for name in names[:2])
        rows += [[length, k, v, slow / v, fast / v] for k, v in middle.items()]
    return ["characters", "sampler", "seconds", "times uncached", "times cached"], rows


def untrained(bench: Bench, length: int) -> tuple[text_ar.LeftToRightModel, suffuse.Model]:
    """Left-to-right and masked network of the sizes of the trained ones, for texts of `length`."""
    english = bench.english.modality
    ar = text_ar.LeftToRightModel(english.vocabulary.size, length=length, **bench.ar.sizes).eval()
    return ar, suffuse.Model.new(type(english)(**{**english.config, "length": length}))


def line_5(bench: Bench) -> tuple[list[str], Rows]:
    """Diversity at matched judge cross-entropy: 96 texts of 128 characters, the masked model's temperature chosen so that its
    cross-entropy is that of the left-to-right model at temperature 1."""
    n, vocabulary = bench.asked.samples, bench.english.modality.vocabulary
    out = bench.ar.generate(n, 128, 1.0, seed=3).numpy()
    left = figures(bench, [vocabulary.decode(r) for r in out])
    rows: Rows = [["real", "", *figures(bench, bench.windows("shakespeare_train.txt", n, 128))]]
    rows.append(["left to right", 1.0, *left])
    for name, path in (("stripes, 8 calls", None), ("random order, 64 calls", Clock(64, order=Even()))):
        low, high = 0.6, 1.1
        for _ in range(5):
            middle, how = (low + high) / 2, {"steps": 8} if path is None else {"path": path}
            found = figures(bench, bench.english.sample(n, temperature=middle, seed=3, **how))
            low, high = (middle, high) if found[0] < left[0] else (low, middle)
        rows.append([f"masked, {name}", middle, *found])
    return ["texts", "temperature", *HEAD], rows


def line_8(bench: Bench) -> tuple[list[str], Rows]:
    """More steps, and remasking, at temperature 1."""
    n = bench.asked.samples
    rows: Rows = [["real", "", *figures(bench, bench.windows("shakespeare_train.txt", n, 128))]]
    for steps in (8, 16, 32, 64, 128):
        for name, order in (("stripes", Stripes(steps)), ("random order", Even()), ("ancestral", Ancestral())):
            texts = bench.english.sample(n, path=Clock(steps, order=order), seed=2)
            rows.append([f"{name}, {steps} steps", steps, *figures(bench, texts)])
    for steps in (32, 64, 128):
        for eta, below in ((0.05, 1.0), (0.1, 1.0), (0.3, 0.5)):
            order = Remask(eta, below)
            texts = bench.english.sample(n, path=Clock(steps, order=order), seed=2)
            rows.append([f"remask eta {eta} below {below}, {steps} steps", steps, *figures(bench, texts)])
    texts, calls = counted(bench, n, Clock(128, order=Blocks(16, EntropyBounded(0.3))))
    rows.append(["blocks of 16, entropy-bounded .3", calls, *figures(bench, texts)])
    return ["sampler", "calls", *HEAD], rows


def line_8b(bench: Bench) -> tuple[list[str], Rows]:
    """Poems: orders of opening at equal calls, judged by a 4-gram on other poems of the collection."""
    n, model = min(bench.asked.samples, 48), bench.tang
    lines = (bench.data / "tang_judge.jsonl").read_text().splitlines()
    judge = KneserNey([json.loads(line)["text"] for line in lines], order=4)
    real = [json.loads(line) for line in (bench.data / "tang_test.jsonl").read_text().splitlines()]
    real = [r for r in real if set(r["text"]) <= set(model.modality.vocabulary.symbols)][:n]
    given = [{"label": r["label"]} for r in real]

    def row(name: str, calls: Any, poems: list[str]) -> list[Any]:
        plain = [p.replace("，", "").replace("。", "") for p in poems]
        return [name, calls, judge.bits(poems), unigram_entropy(plain), repeated(plain, 1), distinct(plain, 2)]

    rows: Rows = [row("real, unseen", "", [r["text"] for r in real])]
    orders = [Ancestral(), Even(), Even("entropy"), Remask(0.05), Remask(0.1), Remask(0.3, below=0.5), Remask(0.3)]
    for steps in (4, 8, 16, 32):
        for order in orders:
            rows.append(
                row(
                    str(order).replace(", adaptive=False", "").replace("adaptive=False", ""),
                    steps,
                    model.sample(n, given, path=Clock(steps, order=order), seed=5),
                )
            )
    for gamma in (0.5, 2.0, 8.0):
        task = model.modality.request(n, given, index=torch.arange(n))
        needed = torch.ones(n)
        for event in model.events(task, path=Clock(32, order=EntropyBounded(gamma)), seed=5):
            hidden = (event.x["text"] == model.joint["text"].classes).any(1)
            needed[hidden] = event.step + 1
        rows.append(row(f"EntropyBounded({gamma})", float(needed.mean()), model.modality.decode(event.x, task)))
    return ["order", "calls", "judge bits/char", "entropy bits", "repeated characters", "distinct-2"], rows


def line_8c(bench: Bench) -> tuple[list[str], Rows]:
    """Eight calls against sixty-four."""
    n = bench.asked.samples
    rows: Rows = [["real", "", "", *figures(bench, bench.windows("shakespeare_train.txt", n, 128))]]
    for steps, temperatures in ((8, (1.0, 0.97, 0.95)), (64, (1.0,))):
        for name, order in (("random order", Even()), ("stripes", Stripes(steps))):
            for temperature in temperatures if name == "stripes" else (1.0,):
                texts = bench.english.sample(n, path=Clock(steps, order=order), temperature=temperature, seed=2)
                rows.append([name, steps, temperature, *figures(bench, texts)])
    return ["order", "calls", "temperature", *HEAD], rows
