"""The audio room of the demo: words spoken, a voice copied from its mel, gaps and bandwidth restored, voices changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.demo.report import Report

INTRO = (
    "Two small models of sound: <code>spoken-digits</code> (Free Spoken Digit Dataset, CC BY-SA 4.0, 8 kHz) makes digits "
    "by label and voice; <code>kathleen</code> (Kathleen's CMU Arctic sentences, CC0, 16 kHz) speaks phonemes, turns mel "
    "spectrograms into speech, fills gaps and adds high frequencies. Real clips are from held-out recordings. Spectrograms "
    "of one picture share one scale."
)


def demo(report: Report, folder: Path) -> None:
    """Each item shows the real sound above what was made, and both can be heard."""
    from suffuse.model import load

    report.room("Audio", INTRO)
    digits = load("spoken-digits")
    spoken(report, folder, digits)
    voices(report, folder, digits)
    kathleen = load("kathleen")
    sentence = real(kathleen)[0]
    read(report, folder, kathleen)
    copied(report, folder, kathleen, sentence)
    filled(report, folder, kathleen, sentence)
    extended(report, folder, kathleen, sentence)


def real(model: Any) -> list[tuple[np.ndarray, int]]:
    """The real sounds that ship beside a model."""
    from suffuse.modalities.audio.reading import find
    from suffuse.modalities.audio.waves import read_wave

    return [read_wave(entry.path) for entry in find(model.folder / "samples")]


def joined(sounds: Sequence[tuple[np.ndarray, int]], pause: float = 0.15) -> tuple[np.ndarray, int]:
    """Several sounds in one, each at the house's loudness, with pauses."""
    from suffuse.modalities.audio.waves import normalise

    rate = sounds[0][1]
    gap = np.zeros(int(pause * rate), np.float32)
    return np.concatenate([part for wave, _ in sounds for part in (normalise(wave, rate)[0], gap)]), rate


def heard(folder: Path, name: str, sounds: dict[str, tuple[np.ndarray, int]]) -> dict[str, Any]:
    """Players and one picture of spectrograms, by caption."""
    from suffuse.modalities.audio.show import spectrograms
    from suffuse.modalities.audio.waves import write_wave

    picture = spectrograms(list(sounds.values()), folder / f"{name}.png", list(sounds), columns=1)
    out: dict[str, Any] = {"spectrograms, time in s, frequency in kHz": picture}
    for number, (caption, (wave, rate)) in enumerate(sounds.items()):
        out[caption] = write_wave(wave, rate, folder / f"{name}-{number}.flac")
    return out


def spoken(report: Report, folder: Path, model: Any) -> None:
    """Every digit once."""
    names = model.modality.classes["label"]
    voices = model.modality.classes["speaker"]
    given = {"label": names, "speaker": [voices[k % len(voices)] for k in range(len(names))]}
    with report.watch(model) as seen:
        made = model.sample(len(names), given=given, seed=1)
    figures = model.notes.get("quality", {})
    report.item(
        "Digits, by label and voice",
        "Say each digit once, the six voices in turn",
        'model.sample(10, given={"label": digits, "speaker": voices})',
        heard(folder, "digits", {"real": joined(real(model)[: len(names)]), "generated": joined(made)}),
        seen.calls,
        seen.seconds,
        {k: v for k, v in figures.items() if not k.endswith("_real")},
        {k.removesuffix("_real"): v for k, v in figures.items() if k.endswith("_real")},
        "How many are recognised by judges trained on real clips: see the model's card and benchmarks/audio.py.",
    )


def voices(report: Report, folder: Path, model: Any) -> None:
    """One word in another voice."""
    source = real(model)[7]
    target = model.modality.classes["speaker"][1]
    with report.watch(model) as seen:
        made = model.convert(source, target, seed=0)[0]
    report.item(
        "Another voice",
        f"Say this seven in the voice of {target}",
        f'model.convert(seven, "{target}")',
        heard(folder, "voice", {"given": source, f"as {target}": made}),
        seen.calls,
        seen.seconds,
        note="The word is recognised by the model itself; its mel is noised to level 0.7 and brought back under the new voice.",
    )


