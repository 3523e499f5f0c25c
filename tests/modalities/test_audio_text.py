"""Text to speech: numbers read out, symbols, alignment from nothing, durations, what is asked and what is refused."""

import numpy as np
import pytest
import torch

import suffuse
from suffuse.errors import AskError, DataError
from suffuse.modalities.audio import aligning, speaking, words
from suffuse.modalities.audio.network import Spelling
from suffuse.modalities.audio.stft import Spectral

soundfile = pytest.importorskip("soundfile")
RATE = 4000
SOUNDS = {"a": 300, "o": 700, "e": 1200}


def said(text, random):
    """A wave in which each letter is a tone, and the samples of each letter; silence before, after and for spaces."""
    parts, lengths = [np.zeros(400)], []
    for letter in text:
        n = int(RATE * random.uniform(0.06, 0.14))
        lengths.append(n)
        parts.append(0.3 * np.sin(6.2832 * SOUNDS[letter] * np.arange(n) / RATE) if letter in SOUNDS else np.zeros(n))
    wave = np.concatenate([*parts, np.zeros(400)])
    return (wave + random.normal(0, 0.003, len(wave))).astype(np.float32), [400, *lengths, 400]


def sentences(count=24):
    random = np.random.default_rng(0)
    texts = [
        "".join(random.permutation(list("aoe"))) + " " + "".join(random.permutation(list("aoe"))) for _ in range(count)
    ]
    return [(text, *said(text, random)) for text in texts]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path, rows = tmp_path_factory.mktemp("said"), []
    for number, (text, wave, _) in enumerate(sentences()):
        soundfile.write(path / f"c{number}.wav", wave, RATE)
        rows.append(f"c{number}|{text.upper()}!")
    (path / "metadata.csv").write_text("\n".join(rows))
    return path


TINY = dict(window=128, hop=32, bands=16, width=16, depth=2, rank=4, cond=16, seconds=0.3, patch=2)


@pytest.fixture(scope="module")
def model(folder):
    return suffuse.train(folder, "audio", steps=3, batch=4, read=TINY)


@pytest.mark.parametrize(
    "text, words_",
    [
        ("0", "zero"),
        ("13 and 40", "thirteen and forty"),
        ("1,205 ships", "one thousand two hundred five ships"),
        ("3.50", "three point five zero"),
        ("the 21st, 12th and 30th", "the twenty first, twelfth and thirtieth"),
        ("2000000", "two million"),
        ("007", "zero zero seven"),
        ("9" * 13, " ".join(["nine"] * 13)),
    ],
)
def test_numbers_are_read_out(text, words_):
    assert words.letters(text) == words_


def test_text_becomes_symbols():
    assert words.plain("  “Hello”,\n(dear) W\u00d6RLD – it\u2019s ") == "hello, dear w\u00f6rld it's"
    known = words.alphabet(["abba, b"] * 6)
    assert known == ["_", " ", ",", "a", "b"]
    assert words.symbols_of("ABBA; ab", known) == [0, 3, 4, 3, 1, 3, 4, 0]  # repeated ones are one, unknown marks go
    with pytest.raises(AskError, match="no sound for 'c', 'ß'"):
        words.symbols_of("a ß c", known)
    assert words.symbols_of("a ß c", known, strict=False) == [0, 3, 1, 0]
    for bad in ("", "()", "–"):
        with pytest.raises(AskError, match="nothing that can be spoken"):
            words.symbols_of(bad, known)
    with pytest.raises(AskError, match="must be a string"):
        words.symbols_of(3, known)


def test_alignment_finds_the_boundaries_by_itself():
    s, clips = Spectral(RATE, 128, 32, 16), sentences()
    known = words.alphabet([text for text, _, _ in clips])
    rows = [words.symbols_of(text, known) for text, _, _ in clips]
    seen = [aligning.features(s.mel(s.stft(torch.from_numpy(wave)[None]))[0]) for _, wave, _ in clips]
    found = aligning.align(seen, rows, len(known))
    errors = []
    for (_, _, lengths), spans, one in zip(clips, found, seen, strict=True):
        assert spans.sum() == len(one) and spans.min() >= aligning.STATES
        errors += list(np.abs(np.cumsum(spans)[:-1] * s.hop - np.cumsum(lengths)[:-1]) / RATE)
    assert np.median(errors) < 0.02 and np.quantile(errors, 0.95) < 0.04
    assert aligning.align([seen[0][:5]], [rows[0]], len(known)) == [None]


def test_durations_follow_the_symbol_and_add_up():
    rows = [[0, 1, 2, 1, 0]] * 40
    spans = [np.array([10, 4, 8, 4, 10])] * 40
    model = aligning.duration_model(rows, spans, 3)
    assert np.abs(aligning.durations_of(rows[0], model) - spans[0]).max() <= 1
    lengths = aligning.whole_frames(np.array([0.2, 1.4, 1.4, 1.4, 5.6]))
    assert lengths.min() >= 1 and abs(lengths.sum() - 10) <= 1


