"""Captions as tokens: known words whole, unknown words letter by letter. Case and punctuation are dropped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
PAD = ""
"""Token 0: the end of a caption and all that follows."""
INSIDE = "##"
"""Marks a letter that goes on with the word before it."""


def build_vocabulary(captions: Iterable[str], limit: int = 1500, at_least: int = 2) -> list[str]:
    """Tokens of a caption field: the end, single letters (first and inner), then words by frequency, `limit` in all."""
    counts: Counter[str] = Counter()
    letters: set[str] = set()
    for caption in captions:
        for word in split(caption):
            counts[word] += 1
            letters.update(word)
    spell = [form for letter in sorted(letters) for form in (letter, INSIDE + letter)]
    known = set(spell)
    words = [
        w for w, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= at_least and w not in known
    ]
    return [PAD, *spell[: limit - 1], *words[: max(0, limit - 1 - len(spell))]]


def split(caption: str) -> list[str]:
    """Lower-case words of a caption."""
    return _WORD.findall(caption.lower())


def encode(caption: str, index: dict[str, int], length: int) -> list[int]:
    """Token numbers, filled up with 0 to `length`; what is longer is cut, letters that were never seen are left out."""
    tokens: list[int] = []
    for word in split(caption):
        if word in index:
            tokens.append(index[word])
            continue
        spelt = [letter if k == 0 else INSIDE + letter for k, letter in enumerate(word)]
        tokens += [index[piece] for piece in spelt if piece in index]
    return (tokens + [0] * length)[:length]


def fitting_length(captions: Iterable[str], index: dict[str, int], longest: int) -> int:
    """The number of tokens that holds all captions, at most `longest`."""
    lengths = [len([t for t in encode(caption, index, longest) if t]) for caption in captions]
    return max(1, min(longest, max(lengths, default=1)))


def decode(tokens: Sequence[int], vocabulary: Sequence[str]) -> str:
    """The words of a row of tokens up to the first end token."""
    out = ""
    for token in tokens:
        piece = vocabulary[token] if 0 <= token < len(vocabulary) else PAD
        if piece == PAD:
            break
        out += piece[len(INSIDE) :] if piece.startswith(INSIDE) and len(piece) > len(INSIDE) else " " + piece
    return out.strip()
