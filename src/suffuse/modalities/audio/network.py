"""The default network of the audio room: frames, mel and labels, and a second look at the noisy frames."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from suffuse.errors import AskError
from suffuse.modalities.audio.stft import Spectral
from suffuse.networks.frames import FrameNetwork

OPTIONS = ("width", "depth", "kernel", "expansion", "attention", "heads", "taps", "rank", "cond", "patch", "view")


class AudioNetwork(nn.Module):
    """`FrameNetwork` with a view: the noisy frames, given the magnitudes that the mel implies and made the STFT of a wave again.

    The view is one round of Griffin-Lim (1984) on the noisy input, as in Deep Griffin-Lim (Masuyama et al. 2019): it holds no
    parameter, and it tells the network what neighbouring frames say about each other. Where the mel itself is noisy (level
    above 0.3) the frames keep their own magnitudes.
    options: see `FrameNetwork`; taps: filter length for frames and view (0: none); view: False leaves the view out.
    """

    def __init__(self, spectral: Spectral, classes: dict[str, int], paired: bool = False, **options: Any):
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
            channels["noisy"] = frames
            unanswered.append("noisy")
        lengths = {name: taps for name in channels if name != "mel"} if taps else {}
        self.view = bool(view)
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
            spectrum = torch.polar(size, spectrum.angle())
            return s.pack(s.stft(s.istft(spectrum)))

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
        raw = self.body(x, levels, context, targets)
        if self.paired:
            raw["noisy"] = torch.zeros_like(x["noisy"])
        return raw
