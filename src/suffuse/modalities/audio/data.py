"""Clips as a data set of frames, mel and labels: whole clips padded with silence, or windows of long ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Batch
from suffuse.errors import DataError
from suffuse.modalities.audio.reading import Clip
from suffuse.modalities.audio.stft import Spectral
from suffuse.modalities.audio.waves import loudness, normalise

TAKES = 64
"""How many mixtures with noise an example has."""
RATIOS = (-3.0, 18.0)
"""dB of speech (its active parts) over noise in those mixtures."""


class Clips:
    """A data set (see `suffuse.modalities.contract.Dataset`).

    length: frames of an example. whole: every example is one clip, followed by silence that belongs to it (so that its
    duration is learnt); else examples are windows of `length` frames, half overlapping, and what lies beyond the end of a
    short clip does not exist. labels, speakers: the known names, in the order of their classes. noises: waves of unit root
    mean square; with them the noisy partner of each example is mixed as it is read, TAKES times in another way. spoken: what is
    spoken in each frame is a field, observed where a clip has symbols.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        spectral: Spectral,
        length: int,
        whole: bool,
        labels: Sequence[str] = (),
        speakers: Sequence[str] = (),
        paired: bool = False,
        noises: Sequence[np.ndarray] = (),
        spoken: bool = False,
    ):
        self.clips, self.spectral, self.length, self.whole = list(clips), spectral, length, whole
        self.names = {"label": list(labels), "speaker": list(speakers)}
        self.paired, self.noises, self.spoken = paired, list(noises), spoken
        self.places: list[tuple[int, int]] = []
        for number, clip in enumerate(self.clips):
            last = 0 if whole else max(0, spectral.frames_of(len(clip.wave)) - length)
            step = max(1, length // 2)
            self.places += [(number, start) for start in range(0, last, step)] + [(number, last)]

    def __len__(self) -> int:
        return len(self.places) * (TAKES if self.noises else 1)

    def piece(self, wave: Any, start: int) -> Tensor:
        """The samples that `length` centred frames from frame `start` on see, zeros beyond the ends."""
        n_fft, hop = self.spectral.n_fft, self.spectral.hop
        low, high = start * hop - n_fft // 2, (start + self.length - 1) * hop + n_fft // 2
        out = torch.zeros(high - low)
        a, b = max(low, 0), min(high, len(wave))
        out[a - low : b - low] = torch.from_numpy(wave[a:b])
        return out

    def mixed(self, clean: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(clean, noisy) with one noise, or (three times of ten) two, both at the loudness that the noisy one asks for."""
        draw, rate = np.random.default_rng(seed), self.spectral.rate
        added = np.zeros(len(clean), dtype=np.float32)
        for _ in range(1 + (draw.uniform() < 0.3)):
            noise = self.noises[draw.integers(len(self.noises))]
            at = int(draw.integers(max(1, len(noise) - len(clean) + 1)))
            added += np.resize(noise[at : at + len(clean)], len(clean)) * np.float32(draw.uniform(0.3, 1))
        share = loudness(clean, rate) / max(np.sqrt((added**2).mean()), 1e-9)
        noisy, gain = normalise(clean + added * np.float32(share * 10 ** (-draw.uniform(*RATIOS) / 20)), rate)
        return clean * np.float32(gain), noisy

    def batch(self, indices: Tensor) -> Batch:
        places = [self.places[i % len(self.places)] for i in indices.tolist()]
        x: dict[str, Tensor] = {}
        waves = [(self.clips[c].wave, self.clips[c].noisy) for c, _ in places]
        if self.noises:
            waves = [self.mixed(clean, seed) for (clean, _), seed in zip(waves, indices.tolist(), strict=True)]
        starts = [start for _, start in places]
        spectrum = self._spectrum([self.piece(clean, start) for (clean, _), start in zip(waves, starts, strict=True)])
        x["frames"], x["mel"] = self.spectral.pack(spectrum), self.spectral.mel(spectrum)
        if self.paired:
            noisy = [self.piece(noisy, start) for (_, noisy), start in zip(waves, starts, strict=True)]
            x["noisy"] = self.spectral.pack(self._spectrum(noisy))
        observed: dict[str, Tensor] = {}
        for name, known in self.names.items():
            if known:
                x[name], observed[name] = self._classes(name, known, [c for c, _ in places])
        if self.spoken:
            x["text"] = torch.stack([self.symbols(c, start) for c, start in places])
            observed["text"] = torch.tensor([[self.clips[c].symbols is not None] for c, _ in places])
        exists: dict[str, Tensor] = {}
        if not self.whole:
            ends = torch.tensor([self.spectral.frames_of(len(self.clips[c].wave)) - start for c, start in places])
            mask = (torch.arange(self.length) < ends[:, None])[:, None]
            if not bool(mask.all()):
                exists = {name: mask for name in ("frames", "mel", "noisy") if name in x}
                if self.spoken:
                    exists["text"] = mask[:, 0]
        return Batch(x, {k: v for k, v in observed.items() if not bool(v.all())}, exists, {}, indices)

    def symbols(self, clip: int, start: int) -> Tensor:
        """(length,) int64: what is spoken in the frames from `start` on; the pause beyond the end."""
        out, found = torch.zeros(self.length, dtype=torch.int64), self.clips[clip].symbols
        if found is not None:
            part = torch.from_numpy(found[start : start + self.length])
            out[: len(part)] = part
        return out

    def _spectrum(self, pieces: list[Tensor]) -> Tensor:
        s = self.spectral
        window = torch.hann_window(s.n_fft)
        return torch.stft(torch.stack(pieces), s.n_fft, s.hop, window=window, center=False, return_complex=True)

    def _classes(self, name: str, known: list[str], clips: list[int]) -> tuple[Tensor, Tensor]:
        found = [getattr(self.clips[c], name) for c in clips]
        unknown = sorted({f for f in found if f is not None and f not in known})
        if unknown:
            raise DataError(f"the {name} '{unknown[0]}' is none of this model's: {', '.join(known)}")
        classes = torch.tensor([[known.index(f) if f is not None else 0] for f in found])
        return classes, torch.tensor([[f is not None] for f in found])


def measure(clips: Sequence[Clip], spectral: Spectral, limit: int = 300) -> Spectral:
    """The spectral settings with their statistics taken from (some) clips: a scale a bin, mean and deviation a band.

    The mel floor is put 80 dB below the loudest band found.
    """
    step = max(1, len(clips) // limit)
    spectra = [spectral.stft(torch.from_numpy(clip.wave)[None])[0] for clip in clips[::step]]
    joined = torch.cat(spectra, dim=-1)
    top = (spectral._bank @ joined.abs()).max().item()
    settings = {**spectral.settings(), "floor": _short(top * 1e-4), "scale": [], "mel_mean": [], "mel_std": []}
    plain = Spectral(**settings)
    power = joined.abs().clamp(min=1e-9) ** (2 * spectral.exponent)
    mel = plain.mel(joined[None])[0]
    settings["scale"] = [_short(v) for v in (power.mean(-1) / 2).sqrt().clamp(min=1e-3)]
    settings["mel_mean"] = [_short(v) for v in mel.mean(-1)]
    settings["mel_std"] = [_short(v) for v in mel.std(-1).clamp(min=1e-2)]
    return Spectral(**settings)


def _short(value: Any) -> float:
    return float(f"{float(value):.5g}")