def test_what_is_spoken_as_features():
    spelling = Spelling(4, width=2)
    out = spelling(torch.tensor([[0, 0, 1, 1, 1, 3]]))
    assert out.shape == (1, spelling.channels, 6)
    table = spelling.embedding.weight
    assert torch.allclose(out[0, :2, 3], table[0]) and torch.allclose(out[0, 2:4, 3], table[1])
    assert torch.allclose(out[0, 4:6, 3], table[3])
    away = torch.expm1(out[0, 6:, 2:5] * 3)
    assert torch.allclose(away, torch.tensor([[0.0, 1, 2], [2, 1, 0], [2, 2, 2]]), atol=1e-4)


def test_a_folder_with_transcripts_learns_to_speak(model, folder, tmp_path):
    m = model.modality
    assert m.text["symbols"] == ["_", " ", "!", "a", "e", "o"] and list(model.joint) == ["frames", "mel", "text"]
    data = m.dataset(folder)
    batch = data.batch(torch.arange(4))
    assert batch.x["text"].shape == (4, m.length) and bool(batch.observed["text"].all() if batch.observed else True)
    assert set(batch.x["text"].unique().tolist()) <= set(range(6))
    wave, rate = model.speak("ao e", steps=2)[0]
    assert rate == RATE and np.isfinite(wave).all() and 0.2 < len(wave) / rate < 2
    twice = model.speak("ao e", steps=2, pace=2)[0][0]
    assert 0.4 < len(twice) / len(wave) < 0.65
    asked = model.speak("ao", steps=2, durations=[0.1, 0.2, 0.3, 0.1])[0][0]
    assert abs(len(asked) / RATE - 0.7) < 0.02 and speaking.spoken(m, "ao") == ["_", "a", "o", "_"]
    assert abs(len(model.sample(1, given={"text": "aoe"}, seconds=1.0, steps=2)[0][0]) / RATE - 1) < 0.02
    both = model.sample(2, given={"text": ["aoe", "o"]}, steps=2)
    assert len(both[0][0]) > len(both[1][0])
    model.save(tmp_path / "m")
    again = suffuse.load(tmp_path / "m").speak("ao e", steps=2)[0][0]
    assert np.abs(again - wave).max() < 1e-3


def test_other_questions_do_without_a_text(model, folder):
    clip = (sentences(1)[0][1], RATE)
    assert model.vocode(clip, steps=2)[0][0].shape == clip[0].shape
    assert model.fill(clip, [(0.2, 0.25)], steps=2)[0][0].shape == clip[0].shape
    alone = model.modality.dataset(clip).batch(torch.tensor([0]))
    assert not bool(alone.observed["text"].any())


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"given": {"text": "axe"}}, "no sound for 'x'"),
        ({"given": {"text": "a 7"}}, "no sound for"),
        ({"given": {"text": ""}}, "nothing that can be spoken"),
        ({"given": {"text": "a"}, "pace": 0}, "pace must lie"),
        ({"given": {"text": "a"}, "durations": [1]}, "1 durations were given for the 3 symbols"),
        ({"given": {"text": "a"}, "durations": [1, -1, 1]}, "positive"),
        ({"given": {"text": "a"}, "durations": [1, float("nan"), 1]}, "positive"),
        ({"given": {"text": "a"}, "seconds": 100}, "at most 60 s"),
        ({"given": {"text": ["a", "o", "e"]}}, "3 texts were given for 2 samples"),
        ({"given": {"text": "a", "audio": (np.ones(800), RATE)}}, "cannot be given together"),
        ({"pace": 2.0}, "belong to a text"),
    ],
)
def test_bad_texts_get_one_sentence(model, asked, sentence):
    with pytest.raises(AskError, match=sentence):
        model.sample(2, steps=1, **asked)


def test_text_needs_clips_that_can_teach_it(folder, tmp_path):
    wave = sentences(1)[0][1]
    for number in range(3):
        soundfile.write(tmp_path / f"c{number}.wav", wave, RATE)
    (tmp_path / "metadata.csv").write_text("\n".join(f"c{k}|aoe aoe" for k in range(3)))
    with pytest.raises(DataError, match="3 clips have a text, and at least 10"):
        suffuse.train(tmp_path, "audio", steps=1, read=TINY)
    plain = suffuse.train(tmp_path, "audio", steps=1, batch=2, read={**TINY, "text": False})
    assert plain.modality.text is None
    with pytest.raises(AskError, match="has learnt no text"):
        plain.speak("aoe")
