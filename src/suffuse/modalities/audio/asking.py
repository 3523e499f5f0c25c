"""What a person asks, as a task; and a task's fields, as sound."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Start, Task
from suffuse.errors import AskError, DataError
from suffuse.files import check_memory
from suffuse.modalities.audio import bridging, speaking, waves
from suffuse.modalities.audio.consistency import polish
from suffuse.modalities.audio.levels import cut_levels

KEYS = ("audio", "frames", "file", "mel", "noisy", "label", "speaker", "text")
FADE = 0.005
"""Seconds of cross-fade between what was given and what was made."""


def tell(sentence: str) -> None:
    """One line for the person, as a warning."""
    warnings.warn(sentence, stacklevel=4)


def is_sound(value: Any) -> bool:
    """A pair (samples, rate), or the path of a file."""
    return isinstance(value, (str, Path)) or waves.is_pair(value)


def sound(value: Any, rate: int, holes: bool = False) -> np.ndarray:
    """(samples, rate) or a path as mono float32 at a rate. holes: NaN samples are allowed. Raises DataError, AskError."""
    if not is_sound(value):
        raise AskError(f"sound is given as (samples, rate) or the path of a file, not {type(value).__name__}")
    if isinstance(value, (str, Path)):
        return waves.read_wave(value, rate)[0]
    found = waves.check_rate(value[1], "the given sound")
    wave = waves.check_wave(value[0], found, "the given sound", holes=holes)
    hole = np.isnan(wave)
    if not hole.any():
        return waves.resample(wave, found, rate)
    if found == rate:
        return wave
    filled = waves.resample(np.nan_to_num(wave), found, rate)
    places = np.arange(len(filled)) * found / rate
    near = np.interp(places, np.arange(len(wave)), hole.astype(float)) > 0
    filled[near] = np.nan
    return filled


def sounds(value: Any, n: int, rate: int, what: str, holes: bool = False) -> list[np.ndarray]:
    """One sound for all, or n of them, each at a rate."""
    many = list(value) if isinstance(value, list) and not is_sound(value) else [value]
    if len(many) not in (1, n):
        raise AskError(f"{len(many)} sounds were given as {what} for {n} samples; give one, or {n}")
    return [sound(v, rate, holes) for v in many]


def request(
    modality: Any,
    n: int,
    given: Any,
    index: Tensor,
    *,
    seconds: float | None = None,
    cutoff: float | None = None,
    pace: float = 1.0,
    durations: Any = None,
    **unknown: Any,
) -> Task:
    """See `Audio.request`."""
    if unknown:
        raise AskError(f"'{sorted(unknown)[0]}' cannot be asked of sound; known are seconds, cutoff, pace, durations")
    given = _as_dict(given)
    s, classes = modality.spectral, modality.classes
    audio = next((given[k] for k in ("audio", "frames", "file") if k in given), None)
    known = {"wave": [], "mel": [], "noisy": []}
    gains = [1.0]
    if audio is not None:
        known["wave"] = sounds(audio, n, modality.rate, "audio", holes=True)
        gains = [waves.LOUDNESS / max(waves.loudness(w, modality.rate), 1e-9) for w in known["wave"]]
        known["wave"] = [w * np.float32(g) for w, g in zip(known["wave"], gains, strict=True)]
    if "noisy" in given:
        if not modality.paired:
            raise AskError("this model was not trained on clean/ and noisy/ pairs; train one to take noise away")
        known["noisy"] = sounds(given["noisy"], n, modality.rate, "noisy")
        gains = [waves.LOUDNESS / max(waves.loudness(w, modality.rate), 1e-9) for w in known["noisy"]]
        known["noisy"] = [w * np.float32(g) for w, g in zip(known["noisy"], gains, strict=True)]
    mels: list[Tensor] = []
    spoken = speaking.asked(modality, given, n, seconds, pace, durations)
    if "mel" in given:
        mels, lengths, gains = mels_of(modality, given["mel"], n)
    elif spoken:
        lengths = [(len(row) - 1) * s.hop for row in spoken]
    else:
        found = known["wave"] or known["noisy"]
        lengths = [len(w) for w in found] or [_asked_samples(modality, seconds)]
    frames = [s.frames_of(v) for v in lengths]
    total = max(frames)
    span = max(lengths)
    if modality.whole:
        if total > modality.length:
            room = (modality.length - 1) * s.hop / modality.rate
            raise AskError(
                f"this model makes clips of at most {room:.2f} s, and {max(lengths) / modality.rate:.2f} s were asked"
            )
        total, span = modality.length, max(span, (modality.length - 1) * s.hop)
    needed = n * total * (2 * s.bins + s.bands) * 4 * 16
    check_memory(needed, f"{n} samples of {total * s.hop / modality.rate:.0f} s", error=AskError)

    x: dict[str, Tensor] = {"frames": torch.zeros(n, 2 * s.bins, total), "mel": torch.zeros(n, s.bands, total)}
    levels: dict[str, Tensor] = {"frames": torch.ones(n, 1, 1), "mel": torch.ones(n, 1, 1)}
    sizes, gain = torch.tensor(lengths), torch.tensor(gains, dtype=torch.float32)
    context = {"samples": sizes.expand(n)[:, None].clone(), "gain": gain.expand(n)[:, None].clone()}
    if known["wave"]:
        bridged = [bridging.bridge(w, modality.rate) for w in known["wave"]]
        padded, hole = _padded(known["wave"], span)
        crossed, _ = _padded([w for w, _ in bridged], span)
        x["frames"], x["mel"] = (_repeat(v, n) for v in s.encode(crossed))
        unknown, _ = _padded(
            [(np.isnan(w) & ~done).astype(np.float32) for w, (_, done) in zip(known["wave"], bridged)], span
        )
        missing = torch.maximum(bridging.LEVEL * _frames_near(hole, s), _frames_near(unknown > 0, s).float())
        levels["frames"] = levels["mel"] = _repeat(missing[:, None], n)
        if bool(hole.any()):
            context["wave"], context["known"] = _repeat(padded, n), _repeat(~hole, n)
        if cutoff is not None:
            cut = cut_levels(s, torch.tensor([float(cutoff)]))
            levels = {k: torch.maximum(levels[k], cut[k]) for k in ("frames", "mel")}
    elif cutoff is not None:
        raise AskError("a cutoff needs a given sound whose lower frequencies are kept")
    if mels:
        joined = torch.zeros(len(mels), s.bands, total)
        joined -= s._mean / s._std - np.log(s.floor) / s._std  # silence beyond the end
        for row, mel in zip(joined, mels, strict=True):
            row[:, : mel.shape[1]] = mel
        x["mel"], levels["mel"] = _repeat(joined, n), torch.zeros(n, 1, 1)
    held: dict[str, Tensor] = {}
    if modality.paired:
        x["noisy"], levels["noisy"] = torch.zeros_like(x["frames"]), torch.ones(n, 1, 1)
        if known["noisy"]:
            padded, _ = _padded(known["noisy"], span)
            x["noisy"], levels["noisy"] = _repeat(s.pack(s.stft(padded)), n), torch.zeros(n, 1, 1)
        else:
            held["noisy"] = torch.ones(n, 1, 1, dtype=torch.bool)
    if modality.text:
        x["text"], levels["text"] = torch.zeros(n, total, dtype=torch.int64), torch.full((n, 1), float(not spoken))
        for row, one in zip(x["text"], spoken * (n // max(len(spoken), 1)), strict=False):
            row[: len(one)] = torch.from_numpy(one)
        if not spoken:
            held["text"] = torch.ones(n, 1, dtype=torch.bool)
    for name, names in classes.items():
        value = given.get(name)
        x[name] = _classes(name, names, value, n)
        levels[name] = torch.full((n, 1), 1.0 if value is None else 0.0)
        if value is None:
            held[name] = torch.ones(n, 1, dtype=torch.bool)
    for name in ("label", "speaker"):
        if given.get(name) is not None and name not in classes:
            raise AskError(f"this model knows no {name}s; leave {name} out")
    exists: dict[str, Tensor] = {}
    if not modality.whole and min(frames) < total:
        mask = _repeat((torch.arange(total) < torch.tensor(frames)[:, None])[:, None], n)
        exists = {name: mask for name in ("frames", "mel", "noisy") if name in x}
        if modality.text:
            exists["text"] = mask[:, 0]
    return Task(x, Start(levels, held), {}, exists, context, index)


def decode(modality: Any, fields: dict[str, Tensor], task: Task) -> list[tuple[np.ndarray, int]]:
    """See `Audio.decode`."""
    s = modality.spectral
    asked = task.start.levels["frames"] > 0
    if asked.shape[1] > 1:
        asked = asked[:, : s.bins]
    exact = modality.paired or not bool(asked.any())
    return sounds_of(modality, s.unpack(fields["frames"]) if exact else polish(s, fields, asked.cpu()), task)


def sounds_of(modality: Any, spectrum: Tensor, task: Task) -> list[tuple[np.ndarray, int]]:
    """The answers to a task, cut to their lengths, from their spectra (B, F, T)."""
    s, asked = modality.spectral, task.start.levels["frames"] > 0
    samples, gain = task.context["samples"].reshape(-1).tolist(), task.context["gain"].reshape(-1).tolist()
    made = s.istft(spectrum, max(max(samples), (spectrum.shape[-1] - 1) * s.hop))
    out = []
    all_new = bool(asked.all()) and asked.shape[2] == 1 and task.start.levels["mel"].gt(0).all()
    for row, wave in enumerate(made.cpu().numpy()):
        if modality.whole and all_new:
            count = _sounding(modality, spectrum[row])
        else:
            count = samples[row]
        wave = wave[:count]
        if "known" in task.context:
            own, known = (
                task.context["wave"][row, :count].cpu().numpy(),
                task.context["known"][row, :count].cpu().numpy(),
            )
            wave = _put_back(wave, own, known, modality.rate)
        out.append(((wave / gain[row]).astype(np.float32), modality.rate))
    return out


def time_mask(modality: Any, mask: Any, task: Task) -> Tensor:
    """See `Audio.mask`."""
    s, total = modality.spectral, task.x["frames"].shape[-1]
    value = np.asarray(mask)
    if value.dtype == bool and value.ndim == 1:
        if len(value) != total:
            raise AskError(f"the mask has {len(value)} frames, and the sound has {total}")
        return torch.from_numpy(value)[None, None]
    if value.dtype.kind not in "iuf" or value.shape[-1:] != (2,):
        raise AskError("a mask of sound is (start, end) in seconds, a list of those, or one bool a frame")
    at = torch.arange(total) * s.hop / modality.rate
    out = torch.zeros(total, dtype=torch.bool)
    for begin, end in value.reshape(-1, 2).tolist():
        if not 0 <= begin < end:
            raise AskError(f"the stretch {begin:g} to {end:g} s is empty or begins before 0")
        out |= (at >= begin) & (at <= end)
    return out[None, None]


# -- inside -----------------------------------------------------------------------------------------------------------
def _as_dict(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return {"audio": given}
    for key in given:
        if key not in KEYS:
            raise AskError(f"'{key}' cannot be given to sound; known are {', '.join(KEYS)}")
    return dict(given)


def _asked_samples(modality: Any, seconds: float | None) -> int:
    if modality.whole and seconds is None:
        return (modality.length - 1) * modality.spectral.hop
    seconds = 2.0 if seconds is None else seconds
    if not isinstance(seconds, (int, float)) or not 0.05 <= seconds <= waves.LONGEST:
        raise AskError(f"seconds must lie between 0.05 and {waves.LONGEST:.0f}, not {seconds!r}")
    return int(seconds * modality.rate)


def mels_of(modality: Any, value: Any, n: int) -> tuple[list[Tensor], list[int], list[float]]:
    """Mels (M, T), lengths in samples and gains, one for all of n samples or one each: from arrays (M, T) in the model's own
    setting, or from sounds. Raises AskError, DataError."""
    s = modality.spectral
    array = getattr(value, "ndim", 0) in (2, 3) and not is_sound(value)
    if array:
        mel = torch.as_tensor(np.asarray(value), dtype=torch.float32).reshape(-1, *value.shape[-2:])
        if mel.shape[1] != s.bands:
            raise AskError(
                f"the mel has {mel.shape[1]} bands, and this model takes {s.bands} (rate {s.rate}, window {s.n_fft}, hop {s.hop})"
            )
        if not bool(torch.isfinite(mel).all()):
            raise DataError("the mel holds a value that is no number")
        if (mel.abs() * s._std.clamp(max=1)).max() > 50:  # a band that hardly varies lies far out where it is silent
            raise AskError(
                f"the mel reaches {mel.abs().max():.3g} deviations; give it as modality.spectral.mel makes it"
            )
        if len(mel) not in (1, n):
            raise AskError(f"{len(mel)} mels were given for {n} samples; give one, or {n}")
        return list(mel), [(mel.shape[2] - 1) * s.hop] * len(mel), [1.0] * len(mel)
    found = sounds(value, n, modality.rate, "mel")
    gains = [waves.LOUDNESS / max(waves.loudness(w, modality.rate), 1e-9) for w in found]
    mels = [s.mel_of(torch.from_numpy(w * np.float32(g))[None])[0] for w, g in zip(found, gains, strict=True)]
    return mels, [len(w) for w in found], gains


def _classes(name: str, names: list[str], value: Any, n: int) -> Tensor:
    if value is None:
        return torch.zeros(n, 1, dtype=torch.int64)
    values = list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
    if len(values) not in (1, n):
        raise AskError(f"{len(values)} values were given as {name} for {n} samples; give one, or {n}")
    for v in values:
        if str(v) not in names:
            raise AskError(f"there is no {name} '{v}'; this model knows {', '.join(names)}")
    return torch.tensor([[names.index(str(v))] for v in values]).expand(n, 1).clone()


def _padded(many: list[np.ndarray], samples: int) -> tuple[Tensor, Tensor]:
    """Waves (B, samples) with zeros in holes and beyond the ends, and where the holes are."""
    wave, hole = torch.zeros(len(many), samples), torch.zeros(len(many), samples, dtype=torch.bool)
    for row, gap, one in zip(wave, hole, many, strict=True):
        one = torch.from_numpy(one)[:samples]
        row[: len(one)], gap[: len(one)] = torch.nan_to_num(one), torch.isnan(one)
    return wave, hole


def _frames_near(hole: Tensor, s: Any) -> Tensor:
    """(B, T) bool: frames whose window holds an unknown sample."""
    wide = torch.nn.functional.pad(hole[:, None].float(), (s.n_fft // 2, s.n_fft // 2))
    return torch.nn.functional.max_pool1d(wide, s.n_fft, s.hop)[:, 0] > 0


def _repeat(value: Tensor, n: int) -> Tensor:
    return value if value.shape[0] == n else value.expand(n, *value.shape[1:]).clone()


def _sounding(modality: Any, spectrum: Tensor) -> int:
    """Samples up to the end of the last frame that is not silence."""
    from suffuse.modalities.audio.modality import SILENCE

    power = spectrum.abs().square().sum(0).sqrt()
    loud = (power > SILENCE * power.max()).nonzero()
    last = int(loud.max()) if len(loud) else 0
    return max(int((last + 1) * modality.spectral.hop), int(0.05 * modality.rate))


def _put_back(made: np.ndarray, own: np.ndarray, known: np.ndarray, rate: int) -> np.ndarray:
    """The own samples where they are known; within FADE seconds of a hole a cross-fade, so that no step is heard."""
    width = max(1, int(FADE * rate))
    distance = np.minimum(_since(~known), _since(~known[::-1])[::-1])
    share = np.clip(distance / width, 0, 1) * known
    return share * own + (1 - share) * made


def _since(event: np.ndarray) -> np.ndarray:
    """For each place, the steps since the last True at or before it."""
    places = np.arange(len(event))
    last = np.maximum.accumulate(np.where(event, places, -(1 << 40)))
    return places - last
