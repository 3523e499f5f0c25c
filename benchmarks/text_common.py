"""What the lines of text.py share: models, data, judges, and the figures of a table."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import text_ar
import torch
from tables import training_time

import suffuse
from suffuse.metrics.text import KneserNey, distinct, repeated, self_bleu, unigram_entropy, words

HERE = Path(__file__).parent
Rows = list[list[Any]]


class Bench:
    """Models, data and judges, each made when first asked for."""

    def __init__(self, asked: argparse.Namespace):
        self.asked, self.work = asked, asked.work
        self.data = asked.work / "data"
        self._kept: dict[str, Any] = {}

    def used(self) -> str:
        """The models that were loaded, with their sizes and training times."""
        out = []
        for name in ("english", "tang"):
            if name in self._kept:
                model = self._kept[name]
                size = sum(p.numel() for p in model.denoiser.parameters())
                out.append(f"{name}: {size:,} parameters, {training_time(model.notes)}")
        if "ar" in self._kept:
            size = sum(p.numel() for p in self._kept["ar"][0].parameters())
            notes = self._kept["ar"][2]
            core = "one core" if notes.get("device", "cpu") == "cpu" else notes["device"]
            best = (
                f", best on the validation text at step {b['step']} of {notes['steps']}"
                if (b := notes.get("best"))
                else ""
            )
            out.append(f"left to right: {size:,} parameters, {notes['seconds'] / 60:.1f} minutes of {core}{best}")
        return "; ".join(out)

    def keep(self, name: str, make: Any) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @property
    def english(self):
        return self.keep("english", lambda: suffuse.load(self.asked.english))

    @property
    def tang(self):
        return self.keep("tang", lambda: suffuse.load(self.asked.tang))

    @property
    def ar(self) -> text_ar.LeftToRightModel:
        options = ["--minutes", str(self.asked.minutes)]
        return self.left_to_right("ar", self.data / "shakespeare_train.txt", options)

    def left_to_right(self, name: str, text: Path, options: list[str]) -> text_ar.LeftToRightModel:
        """WORK/NAME.safetensors; trained on `text` by text_ar.py, with these options, where it is missing."""
        path = self.work / f"{name}.safetensors"
        if not path.exists():
            subprocess.run([sys.executable, str(HERE / "text_ar.py"), str(text), "-o", str(path), *options], check=True)
        return self.keep(name, lambda: text_ar.load(path))[0]

    @property
    def judge(self) -> KneserNey:
        """Learnt from the two parts of tiny Shakespeare that the models have not seen."""
        texts = [(self.data / f"shakespeare_{part}.txt").read_text() for part in ("valid", "test")]
        return self.keep("judge", lambda: KneserNey(texts))

    @property
    def second(self) -> text_ar.LeftToRightModel:
        """A larger left-to-right model of the judge's text; its best weights are chosen on a piece of the training text."""
        learn, tried = (self.data / f"judge_{part}.txt" for part in ("learn", "tried"))
        if not learn.exists():
            train = (self.data / "shakespeare_train.txt").read_text()
            held = "".join((self.data / f"shakespeare_{part}.txt").read_text() for part in ("valid", "test"))
            tried.write_text(train[:60000])
            learn.write_text(held + "".join(sorted(set(train) - set(held))))  # so that no character is unknown to it
        return self.left_to_right("ar-judge", learn, ["--minutes", "8", "--dim", "224", "--valid", str(tried)])

    def second_bits(self, texts: list[str]) -> float:
        """Bits a character of equally long texts by the second judge."""
        model, vocabulary = self.second, self._kept["ar-judge"][1]
        tokens = torch.stack([torch.as_tensor(vocabulary.encode(t)).long() for t in texts])
        with torch.no_grad():
            return float(model.nats(tokens).mean() / math.log(2))

    def windows(self, name: str, count: int, length: int) -> list[str]:
        text = (self.data / name).read_text()
        return [text[i : i + length] for i in np.linspace(0, len(text) - length - 1, count).astype(int)]

    def tokens(self, texts: list[str]) -> torch.Tensor:
        return torch.stack([torch.as_tensor(self.english.modality.vocabulary.encode(t)).long() for t in texts])


def figures(bench: Bench, texts: list[str]) -> list[float]:
    """Bits of both judges, bits of unigram entropy, repeated word 4-grams, distinct-3 and self-BLEU-4 of words."""
    split = [words(t) for t in texts]
    return [
        bench.judge.bits(texts),
        bench.second_bits(texts),
        unigram_entropy(texts),
        repeated(split, 4),
        distinct(split, 3),
        self_bleu(split, 4, references=50),
    ]


HEAD = ["judge bits/char", "second judge", "entropy bits", "repeated 4-grams", "distinct-3", "self-BLEU-4"]
