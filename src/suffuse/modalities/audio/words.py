"""Text as a sequence of symbols that are spoken: letters, or the phonemes of a phonetic alphabet, one character each."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from suffuse.errors import AskError

PAUSE = "_"
"""Symbol 0: the silence before, after and beside what is said."""
STOPS = ",.;:!?"
"""Marks that are symbols of their own, since they are heard as pauses and tunes."""
RARE = 5
"""A character that the transcripts hold less often gets no symbol."""

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
POWERS = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"))
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ORDINALS |= {"twelve": "twelfth"}
_NUMBER = re.compile(r"\d+(?:,\d{3})*(\.\d+)?(st|nd|rd|th)?")


def spelt_number(value: int) -> str:
    """A whole number below 10**12 in English words: 1205 is 'one thousand two hundred five'."""
    if value < 20:
        return ONES[value]
    if value < 100:
        return TENS[value // 10 - 2] + (f" {ONES[value % 10]}" if value % 10 else "")
    for power, name in (*POWERS, (100, "hundred")):
        if value >= power:
            rest = value % power
            return f"{spelt_number(value // power)} {name}" + (f" {spelt_number(rest)}" if rest else "")
    raise AssertionError(value)


def read_out(text: str) -> str:
    """Numbers in words: '3.5' is 'three point five', '21st' is 'twenty first'; longer than 12 digits, digit by digit."""

    def words(match: re.Match) -> str:
        whole, _, part = match[0].rstrip("sthndr").replace(",", "").partition(".")
        if len(whole) > 12 or (len(whole) > 1 and whole[0] == "0"):
            out = " ".join(ONES[int(d)] for d in whole)
        else:
            out = spelt_number(int(whole))
        if part:
            return f" {out} point {' '.join(ONES[int(d)] for d in part)} "
        if match[2]:
            *head, last = out.split()
            last = ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
            out = " ".join([*head, last])
        return f" {out} "

    return _NUMBER.sub(words, text)


def plain(text: str) -> str:
    """Lower case, one space between words; marks that are not spoken become spaces, accents that stand alone are joined."""
    text = unicodedata.normalize("NFC", text).lower().replace("\u2019", "'")
    kept = [c if c.isalnum() or c in STOPS or c == "'" or unicodedata.category(c)[0] in "LM" else " " for c in text]
    return " ".join(re.sub(rf"\s+([{STOPS}])", r"\1", " ".join("".join(kept).split())).split())


def letters(text: str) -> str:
    """What `plain` makes of a text whose numbers are read out in English."""
    return plain(read_out(text)) if re.search(r"\d", text) else plain(text)


def alphabet(texts: Sequence[str]) -> list[str]:
    """The symbols of transcripts: the pause first, then every character that occurs at least RARE times, in order."""
    counts = Counter(c for text in texts for c in letters(text))
    return [PAUSE, *sorted(c for c, n in counts.items() if n >= min(RARE, len(texts)))]


def symbols_of(text: str, known: Sequence[str], strict: bool = True) -> list[int]:
    """A text as numbers of symbols, with a pause at both ends; a symbol that repeats itself is one.

    strict: a letter without a symbol is refused (AskError); else it is left out. Marks without a symbol always are.
    """
    if not isinstance(text, str):
        raise AskError(f"the text to speak must be a string, not {type(text).__name__}")
    places = {c: k for k, c in enumerate(known)}
    said = letters(text)
    lost = sorted({c for c in said if c not in places and c not in STOPS and c not in " '"})
    if lost and strict:
        names = ", ".join(f"'{c}'" for c in lost[:5])
        raise AskError(f"this model has no sound for {names}; it knows {' '.join(c for c in known[1:] if c != ' ')}")
    found = [0, *(places[c] for c in said if c in places), 0]
    out = [s for k, s in enumerate(found) if k == 0 or s != found[k - 1]]
    if len(out) < 2:
        raise AskError("the text holds nothing that can be spoken")
    return out
