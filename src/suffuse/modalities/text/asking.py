"""What a person asks of a text model, as tokens: templates with blanks, prefixes, forced and forbidden tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import AskError
from suffuse.modalities.text import reading
from suffuse.modalities.text.vocabulary import Vocabulary


@dataclass
class Template:
    """Tokens (length,) with -1 where unknown, and the blanks as (begin, end) positions."""

    tokens: np.ndarray
    blanks: list[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.tokens)


def from_file(given: Any) -> Any:
    """What the command line gives: the path of a text file or the text itself, alone or as {"file": it, ...}."""
    file = given.get("file") if isinstance(given, Mapping) else given
    if isinstance(file, str) and (len(file) > 255 or "\n" in file or reading.kind_of(Path(file)) not in reading.PLAIN):
        file = None
    rest = {k: v for k, v in given.items() if k != "file"} if isinstance(given, Mapping) else {}
    if not isinstance(file, (str, Path)) or not Path(file).is_file():
        words = isinstance(given, Mapping) and isinstance(given.get("file"), str)
        return {**rest, "text": given["file"]} if words else given
    return {**rest, "text": reading.read_text(Path(file)).removesuffix("\n")}


def read_template(
    given: Any, vocabulary: Vocabulary, mark: str = "_", blank: int | Sequence[int] | None = None
) -> Template:
    """A text with blanks, or a sequence of integers with -1 (or None) for unknown ones, as a template.

    A run of `mark` is a blank of as many tokens as it is long; `blank` gives the number of tokens of each blank instead: one
    number for all, or one per blank. Raises AskError on unknown characters or a wrong number of blanks.
    """
    pieces = _split(given, vocabulary, mark)
    found = sum(1 for p in pieces if isinstance(p, int))
    if blank is None:
        sizes = [p for p in pieces if isinstance(p, int)]
    else:
        sizes = [int(blank)] * found if isinstance(blank, (int, np.integer)) else [int(b) for b in blank]
    if len(sizes) != found:
        raise AskError(f"there are {found} blanks in the template and {len(sizes)} lengths for them")
    if any(s < 0 for s in sizes):
        raise AskError(f"a blank cannot have {min(sizes)} tokens")
    tokens, blanks, at = [], [], 0
    remaining = iter(sizes)
    for piece in pieces:
        if isinstance(piece, int):
            size = next(remaining)
            tokens.append(np.full(size, -1, dtype=np.int32))
            blanks.append((at, at + size))
            at += size
        else:
            tokens.append(piece)
            at += len(piece)
    return Template(np.concatenate(tokens) if tokens else np.zeros(0, np.int32), blanks)


def _split(given: Any, vocabulary: Vocabulary, mark: str) -> list[int | np.ndarray]:
    """Known stretches as tokens and blanks as their lengths, in order."""
    if isinstance(given, str):
        if vocabulary.kind == "integers":
            raise AskError("this model works on integer sequences: give a list of numbers with -1 for unknown ones")
        if vocabulary.kind == "tokenizer":
            given = _own_mask(given, vocabulary, mark)
        runs, out = given.split(mark), []
        for i, run in enumerate(runs):
            if i:
                if out and isinstance(out[-1], int):
                    out[-1] += 1
                else:
                    out.append(1)
            if run:
                out.append(vocabulary.encode(run))
        return out
    if isinstance(given, (list, tuple, np.ndarray)):
        values = np.array([-1 if v is None else v for v in np.asarray(given, dtype=object).reshape(-1)])
        if values.size and not np.issubdtype(values.dtype, np.integer):
            raise AskError("a given sequence holds something other than whole numbers, -1 or None")
        if (values >= vocabulary.size).any():
            where = int((values >= vocabulary.size).argmax())
            raise AskError(
                f"token {values[where]} at position {where} is outside 0 to {vocabulary.size - 1}, which the model knows"
            )
        unknown, out, at = values < 0, [], 0
        for border in [*(np.flatnonzero(np.diff(unknown)) + 1), len(values)]:
            if border > at:
                out.append(int(border - at) if unknown[at] else values[at:border].astype(np.int32))
            at = border
        return out
    raise AskError(f"text cannot be given as {type(given).__name__}: give a string with blanks, or a list of integers")


def _own_mask(given: str, vocabulary: Vocabulary, mark: str) -> str:
    """A tokenizer's own mask token in a template means a blank of one token, if the tokenizer has one."""
    for name in ("[MASK]", "<mask>", "<|mask|>"):
        if name in given:
            if name != vocabulary.mask:
                other = (
                    f"its mask token is {vocabulary.mask!r}" if vocabulary.mask else "this tokenizer has no mask token"
                )
                raise AskError(f"{name!r} stands in the template, but {other}: write blanks as {mark * 3}")
            given = given.replace(name, mark)
    return given


