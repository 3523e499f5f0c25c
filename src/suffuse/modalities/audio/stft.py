"""Sound as frames: the compressed complex STFT and the log-mel spectrogram, both ways, in torch.

A wave is (B, N) at one rate. Its STFT has T = 1 + N // hop centred frames (Hann window of n_fft samples, zeros beyond
the ends) of F = n_fft // 2 + 1 bins. *Frames* hold the real and imaginary parts of sign(S) |S|**exponent, each bin divided
by its own scale: (B, 2F, T), real parts first. *Mel* holds normalised logarithms of mel-band magnitudes: (B, M, T).

Sources: the compressed complex STFT is that of Richter et al. 2023 (SGMSE+, eq. 18); the mel scale and the area-normalised
triangles are Slaney's Auditory Toolbox, 1998, as librosa has them; iterative phase: Griffin & Lim 1984, fast form Perraudin
et al. 2013.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_BREAK_HZ, _BREAK_MEL, _LINEAR = 1000.0, 15.0, 200.0 / 3
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(hz: Tensor) -> Tensor:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    hz = torch.as_tensor(hz, dtype=torch.float64)
    return torch.where(hz < _BREAK_HZ, hz / _LINEAR, _BREAK_MEL + torch.log(hz.clamp(min=1e-9) / _BREAK_HZ) / _LOG_STEP)


def mel_to_hz(mel: Tensor) -> Tensor:
    """Inverse of `hz_to_mel`."""
    mel = torch.as_tensor(mel, dtype=torch.float64)
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR, _BREAK_HZ * torch.exp(_LOG_STEP * (mel - _BREAK_MEL)))


def mel_bank(rate: int, n_fft: int, bands: int, low: float = 0.0, high: float | None = None) -> Tensor:
    """(bands, n_fft // 2 + 1) float32: triangles equally spaced on the mel scale, each of unit area in Hz."""
    edges = torch.tensor([low, high or rate / 2], dtype=torch.float64)
    start, stop = hz_to_mel(edges).tolist()
    corners = mel_to_hz(torch.linspace(start, stop, bands + 2, dtype=torch.float64))
    bins = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    ramps = corners[:, None] - bins
    width = corners.diff()
    rising, falling = -ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]
    bank = torch.minimum(rising, falling).clamp(min=0) * (2.0 / (corners[2:] - corners[:-2]))[:, None]
    return bank.float()


def _two_bands(bank: Tensor) -> tuple[Tensor, Tensor]:
    """The two bands in which each bin of a triangular bank (M, F) weighs most, and its weights there: (2, F) each."""
    weights, bands = torch.cat([bank, torch.zeros(1, bank.shape[1])]).topk(2, dim=0)
    return bands.clamp(max=bank.shape[0] - 1), weights


