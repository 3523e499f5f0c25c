"""Two independent judges of spoken digits, trained on the training clips only, for benchmarks/audio.py.

A convolutional network on log-mel frames (torch), and a support vector machine on time-stretched mel cepstra (scikit-learn):
different features, different learners, so that a sample that fools one rarely fools the other.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from suffuse.modalities.audio.stft import Spectral
from suffuse.modalities.audio.waves import normalise

RATE, FRAMES = 8000, 96
MEL = Spectral(RATE, 256, 80, 40, floor=1e-4)


def mel_of(wave: np.ndarray, rate: int = RATE) -> torch.Tensor:
    """(40, T) natural log-mel at the house's loudness; trailing silence does not count."""
    level, _ = normalise(np.asarray(wave, np.float32), rate)
    return MEL.mel(MEL.stft(torch.from_numpy(level)[None]))[0]


class Judge(nn.Module):
    """(B, 40, FRAMES) -> logits; `features` gives the 64 numbers before the last layer."""

    def __init__(self, classes: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(40, 96, 5, padding=2), nn.GELU(), nn.GroupNorm(8, 96), nn.MaxPool1d(2),
            nn.Conv1d(96, 96, 5, padding=2), nn.GELU(), nn.GroupNorm(8, 96), nn.MaxPool1d(2),
            nn.Conv1d(96, 96, 3, padding=1), nn.GELU(), nn.GroupNorm(8, 96), nn.MaxPool1d(2),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Linear(96 * 2, 64), nn.GELU())
        self.last = nn.Linear(64, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return self.head(torch.cat([h.mean(-1), h.amax(-1)], 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.features(x))


def stack(mels: list[torch.Tensor]) -> torch.Tensor:
    """Mels cut or padded (with the floor) to FRAMES: (B, 40, FRAMES), about unit deviation."""
    out = torch.full((len(mels), 40, FRAMES), math.log(MEL.floor))
    for row, mel in zip(out, mels, strict=True):
        row[:, : mel.shape[1]] = mel[:, :FRAMES]
    return (out + 5.0) / 2.5


def train_network(mels: list[torch.Tensor], labels: torch.Tensor, classes: int, seconds: float, seed: int = 0) -> Judge:
    """AdamW with a falling rate; clips are shifted in time and louder or softer at random."""
    torch.manual_seed(seed)
    judge, x = Judge(classes), stack(mels)
    optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.05)
    begun, k = time.process_time(), 0
    while (share := (time.process_time() - begun) / seconds) < 1:
        optimiser.param_groups[0]["lr"] = 2e-3 * (1 - share)
        rows = torch.randint(len(x), (64,))
        piece = torch.stack([torch.roll(x[r], int(s), -1) for r, s in zip(rows, torch.randint(-4, 5, (64,)))])
        piece = piece + 0.2 * torch.randn(64, 1, 1) + 0.1 * torch.randn_like(piece)
        loss = F.cross_entropy(judge(piece), labels[rows], label_smoothing=0.05)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        k += 1
    return judge.eval()


@torch.no_grad()
def ask_network(judge: Judge, mels: list[torch.Tensor]) -> torch.Tensor:
    """(B, classes) probabilities."""
    return torch.softmax(judge(stack(mels)), -1)


def cepstra(mels: list[torch.Tensor], count: int = 14, frames: int = 18) -> np.ndarray:
    """(B, count * frames): cepstral coefficients 1.. of the sounding part, stretched to so many frames, and its length."""
    k = torch.arange(1, count + 1)[:, None]
    cosines = torch.cos(math.pi / 40 * k * (torch.arange(40) + 0.5)) / 40
    rows = []
    for mel in mels:
        loud = (mel.amax(0) > mel.max() - 5.0).nonzero()[:, 0]
        mel = mel[:, loud.min() : loud.max() + 1]
        fixed = F.interpolate((cosines @ mel)[None], frames, mode="linear", align_corners=False)[0]
        rows.append(torch.cat([fixed.flatten(), torch.tensor([mel.shape[1] / 200])]).numpy())
    return np.stack(rows)


def train_machine(mels: list[torch.Tensor], labels: torch.Tensor):
    """A support vector machine with a radial kernel on standardised cepstra."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    return make_pipeline(StandardScaler(), SVC(C=10.0)).fit(cepstra(mels), labels.numpy())


def inception_score(probabilities: torch.Tensor) -> float:
    """exp of the mean KL divergence between each clip's class probabilities and their mean (Salimans et al. 2016)."""
    p = probabilities.double().clamp(min=1e-12)
    return (p * (p.log() - p.mean(0, keepdim=True).log())).sum(1).mean().exp().item()


def different_bins(train: np.ndarray, other: np.ndarray, bins: int = 50, seed: int = 0) -> float:
    """NDB/K (Richardson & Weiss 2018): the share of k-means bins of the training features whose occupancy differs
    (two-proportion z test, 5 %)."""
    from sklearn.cluster import KMeans

    means = KMeans(bins, n_init=2, random_state=seed).fit(train)
    a, b = (np.bincount(means.predict(v.astype(train.dtype)), minlength=bins) / len(v) for v in (train, other))
    pooled = (a * len(train) + b * len(other)) / (len(train) + len(other))
    error = np.sqrt(pooled * (1 - pooled) * (1 / len(train) + 1 / len(other)))
    return float((np.abs(a - b) / np.maximum(error, 1e-12) > 1.96).mean())
