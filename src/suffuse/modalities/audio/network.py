"""The default network of the audio room: frames, mel and labels, and a second look at the noisy frames."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.errors import AskError
from suffuse.modalities.audio.stft import Spectral
from suffuse.networks.frames import FrameNetwork

OPTIONS = ("width", "depth", "kernel", "expansion", "attention", "heads", "taps", "rank", "cond", "patch", "view")


class Spelling(nn.Module):
    """What is spoken in each frame as features: (B, T) symbols -> (B, channels, T): embeddings of the symbol, the one before and
    the one after it; how far the frame lies from its symbol's ends; and how long that lasts."""

    def __init__(self, count: int, width: int = 48):
        super().__init__()
        self.count, self.channels = count, 3 * width + 3
        self.embedding = nn.Embedding(count + 1, width)

    def forward(self, symbols: Tensor) -> Tensor:
        b, t = symbols.shape
        at = torch.arange(t, device=symbols.device).expand(b, t)
        new = F.pad(symbols[:, 1:] != symbols[:, :-1], (1, 0), value=True)
        first = torch.where(new, at, 0).cummax(1).values
        last = torch.where(F.pad(new[:, 1:], (0, 1), value=True), at, t - 1).flip(1).cummin(1).values.flip(1)
        near = [symbols.gather(1, (first - 1).clamp(min=0)), symbols, symbols.gather(1, (last + 1).clamp(max=t - 1))]
        spans = [torch.log1p(v.float()) / 3 for v in (at - first, last - at, last - first)]
        features = [self.embedding(v) for v in near]
        return torch.cat([*features, torch.stack(spans, -1).to(features[0].dtype)], -1).transpose(1, 2)


class AudioNetwork(nn.Module):
    """`FrameNetwork` with a view: the noisy frames, given the magnitudes that the mel implies and made the STFT of a wave again.

    The view is one round of Griffin-Lim (1984) on the noisy input, as in Deep Griffin-Lim (Masuyama et al. 2019): it holds no
    parameter, and it tells the network what neighbouring frames say about each other. Where the mel itself is noisy (level
    above 0.3) the frames keep their own magnitudes.
    Of noisy frames that are given it also sees the logarithm of their magnitudes, from which a mask is easily read.
    options: see `FrameNetwork`; taps: filter length for frames and view (0: none); view: False leaves the view out, a number
    makes it of so many rounds.
    """

    def __init__(
        self, spectral: Spectral, classes: dict[str, int], paired: bool = False, symbols: int = 0, **options: Any
    ):
        super().__init__()
        for name in options:
            if name not in OPTIONS:
                raise AskError(f"'{name}' is no option of the audio network; known are {', '.join(OPTIONS)}")
        self.spectral, self.paired = spectral, paired
        attention = options.pop("attention", ())
        if isinstance(attention, (str, int)):
            attention = str(attention).split(",")
        try:
            options["attention"] = sorted({int(a) for a in attention})
        except (TypeError, ValueError):
            raise AskError(f"attention names blocks by their numbers, such as 1,3, not {attention!r}") from None
        view, taps = options.pop("view", True), options.pop("taps", 3)
        frames = 2 * spectral.bins
        channels, unanswered = {"frames": frames, "mel": spectral.bands}, []
        if view:
            channels["view"] = frames
            unanswered.append("view")
        if paired:
            channels |= {"noisy": frames, "loudness": spectral.bins}
            unanswered += ["noisy", "loudness"]
        self.spelling = Spelling(symbols) if symbols else None
        if self.spelling is not None:
            channels["text"] = self.spelling.channels
            unanswered.append("text")
        lengths = {name: taps for name in channels if channels[name] == frames} if taps else {}
        self.view = int(view)
        self.body = FrameNetwork(
            channels, classes, unanswered, taps=lengths, filters={name: "frames" for name in lengths}, **options
        )

    @torch.no_grad()
    def look(self, frames: Tensor, mel: Tensor, mel_level: Tensor) -> Tensor:
        """The view of noisy frames (B, 2F, T)."""
        s = self.spectral
        with torch.autocast(frames.device.type, enabled=False):
            spectrum = s.unpack(frames.float())
            known = (mel_level.flatten(1).amax(1) < 0.3)[:, None, None]
            implied = s.magnitude_of_mel(mel.float().clamp(-8, 8), rounds=8)
            size = torch.where(known, implied, spectrum.abs())
            for _ in range(self.view):
                spectrum = s.stft(s.istft(torch.polar(size, spectrum.angle())))
            return s.pack(spectrum)

    @staticmethod
    def loudness(noisy: Tensor, level: Tensor) -> Tensor:
        """Logarithms of the magnitudes of noisy frames, (B, 2F, T) -> (B, F, T); zero where they are held back."""
        real, imaginary = noisy.float().chunk(2, dim=1)
        size = (real.square() + imaginary.square()).add(1e-4).sqrt().log()
        return torch.where(level[:, :1] < 1, size, torch.zeros_like(size)).to(noisy.dtype)

    def forward(
        self,
        x: dict[str, Tensor],
        levels: dict[str, Tensor],
        context: dict[str, Tensor] | None = None,
        targets: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        x, levels = dict(x), dict(levels)
        targets = None if targets is None else dict(targets)
        if self.view:
            x["view"] = self.look(x["frames"], x["mel"], levels["mel"])
            levels["view"] = levels["frames"]
            if targets is not None:
                targets["view"] = targets["frames"]
        if self.paired:
            x["loudness"] = self.loudness(x["noisy"], levels["noisy"])
            levels["loudness"] = levels["noisy"]
            if targets is not None:
                targets["loudness"] = targets["noisy"]
        if self.spelling is not None:
            symbols = x["text"]
            x["text"], levels["text"] = self.spelling(symbols), levels["text"][:, None]
            if targets is not None:
                targets["text"] = targets["text"][:, None]
        raw = self.body(x, levels, context, targets)
        if self.spelling is not None:  # a text is given or left open; it is never asked
            raw["text"] = x["frames"].new_zeros(*symbols.shape, self.spelling.count)
        if self.paired:
            raw["noisy"] = torch.zeros_like(x["noisy"])
        return raw
