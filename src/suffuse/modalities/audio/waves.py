"""Waves in and out: sound files and arrays as mono float32 at one rate, checked before memory is taken.

Loudness rule: a wave is scaled so that the root mean square of its active parts (20 ms pieces within 30 dB of the loudest)
is 0.07 of full scale, about -23 dBFS. The gain is kept, so that answers come back as loud as the question was.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from suffuse.errors import DataError
from suffuse.files import atomic_write, check_file, check_memory

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".aif", ".aiff")
LOUDNESS = 0.07
LONGEST = 3600.0
"""Seconds; a longer file is refused before it is read."""
CHANNELS = 8
RATES = (1000, 384_000)
SHORTEST = 0.01
"""Seconds; anything shorter holds less than one frame."""


def inspect(path: str | Path) -> Any:
    """What a sound file's head says (soundfile's info: samplerate, channels, frames), checked for limits.

    Raises DataError on no sound file, an impossible rate, too many channels, no samples, or more than an hour.
    """
    import soundfile

    path = Path(path)
    check_file(path)
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        rate = _wav_rate(path)
        if rate is not None and not RATES[0] <= rate <= RATES[1]:
            raise DataError(_rate_sentence(str(path), rate)) from None
        line = str(error).rpartition(": ")[2].strip() or "unknown format"
        raise DataError(f"{path} cannot be read as sound ({line}); give WAV, FLAC or OGG") from None
    check_rate(info.samplerate, str(path))
    if info.channels > CHANNELS:
        raise DataError(f"{path} has {info.channels} channels, and at most {CHANNELS} are read; mix it down first")
    if info.frames <= 0:
        raise DataError(f"{path} holds no samples")
    seconds = info.frames / info.samplerate
    if seconds > LONGEST:
        raise DataError(f"{path} lasts {seconds / 3600:.1f} hours, and at most {LONGEST / 3600:.0f} is read; cut it")
    missing = _missing_bytes(path)
    if missing > 0:
        raise DataError(f"{path} is truncated: {missing} bytes of sound that its head announces are not there")
    check_memory(info.frames * info.channels * 16, str(path))
    return info


def read_wave(path: str | Path, rate: int | None = None) -> tuple[np.ndarray, int]:
    """A sound file as mono float32 (N,) in about [-1, 1], and its rate; resampled when another `rate` is asked for.

    Raises DataError with one sentence on anything that cannot be used (see `inspect` and `check_wave`).
    """
    import soundfile

    info = inspect(path)
    try:
        values, found = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(f"{path} is damaged and cannot be read to its end ({error})") from None
    if len(values) < info.frames:
        raise DataError(f"{path} is truncated: {len(values)} of {info.frames} samples are there")
    wave = check_wave(values, found, str(path))
    return (wave, found) if rate in (None, found) else (resample(wave, found, rate), rate)


def is_pair(value: Any) -> bool:
    """(samples, rate): a list or tuple of two, the second of which is no array."""
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return False
    return not hasattr(value[1], "__len__") and hasattr(value[0], "__len__") and not isinstance(value[0], str)


def check_rate(rate: Any, what: str) -> int:
    """A sampling rate in Hz. Raises DataError on one that cannot be."""
    whole = isinstance(rate, (int, np.integer)) or (isinstance(rate, float) and rate.is_integer())
    if isinstance(rate, bool) or not whole or not RATES[0] <= rate <= RATES[1]:
        raise DataError(_rate_sentence(what, rate))
    return int(rate)


def check_wave(values: Any, rate: Any, what: str = "the sound", holes: bool = False) -> np.ndarray:
    """(N,) or (N, channels) samples, floats in about [-1, 1] or integers, as mono float32.

    holes: NaN marks samples that are not known, and is allowed. Raises DataError on an unusable rate, shape or value.
    """
    rate = check_rate(rate, what)
    try:
        values = np.asarray(values)
    except ValueError:
        raise DataError(f"{what} must be numbers of shape (samples,) or (samples, channels)") from None
    if values.ndim == 2 and values.shape[0] <= CHANNELS < values.shape[1]:
        values = values.T
    if values.ndim not in (1, 2) or values.dtype.kind not in "iuf":
        raise DataError(f"{what} must be numbers of shape (samples,) or (samples, channels), not {values.shape}")
    if values.ndim == 2 and values.shape[1] > CHANNELS:
        raise DataError(f"{what} has {values.shape[1]} channels, and at most {CHANNELS} are read; mix it down first")
    if len(values) < SHORTEST * rate:
        seconds = 1000 * len(values) / rate
        raise DataError(
            f"{what} has {len(values)} samples ({seconds:.3g} ms); at least {1000 * SHORTEST:.0f} ms are needed"
        )
    if len(values) > LONGEST * rate:
        hours = len(values) / rate / 3600
        raise DataError(f"{what} lasts {hours:.1f} hours, and at most {LONGEST / 3600:.0f} is read; cut it")
    if values.dtype.kind in "iu":
        size = np.iinfo(values.dtype)
        middle = 0 if values.dtype.kind == "i" else (size.max + 1) / 2
        values = (values.astype(np.float64) - middle) / (size.max + 1 - middle)
    wave = values.astype(np.float32) if values.ndim == 1 else values.mean(axis=1, dtype=np.float64).astype(np.float32)
    bad = np.isinf(wave) if holes else ~np.isfinite(wave)
    if bad.any():
        where = int(bad.argmax())
        raise DataError(f"{what} holds a value that is no number at sample {where} ({where / rate:.3f} s)")
    known = wave[~np.isnan(wave)] if holes else wave
    if len(known) == 0:
        raise DataError(f"{what} holds no known sample")
    peak = float(np.abs(known).max())
    if peak < 1e-5:
        raise DataError(f"{what} is silent (its loudest sample is {peak:.1g} of full scale)")
    if peak > 1e3:
        raise DataError(f"{what} has samples up to {peak:.3g}; floating-point sound goes from -1 to 1")
    return wave


def clipped(wave: np.ndarray) -> float:
    """Share of samples that stand in runs of three or more at the wave's own peak: what clipping leaves behind."""
    top = np.abs(wave) >= 0.999 * np.abs(wave).max()
    if len(wave) < 3:
        return 0.0
    runs = top[:-2] & top[1:-1] & top[2:]
    inside = np.convolve(runs, [1, 1, 1]) > 0
    return float(inside.mean())