def fixed_tokens(force: Mapping[int, Any] | None, length: int, vocabulary: Vocabulary) -> dict[int, int]:
    """Forced tokens {position: token} checked against the length; negative positions count from the end."""
    out = {}
    for position, what in (force or {}).items():
        position = int(position) if isinstance(position, str) and position.lstrip("-").isdigit() else position
        if not isinstance(position, (int, np.integer)) or not -length <= position < length:
            raise AskError(f"a token is forced at position {position}, and the text has positions 0 to {length - 1}")
        out[int(position) % length] = vocabulary.token(what)
    return out


def forbidden_tokens(
    forbid: Iterable[Any] | Mapping[Any, Iterable[Any]] | None, length: int, vocabulary: Vocabulary
) -> np.ndarray:
    """(1 or length, size) bool: what must not appear, everywhere (`forbid` a list of tokens, or a string of characters) or by
    position ({position: tokens}, with None for everywhere). What the vocabulary never generates is always forbidden."""
    by_position = forbid if isinstance(forbid, Mapping) else {None: forbid or ()}
    rows = length if any(p is not None for p in by_position) else 1
    out = np.zeros((rows, vocabulary.size), dtype=bool)
    out[:, vocabulary.banned] = True
    for position, tokens in by_position.items():
        position = int(position) if isinstance(position, str) and position.lstrip("-").isdigit() else position
        known = (
            vocabulary.symbols if vocabulary.kind == "characters" else None
        )  # what it cannot write needs no forbidding
        codes = [
            vocabulary.token(t) for t in tokens if known is None or not isinstance(t, str) or t == "<end>" or t in known
        ]
        if position is None:
            out[:, codes] = True
        elif not isinstance(position, (int, np.integer)) or not -length <= position < length:
            raise AskError(f"tokens are forbidden at position {position}, and the text has positions 0 to {length - 1}")
        else:
            out[int(position) % length, codes] = True
    if out.all(axis=1).any():
        raise AskError(
            f"every token is forbidden at position {int(np.flatnonzero(out.all(axis=1))[0])}: nothing could be written"
        )
    return out


def clash(tokens: np.ndarray, forced: Mapping[int, int], forbidden: np.ndarray, vocabulary: Vocabulary) -> None:
    """Raise AskError where a forced token is forbidden or contradicts the template."""
    for position, token in forced.items():
        row = forbidden[position if len(forbidden) > 1 else 0]
        name = vocabulary.pieces([token])[0]
        if row[token]:
            raise AskError(f"the token {name!r} is both forced and forbidden at position {position}")
        if tokens[position] not in (-1, token):
            raise AskError(
                f"{name!r} is forced at position {position}, where {vocabulary.pieces([tokens[position]])[0]!r} is given"
            )


def cut_at(text: Any, stop: Sequence[Any]) -> tuple[Any, bool]:
    """The text up to the first stop string (or stop integer), and whether one was found."""
    if isinstance(text, str):
        places = [i for i in (text.find(s) for s in stop if s) if i >= 0]
    else:
        places = [i for i, t in enumerate(text) if t in stop]
    return (text[: min(places)], True) if places else (text, False)
