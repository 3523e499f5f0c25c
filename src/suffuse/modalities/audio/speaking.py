"""Transcripts learnt and texts asked: symbols, when each is spoken, and how long a new text takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from suffuse.errors import AskError, DataError
from suffuse.modalities.audio import aligning, words
from suffuse.modalities.audio.phonemes import phonemes
from suffuse.modalities.audio.reading import Clip
from suffuse.modalities.audio.stft import Spectral

FEWEST = 10
"""Clips; with fewer, symbols cannot be told apart."""


def learn(clips: Sequence[Clip], spectral: Spectral, voice: str | None = None) -> dict[str, Any]:
    """The symbols of the clips' transcripts with a model of their durations, plain JSON; each clip gets its `symbols`.

    voice: transcripts are learnt as the phonemes of this voice (see `phonemes.phonemes`). Raises DataError where too few clips
    have a text, AskError where phonemes cannot be had.
    """
    spell(clips, voice)
    texts = [c.text for c in clips if c.text]
    if len(texts) < FEWEST:
        raise DataError(f"{len(texts)} clips have a text, and at least {FEWEST} are needed to learn how symbols sound")
    known = words.alphabet(texts)
    rows, spans = place(clips, spectral, known)
    if not rows:
        raise DataError("no transcript fits into its clip: a symbol needs at least two frames")
    made = {"symbols": known, "durations": aligning.duration_model(rows, spans, len(known))}
    return made | ({"phonemes": voice} if voice else {})


def spell(clips: Sequence[Clip], voice: str | None) -> None:
    """Put phonemes in place of the clips' transcripts, where a voice is named."""
    for clip in clips if voice else ():
        clip.text = phonemes(clip.text, voice) if clip.text else clip.text


def place(clips: Sequence[Clip], spectral: Spectral, known: Sequence[str]) -> tuple[list[list[int]], list[np.ndarray]]:
    """Align the clips that have a text and give them their `symbols`; returns the rows of symbols and their frames. Fewer than
    FEWEST of them are left unaligned."""
    said = [c for c in clips if c.text]
    if len(said) < FEWEST:
        return [], []
    rows = [words.symbols_of(c.text, known, strict=False) for c in said]
    seen = [aligning.features(spectral.mel(spectral.stft(torch.from_numpy(c.wave)[None]))[0]) for c in said]
    found = aligning.align(seen, rows, len(known))
    kept: tuple[list[list[int]], list[np.ndarray]] = ([], [])
    for clip, row, spans in zip(said, rows, found, strict=True):
        if spans is not None:
            clip.symbols = np.repeat(np.array(row), spans)
            kept[0].append(row)
            kept[1].append(spans)
    return kept


def spoken(modality: Any, text: str) -> list[str]:
    """The symbols that a model speaks for a text, the pauses at both ends among them. Raises AskError."""
    return [modality.text["symbols"][k] for k in _row(modality, text)]


def _row(modality: Any, text: str) -> list[int]:
    """A text as numbers of a model's symbols, by way of phonemes where it has learnt those."""
    voice = modality.text.get("phonemes")
    return words.symbols_of(phonemes(text, voice) if voice else text, modality.text["symbols"])


def asked(
    modality: Any, given: dict[str, Any], n: int, seconds: float | None, pace: float, durations: Any
) -> list[np.ndarray]:
    """What is to be spoken in each frame: an array (T,) for all of n samples, or one each; none where no text is given.

    Raises AskError.
    """
    value = given.get("text")
    if value is None:
        if durations is not None or pace != 1:
            raise AskError("pace and durations belong to a text; give one")
        return []
    if not modality.text:
        raise AskError("this model has learnt no text; train one on clips with transcripts (metadata.csv: id|text)")
    if any(k in given for k in ("audio", "frames", "file", "mel", "noisy")):
        raise AskError("a text and a sound cannot be given together: when each symbol is spoken would not be known")
    if not isinstance(pace, (int, float)) or isinstance(pace, bool) or not 0.2 <= pace <= 5:
        raise AskError(f"pace must lie between 0.2 and 5, not {pace!r}")
    texts = list(value) if isinstance(value, (list, tuple)) else [value]
    if len(texts) not in (1, n):
        raise AskError(f"{len(texts)} texts were given for {n} samples; give one, or {n}")
    return [_frames(modality, text, seconds, float(pace), durations) for text in texts]


def _frames(modality: Any, text: str, seconds: float | None, pace: float, durations: Any) -> np.ndarray:
    row = _row(modality, text)
    rate = modality.rate / modality.spectral.hop
    if durations is None:
        lengths = aligning.durations_of(row, modality.text["durations"]) / pace
        if seconds is not None:
            lengths = lengths * (seconds * rate / lengths.sum())
    else:
        try:
            lengths = np.asarray(durations, dtype=float).reshape(-1) * rate / pace
        except (TypeError, ValueError):
            raise AskError("durations are seconds, one a symbol") from None
        if len(lengths) != len(row):
            said = "".join(modality.text["symbols"][k] for k in row)
            raise AskError(f"{len(lengths)} durations were given for the {len(row)} symbols of '{said}'")
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise AskError("durations must be positive numbers of seconds")
    if lengths.sum() / rate > 60:
        raise AskError(
            f"the text takes {lengths.sum() / rate:.0f} s, and at most 60 s are spoken at once; ask in parts"
        )
    return np.repeat(np.array(row), aligning.whole_frames(lengths))
