"""Line 2 of benchmarks/audio.py: DiffWave's base model (Kong et al. 2021), written from its paper, beside ours.

30 gated layers of 64 channels, dilations 1 to 512 in three cycles, 50 steps of a linear schedule, sampled by the six steps of
the paper's table of fast schedules. The mel is our model's own; the upsampler has strides 8 and 16 for a hop of 128.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from audio_common import Table, clips_of, trained
from tables import command
from torch import Tensor, nn

import suffuse
from suffuse.modalities.audio.stft import Spectral

CHANNELS, LAYERS, CYCLE, STEPS = 64, 30, 10, 50
FAST = (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5)
FRAMES, BATCH_SIZE, RATE = 62, 4, 1e-3


class Layer(nn.Module):
    """One gated, dilated convolution with the step and the mel added; forward -> (residual, skip)."""

    def __init__(self, dilation: int, bands: int):
        super().__init__()
        self.dilated = nn.Conv1d(CHANNELS, 2 * CHANNELS, 3, padding=dilation, dilation=dilation)
        self.step, self.mel = nn.Linear(512, CHANNELS), nn.Conv1d(bands, 2 * CHANNELS, 1)
        self.out = nn.Conv1d(CHANNELS, 2 * CHANNELS, 1)

    def forward(self, x: Tensor, step: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        gate, value = (self.dilated(x + self.step(step)[..., None]) + self.mel(mel)).chunk(2, 1)
        residual, skip = self.out(torch.sigmoid(gate) * torch.tanh(value)).chunk(2, 1)
        return (x + residual) / math.sqrt(2), skip


class DiffWave(nn.Module):
    """wave (B, N), step (B,) in 0 .. 50, mel (B, M, N / hop) -> the noise in the wave (B, N)."""

    def __init__(self, bands: int, hop: int):
        super().__init__()
        self.into = nn.Conv1d(1, CHANNELS, 1)
        self.step = nn.Sequential(nn.Linear(128, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU())
        strides = (hop // 16, 16)
        self.upsampler = nn.ModuleList(
            nn.ConvTranspose2d(1, 1, (3, 2 * k), stride=(1, k), padding=(1, k // 2)) for k in strides
        )
        self.layers = nn.ModuleList(Layer(2 ** (k % CYCLE), bands) for k in range(LAYERS))
        self.head = nn.Sequential(nn.Conv1d(CHANNELS, CHANNELS, 1), nn.ReLU(), nn.Conv1d(CHANNELS, 1, 1))
        nn.init.zeros_(self.head[-1].weight)

    def forward(self, wave: Tensor, step: Tensor, mel: Tensor) -> Tensor:
        rates = 10 ** (torch.arange(64) * 4 / 63)
        angles = step.float()[:, None] * rates
        h = self.step(torch.cat([angles.sin(), angles.cos()], 1))
        mel = mel[:, None]
        for up in self.upsampler:
            mel = F.leaky_relu(up(mel), 0.4)
        x, total = F.relu(self.into(wave[:, None])), 0
        for layer in self.layers:
            x, skip = layer(x, h, mel[:, 0])
            total = total + skip
        return self.head(total / math.sqrt(LAYERS))[:, 0]


def train(clips: list[np.ndarray], spectral: Spectral, minutes: float) -> DiffWave:
    """So many minutes of this process's CPU time on random stretches, by the noise's squared error."""
    torch.manual_seed(0)
    network = DiffWave(spectral.bands, spectral.hop)
    optimiser = torch.optim.Adam(network.parameters(), RATE)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.05, STEPS), 0)
    draw, begun, steps = np.random.default_rng(0), time.process_time(), 0
    length = FRAMES * spectral.hop
    while time.process_time() - begun < 60 * minutes:
        chosen = [clips[k] for k in draw.integers(len(clips), size=BATCH_SIZE)]
        starts = [int(draw.integers((len(c) - length) // spectral.hop)) * spectral.hop for c in chosen]
        wave = torch.stack([torch.from_numpy(c[s : s + length]) for c, s in zip(chosen, starts, strict=True)])
        mel = spectral.mel(spectral.stft(wave))[..., :-1]
        step, noise = torch.randint(STEPS, (BATCH_SIZE,)), torch.randn_like(wave)
        share = kept[step][:, None]
        found = network(share.sqrt() * wave + (1 - share).sqrt() * noise, step, mel)
        loss = F.mse_loss(found, noise)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += 1
        if steps % 20 == 0:
            print(f"step {steps}, loss {loss.item():.3f}", flush=True)
    return network.eval()


@torch.no_grad()
def sample(network: DiffWave, mel: Tensor, samples: int, hop: int, seed: int) -> Tensor:
    """(1, samples) by the fast schedule: each of its levels is aligned with the training step of the same noise (appendix B)."""
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.05, STEPS, dtype=torch.float64), 0).sqrt()
    fast = torch.cumprod(1 - torch.tensor(FAST, dtype=torch.float64), 0)
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(1, mel.shape[-1] * hop, generator=random)
    for k in reversed(range(len(FAST))):
        level = fast[k].sqrt()
        t = int((kept[:-1] >= level).nonzero()[-1]) if level <= kept[0] else 0
        step = t + (kept[t] - level) / (kept[t] - kept[t + 1])
        noise = network(x, step.float().clamp(0, STEPS - 1)[None], mel)
        x = (x - FAST[k] / (1 - fast[k]).sqrt() * noise) / math.sqrt(1 - FAST[k])
        if k:
            spread = FAST[k] * (1 - fast[k - 1]) / (1 - fast[k])
            x = x + spread.sqrt() * torch.randn(x.shape, generator=random)
    return x[:, :samples].float()


def diffwave(a: argparse.Namespace) -> None:
    from pesq import pesq
    from pystoi import stoi
    from safetensors.torch import load_file, save_file
    from zoo_audio import MODELS

    folder = a.work / "kathleen" / "train"
    model = trained(folder, a.work / f"vocoder-{a.minutes:g}", a.minutes, MODELS["kathleen"]["read"])
    s, rate = model.modality.spectral, model.modality.rate
    clips = clips_of(a.work / "kathleen" / "test", rate, a.clips)
    path = a.work / f"diffwave-{a.minutes:g}.safetensors"
    if path.is_file():
        peer = DiffWave(s.bands, s.hop).eval()
        peer.load_state_dict(load_file(path))
    else:
        peer = train([c for c in clips_of(folder, rate) if len(c) > rate], s, a.minutes)
        save_file(peer.state_dict(), path)
    note = (
        f"{len(clips)} held-out Kathleen sentences, mel of {s.bands} bands, n_fft {s.n_fft}, hop {s.hop}; both trained for "
        f"{a.minutes:g} minutes of one CPU core on the 600 training sentences. DiffWave: base model, {BATCH_SIZE} stretches of "
        f"{FRAMES} frames a step at rate {RATE:g} (the paper's 16 longer ones at 2e-4 leave too few steps), six fast steps. "
        f"One seed. `{command()}`"
    )
    table = Table("DiffWave" + a.tag, note)

    def score(make: Callable[[int, np.ndarray], np.ndarray]) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            begun = time.process_time()
            made = [make(k, wave) for k, wave in enumerate(clips)]
            seconds = time.process_time() - begun
            pairs = list(zip(clips, made, strict=True))
            quality = np.mean([pesq(rate, *pair, "wb") for pair in pairs])
            row = {"PESQ": quality, "STOI": np.mean([stoi(*pair, rate) for pair in pairs])}
            return row | {"CPU seconds a second": seconds / sum(len(c) / rate for c in clips)}

        return run

    def theirs(k: int, wave: np.ndarray) -> np.ndarray:
        return sample(peer, s.mel(s.stft(torch.from_numpy(wave)[None])), len(wave), s.hop, k)[0].numpy()

    table.row("DiffWave, 6 calls", score(theirs))
    torch.manual_seed(0)
    untrained = suffuse.Model.new(model.modality)
    table.row("untrained, 4 calls", score(lambda k, w: untrained.vocode((w, rate), steps=4, seed=k)[0][0]))
    for calls in a.calls:
        table.row(
            f"suffuse, {calls} calls", score(lambda k, w, c=calls: model.vocode((w, rate), steps=c, seed=k)[0][0])
        )
