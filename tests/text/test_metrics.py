"""Text metrics against hand counts, and the Kneser-Ney judge against a plain dictionary version and its own sums."""

import math
from collections import defaultdict

import numpy as np
import pytest

from suffuse.metrics.text import KneserNey, distinct, ngrams, repeated, self_bleu, unigram_entropy, words


def test_counts_by_hand():
    assert distinct(["abab"], 2) == pytest.approx(2 / 3)
    assert distinct([["a", "b"], ["a", "b"]], 1) == pytest.approx(0.5)
    assert repeated(["abcdabcd"], 4) == pytest.approx(1 / 5)
    assert repeated(["abcdefgh", "aaaaaa"], 4) == pytest.approx((0 + 2 / 3) / 2)
    assert unigram_entropy(["aabb"]) == pytest.approx(1.0)
    assert unigram_entropy(["aa", "bb"], per_sequence=True) == pytest.approx(0.0)
    assert words("The King's HEAD, -- o_o!") == ["the", "king's", "head", "o", "o"]
    assert math.isnan(distinct(["a"], 2))


def test_self_bleu():
    same = ["the cat sat on the mat".split()] * 3
    assert self_bleu(same) == pytest.approx(1.0)
    assert self_bleu(["a b c d e f".split(), "u v w x y z".split()]) < 0.05
    # one pair: unigrams 3/4, bigrams (2+1)/(3+1), trigrams (1+1)/(2+1), fourgrams (0+1)/(1+1), same length
    value = (0.75 * 0.75 * (2 / 3) * 0.5) ** 0.25
    assert self_bleu([list("abcd"), list("abce")]) == pytest.approx(value)


def slow(sequences, order, classes):
    """Kneser-Ney with dictionaries, recursively, from the papers' equations."""
    counts = [defaultdict(int) for _ in range(order + 1)]
    for s in sequences:
        padded = ["^"] * (order - 1) + list(s)
        for gram in ngrams(padded, order):
            counts[order][gram] += 1
    for n in range(order - 1, 0, -1):
        for gram in counts[n + 1]:
            counts[n][gram[1:]] += 1
    discounts = []
    for n in range(order + 1):
        ones, twos = (sum(c == k for c in counts[n].values()) for k in (1, 2))
        discounts.append(ones / (ones + 2 * twos) if ones and twos else 0.5)

    def probability(context, unit, n):
        if n == 0:
            return 1 / classes
        lower = probability(context[1:], unit, n - 1)
        following = {g[-1]: c for g, c in counts[n].items() if g[:-1] == context}
        if not following:
            return lower
        total, d = sum(following.values()), discounts[n]
        return max(following.get(unit, 0) - d, 0) / total + d * len(following) / total * lower

    return lambda context, unit: probability(tuple(context), unit, order)


TRAIN = ["abracadabra", "abba", "barbara", "cadabra", "bacd"]


def test_kneser_ney_is_a_distribution():
    judge = KneserNey(TRAIN, order=4)
    for context in ("", "a", "abr", "zzz", "racad"):
        assert judge.distribution(context).sum() == pytest.approx(1.0, abs=1e-12)
        assert judge.distribution(context).min() > 0


def test_kneser_ney_equals_the_slow_version():
    judge = KneserNey(TRAIN, order=3)
    reference = slow(TRAIN, 3, judge.classes)
    text = "abcadbraz"
    expected = []
    for i, unit in enumerate(text):
        past = (["^", "^"] + list(text[:i]))[-2:]
        expected.append(math.log2(reference(past, unit)))
    assert np.allclose(judge.log2(text), expected, atol=1e-12)
    assert judge.bits([text]) == pytest.approx(-np.mean(expected))


def test_kneser_ney_prefers_what_it_read():
    judge = KneserNey(["the quick brown fox jumps over the lazy dog " * 3], order=5)
    assert judge.bits(["the lazy fox"]) < judge.bits(["ehx yzal fot"]) - 1
