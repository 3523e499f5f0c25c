"""How a text becomes integer tokens and back: characters, bytes, a Hugging Face tokenizers file, or integers as they are.

A vocabulary knows nothing of masks: the engine's null token is always `size`, one past the last class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import AskError, DataError, SuffuseError

KINDS = ("characters", "bytes", "tokenizer", "integers")


class Vocabulary:
    """Tokens 0..size-1 of one kind; `config` is plain JSON and `Vocabulary(**config)` rebuilds it.

    kind: 'characters' (symbols: one string of all characters), 'bytes' (UTF-8), 'tokenizer' (definition: the content of a
      tokenizer.json), 'integers' (count: how many values).
    end: whether an end token follows the last class; `unknown`: whether a token stands for characters left out of the
      vocabulary (it may stand in data, and is never generated).
    """

    def __init__(
        self,
        kind: str,
        symbols: str = "",
        definition: str = "",
        count: int = 0,
        end: bool = False,
        unknown: bool = False,
    ):
        if kind not in KINDS:
            raise DataError(f"vocabulary {kind!r} is not known: choose one of {', '.join(KINDS)}")
        self.kind = kind
        self.config = {
            "kind": kind,
            "symbols": symbols,
            "definition": definition,
            "count": count,
            "end": end,
            "unknown": unknown,
        }
        self.config = {k: v for k, v in self.config.items() if v or k == "kind"}
        self.symbols, self._code, self._tokenizer = symbols, {c: i for i, c in enumerate(symbols)}, None
        if kind == "tokenizer":
            self._tokenizer = _load_tokenizer(definition)
        base = {"characters": len(symbols), "bytes": 256, "integers": count}.get(kind)
        base = self._tokenizer.get_vocab_size() if base is None else base
        self.unknown = base if unknown else None
        self.end = base + int(unknown) if end else None
        self.size = base + int(unknown) + int(end)
        self.base = base

    # -- making -------------------------------------------------------------------------------------------------
    @classmethod
    def of_characters(cls, texts: Iterable[str], limit: int | None = None, end: bool = False) -> Vocabulary:
        """All characters of the texts, or the `limit` most frequent ones and an unknown token for the rest."""
        counts: dict[str, int] = {}
        for text in texts:
            for c, n in zip(*np.unique(list(text), return_counts=True), strict=True) if text else ():
                counts[str(c)] = counts.get(str(c), 0) + int(n)
        ranked = sorted(counts, key=lambda c: (-counts[c], c))
        kept = ranked if limit is None else ranked[:limit]
        return cls("characters", symbols="".join(sorted(kept)), end=end, unknown=len(kept) < len(ranked))

    @classmethod
    def from_tokenizer(cls, path: str | Path, end: bool = False) -> Vocabulary:
        """A Hugging Face `tokenizers` JSON file; its mask token, if any, is never generated: the engine has its own."""
        try:
            definition = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise DataError(f"the tokenizer {path} cannot be read: {e}") from e
        return cls("tokenizer", definition=definition, end=end)

    # -- using --------------------------------------------------------------------------------------------------
    @property
    def banned(self) -> list[int]:
        """Classes that are never generated: the unknown token, and a tokenizer's own mask, pad and unknown tokens."""
        tokens = [] if self.unknown is None else [self.unknown]
        if self._tokenizer is not None:
            special = {t.content: i for i, t in self._tokenizer.get_added_tokens_decoder().items() if t.special}
            tokens += [i for name, i in special.items() if any(w in name.lower() for w in ("mask", "pad", "unk"))]
        return sorted(tokens)

    @property
    def mask(self) -> str | None:
        """The text of a tokenizer's own mask token, if it has one. The engine brings a null token in any case."""
        if self._tokenizer is None:
            return None
        names = [t.content for t in self._tokenizer.get_added_tokens_decoder().values() if t.special]
        return next((n for n in names if "mask" in n.lower()), None)

    def encode(self, text: Any, strict: bool = True) -> np.ndarray:
        """Tokens (length,) int32 of a text. Characters that are not known raise `AskError` naming them, or, with strict
        False, become the unknown token (an error still where there is none)."""
        if self.kind == "bytes":
            return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int32)
        if self.kind == "tokenizer":
            return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int32)
        if self.kind == "integers":
            return self._integers(text)
        codes = [self._code.get(c, -1) for c in text]
        if -1 in codes:
            if strict or self.unknown is None:
                strange = sorted({c for c, i in zip(text, codes, strict=True) if i < 0})
                shown = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in strange[:8]) + (" ..." if len(strange) > 8 else "")
                raise AskError(
                    f"the model does not know the character{'s' * (len(strange) > 1)} {shown}: leave out or replace"
                )
            codes = [self.unknown if i < 0 else i for i in codes]
        return np.array(codes, dtype=np.int32)

    def _integers(self, values: Any) -> np.ndarray:
        array = np.asarray(values)
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise AskError(
                f"an integer sequence holds {array.dtype} values: give whole numbers from 0 to {self.base - 1}"
            )
        array = array.reshape(-1).astype(np.int64)
        if array.size and (array.min() < 0 or array.max() >= self.base):
            where = int(np.flatnonzero((array < 0) | (array >= self.base))[0])
            raise AskError(
                f"value {array[where]} at position {where} is outside 0 to {self.base - 1}, which the model knows"
            )
        return array.astype(np.int32)

    def token(self, what: Any) -> int:
        """One token by its text (or its number): for forced and forbidden tokens."""
        if isinstance(what, (int, np.integer)):
            if 0 <= what < self.size:
                return int(what)
            raise AskError(f"token {what} is outside 0 to {self.size - 1}")
        if what == "<end>" and self.end is not None:
            return self.end
        codes = self.encode(what)
        if len(codes) != 1:
            raise AskError(f"{what!r} is {len(codes)} tokens of this model: give one token at a time")
        return int(codes[0])

    def decode(self, tokens: Sequence[int] | np.ndarray) -> Any:
        """The text of tokens (a list of int for integers); end tokens are dropped, the unknown token is U+FFFD."""
        codes = [int(t) for t in tokens if t != self.end]
        if self.kind == "integers":
            return codes
        if self.kind == "bytes":
            return bytes(c for c in codes if c < 256).decode("utf-8", errors="replace")
        if self.kind == "tokenizer":
            return self._tokenizer.decode(codes, skip_special_tokens=False)
        return "".join(self.symbols[c] if c < len(self.symbols) else "\ufffd" for c in codes)

    def pieces(self, tokens: Sequence[int] | np.ndarray) -> list[str]:
        """Each token as it is shown by itself, the null token as a middle dot."""
        return ["·" if t >= self.size else "¶" if t == self.end else str(self.decode([t])) for t in map(int, tokens)]


def _load_tokenizer(definition: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as e:
        raise SuffuseError("a tokenizers file needs the tokenizers library: pip install 'suffuse[text]'") from e
    try:
        json.loads(definition)
        return Tokenizer.from_str(definition)
    except Exception as e:  # the Rust library raises bare exceptions
        raise DataError(f"this is not a Hugging Face tokenizers file (tokenizer.json): {e}") from e
