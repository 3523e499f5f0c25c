"""Words of the command line as values."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from suffuse.errors import AskError


def value(word: str) -> Any:
    """A word as the JSON value it spells (3, 0.5, true, null, [1, 2], "3"), or as the string it is."""
    try:
        return json.loads(word, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return {"True": True, "False": False, "None": None}.get(word, word)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def given(words: Sequence[str] | None, fields: Collection[str] | None = None) -> Any:
    """`--given` words: a file alone, a dict of KEY=VALUE pairs, or both with the file under "file"; None for none.

    A word is a pair when it holds "=" and is not the name of a file. fields: where the data itself is words (text,
    SMILES), the keys there are: any other word that names no file is data, "=" or not. Raises AskError on two files, on
    a file that is not there, and on a key given twice.
    """
    if not words:
        return None
    pairs: dict[str, Any] = {}
    data = None
    for word in words:
        key, equals, text = word.partition("=")
        known = key.replace("_", "").replace("-", "").isalnum() if fields is None else key in fields
        if equals and known and not _exists(word):
            if key in pairs:
                raise AskError(f"--given {key} stands twice; give each key once")
            pairs[key] = value(text)
        elif data is not None:
            raise AskError(f"--given names two files, {data} and {word}; give one file, and KEY=VALUE for the rest")
        elif fields is None and not _exists(word):
            raise AskError(f"--given {word}: there is no such file; give a file, or KEY=VALUE")
        else:
            data = word
    if data is None:
        return pairs
    return {"file": data, **pairs} if pairs else data


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        return False


def extras(words: Sequence[str], verb: str) -> dict[str, Any]:
    """Options nobody declared, `--name value`, `--name=value` or a bare `--name` (true), as keyword arguments."""
    found: dict[str, Any] = {}
    words = list(words)
    while words:
        word = words.pop(0)
        name, equals, text = word.partition("=")
        key = name.removeprefix("--").replace("-", "_")
        if not name.startswith("--") or not key.isidentifier():
            raise AskError(f"'{word}' is not understood here; 'suffuse {verb} -h' shows what is")
        if equals:
            found[key] = value(text)
        elif words and not (words[0].startswith("--") and len(words[0]) > 2):
            found[key] = value(words.pop(0))
        else:
            found[key] = True
    return found


def whole(low: int, high: int = 2**63 - 1) -> Callable[[str], int]:
    """An argparse type: a whole number in [low, high]."""

    def parse(word: str) -> int:
        try:
            number = int(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{word}' is not a whole number") from None
        if not low <= number <= high:
            told = f"at least {low}" if number < low else f"at most {high}"
            raise argparse.ArgumentTypeError(f"{word} is out of range; it is {told}")
        return number

    return parse


def real(low: float = float("-inf"), high: float = float("inf"), open_low: bool = False) -> Callable[[str], float]:
    """An argparse type: a finite number in [low, high], or in (low, high] where `open_low`."""

    def parse(word: str) -> float:
        try:
            number = float(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{word}' is not a number") from None
        if not abs(number) < float("inf"):
            raise argparse.ArgumentTypeError(f"'{word}' is not a finite number")
        if number < low or number > high or (open_low and number == low):
            if high < float("inf"):
                told = f"it lies between {low:g} and {high:g}"
            else:
                told = f"it is above {low:g}" if open_low else f"it is at least {low:g}"
            raise argparse.ArgumentTypeError(f"{word} is out of range; {told}")
        return number

    return parse


def annotated(parameter: inspect.Parameter) -> Callable[[str], Any]:
    """An argparse type for a parameter of a sugar verb: by its annotation, else by its default, else any value."""
    hint = parameter.annotation
    hint = hint if isinstance(hint, str) else getattr(hint, "__name__", "")
    names = {part.strip() for part in hint.split("|")} - {"None"}
    default = parameter.default
    if names == {"int"} or (not names and type(default) is int):
        return whole(-(2**63))
    if names in ({"float"}, {"int", "float"}) or (not names and type(default) is float):
        return real()
    if names == {"str"} or names == {"Path"} or names == {"str", "Path"}:
        return str
    return value
