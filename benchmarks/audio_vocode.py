"""Line 1 of benchmarks/audio.py: copy synthesis beside Griffin-Lim."""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from audio_common import Table, clips_of
from tables import command

import suffuse
from suffuse.metrics.audio import log_spectral_distance, mel_cepstral_distance


def vocode(a: argparse.Namespace) -> None:
    from pesq import pesq
    from pystoi import stoi

    model = suffuse.load(a.model)
    s, rate = model.modality.spectral, model.modality.rate
    clips = clips_of(a.work / "kathleen" / "test", rate, a.clips)
    torch.manual_seed(0)
    untrained = suffuse.Model.new(model.modality)
    note = (
        f"{len(clips)} held-out Kathleen sentences, mel of {s.bands} bands, n_fft {s.n_fft}, hop {s.hop}. "
        "Griffin-Lim is the fast one (momentum .99) on magnitudes fitted to the mel, which is stronger than the plain one. "
        f"True phase: those magnitudes with the true phase. {model.notes.get('about', '')} `{command()}`"
    )
    table = Table(f"Copy synthesis, n_fft {s.n_fft}, hop {s.hop}" + a.tag, note)

    def score(make):
        def run() -> dict[str, float]:
            rows, begun = [], time.process_time()
            made = [make(k, wave) for k, wave in enumerate(clips)]
            seconds = time.process_time() - begun
            for wave, other in zip(clips, made, strict=True):
                spectra = [s.stft(torch.from_numpy(v)[None]) for v in (wave, other)]
                mels = [s.mel_magnitude(s.mel(v)).log() for v in spectra]
                far = log_spectral_distance(*(v.abs() for v in spectra)), mel_cepstral_distance(*mels)
                quality = pesq(rate, wave, other, "wb") if rate == 16000 else pesq(rate, wave, other, "nb")
                rows.append((quality, stoi(wave, other, rate), *(v.item() for v in far)))
            mean = np.mean(rows, 0)
            factor = seconds / sum(len(c) / rate for c in clips)
            names = ("PESQ", "STOI", "log-spectral distance, dB", "mel-cepstral distance, dB")
            return dict(zip(names, mean, strict=True)) | {"CPU seconds a second": factor}

        return run

    def griffin_lim(rounds: int, plain: bool = False):
        def make(k: int, wave: np.ndarray) -> np.ndarray:
            size = s.magnitude_of_mel(s.mel(s.stft(torch.from_numpy(wave)[None])))
            phase = 6.2832 * torch.rand(size.shape, generator=torch.Generator().manual_seed(k))
            return s.istft(s.griffin_lim(size, phase, rounds, 0.0 if plain else 0.99), len(wave))[0].numpy()

        return make

    def true_phase(k: int, wave: np.ndarray) -> np.ndarray:
        spectrum = s.stft(torch.from_numpy(wave)[None])
        size = s.magnitude_of_mel(s.mel(spectrum))
        return s.istft(torch.polar(size, spectrum.angle()), len(wave))[0].numpy()

    table.row("real against itself", score(lambda k, wave: wave))
    table.row("true phase", score(true_phase))
    table.row("Griffin-Lim-60 without momentum", score(griffin_lim(60, True)))
    for rounds in (60, 200):
        table.row(f"Griffin-Lim-{rounds}", score(griffin_lim(rounds)))
    table.row("untrained, 4 calls", score(lambda k, w: untrained.vocode((w, rate), steps=4, seed=k)[0][0]))
    for calls in a.calls:
        table.row(
            f"suffuse, {calls} calls", score(lambda k, w, c=calls: model.vocode((w, rate), steps=c, seed=k)[0][0])
        )
