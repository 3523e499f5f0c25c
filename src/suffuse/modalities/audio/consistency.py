"""Frames and mel of one sound must agree: a wrapper that sees to it in every network call, and a last polish."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suffuse.modalities.audio.stft import Spectral

Fields = dict[str, Tensor]

POLISH = 32
"""Rounds of fast Griffin-Lim that an answer gets in the end."""


class MelConsistent:
    """denoiser -> denoiser: the clean frames are rescaled towards their mel, made the STFT of a wave, and rescaled again.

    An expected value shrinks what it is not sure of, and phases are never sure: without this, speech comes out faint and dull.
    Acts where the mel is known or nearly so (level at most `known`), on frames that move.
    """

    needs_gradients = False

    def __init__(self, denoiser: Callable[..., Fields], spectral: Spectral, known: float = 0.3):
        self.denoiser, self.spectral, self.known = denoiser, spectral, known

    def __call__(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        clean = dict(self.denoiser(x, levels, context, targets))
        moves = levels["frames"] > 0
        if not bool(moves.any()) or float(levels["mel"].max()) > self.known:
            return clean
        s, frames = self.spectral, clean["frames"].float()
        spectrum, mel = s.unpack(frames), clean["mel"].float()
        exists = context.get("exists:frames")
        if exists is not None:
            spectrum = spectrum * exists[:, :1]
        spectrum = s.towards_mel(s.stft(s.istft(s.towards_mel(spectrum, mel))), mel)
        clean["frames"] = torch.where(moves.expand(frames.shape), s.pack(spectrum), frames)
        return clean


def polish(spectral: Spectral, fields: Fields, asked: Tensor, rounds: int | None = None) -> Tensor:
    """Frames and mel of a finished sample -> spectrum (B, F, T): a few rounds of fast Griffin-Lim on what was asked.

    rounds: default POLISH. asked: (B or 1, F or 1, T) bool; the rest stays as it is.
    """
    spectrum = spectral.unpack(fields["frames"])
    size = spectral.magnitude_of_mel(fields["mel"].float(), rounds=20, start=spectrum.abs())
    rounds, keep = POLISH if rounds is None else rounds, None
    if not bool(asked.all()):
        size, keep = torch.where(asked, size, spectrum.abs()), (~asked, spectrum)
    return spectral.griffin_lim(size, spectrum.angle(), rounds, keep=keep)
