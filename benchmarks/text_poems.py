"""Poems of the text benchmark: form, acrostics, rhyme and tones, beside real quatrains.

Rhyme and tones are judged by modern Mandarin readings (pypinyin, MIT; pip install pypinyin), in which Tang poems rhyme and
alternate less strictly than they did: the real row says how often the judge finds real poems right.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LEVEL = {1, 2}


def lines(poem: str) -> list[str]:
    return [part for part in poem.replace("，", "。").split("。") if part]


def right_form(poem: str, label: str) -> bool:
    """Four lines of five or seven characters, each followed by the right mark, and nothing else."""
    width = 5 if label == "five" else 7
    marks = [poem[(i + 1) * (width + 1) - 1 : (i + 1) * (width + 1)] for i in range(4)]
    inner = [c for i, c in enumerate(poem) if (i + 1) % (width + 1)]
    return len(poem) == 4 * (width + 1) and marks == ["，", "。", "，", "。"] and not set(inner) & {"，", "。"}


def readings(character: str) -> list[tuple[str, int]]:
    """(final, tone) of each reading of a character."""
    from pypinyin import Style, pinyin

    finals = pinyin(character, style=Style.FINALS_TONE3, heteronym=True, neutral_tone_with_five=True)[0]
    return [(f[:-1], int(f[-1])) for f in finals if f and f[-1].isdigit()]


GROUPS = [
    {"a", "ia", "ua"}, {"o", "uo", "e"}, {"ie", "ve", "üe", "ue"}, {"ai", "uai"}, {"ei", "ui", "uei", "i", "er"}, {"u"},
    {"v", "ü"}, {"ao", "iao"}, {"ou", "iu", "iou"}, {"an", "ian", "uan", "van", "üan"}, {"en", "in", "un", "uen", "vn", "ün"},
    {"ang", "iang", "uang"}, {"eng", "ing", "ueng"}, {"ong", "iong"},
]  # fmt: skip


def rhymes(a: str, b: str) -> bool:
    """Whether two characters share a group of finals in some reading."""
    found = [{i for i, g in enumerate(GROUPS) for final, _ in readings(c) if final in g} for c in (a, b)]
    return bool(found[0] & found[1])


def level(character: str) -> set[bool]:
    return {tone in LEVEL for _, tone in readings(character)}


def alternate(a: str, b: str) -> bool:
    """Whether the tones of two characters can differ (one level, one oblique)."""
    return bool({(x, y) for x in level(a) for y in level(b) if x != y})


def judged(poems: list[str]) -> dict[str, float]:
    """Shares of poems whose second and fourth lines rhyme, and of lines whose second and fourth characters alternate in tone;
    of couplets whose second characters are opposed; of final characters of rhyming lines in the level tone."""
    rhyme, inner, outer, ends, twice = [], [], [], [], []
    for poem in poems:
        four = lines(poem)
        rhyme.append(rhymes(four[1][-1], four[3][-1]))
        twice.append(four[1][-1] == four[3][-1])
        inner += [alternate(line[1], line[3]) for line in four]
        outer += [alternate(four[i][1], four[i + 1][1]) for i in (0, 2)]
        ends += [True in level(four[i][-1]) for i in (1, 3)]
    shares = {
        "rhyme": rhyme,
        "same rhyme word": twice,
        "tones alternate": inner,
        "couplets opposed": outer,
        "level ends": ends,
    }
    return {k: sum(v) / max(len(v), 1) for k, v in shares.items()}


def table(model: Any, data: Path, n: int) -> tuple[list[str], list[list[Any]]]:
    """Rows of figures for real poems, free poems at several calls, and acrostics."""
    from suffuse.metrics.text import KneserNey, distinct, repeated, unigram_entropy

    read = [json.loads(line) for line in (data / "tang_test.jsonl").read_text().splitlines()]
    known = set(model.modality.vocabulary.symbols)
    real = [r for r in read if set(r["text"]) <= known]
    real = [real[i * len(real) // n] for i in range(min(n, len(real)))]
    judge = KneserNey(
        [json.loads(line)["text"] for line in (data / "tang_judge.jsonl").read_text().splitlines()], order=4
    )

    def row(name: str, poems: list[str], labels: list[str], kept: Any = "") -> list[Any]:
        good = [p for p, label in zip(poems, labels) if right_form(p, label)]
        plain = [p.replace("，", "").replace("。", "") for p in poems]
        shares = judged(good)
        text = [judge.bits(poems), unigram_entropy(plain), repeated(plain, 4), repeated(plain, 1), distinct(plain, 2)]
        return [name, len(good) / len(poems), kept, *shares.values(), *text]

    labels = [r["label"] for r in real]
    rows = [row("real, unseen", [r["text"] for r in real], labels)]
    for steps in (4, 16):
        poems = model.sample(len(real), [{"label": label} for label in labels], steps=steps, seed=3)
        rows.append(row(f"{steps} calls", poems, labels))
    for temperature in (0.8,):
        poems = model.sample(
            len(real), [{"label": label} for label in labels], steps=16, temperature=temperature, seed=3
        )
        rows.append(row(f"16 calls, temperature {temperature}", poems, labels))
    starts = ["".join(line[0] for line in lines(r["text"])) for r in real]
    given = []
    for start, label in zip(starts, labels):
        blank = "_" * (4 if label == "five" else 6)
        given.append({"text": "".join(c + blank + "，。，。"[i] for i, c in enumerate(start)), "label": label})
    poems = model.sample(len(real), given, steps=16, seed=4)
    places = [[0, 6, 12, 18] if label == "five" else [0, 8, 16, 24] for label in labels]
    kept = sum("".join(p[i] for i in at) == s for p, s, at in zip(poems, starts, places)) / len(poems)
    rows.append(row("acrostics, 16 calls", poems, labels, kept))
    head = [
        "poems",
        "right form",
        "acrostic kept",
        "rhyme",
        "same rhyme word",
        "tones alternate",
        "couplets opposed",
        "level ends",
    ]
    return [*head, "judge bits/char", "entropy bits", "repeated 4-grams", "repeated characters", "distinct-2"], rows