def read(report: Report, folder: Path, model: Any) -> None:
    """A text, given as phonemes so that no other program is needed."""
    text = "/aɪ sɔ twɛnti wʌn ʃɪps kʌm seɪlɪŋ ɪn, ænd ðə si wʌz stɪl/"
    with report.watch(model) as seen:
        made = model.speak(text, seed=0)[0]
    report.item(
        "Text to speech",
        "I saw twenty one ships come sailing in, and the sea was still.",
        'model.speak("I saw 21 ships come sailing in, and the sea was still.")',
        heard(folder, "text", {"generated": made}),
        seen.calls,
        seen.seconds,
        note="Here the phonemes were given; espeak-ng, where it is installed, makes them of a text.",
    )


def copied(report: Report, folder: Path, model: Any, sentence: tuple[np.ndarray, int]) -> None:
    """Copy synthesis beside Griffin-Lim."""
    import torch

    from suffuse.metrics.audio import log_spectral_distance

    s, (wave, rate) = model.modality.spectral, sentence
    with report.watch(model) as seen:
        made = model.vocode(sentence, steps=4)[0]
    true = torch.from_numpy(wave)[None]
    size = s.magnitude_of_mel(s.mel(s.stft(true)))
    phase = 6.2832 * torch.rand(size.shape, generator=torch.Generator().manual_seed(0))
    peer = s.istft(s.griffin_lim(size, phase, 60), true.shape[1])[0].numpy()

    def distance(other: np.ndarray) -> float:
        spectra = (s.stft(torch.from_numpy(v)[None]).abs() for v in (wave, other))
        return log_spectral_distance(*spectra).item()

    report.item(
        "A voice from its mel spectrogram",
        f"Speak this sentence again, from {s.bands} mel bands {rate / s.hop:.0f} times a second",
        "model.vocode(sentence, steps=4)",
        heard(folder, "copy", {"real": sentence, "from its mel": made, "Griffin-Lim, 60 rounds": (peer, rate)}),
        seen.calls,
        seen.seconds,
        {"log-spectral distance, dB": distance(made[0]), "Griffin-Lim's, dB": distance(peer)},
        {"log-spectral distance, dB": 0.0},
        f"{len(wave) / rate:.1f} s of sound.",
    )


def filled(report: Report, folder: Path, model: Any, sentence: tuple[np.ndarray, int]) -> None:
    """A gap in speech."""
    wave, rate = sentence
    begin = loud_stretch(wave, rate, 0.1)
    holed = wave.copy()
    holed[int(begin * rate) : int((begin + 0.1) * rate)] = np.nan
    with report.watch(model) as seen:
        made = model.sample(1, given=(holed, rate), steps=8)[0]
    cut = slice(int((begin - 0.5) * rate), int((begin + 0.6) * rate))
    shown = {"real": (wave[cut], rate), "with a gap": (np.nan_to_num(holed)[cut], rate), "filled": (made[0][cut], rate)}
    report.item(
        "A gap of 100 ms",
        "Fill the gap; everything else stays as it is, sample by sample",
        "model.sample(1, given=(speech_with_nan, rate))",
        heard(folder, "gap", shown),
        seen.calls,
        seen.seconds,
    )


def extended(report: Report, folder: Path, model: Any, sentence: tuple[np.ndarray, int]) -> None:
    """High frequencies."""
    from suffuse.modalities.audio.waves import resample

    wave, rate = sentence
    narrow = resample(wave, rate, rate // 2)
    with report.watch(model) as seen:
        made = model.extend((narrow, rate // 2), steps=8)[0]
    report.item(
        "Bandwidth",
        f"This was recorded at {rate // 2000} kHz; add what lies above {rate // 4000} kHz",
        "model.extend(narrow)",
        heard(
            folder, "wide", {"real": sentence, "narrow": (resample(narrow, rate // 2, rate), rate), "extended": made}
        ),
        seen.calls,
        seen.seconds,
    )


def loud_stretch(wave: np.ndarray, rate: int, seconds: float) -> float:
    """Where (s) the loudest stretch of that length begins, half a second from either end."""
    count = int(seconds * rate)
    power = np.convolve(wave**2, np.ones(count), "valid")
    inner = power[rate // 2 : -rate // 2]
    return float((int(inner.argmax()) + rate // 2) / rate)
