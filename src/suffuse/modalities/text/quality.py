"""Figures of quality of a text model, each beside the same figure of real text of the same amount."""

from __future__ import annotations

from typing import Any

import torch

from suffuse.errors import AskError
from suffuse.metrics.text import distinct, repeated, self_bleu, unigram_entropy, words
from suffuse.modalities.text.data import TextData
from suffuse.modalities.text.scoring import mean_bits


def real_texts(modality: Any, data: TextData, count: int) -> tuple[list[Any], list[str | None]]:
    """`count` evenly spaced texts of a data set, and their labels."""
    rows = torch.linspace(0, len(data) - 1, min(count, len(data))).long()
    texts, labels = [], []
    for row in rows:
        batch = data.batch(row[None])
        texts.append(modality.vocabulary.decode(batch.x["text"][0].numpy()))
        labels.append(modality.labels[int(batch.x["label"][0, 0])] if modality.labels else None)
    return texts, labels


def figures(texts: list[Any], unit: str = "") -> dict[str, float]:
    """Diversity and repetition. unit: 'words' or 'characters'; by default words where texts have spaces."""
    spaced = isinstance(texts[0], str) and sum(t.count(" ") for t in texts) > 0.05 * sum(map(len, texts))
    unit = unit or ("words" if spaced else "characters")
    units = [words(t) for t in texts] if unit == "words" else [list(t) for t in texts]
    return {
        "unigram_entropy": unigram_entropy(units),
        "repeated_4grams": repeated(units, 4),
        "distinct_1": distinct(units, 1),
        "distinct_2": distinct(units, 2),
        "distinct_3": distinct(units, 3),
        "self_bleu_4": self_bleu(units, 4, references=50),
    }


def evaluate(
    model: Any, data: TextData, samples: int = 64, steps: int | None = None, seed: int = 0, draws: int = 8
) -> dict[str, float]:
    """`bits_per_token`: the exact-count bound on the data. Then `figures` of samples drawn with the labels of as many real texts,
    and of those ('_real')."""
    if samples < 2:
        raise AskError(f"samples must be at least 2, not {samples}")
    texts, labels = real_texts(model.modality, data, samples)
    given = [{"label": name} for name in labels] if model.modality.labels else None
    made = model.sample(len(texts), given, steps=steps, seed=seed)
    out = {"bits_per_token": mean_bits(model, data, draws=draws)}
    real = figures(texts)
    for name, value in figures(made).items():
        out[name], out[f"{name}_real"] = value, real[name]
    return out
