"""Clips as a data set of frames, mel and labels: whole clips padded with silence, or windows of long ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from suffuse.diffusion.state import Batch
from suffuse.errors import DataError
from suffuse.modalities.audio.reading import Clip
from suffuse.modalities.audio.stft import Spectral


class Clips:
    """A data set (see `suffuse.modalities.contract.Dataset`).

    length: frames of an example. whole: every example is one clip, followed by silence that belongs to it (so that its
    duration is learnt); else examples are windows of `length` frames, half overlapping, and what lies beyond the end of a
    short clip does not exist. labels, speakers: the known names, in the order of their classes.
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
    ):
        self.clips, self.spectral, self.length, self.whole = list(clips), spectral, length, whole
        self.names = {"label": list(labels), "speaker": list(speakers)}
        self.paired = paired
        self.places: list[tuple[int, int]] = []
        for number, clip in enumerate(self.clips):
            last = 0 if whole else max(0, spectral.frames_of(len(clip.wave)) - length)
            step = max(1, length // 2)
            self.places += [(number, start) for start in range(0, last, step)] + [(number, last)]

    def __len__(self) -> int:
        return len(self.places)

    def piece(self, wave: Any, start: int) -> Tensor:
        """The samples that `length` centred frames from frame `start` on see, zeros beyond the ends."""
        n_fft, hop = self.spectral.n_fft, self.spectral.hop
        low, high = start * hop - n_fft // 2, (start + self.length - 1) * hop + n_fft // 2
        out = torch.zeros(high - low)
        a, b = max(low, 0), min(high, len(wave))
        out[a - low : b - low] = torch.from_numpy(wave[a:b])
        return out

    def batch(self, indices: Tensor) -> Batch:
        places = [self.places[i] for i in indices.tolist()]
        x: dict[str, Tensor] = {}
        spectrum = self._spectrum([self.piece(self.clips[c].wave, start) for c, start in places])
        x["frames"], x["mel"] = self.spectral.pack(spectrum), self.spectral.mel(spectrum)
        if self.paired:
            noisy = [self.piece(self.clips[c].noisy, start) for c, start in places]
            x["noisy"] = self.spectral.pack(self._spectrum(noisy))
        observed: dict[str, Tensor] = {}
        for name, known in self.names.items():
            if known:
                x[name], observed[name] = self._classes(name, known, [c for c, _ in places])
        exists: dict[str, Tensor] = {}
        if not self.whole:
            ends = torch.tensor([self.spectral.frames_of(len(self.clips[c].wave)) - start for c, start in places])
            mask = (torch.arange(self.length) < ends[:, None])[:, None]
            if not bool(mask.all()):
                exists = {name: mask for name in ("frames", "mel", "noisy") if name in x}
        return Batch(x, {k: v for k, v in observed.items() if not bool(v.all())}, exists, {}, indices)

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
