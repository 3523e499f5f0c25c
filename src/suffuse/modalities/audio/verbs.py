"""Sugar: what is usually asked of sound, each a question of starting levels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from suffuse.errors import AskError
from suffuse.modalities.audio import asking
from suffuse.modalities.audio.vocoding import Sound, vocode


def speak(
    model: Any,
    text: str | None = None,
    *,
    label: str | None = None,
    speaker: str | None = None,
    n: int = 1,
    seed: int = 0,
    **settings: Any,
) -> list[Sound]:
    """A text, or sounds of a label, in a voice (each may be left open). settings may hold pace and durations of a text.

    suffuse speak spoken-digits --label 7 --speaker theo -n 4 -o sevens
    suffuse speak MODEL --text "I saw 21 ships." -o ships.wav
    """
    given = {k: v for k, v in (("text", text), ("label", label), ("speaker", speaker)) if v is not None}
    return model.sample(n, given=given, seed=seed, **settings)


def fill(model: Any, audio: Any, at: Any = None, *, n: int = 1, seed: int = 0, **settings: Any) -> list[Sound]:
    """Fill gaps: NaN samples, and the stretches `at`: (start, end) in seconds, a list of those, or "0.3-0.4,1.2-1.3".

    suffuse fill kathleen speech.wav --at 0.52-0.60 -o filled.wav
    """
    rate = model.modality.rate
    wave = asking.sound(audio, rate, holes=True).copy()
    for begin, end in _stretches(at):
        if end * rate > len(wave) + 1:
            raise AskError(f"the gap {begin:g} to {end:g} s ends after the sound, which lasts {len(wave) / rate:.2f} s")
        wave[int(begin * rate) : int(end * rate)] = np.nan
    if not np.isnan(wave).any():
        raise AskError("there is no gap to fill: name one, such as 0.52-0.60 (seconds), or mark samples by NaN")
    return model.sample(n, given={"audio": (wave, rate)}, seed=seed, **settings)


def extend(
    model: Any, audio: Any, cutoff: float | None = None, *, n: int = 1, seed: int = 0, **settings: Any
) -> list[Sound]:
    """Add the frequencies above a cutoff (Hz; default: half the given rate) up to the model's own bandwidth.

    suffuse extend kathleen telephone.wav --cutoff 4000 -o wide.wav
    """
    rate = model.modality.rate
    if cutoff is None:
        given = audio[1] if not isinstance(audio, str) and hasattr(audio, "__len__") else _rate_of(audio)
        if given >= rate:
            raise AskError(
                f"the sound has {given} Hz already and this model {rate}; name the cutoff above which to make anew"
            )
        cutoff = given / 2
    if not 0 < float(cutoff) < rate / 2:
        raise AskError(f"the cutoff must lie between 0 and {rate / 2:g} Hz, not {cutoff}")
    return model.sample(n, given={"audio": audio}, cutoff=0.95 * float(cutoff), seed=seed, **settings)


def denoise(model: Any, audio: Any, *, n: int = 1, seed: int = 0, **settings: Any) -> list[Sound]:
    """Clean speech from noisy, by a model that was trained on clean/ and noisy/ pairs.

    suffuse denoise MODEL noisy.wav -o clean.wav
    """
    return model.sample(n, given={"noisy": audio}, seed=seed, **settings)


def convert(
    model: Any, audio: Any, speaker: str, *, strength: float = 0.9, n: int = 1, seed: int = 0, **settings: Any
) -> list[Sound]:
    """The same word in another voice: the mel is noised to `strength` and brought back under the new speaker. Less strength keeps
    more of the way it was said, and of the voice that said it.

    suffuse convert spoken-digits seven.wav theo -o theo.wav
    """
    m = model.modality
    if not 0 < strength <= 1:
        raise AskError(f"strength must lie in (0, 1], not {strength!r}")
    given: dict[str, Any] = {"audio": audio, "speaker": speaker}
    if "label" in m.classes:
        given["label"] = recognise(model, audio)
    task = m.request(n, given, index=torch.arange(n))
    task.start.levels["frames"] = torch.ones(n, 1, 1)
    task.start.levels["mel"] = torch.full((n, 1, 1), float(strength))
    return m.decode(model.run(task, seed=seed, **settings), task)


def recognise(model: Any, audio: Any, field: str = "label") -> str:
    """The likeliest label (or speaker) of a sound: one network call.

    suffuse recognise spoken-digits seven.wav
    """
    m = model.modality
    if field not in m.classes:
        raise AskError(f"this model knows no {field}s")
    rate = m.rate
    chances = model.predict(m.dataset((asking.sound(audio, rate), rate)), field)
    return m.classes[field][int(chances[0, 0].argmax())]


def _rate_of(path: Any) -> int:
    from suffuse.modalities.audio.waves import inspect

    return inspect(path).samplerate


def _stretches(at: Any) -> list[tuple[float, float]]:
    if at is None:
        return []
    if isinstance(at, str):
        try:
            pairs = [tuple(float(v) for v in part.split("-")) for part in at.split(",")]
        except ValueError:
            raise AskError(f"'{at}' is no stretch of time; write it as 0.52-0.60, in seconds") from None
    else:
        pairs = [tuple(p) for p in np.asarray(at, dtype=float).reshape(-1, 2)]
    for pair in pairs:
        if len(pair) != 2 or not 0 <= pair[0] < pair[1]:
            raise AskError(f"'{at}' is no stretch of time; write it as 0.52-0.60, in seconds")
    return pairs


def evaluate(model: Any, data: Any, count: int = 20, steps: int | None = None) -> dict[str, float]:
    """See `Audio.evaluate`."""
    from suffuse.metrics.audio import log_spectral_distance, mel_cepstral_distance

    m, out = model.modality, {}
    s = m.spectral
    figures: dict[str, list[float]] = {}
    for number, clip in enumerate(data.clips[:count]):
        true = torch.from_numpy(clip.wave)[None]
        spectrum = s.stft(true)
        mel = s.mel(spectrum)
        size = s.magnitude_of_mel(mel)
        phase = 6.2832 * torch.rand(size.shape, generator=torch.Generator().manual_seed(number))
        made = vocode(model, (clip.wave, m.rate), steps=steps, seed=number)[0][0]
        peer = s.istft(s.griffin_lim(size, phase, 60), true.shape[1])
        for name, wave in (("", torch.from_numpy(made)[None]), ("_griffin_lim", peer)):
            other = s.stft(wave[:, : true.shape[1]])
            far = log_spectral_distance(spectrum.abs(), other.abs()).mean().item()
            figures.setdefault(f"log_spectral_distance{name}", []).append(far)
            bank = [s.mel_magnitude(s.mel(v)).log() for v in (spectrum, other)]
            figures.setdefault(f"mel_cepstral_distance{name}", []).append(mel_cepstral_distance(*bank).mean().item())
    out |= {name: float(np.mean(values)) for name, values in figures.items()}
    out |= {"log_spectral_distance_real": 0.0, "mel_cepstral_distance_real": 0.0}
    for name in m.classes:
        truth = torch.tensor(
            [m.classes[name].index(getattr(c, name)) for c in data.clips if getattr(c, name) is not None]
        )
        if len(truth) == len(data):
            out[f"{name}_recognised"] = (model.predict(data, name)[:, 0].argmax(-1) == truth).float().mean().item()
    return out


VERBS: dict[str, Callable[..., Any]] = {
    "vocode": vocode,
    "speak": speak,
    "fill": fill,
    "extend": extend,
    "denoise": denoise,
    "convert": convert,
    "recognise": recognise,
}