def resample(wave: np.ndarray, rate: int, new_rate: int, crossings: int = 32) -> np.ndarray:
    """Band-limited interpolation at any ratio: a Kaiser-windowed sinc of so many zero crossings a side (Smith 2002)."""
    if rate == new_rate:
        return wave
    import torch

    count = -(-len(wave) * new_rate // rate)
    band = 0.95 * min(1.0, new_rate / rate)
    reach = int(crossings / band)
    padded = torch.nn.functional.pad(torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32)), (reach, reach + 1))
    steps = torch.arange(-reach, reach + 1)
    phases = new_rate // math.gcd(rate, new_rate)
    edge = torch.special.i0(torch.tensor(9.0, dtype=torch.float64))

    def kernel(fraction: torch.Tensor) -> torch.Tensor:
        away = (steps - fraction[:, None]) / reach
        window = torch.special.i0(9.0 * (1 - away.square()).clamp(min=0).sqrt()) / edge
        return (band * torch.sinc(band * reach * away) * window).float()

    table = kernel(torch.arange(phases, dtype=torch.float64) / phases) if phases <= 4096 else None
    out = torch.empty(count)
    for first in range(0, count, 1 << 14):
        at = torch.arange(first, min(first + (1 << 14), count)) * rate
        near, rest = at // new_rate, at % new_rate
        weight = kernel(rest.double() / new_rate) if table is None else table[rest * phases // new_rate]
        out[first : first + len(at)] = (weight * padded[near[:, None] + steps + reach]).sum(1)
    return out.numpy()


def loudness(wave: np.ndarray, rate: int) -> float:
    """Root mean square of the active parts (see the top of this file). NaN samples are left out."""
    piece = max(1, rate // 50)
    known = np.nan_to_num(wave)
    usable = known[: len(known) // piece * piece] if len(known) >= piece else known[:, None].T.reshape(-1)
    power = (usable.reshape(-1, min(piece, len(usable))).astype(np.float64) ** 2).mean(1)
    active = power[power >= power.max() * 1e-3]
    return float(np.sqrt(active.mean()))


def normalise(wave: np.ndarray, rate: int) -> tuple[np.ndarray, float]:
    """The wave at the house's loudness, and the gain it took."""
    gain = LOUDNESS / max(loudness(wave, rate), 1e-9)
    return (wave * np.float32(gain)), gain


def write_wave(wave: np.ndarray, rate: int, path: str | Path) -> Path:
    """Write mono sound as WAV (16 bit), FLAC or OGG, by the suffix; whole or not at all. Peaks above 1 are scaled down."""
    import soundfile

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path} must end in one of {', '.join(SUFFIXES)} to be written as sound")
    wave = np.asarray(wave, dtype=np.float32)
    peak = float(np.abs(wave).max(initial=0.0))
    if peak > 1:
        warnings.warn(f"{path.name} was {peak:.2f} times too loud to be written and was scaled down", stacklevel=2)
        wave = wave / peak
    with atomic_write(path) as partial:
        soundfile.write(str(partial), wave, rate)
    return path


def _rate_sentence(what: str, rate: Any) -> str:
    return f"{what} has a sampling rate of {rate} Hz; a whole number from {RATES[0]} to {RATES[1]} is needed"


def _chunks(path: Path):
    """(name, offset of the content, announced size) of a RIFF/WAVE file's chunks; nothing for other files."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return
        at = 12
        while at + 8 <= size:
            file.seek(at)
            head = file.read(8)
            announced = int.from_bytes(head[4:], "little")
            yield head[:4], at + 8, announced
            at += 8 + announced + announced % 2


def _missing_bytes(path: Path) -> int:
    for name, at, announced in _chunks(path):
        if name == b"data" and announced != 0xFFFFFFFF:
            return max(0, at + announced - path.stat().st_size)
    return 0


def _wav_rate(path: Path) -> int | None:
    for name, at, announced in _chunks(path):
        if name == b"fmt " and announced >= 8:
            with open(path, "rb") as file:
                file.seek(at + 4)
                return int.from_bytes(file.read(4), "little")
    return None
