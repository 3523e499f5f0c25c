"""Line 8 of benchmarks/audio.py: gaps filled and bandwidth extended."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from audio_common import Table, clips_of
from tables import command

import suffuse
from suffuse.modalities.audio.bridging import autoregressive
from suffuse.modalities.audio.waves import resample


def linear(wave: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Fill a gap by a straight line between its neighbours."""
    out = wave.copy()
    out[begin:end] = np.linspace(wave[begin - 1], wave[end], end - begin)
    return out


def distance(true: np.ndarray, made: np.ndarray, begin: int, end: int, low_bin: int = 0) -> float:
    """Log-spectral distance (dB; window 512, hop 128) of the frames in the stretch, floored 80 dB below the clip's peak."""
    window = torch.hann_window(512)
    spectra = [
        torch.stft(torch.from_numpy(v)[None], 512, 128, window=window, return_complex=True).abs() for v in (true, made)
    ]
    floor = spectra[0].amax() * 1e-4
    db = [20 * torch.maximum(v, floor).log10() for v in spectra]
    part = (db[0] - db[1])[:, low_bin:, begin // 128 + 1 : max(end // 128, begin // 128 + 2)]
    return part.square().mean(1).sqrt().mean().item()


def place(wave: np.ndarray, length: int, edge: int, draw: np.random.Generator) -> tuple[int, int]:
    """A stretch of a wave where there is speech (root mean square above 0.02), at least `edge` samples from its ends."""
    while True:
        begin = int(draw.integers(edge, len(wave) - length - edge))
        if np.sqrt((wave[begin : begin + length] ** 2).mean()) > 0.02:
            return begin, begin + length


def gaps(a: argparse.Namespace) -> None:
    model = suffuse.load(a.model)
    rate = model.modality.rate
    clips = clips_of(a.work / "kathleen" / "test", rate, a.clips)
    draw = np.random.default_rng(0)
    note = (
        f"{len(clips)} held-out Kathleen sentences, one gap each where there is speech; log-spectral distance in dB over "
        "the gap. AR: Burg's method from both sides, cross-faded; order 64 from .1 s, order 256 from .25 s, order "
        "512 and 1000 from .5 s of context; gaps of at most 60 ms we start from the last. Under AR: our last number of calls "
        f"against the better of the orders 64 and 256. {model.notes.get('about', '')} One seed. `{command()}`"
    )
    table = Table("Gaps" + a.tag, note)
    for length in (0.05, 0.1, 0.2):
        places = [place(wave, int(length * rate), rate // 3, draw) for wave in clips]

        def over(make: Callable, places: list = places) -> float:
            return float(np.mean([distance(w, make(w, *p), *p) for w, p in zip(clips, places, strict=True)]))

        def filled(over: Callable = over) -> dict[str, float]:
            row = {"linear": over(linear), "AR 64": over(autoregressive)}
            row["AR 256"] = over(lambda *asked: autoregressive(*asked, 256, rate // 4))
            row["AR 512"] = over(lambda *asked: autoregressive(*asked, 512, rate // 2))
            row["AR 1000"] = over(lambda *asked: autoregressive(*asked, 1000, rate // 2))
            for calls in a.calls:
                row[f"suffuse, {calls} calls"] = ours = over(
                    lambda w, begin, end, c=calls: model.fill((w, rate), [(begin / rate, end / rate)], steps=c)[0][0]
                )
            row["under AR, %"] = 100 * (1 - ours / min(row["AR 64"], row["AR 256"]))
            row["under AR 512, %"] = 100 * (1 - ours / row["AR 512"])
            return row | {"under AR 1000, %": 100 * (1 - ours / row["AR 1000"])}

        table.row(f"{1000 * length:.0f} ms", filled)
    note = (
        "The same sentences, everything above 4 kHz taken away (sinc); log-spectral distance in dB above 4 kHz. CPU seconds a "
        f"second of sound. One seed. `{command()}`"
    )
    table = Table("Bandwidth, 4 to 8 kHz" + a.tag, note)

    def band(make: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        low = [resample(resample(w, rate, 8000), 8000, rate)[: len(w)] for w in clips]
        begun = time.process_time()
        made = [make(v) for v in low]
        seconds = time.process_time() - begun
        far = np.mean([distance(w, m, 0, len(w) - 512, 133) for w, m in zip(clips, made, strict=True)])
        return {"distance above 4 kHz, dB": far, "CPU seconds a second": seconds / sum(len(w) / rate for w in clips)}

    sinc = table.row("sinc", lambda: band(lambda v: v))["distance above 4 kHz, dB"]
    for calls in a.calls:

        def extended(calls: int = calls) -> dict[str, float]:
            row = band(lambda v: model.extend((v, rate), 4000, steps=calls)[0][0])
            return row | {"under sinc, %": 100 * (1 - row["distance above 4 kHz, dB"] / sinc)}

        table.row(f"suffuse, {calls} calls", extended)