@dataclass
class Spectral:
    """The settings that turn waves into frames and mel and back; plain numbers, kept in the model's config.

    scale: one divisor a bin for the frames (empty: 1). mel_mean, mel_std: one a band (empty: 0 and 1).
    floor: the mel magnitude below which everything is silence.
    """

    rate: int
    n_fft: int = 512
    hop: int = 128
    bands: int = 80
    exponent: float = 0.5
    floor: float = 1e-5
    scale: list[float] = field(default_factory=list)
    mel_mean: list[float] = field(default_factory=list)
    mel_std: list[float] = field(default_factory=list)

    def __post_init__(self):
        if not 1 <= self.hop <= self.n_fft // 2 or self.n_fft % 2:
            raise ValueError(f"n_fft {self.n_fft} must be even and hop {self.hop} at most half of it")
        bank = mel_bank(self.rate, self.n_fft, self.bands)
        self._bank = bank
        share = bank / bank.sum(0, keepdim=True).clamp(min=1e-12)
        self._share, self._covered = share.T.contiguous(), bank.sum(0) > 0
        self._bands, self._weights = _two_bands(bank)
        self._window = torch.hann_window(self.n_fft)
        self._scale = torch.tensor(self.scale or [1.0] * self.bins)[:, None]
        self._mean = torch.tensor(self.mel_mean or [0.0] * self.bands)[:, None]
        self._std = torch.tensor(self.mel_std or [1.0] * self.bands)[:, None]

    @property
    def bins(self) -> int:
        """F, the number of frequency bins."""
        return self.n_fft // 2 + 1

    def frames_of(self, samples: int) -> int:
        """T, the number of frames of a wave of so many samples."""
        return 1 + samples // self.hop

    def settings(self) -> dict[str, Any]:
        """Everything `Spectral(**settings)` needs, as plain JSON values."""
        return asdict(self)

    # -- complex ------------------------------------------------------------------------------------------------
    def stft(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, F, T) complex."""
        window = self._window.to(wave.device)
        return torch.stft(
            wave, self.n_fft, self.hop, window=window, center=True, pad_mode="constant", return_complex=True
        )

    def istft(self, spectrum: Tensor, samples: int | None = None) -> Tensor:
        """(B, F, T) complex -> (B, samples), by default (T - 1) hop samples: least squares over overlapping frames."""
        window = self._window.to(spectrum.device)
        samples = (spectrum.shape[-1] - 1) * self.hop if samples is None else samples
        if spectrum.shape[-1] == 1:  # one frame alone: its centre is sample 0 and nothing follows
            wave = torch.fft.irfft(spectrum[..., 0], n=self.n_fft)[:, self.n_fft // 2 :]
            return wave[:, : max(samples, 0)]
        return torch.istft(spectrum, self.n_fft, self.hop, window=window, center=True, length=samples)

    def pack(self, spectrum: Tensor) -> Tensor:
        """(B, F, T) complex -> frames (B, 2F, T): compressed, scaled, real parts first."""
        magnitude = spectrum.abs().clamp(min=1e-9)
        small = spectrum * magnitude ** (self.exponent - 1) / self._scale.to(magnitude.device)
        return torch.cat([small.real, small.imag], dim=1)

    def unpack(self, frames: Tensor) -> Tensor:
        """Inverse of `pack`."""
        real, imag = frames.float().chunk(2, dim=1)
        small = torch.complex(real, imag) * self._scale.to(frames.device)
        return small * small.abs().clamp(min=1e-9) ** (1 / self.exponent - 1)

    def encode(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) -> frames (B, 2F, T) and mel (B, M, T)."""
        spectrum = self.stft(wave)
        return self.pack(spectrum), self.mel(spectrum)

    def decode(self, frames: Tensor, samples: int | None = None) -> Tensor:
        """Frames (B, 2F, T) -> wave (B, N)."""
        return self.istft(self.unpack(frames), samples)

    # -- mel ----------------------------------------------------------------------------------------------------
    def mel(self, spectrum: Tensor) -> Tensor:
        """(B, F, T) complex or magnitudes -> normalised log-mel (B, M, T)."""
        log = (self._bank.to(spectrum.device) @ spectrum.abs()).clamp(min=self.floor).log()
        return (log - self._mean.to(log.device)) / self._std.to(log.device)

    def mel_of(self, wave: Tensor, block: int = 2048) -> Tensor:
        """(B, N) -> mel (B, M, T) of a wave, `block` frames at a time: a long wave needs no spectrum of its own length."""
        padded = F.pad(wave, (self.n_fft // 2, self.n_fft // 2))
        total, window, mels = self.frames_of(wave.shape[1]), self._window.to(wave.device), []
        for begin in range(0, total, block):
            last = min(begin + block, total) - 1
            part = padded[:, begin * self.hop : last * self.hop + self.n_fft]
            mels.append(
                self.mel(torch.stft(part, self.n_fft, self.hop, window=window, center=False, return_complex=True))
            )
        return torch.cat(mels, dim=-1)

    def mel_magnitude(self, mel: Tensor) -> Tensor:
        """Normalised log-mel -> mel-band magnitudes (B, M, T)."""
        return (mel.float() * self._std.to(mel.device) + self._mean.to(mel.device)).exp()

    def towards_mel(self, spectrum: Tensor, mel: Tensor, limit: float = 100.0) -> Tensor:
        """Rescale a spectrum so that its mel comes to the given one: each bin by the mean of its bands' ratios."""
        wanted = self.mel_magnitude(mel)
        found = self._bank.to(spectrum.device) @ spectrum.abs()
        ratio = (wanted / found.clamp(min=self.floor)).clamp(1 / limit, limit)
        gain = self._share.to(spectrum.device) @ ratio
        gain = torch.where(self._covered.to(spectrum.device)[:, None], gain, torch.ones_like(gain))
        return spectrum * gain

    def magnitude_of_mel(self, mel: Tensor, rounds: int = 60, start: Tensor | None = None) -> Tensor:
        """(B, M, T) -> non-negative (B, F, T) with that mel, by multiplicative updates (Lee & Seung 2000) from `start` (default:
        each band spread evenly over its bins)."""
        wanted = self.mel_magnitude(mel)
        if start is None:
            value = self._share.to(mel.device) @ (wanted / self._bank.to(mel.device).sum(1)[:, None].clamp(min=1e-12))
        else:
            value = start.clamp(min=1e-7)
        top = self._spread(wanted)
        for _ in range(rounds):
            found = self._spread(self._gathered(value)).clamp_(min=1e-9)
            value = value.mul_(top).div_(found)
        return value

    def _gathered(self, value: Tensor) -> Tensor:
        """bank @ value: (B, F, T) -> (B, M, T). Every bin lies in at most two bands, so sums over those are enough."""
        out = value.new_zeros(value.shape[0], self.bands, value.shape[2])
        for band, weight in zip(self._bands.to(value.device), self._weights.to(value.device), strict=True):
            out.index_add_(1, band, value * weight[:, None])
        return out

    def _spread(self, value: Tensor) -> Tensor:
        """bank.T @ value: (B, M, T) -> (B, F, T)."""
        (one, other), (a, b) = self._bands.to(value.device), self._weights.to(value.device)[..., None]
        return torch.addcmul(value.index_select(1, one) * a, value.index_select(1, other), b)

    # -- phase --------------------------------------------------------------------------------------------------
    def griffin_lim(
        self,
        magnitude: Tensor,
        phase: Tensor,
        rounds: int,
        momentum: float = 0.99,
        keep: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Find a spectrum of the given magnitudes (B, F, T) that is the STFT of a wave, from a starting phase (radians).

        keep: (mask, spectrum): what is held as it is where the mask is True.
        """
        size = magnitude.transpose(1, 2).contiguous()
        spectrum = torch.polar(size, phase.transpose(1, 2).contiguous())
        held = None if keep is None else (keep[0].transpose(1, 2), keep[1].transpose(1, 2))
        rows = held[0][0, :, 0].nonzero()[:, 0] if held is not None and held[0].shape[::2] == (1, 1) else None
        window, gain = self._window.to(size.device), self._overlap_gain(size.shape[1]).to(size.device)
        before = torch.zeros_like(spectrum)
        for _ in range(rounds):
            wave = self._overlapped(torch.fft.irfft(spectrum, self.n_fft).mul_(window)).mul_(gain)
            consistent = torch.fft.rfft(wave.unfold(1, self.n_fft, self.hop) * window)
            direction = before.sub_(consistent).mul_(-momentum).add_(consistent)
            before = consistent
            power = torch.addcmul(direction.real.square(), direction.imag, direction.imag)
            spectrum = direction.mul_(power.clamp_(min=1e-18).rsqrt_().mul_(size))
            if rows is not None:  # whole frames of one wave
                spectrum[:, rows] = held[1][:, rows]
            elif held is not None:
                spectrum = torch.where(held[0], held[1], spectrum)
        return spectrum.transpose(1, 2)

    def _overlapped(self, frames: Tensor) -> Tensor:
        """(B, T, n_fft) -> (B, (T - 1) hop + n_fft): the sum of frames that start `hop` samples after each other."""
        b, t, size = frames.shape
        parts = -(-size // self.hop)
        rest = parts * self.hop - size
        pieces = (F.pad(frames, (0, rest)) if rest else frames).reshape(b, t, parts, self.hop)
        total = frames.new_zeros(b, t + parts - 1, self.hop)
        for k in range(parts):
            total[:, k : k + t] += pieces[:, :, k]
        return total.view(b, -1)[:, : (t - 1) * self.hop + size]

    def _overlap_gain(self, frames: int) -> Tensor:
        """((T - 1) hop + n_fft,): one over the sum of the squared windows, and zero beyond the ends of the wave."""
        total = self._overlapped(self._window.square().expand(1, frames, self.n_fft))[0]
        gain = 1 / total.clamp(min=1e-9)
        gain[: self.n_fft // 2] = 0
        gain[len(gain) - self.n_fft // 2 :] = 0
        return gain
