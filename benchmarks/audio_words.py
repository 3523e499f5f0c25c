"""A judge of intelligibility for benchmarks/audio.py: pocketsphinx, which has to pick one of the known sentences (16 kHz)."""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

ARCHIVE = Path("audio") / "kathleen_arctic" / "kathleen_16k_flac.tar"


def transcripts(data: Path) -> dict[str, str]:
    """Kathleen's transcripts by the stem of their file."""
    with tarfile.open(data / ARCHIVE) as tar:
        member = next(m for m in tar if m.name.endswith("metadata.csv"))
        text = tar.extractfile(member).read().decode()
    rows = csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE)
    return {row[0]: row[1] for row in rows if len(row) > 1}


def sentences(data: Path) -> dict[str, str]:
    """The transcripts, lower case, letters and apostrophes only."""
    return {name: " ".join(re.findall(r"[a-z']+", text.lower())) for name, text in transcripts(data).items()}


def decoder(**options):
    """pocketsphinx's own US English model. Raises ImportError where pocketsphinx is not installed."""
    from pocketsphinx import Config, Decoder

    return Decoder(Config(loglevel="FATAL", **options))


def hear(listener, wave: np.ndarray) -> str:
    """What the listener makes of mono float samples at 16 kHz."""
    listener.start_utt()
    listener.process_raw((np.clip(wave, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    listener.end_utt()
    found = listener.hyp()
    return "" if found is None else found.hypstr


def chooser(texts: list[str]) -> Callable[[np.ndarray], int]:
    """wave -> the number of the sentence heard, of the given ones only; -1 where none fits. Words that the dictionary lacks
    are left out of the grammar."""
    listener = decoder(lm=None)
    known = [" ".join(w for w in t.split() if listener.lookup_word(w) is not None) for t in texts]
    lines = " | ".join(known)
    listener.add_jsgf_string("sentences", f"#JSGF V1.0; grammar sentences; public <one> = {lines};")
    listener.activate_search("sentences")

    def choose(wave: np.ndarray) -> int:
        heard = hear(listener, wave)
        return known.index(heard) if heard in known else -1

    return choose


def word_errors(said: str, heard: str) -> int:
    """Levenshtein distance in words."""
    a, b = said.split(), heard.split()
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]
