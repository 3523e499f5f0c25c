import shutil
import subprocess
from types import SimpleNamespace

import pytest

import suffuse
from suffuse.errors import AskError
from suffuse.modalities.audio import phonemes, speaking


def test_phonemes_between_slashes_need_no_program(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert phonemes.phonemes("/hɛloʊ/") == "hɛloʊ"


def test_a_missing_program_is_told_in_one_sentence(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AskError, match="espeak-ng.*not installed.*between slashes"):
        phonemes.phonemes("hello")


@pytest.mark.parametrize("voice", ["", "--path=x", "en us", "../en"])
def test_strange_voices_are_refused(voice):
    with pytest.raises(AskError, match="no voice"):
        phonemes.phonemes("hello", voice)


def test_only_texts_are_spelt():
    with pytest.raises(AskError, match="must be a string, not int"):
        phonemes.phonemes(7)


def answering(monkeypatch, answer):
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(subprocess, "run", answer)


def test_marks_are_left_out_and_clauses_joined(monkeypatch):
    answering(monkeypatch, lambda *a, **k: SimpleNamespace(stdout=" həlˈoʊ\n wˈɜːld\n\n"))
    assert phonemes.phonemes("Hello. World") == "həloʊ, wɜld"


def test_a_program_that_fails_is_told(monkeypatch):
    def fail(*a, **k):
        raise subprocess.CalledProcessError(1, "espeak-ng")

    answering(monkeypatch, fail)
    with pytest.raises(AskError, match="could not read the text"):
        phonemes.phonemes("hello", "xx")


def test_the_shipped_voice_speaks_phonemes(monkeypatch):
    model = suffuse.load("kathleen")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AskError, match="not installed"):
        model.speak("hello", steps=1)
    assert speaking.spoken(model.modality, "/hɛloʊ/") == ["_", "h", "ɛ", "l", "o", "ʊ", "_"]
    wave, rate = model.speak("/hɛloʊ/", steps=1, guidance=1.0)[0]
    assert rate == 16_000 and 0.2 < len(wave) / rate < 2


@pytest.mark.skipif(shutil.which(phonemes.PROGRAM) is None, reason="espeak-ng is not installed")
def test_espeak_itself():
    assert phonemes.phonemes("Nine.", "en-us") == phonemes.phonemes("9", "en-us") == "naɪn"
    with pytest.raises(AskError, match="could not read"):
        phonemes.phonemes("hello", "xx-none")
