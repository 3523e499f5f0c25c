"""Text: what masked diffusion gives, line by line, beside a left-to-right transformer of the same layers, size and training.

    python benchmarks/text_data.py --data ../shared/data -o WORK/data
    python benchmarks/text.py --work WORK                          # all lines that need no training but the two models'
    python benchmarks/text.py --work WORK --lines 1,9 --tang tang --english shakespeare

Models: --english and --tang are zoo names or folders; WORK/ar.safetensors is the peer (made by text_ar.py when it is missing, and
trained as long as --minutes says). Each line's figures are kept in WORK/results.json and are not made twice; the table is
written to benchmarks/results/text.md. The judges, a Kneser-Ney character 6-gram and a larger left-to-right transformer
(WORK/ar-judge.safetensors, 8 minutes), learn from text that neither model has seen.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import text_ar
import text_poems
import torch
from text_common import HERE, Bench, Rows
from text_parallel import line_3, line_4, line_5, line_8, line_8b, line_8c

import suffuse
from suffuse.diffusion.orders import Ancestral, Confidence, EntropyBounded, Even, FirstHitting, Stripes
from suffuse.diffusion.path import Clock
from suffuse.diffusion.random import Random
from suffuse.diffusion.sampling import sample
from suffuse.diffusion.state import Batch
from suffuse.metrics.text import KneserNey, distinct, words
from suffuse.modalities.text.scoring import chain_score, exact_count_bound, monte_carlo_bound


def line_1(bench: Bench) -> tuple[list[str], Rows]:
    """Correctness: orders against exact enumeration; the any-order identity on the toy; both likelihood estimates of a model."""
    sys.path.insert(0, str(HERE.parent / "tests" / "text"))
    import test_orders as toy

    rows: Rows = []
    for order, steps in (
        (FirstHitting(1), 3),
        (EntropyBounded(0.0), 3),
        (Confidence(1.0), 3),
        (Even(), 3),
        (Stripes(3), 3),
        (Ancestral(), 256),
    ):
        x = torch.zeros(100_000, 3, dtype=torch.int64)
        task = toy.Task({"text": x}, toy.Start({}))
        out = sample(toy.exact(toy.law()), toy.JOINT, task, Clock(steps, order=order), random=Random(0))["text"]
        found = torch.bincount((out * torch.tensor([9, 3, 1])).sum(1), minlength=27).double() / len(out)
        far = 0.5 * float((found - toy.law()).abs().sum())
        rows.append([f"total variation, {type(order).__name__}, {steps} steps", far, "< .01", far < 0.01])
    p = toy.law()
    gap = abs(toy.any_order_bound(p) + float((p * p.log()).sum()))
    rows.append(["any-order chain rule against entropy, nats", gap, "< 1e-6", gap < 1e-6])
    model = bench.english
    data = model.modality.dataset(bench.data / "shakespeare_test.txt")
    batch = data.batch(torch.linspace(0, len(data) - 1, 32).long())
    exact = float(exact_count_bound(model.denoiser, batch, 64).mean())
    loose = float(monte_carlo_bound(model.denoiser, batch, 256).mean())
    rows.append(
        [
            f"exact count {exact:.2f}, random levels {loose:.2f} nats: ratio - 1",
            loose / exact - 1,
            "within .01",
            abs(loose / exact - 1) < 0.01,
        ]
    )
    return ["check", "value", "bar", "met"], rows


def line_2(bench: Bench) -> tuple[list[str], Rows]:
    """Likelihood of held-out text, bits a character; over AR: above the left-to-right model of the same text."""
    rows: Rows = []
    for text, pairs in (
        (
            "shakespeare_test.txt",
            (("shakespeare", bench.asked.english), ("shakespeare, blocks of 4", bench.asked.blocks)),
        ),
        ("wiki27_test.txt", (("27-letter wikipedia", bench.asked.wiki),)),
    ):
        peer = bench.work / ("ar-wiki.safetensors" if text.startswith("wiki") else "ar.safetensors")
        for name, folder in pairs:
            if folder is None:
                continue
            model = suffuse.load(folder)
            data = model.modality.dataset(bench.data / text, stride=64)
            picked = torch.linspace(0, len(data) - 1, 256).long()
            left = text_ar.bits(text_ar.load(peer)[0], data)
            nats = sum(float(exact_count_bound(model.denoiser, data.batch(r), 32).sum()) for r in picked.split(32))
            masked = nats / 256 / data.length / math.log(2)
            rows.append([f"{name}: left to right", left, ""])
            rows.append([f"{name}: masked (exact-count bound)", masked, masked / left - 1])
    rows.append(["judge (6-gram), on the training text, which it has not seen", bench_judge(bench), ""])
    return ["model", "bits a character", "over AR"], rows


def bench_judge(bench: Bench) -> float:
    """The judge on real text it has not seen."""
    return bench.judge.bits(bench.windows("shakespeare_train.txt", 200, 128))


def line_7(bench: Bench) -> tuple[list[str], Rows]:
    """Control by source, 60 texts a label: the share that a judge gives to the label asked for, and distinct-3 of words.
    The judge adds three times the bits of its words (smoothed counts) to those of a Kneser-Ney character 6-gram, both
    learnt from the training text; real: 200 unseen windows of 128 characters of each source."""
    model = suffuse.load(bench.asked.sources)
    labels = ("shakespeare", "fairy", "wikipedia")
    texts: dict[str, dict[str, list[str]]] = {}
    for part in ("train", "test"):
        found = [json.loads(line) for line in (bench.data / f"sources_{part}.jsonl").read_text().splitlines()]
        texts[part] = {label: [r["text"] for r in found if r["label"] == label] for label in labels}
    known_words = {word for label in labels for text in texts["train"][label] for word in words(text)}
    judges = {  # windows overlap by half
        label: SourceJudge(texts["train"][label][::2], len(known_words)) for label in labels
    }

    def right(asked: list[str], made: list[str]) -> float:
        guess = [min(labels, key=lambda label: judges[label].bits(text)) for text in made]
        return sum(a == g for a, g in zip(asked, guess, strict=True)) / len(asked)

    spread = {label: texts["test"][label][:: len(texts["test"][label]) // 200][:200] for label in labels}
    found = [(label, text) for label in labels for text in spread[label]]
    known = right([label for label, _ in found], [text for _, text in found])
    real = [(label, text) for label in labels for text in spread[label][:60]]
    asked = [label for label, _ in real]
    rows: Rows = [["real, unseen", "", "", known, distinct([words(t) for _, t in real], 3)]]
    given = [{"label": label} for label in asked]
    for guidance, temperature in ((1.0, 1.0), (2.0, 1.0)):
        made = model.sample(len(asked), given, steps=64, guidance=guidance, temperature=temperature, seed=4)
        split = [words(t) for t in made]
        rows.append(["masked, 64 calls", guidance, temperature, right(asked, made), distinct(split, 3)])
        print(rows[-1], flush=True)
    return ["texts", "guidance", "temperature", "right source", "distinct-3"], rows


class SourceJudge:
    """Bits of a text if it came from this source; see `line_7`. known: how many words all sources have together."""

    def __init__(self, texts: list[str], known: int):
        self.known = known
        self.characters = KneserNey(texts)
        self.counts = Counter(word for text in texts for word in words(text))
        self.total = sum(self.counts.values())

    def bits(self, text: str) -> float:
        whole = words(text)[1:-1]  # the first and the last may be cut
        share = [(self.counts[w] + 0.5) / (self.total + 0.5 * self.known) for w in whole]
        return self.characters.bits([text]) * len(text) - 3 * sum(map(math.log2, share))


def line_6(bench: Bench) -> tuple[list[str], Rows]:
    """Blanks of 16 characters: nats a character of what really stood there, both sides given, against the left side given."""
    texts = bench.tokens(bench.windows("shakespeare_test.txt", 64, 128))
    gap = torch.arange(56, 72)
    batch = Batch({"text": texts}, index=torch.arange(len(texts)))
    both = -chain_score(bench.english.denoiser, batch, gap.expand(len(texts), -1)).mean().item()
    left = bench.ar.nats(texts)[:, gap].mean().item()
    rows: Rows = [
        ["left to right, left side given", left, ""],
        ["masked, both sides given (chain rule from the left)", both, 1 - both / left],
    ]
    return ["question", "nats a character", "below left to right"], rows


def line_6b(bench: Bench) -> tuple[list[str], Rows]:
    """Couplets: the first line given the second, against the second given the first, the rest of the poem hidden."""
    model = bench.tang
    data = model.modality.dataset(bench.data / "tang_test.jsonl")
    picked = [i for i in range(len(data)) if data.size[i] == 24][:160]
    batch = data.batch(torch.tensor(picked))
    out = []
    for first, name in ((True, "previous line given the next"), (False, "next line given the previous")):
        place = torch.arange(0, 5) if first else torch.arange(6, 11)
        x = batch.x["text"].clone()
        x[:, 12:] = model.joint["text"].classes
        one = Batch({**batch.x, "text": x}, exists=batch.exists, index=batch.index)
        out.append([name, -chain_score(model.denoiser, one, place.expand(len(x), -1)).mean().item()])
    return ["question", "nats a character"], [*out, ["ratio (bar: at most 1.05)", out[0][1] / out[1][1]]]


def line_9(bench: Bench) -> tuple[list[str], Rows]:
    """Poems: form, acrostics, rhyme and tones beside real ones."""
    return text_poems.table(bench.tang, bench.data, bench.asked.samples)


LINES = {
    "1": line_1,
    "2": line_2,
    "3": line_3,
    "4": line_4,
    "5": line_5,
    "6": line_6,
    "6b": line_6b,
    "8": line_8,
    "7": line_7,
    "8b": line_8b,
    "8c": line_8c,
    "9": line_9,
}


def number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write(path: Path, results: dict, command: str) -> None:
    parts = [f"# Text\n\nMade by `{command}` (prepared by `python benchmarks/text_data.py`). One seed.\n"]
    for line, made in sorted(results.items(), key=lambda kv: kv[0]):
        parts.append(
            f"\n## Line {line}: {made['about']}\n\n{made.get('models', '')} ({made['seconds']:.0f} s"
            + (f", --samples {made['samples']}" if "samples" in made else "")
            + ")\n\n| "
            + " | ".join(made["head"])
            + " |\n"
        )
        parts.append("|" + " --- |" * len(made["head"]) + "\n")
        parts += ["| " + " | ".join(number(c) for c in row) + " |\n" for row in made["rows"]]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="prepared data, the peer and results")
    parser.add_argument("--lines", default=",".join(LINES))
    parser.add_argument("--english", default="shakespeare")
    parser.add_argument("--tang", default="tang")
    parser.add_argument("--wiki", help="line 2: a model of wiki27_train.txt, with WORK/ar-wiki.safetensors beside")
    parser.add_argument("--blocks", help="line 2: a block-diffusion model of shakespeare_train.txt")
    parser.add_argument("--sources", help="line 7: a model of sources_train.jsonl")
    parser.add_argument(
        "--minutes", type=float, default=12, help="training of the left-to-right peer, as the masked model's"
    )
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--again", action="store_true", help="make these lines anew")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results" / "text.md")
    asked = parser.parse_args()
    kept = asked.work / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    bench = Bench(asked)
    for line in asked.lines.split(","):
        if line not in results or asked.again:
            begun = time.perf_counter()
            head, rows = LINES[line](bench)
            about = (LINES[line].__doc__ or "").strip()
            results[line] = {
                "about": about,
                "head": head,
                "rows": rows,
                "seconds": time.perf_counter() - begun,
                "samples": asked.samples,
                "models": bench.used(),
            }
            results = (json.loads(kept.read_text()) if kept.exists() else {}) | {line: results[line]}
            kept.write_text(json.dumps(results))
        print(json.dumps(results[line]["rows"], ensure_ascii=False), flush=True)
    models = {k: getattr(asked, k) for k in ("english", "tang", "wiki", "blocks", "sources")}
    options = "".join(f" --{k} {Path(v).name}" for k, v in models.items() if v)
    write(asked.output, results, f"python benchmarks/text.py --work WORK --samples {asked.samples}{options}")


if __name__ == "__main__":
    main()
