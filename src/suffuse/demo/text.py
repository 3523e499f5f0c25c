"""The text room of the demo: a poem that appears, an acrostic, a missing line, blanks filled in English."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import torch

import suffuse
from suffuse.demo import pieces
from suffuse.storage import zoo_names

EARLY, LATE = (15, 157, 138), (217, 130, 43)
"""Colours of the first and of the last token that came, red, green, blue."""


def demo(report: Any, folder: Path) -> None:
    """Load the zoo models, write, complete and fill, and show each beside real text."""
    poems = suffuse.load("tang")
    report.room(
        "Text",
        "Masked diffusion over characters: every call opens several of them, anywhere. Quatrains by a model of Tang poems "
        "(chinese-poetry, MIT), English by a model of tiny Shakespeare (public domain); each learnt in a few minutes "
        "on one core.",
    )
    real = [
        json.loads(line) for line in (poems.folder / "samples" / "poems.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    _appearing(report, poems, real)
    _acrostic(report, poems)
    _missing_line(report, poems, real)
    if "shakespeare" in zoo_names():
        _english(report, suffuse.load("shakespeare"))


def opened(model: Any, task: Any, **settings: Any) -> tuple[str, list[int], int]:
    """Run a task of one sample: its text, the call in which each token came (0: given), and the number of calls."""
    classes = model.joint["text"].classes
    came = torch.where(task.given["text"][0], 0, -1)
    calls = 0
    for event in model.events(task, **settings):
        calls = event.step
        came[(came < 0) & (event.x["text"][0].cpu() != classes)] = calls
    return model.modality.decode(event.x, task)[0], came.tolist(), calls


def appearing(text: str, came: list[int], calls: int, wrap: str = "。") -> str:
    """HTML of a text whose characters appear in the order in which the model wrote them, coloured from first to last."""
    parts = []
    for character, step in zip(text, came, strict=False):
        share = max(step - 1, 0) / max(calls - 1, 1)
        rgb = ",".join(str(round(a + (b - a) * share)) for a, b in zip(EARLY, LATE, strict=True))
        colour = f"color:rgb({rgb});" if step > 0 else ""
        parts.append(f'<span style="{colour}animation-delay:{0.25 * step:.2f}s">{escape(character)}</span>')
        if character in wrap:
            parts.append("<br>")
    style = (
        "<style>.appear span{animation:appear .5s both}@keyframes appear{from{opacity:0}to{opacity:1}}"
        ".appear{font-size:1.35em;line-height:1.7;white-space:pre-wrap}"
        "@media(prefers-reduced-motion:reduce){.appear span{animation:none}}</style>"
    )
    legend = f'<div class="label">green came in the first call, orange in the last of {calls}</div>'
    return f'{style}<div class="texts"><blockquote class="appear">{"".join(parts)}</blockquote>{legend}</div>'


def _figures(texts: list[str]) -> dict[str, float]:
    from suffuse.metrics.text import distinct, repeated, unigram_entropy

    plain = [t.replace("，", "").replace("。", "") for t in texts]
    return {
        "bits of entropy a character": unigram_entropy(plain),
        "distinct-2": distinct(plain, 2),
        "characters that repeat": repeated(plain, 1),
    }


def _appearing(report: Any, model: Any, real: list[dict]) -> None:
    shown = real[: len(real) // 8 * 8]
    with report.watch(model) as seen:
        task = model.modality.request(1, None, index=torch.tensor([3]), label="seven", temperature=0.8)
        text, came, calls = opened(model, task, steps=16, seed=1)
    many = model.sample(len(shown), [{"label": r["label"]} for r in shown], steps=12, temperature=0.8)
    report.item(
        "A poem appears",
        "Write a quatrain of seven characters a line",
        'suffuse.load("tang").sample(1, given={"label": "seven"}, steps=16, temperature=0.8)',
        appearing(text, came, calls),
        calls=seen.calls,
        seconds=seen.seconds,
        quality=_figures(many),
        real=_figures([r["text"] for r in shown]),
        note=f"Figures over {len(shown)} poems of 12 calls each, beside {len(shown)} real ones that the model never saw.",
    )


def _marked(text: str, template: str) -> list[tuple[str, bool]]:
    return [(c, t == "_") for c, t in zip(text, template, strict=True)]


def _acrostic(report: Any, model: Any) -> None:
    template = "春____，江____。花____，月____。"
    with report.watch(model) as seen:
        texts = model.sample(2, template, steps=12, seed=2, temperature=0.8)
    kept = sum(all(a == b or b == "_" for a, b in zip(t, template, strict=True)) for t in texts)
    report.item(
        "An acrostic",
        "Lines that begin with spring, river, flower and moon",
        f'suffuse.load("tang").sample(2, "{template}", steps=12, temperature=0.8)',
        "".join(pieces.marked_text(_marked(t, template)) for t in texts),
        calls=seen.calls,
        seconds=seen.seconds,
        quality={"keep their characters": kept / len(texts)},
        note="What the model wrote is marked.",
    )


def _missing_line(report: Any, model: Any, real: list[dict]) -> None:
    poem = next(r for r in real if r["label"] == "five")["text"]
    template = poem[:12] + "_____" + poem[17:]
    with report.watch(model) as seen:
        text = model.sample(1, {"text": template, "label": "five"}, steps=5, seed=0, temperature=0.8)[0]
    report.item(
        "A missing line",
        "The third line of a real poem is lost: write one that fits both sides",
        f'suffuse.load("tang").sample(1, "{template}", steps=5, temperature=0.8)',
        {"completed": pieces.marked_text(_marked(text, template)), "real": pieces.text_block(poem)},
        calls=seen.calls,
        seconds=seen.seconds,
    )


def _english(report: Any, model: Any) -> None:
    template = "the ___ of the king is ___ in his hand"
    with report.watch(model) as seen:
        texts = model.fill(template, blank="3-7", n=3, steps=10)
    words = (model.folder / "samples" / "words.txt").read_text(encoding="utf-8").split()
    report.item(
        "Blanks of free length",
        f'Fill "{template}"',
        f'suffuse.load("shakespeare").fill("{template}", blank="3-7", n=3)',
        "".join(pieces.marked_text(_between(t, template)) for t in texts),
        calls=seen.calls,
        seconds=seen.seconds,
        quality={"words found in Shakespeare": _known(texts, words)},
        note="Each blank chose its own length by how likely what follows is after it.",
    )
    with report.watch(model) as seen:
        task = model.modality.request(1, None, index=torch.tensor([0]), prefix="ROMEO:\n")
        text, came, calls = opened(model, task, steps=32, seed=0)
    passage = (model.folder / "samples" / "passage.txt").read_text(encoding="utf-8")
    report.item(
        "English, all at once",
        "Go on from ROMEO: in 32 calls",
        'suffuse.load("shakespeare").sample(1, prefix="ROMEO:\\n", steps=32)',
        appearing(text, came, calls, wrap=""),
        calls=seen.calls,
        seconds=seen.seconds,
        quality={"words found in Shakespeare": _known([text], words)},
        real={"words found in Shakespeare": _known([passage], words)},
        note="A small model of characters: half-words are its own. Real: a held-out passage.",
    )


def _between(text: str, template: str) -> list[tuple[str, bool]]:
    """Given and written stretches of a filled template."""
    import re

    stretches = re.split("_+", template)
    pattern = "(.*)".join(re.escape(s) for s in stretches)
    found = re.fullmatch(pattern, text, flags=re.S)
    parts: list[tuple[str, bool]] = []
    for i, stretch in enumerate(stretches):
        parts.append((stretch, False))
        if found and i < len(stretches) - 1:
            parts.append((found.group(i + 1), True))
    return parts


def _known(texts: list[str], words: list[str]) -> float:
    from suffuse.metrics.text import words as split

    known, found = set(words), [w for t in texts for w in split(t)]
    return sum(w in known for w in found) / max(len(found), 1)
