"""Quality of text: diversity, repetition, and a Kneser-Ney n-gram judge.

All functions take sequences: strings (their characters are the units) or lists of tokens; `words` splits text into words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

Sequences = Sequence[Sequence[Any]]


def words(text: str) -> list[str]:
    """Lower-case words, without punctuation."""
    import re

    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def ngrams(sequence: Sequence[Any], n: int) -> list[tuple]:
    """All n-grams of one sequence, in order."""
    return [tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1)]


def distinct(sequences: Sequences, n: int) -> float:
    """Share of distinct n-grams among all n-grams of all sequences (Li et al. 2016, distinct-n). Depends on the amount of
    text: compare equal amounts only."""
    grams = [g for s in sequences for g in ngrams(s, n)]
    return len(set(grams)) / len(grams) if grams else math.nan


def repeated(sequences: Sequences, n: int = 4) -> float:
    """Mean over sequences of the share of n-grams that occurred before in the same sequence (Welleck et al. 2020, seq-rep-n)."""
    shares = [1 - len(set(g)) / len(g) for g in (ngrams(s, n) for s in sequences) if g]
    return float(np.mean(shares)) if shares else math.nan


def unigram_entropy(sequences: Sequences, per_sequence: bool = False) -> float:
    """Entropy of the units in bits, of all sequences together, or the mean over sequences (as in diffusion language papers)."""
    if per_sequence:
        return float(np.mean([unigram_entropy([s]) for s in sequences]))
    counts = np.array(list(Counter(u for s in sequences for u in s).values()), dtype=float)
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


def self_bleu(sequences: Sequences, n: int = 4, references: int | None = None) -> float:
    """Mean BLEU-n of each sequence against the others (Zhu et al. 2018, Texygen): 1 when all are alike. Add-one smoothing of
    orders above 1 (Lin & Och 2004). references: compare with that many of the following sequences only."""
    counted = [[Counter(ngrams(s, k)) for k in range(1, n + 1)] for s in sequences]
    total = len(sequences)
    if total < 2:
        return math.nan
    scores = []
    for i, mine in enumerate(counted):
        others = [(i + j) % total for j in range(1, 1 + min(references or total - 1, total - 1))]
        log_precision = 0.0
        for k in range(n):
            most: Counter = Counter()
            for j in others:
                most |= counted[j][k]
            hits = sum(min(c, most[g]) for g, c in mine[k].items())
            possible = sum(mine[k].values())
            smooth = k > 0
            log_precision += math.log(max((hits + smooth) / max(possible + smooth, 1), 1e-9)) / n
        length = len(sequences[i])
        closest = min((abs(len(sequences[j]) - length), len(sequences[j])) for j in others)[1]
        brevity = min(0.0, 1 - closest / length) if length else -math.inf
        scores.append(math.exp(log_precision + brevity))
    return float(np.mean(scores))


class KneserNey:
    """Interpolated Kneser-Ney n-gram model over units (Kneser & Ney 1995; Chen & Goodman 1999, one discount an order).

    KneserNey(sequences, order=6).bits(sequences) is the mean bits a unit. Units never seen in training share the probability
    that the unigram model leaves (one extra class). Each sequence is padded on the left with a start unit that is not scored.
    Counts are held as sorted arrays: a million characters take a few seconds and tens of megabytes.
    """

    def __init__(self, sequences: Sequences, order: int = 6):
        self.order = order
        self.codes = {u: i + 2 for i, u in enumerate(sorted({u for s in sequences for u in s}))}
        self.classes = len(self.codes) + 1  # 0 starts a sequence and is never predicted, 1 stands for unseen units
        flat, usable = self._flatten(sequences)
        self._build(flat, usable)

    def _flatten(self, sequences: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """All sequences in one array, each after order - 1 start units; and where real units stand."""
        parts = [[0] * (self.order - 1) + [self.codes.get(u, 1) for u in s] for s in sequences]
        flat = np.fromiter((c for p in parts for c in p), dtype=np.int64)
        real = np.fromiter((k >= self.order - 1 for p in parts for k in range(len(p))), dtype=bool)
        return flat, real

    def _build(self, flat: np.ndarray, real: np.ndarray) -> None:
        """Per order k: keys (context id, unit) sorted, their discounted counts, and per context the total and back-off weight."""
        places = np.flatnonzero(real)
        base = self.classes + 1
        # context_id[k][i]: the id of the k units before place i, shared with the ids of order k's table
        self.tables = []
        grams = {}
        for n in range(
            1, self.order + 1
        ):  # ids of n-grams ending at each real place, by joining ids of n - 1 units and one more
            window = np.stack([flat[places - n + 1 + j] for j in range(n)], axis=1)
            grams[n] = window
        tables = []
        for n in range(self.order, 0, -1):
            if n == self.order:
                unique, counts = np.unique(grams[n], axis=0, return_counts=True)
            else:  # how many different units stand before it
                unique, counts = np.unique(tables[-1][0][:, 1:], axis=0, return_counts=True)
            tables.append((unique, counts))
        for unique, counts in reversed(tables):  # from unigrams up
            n = unique.shape[1]
            contexts, inverse = (
                np.unique(unique[:, :-1], axis=0, return_inverse=True)
                if n > 1
                else (np.zeros((1, 0), np.int64), np.zeros(len(unique), int))
            )
            total = np.bincount(inverse, counts)
            kinds = np.bincount(inverse)
            ones, twos = (counts == 1).sum(), (counts == 2).sum()
            discount = ones / (ones + 2 * twos) if ones and twos else 0.5
            self.tables.append(
                {
                    "contexts": _Keys(contexts, base),
                    "grams": _Keys(unique, base),
                    "mass": np.maximum(counts - discount, 0) / total[inverse],
                    "backoff": discount * kinds / total,
                }
            )

    def probabilities(self, windows: np.ndarray) -> np.ndarray:
        """(m, order) codes -> (m,) probability of the last unit given those before it."""
        p = np.full(len(windows), 1.0 / self.classes)
        for n, table in enumerate(self.tables, 1):
            context = table["contexts"].find(windows[:, self.order - n : self.order - 1])
            gram = table["grams"].find(windows[:, self.order - n :])
            known = context >= 0
            mass = np.where(gram >= 0, table["mass"][np.maximum(gram, 0)], 0.0)
            p = np.where(known, mass + table["backoff"][np.maximum(context, 0)] * p, p)
        return p

    def log2(self, sequence: Sequence[Any]) -> np.ndarray:
        """(len,) log2 probability of each unit of one sequence."""
        flat, real = self._flatten([sequence])
        places = np.flatnonzero(real)
        windows = np.stack([flat[places - self.order + 1 + j] for j in range(self.order)], axis=1)
        return np.log2(self.probabilities(windows))

    def bits(self, sequences: Sequences) -> float:
        """Mean bits a unit over all units of all sequences: the judge's cross-entropy."""
        values = [self.log2(s) for s in sequences if len(s)]
        return float(-np.concatenate(values).mean())

    def distribution(self, context: Sequence[Any]) -> np.ndarray:
        """(classes,) probability of each next unit (index 0: an unseen one, then the units in sorted order)."""
        past = (
            ([0] * (self.order - 1) + [self.codes.get(u, 1) for u in context])[-(self.order - 1) :]
            if self.order > 1
            else []
        )
        windows = np.array([[*past, c] for c in range(1, self.classes + 1)])
        return self.probabilities(windows)


class _Keys:
    """Rows of small integers, found by one binary search per column: ids of prefixes joined with the next column."""

    def __init__(self, rows: np.ndarray, base: int):
        self.base, self.levels = base, []
        ids = np.zeros(len(rows), np.int64)
        for column in range(rows.shape[1]):
            joined = ids * base + rows[:, column]
            keys, ids = np.unique(joined, return_inverse=True)
            self.levels.append(keys)
        self.place = np.zeros(max(len(rows), 1), np.int64)
        if rows.shape[1]:
            self.place[ids] = np.arange(len(rows))

    def find(self, rows: np.ndarray) -> np.ndarray:
        """Row numbers, or -1."""
        ids, known = np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
        for column, keys in enumerate(self.levels):
            joined = ids * self.base + rows[:, column]
            at = np.minimum(np.searchsorted(keys, joined), len(keys) - 1)
            known &= keys[at] == joined
            ids = np.where(known, at, 0)
        return np.where(known, self.place[ids], -1)
