"""Line 6 of benchmarks/audio.py: text to speech, understood by pocketsphinx.

    python benchmarks/audio.py texts ipa --work runs/audio            # transcripts as phonemes, by espeak-ng; or: letters
    python benchmarks/audio.py say ipa --work runs/audio --minutes 11 --calls 10 --guidance 2      # trains first

Symbols: `letters`, the transcripts as they are; `ipa`, what espeak-ng 1.51 makes of them (en-us, without marks of stress and
length). The last HELD of the 600 training sentences are kept out of training: `--tag validation` measures on them.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from audio_common import Table, asked_of, clips_of, paths_of, trained
from audio_words import chooser, decoder, hear, sentences, transcripts, word_errors
from tables import command

from suffuse.modalities.audio.phonemes import phonemes
from suffuse.modalities.audio.waves import normalise

RATE, HELD, SENTENCES = 16_000, 24, 50
"""Sentences kept out of training, and those of the test."""
READ = {
    "seconds": 2.0, "width": 176, "depth": 6, "attention": "2,4", "rank": 16, "patch": 2, "view": False,
}  # fmt: skip
RECIPE = {"batch": 20}


def texts(a: argparse.Namespace) -> None:
    """Write work/spoken-SYMBOLS: the training sentences with metadata.csv, and every sentence's symbols in symbols.csv."""
    said = transcripts(a.data)
    if a.model == "ipa":
        said = {name: phonemes(text) for name, text in said.items()}
    folder = a.work / f"spoken-{a.model}" / "train"
    folder.mkdir(parents=True, exist_ok=True)
    paths = paths_of(a.work / "kathleen" / "train")[:-HELD]
    for path in paths:
        shutil.copyfile(path, folder / path.name)
    lines = {p.stem for p in paths}
    (folder / "metadata.csv").write_text("".join(f"{k}|{v}\n" for k, v in said.items() if k in lines))
    (folder.parent / "symbols.csv").write_text("".join(f"{k}|{v}\n" for k, v in said.items()))


def say(a: argparse.Namespace) -> None:
    source = a.work / f"spoken-{a.model}"
    model = trained(source / "train", a.work / f"say-{a.model}-{a.minutes:g}", a.minutes, READ, **RECIPE)
    part = "train" if "validation" in a.tag else "test"
    paths = paths_of(a.work / "kathleen" / part)
    paths = paths[-HELD:] if part == "train" else paths[:SENTENCES]
    clips = [
        c
        for p, c in zip(paths_of(a.work / "kathleen" / part), clips_of(a.work / "kathleen" / part, RATE))
        if p in paths
    ]
    symbols = dict(line.split("|", 1) for line in (source / "symbols.csv").read_text().splitlines())
    texts = sentences(a.data)
    said = [texts[p.stem] for p in paths]
    choose, listener = chooser(said), decoder()
    note = (
        f"{len(paths)} unseen Kathleen sentences. Found: pocketsphinx picks the right one of them by a closed grammar. Word "
        f"error, closed: of that pick; open: of what it hears with its language model. Durations are predicted. "
        f"Symbols: {a.model}. {a.seeds} seed(s), each a row. The model: {a.minutes:g} minutes of one CPU core, "
        f"{model.notes['steps']} steps, "
        f"{model.notes['examples']} windows of {READ['seconds']:g} s. `{command()}`"
    )
    table = Table(f"Text to speech, {a.model}" + a.tag, note)

    def score(make: Callable[[int], np.ndarray]) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            begun = time.process_time()
            made = [normalise(make(k), RATE)[0] for k in range(len(paths))]
            seconds = time.process_time() - begun
            heard = [choose(w) for w in made]
            total = sum(len(t.split()) for t in said)
            closed = sum(word_errors(t, said[h] if h >= 0 else "") for t, h in zip(said, heard, strict=True))
            free = sum(word_errors(t, hear(listener, w)) for t, w in zip(said, made, strict=True))
            row = {"sentence found, %": 100 * np.mean([h == k for k, h in enumerate(heard)])}
            row |= {"word error closed, %": 100 * closed / total, "word error open, %": 100 * free / total}
            row["seconds a sentence"] = np.mean([len(w) / RATE for w in made])
            return row | {"CPU seconds a second": seconds / sum(len(w) / RATE for w in made)}

        return run

    table.row("real", score(lambda k: clips[k]))
    for calls in a.calls:
        for weight in a.guidance:
            asked, name = asked_of(a, calls, weight)
            for seed in range(a.seeds):

                def spoken(k: int, asked: dict[str, Any] = asked, seed: int = seed) -> np.ndarray:
                    said = symbols[paths[k].stem]
                    said = f"/{said}/" if "phonemes" in model.modality.text else said
                    return model.speak(said, seed=1000 * seed + k, **asked)[0][0]

                table.row(f"{name}, seed {seed}", score(spoken))
