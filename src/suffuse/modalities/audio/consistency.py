"""Frames and mel of one sound must agree: a wrapper that sees to it in every network call, and a last polish."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suffuse.modalities.audio.stft import Spectral

Fields = dict[str, Tensor]


class MelConsistent:
    """denoiser -> denoiser: the clean frames get the magnitudes their mel implies and become the STFT of a wave.

    An expected value shrinks what it is not sure of, and phases are never sure; so the magnitudes come from the mel and the
    frames give the phase alone. Acts where the mel is known or nearly so (level at most `known`), on frames that move.
    """

    needs_gradients = False

    def __init__(self, denoiser: Callable[..., Fields], spectral: Spectral, known: float = 0.3):
        self.denoiser, self.spectral, self.known = denoiser, spectral, known
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        clean = dict(self.denoiser(x, levels, context, targets))
        moves = levels["frames"] > 0
        if not bool(moves.any()) or float(levels["mel"].max()) > self.known:
            return clean
        s, frames = self.spectral, clean["frames"].float()
        own = s.unpack(frames)
        size = self.magnitude(clean["mel"].float())
        exists = context.get("exists:frames")
        if exists is not None:
            size = size * exists[:, :1]
        wave = s.istft(torch.polar(size, own.angle()))
        made = s.stft(wave)
        made = s.pack(torch.polar(size, made.angle()))
        clean["frames"] = torch.where(moves.expand(frames.shape), made, frames)
        return clean

    def magnitude(self, mel: Tensor) -> Tensor:
        """Magnitudes (B, F, T) of a mel; those of the last one are kept."""
        if self._last is None or not torch.equal(self._last[0], mel):
            self._last = (mel, self.spectral.magnitude_of_mel(mel))
        return self._last[1]


def polish(spectral: Spectral, fields: Fields, asked: Tensor, rounds: int = 8) -> Tensor:
    """Frames and mel of a finished sample -> spectrum (B, F, T): a few rounds of fast Griffin-Lim on what was asked.

    asked: (B or 1, F or 1, T) bool; the rest stays as it is.
    """
    spectrum = spectral.unpack(fields["frames"])
    size = torch.where(asked, spectral.magnitude_of_mel(fields["mel"].float()), spectrum.abs())
    made = spectral.griffin_lim(size, spectrum.angle(), rounds, keep=(~asked, spectrum))
    return torch.where(asked, made, spectrum)

