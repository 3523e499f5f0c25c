"""Line 5 of benchmarks/audio.py: the voice is kept in vocoding, and another one is taken on in conversion.

Two judges: the speaker encoder that resemblyzer 0.1.4 ships (read from its weights; without its silence trimming), on ten words
at once, and the small network of audio_judges.py, trained on the six voices, on single words.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path

import audio_judges as judges
import numpy as np
import torch
import torch.nn.functional as F
from audio_common import Table, clips_of, paths_of
from tables import command
from torch import Tensor, nn

import suffuse
from suffuse.modalities.audio.stft import mel_bank
from suffuse.modalities.audio.waves import normalise, read_wave, resample

RATE, WINDOW, STEP, BANDS, LONG = 16_000, 400, 160, 40, 160
WORDS = 10
"""Words in one utterance for the encoder, which is made for seconds of speech."""


class Encoder(nn.Module):
    """Generalised end-to-end speaker encoder (Wan et al. 2018) with resemblyzer's weights: wave (N,) at 16 kHz -> (256,), unit
    length. Raises ImportError where resemblyzer is not installed."""

    def __init__(self):
        super().__init__()
        self.lstm, self.linear = nn.LSTM(BANDS, 256, 3, batch_first=True), nn.Linear(256, 256)
        found = importlib.util.find_spec("resemblyzer")
        if found is None:
            raise ImportError("resemblyzer is not installed")
        weights = torch.load(Path(found.origin).parent / "pretrained.pt", weights_only=True, map_location="cpu")
        self.load_state_dict({k: v for k, v in weights["model_state"].items() if not k.startswith("similarity")})
        self.bank = mel_bank(RATE, WINDOW, BANDS)

    @torch.no_grad()
    def forward(self, wave: np.ndarray) -> Tensor:
        wave = torch.from_numpy(np.pad(wave, (0, max(0, LONG * STEP - len(wave)))))
        spectrum = torch.stft(
            wave, WINDOW, STEP, window=torch.hann_window(WINDOW), pad_mode="constant", return_complex=True
        )
        mel = (self.bank @ spectrum.abs().square()).T
        starts = range(0, max(1, len(mel) - LONG + 1), 77)
        _, (hidden, _) = self.lstm(torch.stack([mel[k : k + LONG] for k in starts]))
        parts = F.normalize(F.relu(self.linear(hidden[-1])), dim=1)
        return F.normalize(parts.mean(0), dim=0)


def similarity(one: Tensor, other: Tensor, itself: bool) -> float:
    """Mean cosine of two sets of embeddings (N, D), a clip with itself left out where both are of the same clips."""
    cosine = one @ other.T
    return cosine[~torch.eye(len(cosine), dtype=torch.bool)].mean().item() if itself else cosine.mean().item()


def voices(a: argparse.Namespace) -> None:
    encoder = Encoder()
    reader = suffuse.load("kathleen")
    rate = reader.modality.rate
    note = (
        f"Mean cosine between the speaker embeddings of different clips of one voice: {a.clips} held-out Kathleen sentences; for "
        f"each voice of the digits 5 utterances of {WORDS} test words. 4 calls. Share: vocoded against real, over real against "
        f"real (bar 95 %). Another voice: the mean over pairs of different speakers. One seed. `{command()}`"
    )
    table = Table("Voice kept" + a.tag, note)

    def kept(real: list[np.ndarray], made: list[np.ndarray]) -> dict[str, float]:
        ours, theirs = (torch.stack([encoder(w) for w in many]) for many in (made, real))
        base, mixed = similarity(theirs, theirs, True), similarity(ours, theirs, True)
        return {"real to real": base, "vocoded to real": mixed, "share, %": 100 * mixed / base}

    def kathleen() -> dict[str, float]:
        clips = clips_of(a.work / "kathleen" / "test", rate, a.clips)
        return kept(clips, [reader.vocode((w, rate), steps=4, seed=k)[0][0] for k, w in enumerate(clips)])

    table.row("Kathleen", kathleen)
    model = suffuse.load(a.model)
    own = model.modality.rate
    names = model.modality.classes["speaker"]
    room = (model.modality.length - 1) * model.modality.spectral.hop

    def real(part: str) -> tuple[list[np.ndarray], list[str], list[str]]:
        paths = paths_of(a.work / "fsdd" / part)
        clips = [(normalise(read_wave(p)[0], own)[0], *p.stem.split("_")[:2]) for p in paths]
        clips = [c for c in clips if len(c[0]) <= room]
        return [c[0] for c in clips], [c[1] for c in clips], [c[2] for c in clips]

    test, test_words, test_names = real("test")

    def utterances(waves: list[np.ndarray]) -> list[np.ndarray]:
        joined = [np.concatenate(waves[k : k + WORDS]) for k in range(0, len(waves) - WORDS + 1, WORDS)]
        return [resample(w, own, RATE) for w in joined]

    def in_turn(waves: list[np.ndarray], speakers: list[str], spoken: list[str], name: str) -> list[np.ndarray]:
        """The clips of one voice, a different word after another."""
        here = [k for k, s in enumerate(speakers) if s == name]
        rank = {k: [j for j in here if spoken[j] == spoken[k]].index(k) for k in here}
        return [waves[k] for k in sorted(here, key=lambda k: (rank[k], spoken[k]))]

    for name in names:

        def digits(name: str = name) -> dict[str, float]:
            clips = in_turn(test, test_names, test_words, name)
            made = [model.vocode((w, own), steps=4, seed=k)[0][0] for k, w in enumerate(clips)]
            return kept(utterances(clips), utterances(made))

        table.row(name, digits)

    def others() -> dict[str, float]:
        sets = [torch.stack([encoder(w) for w in utterances(in_turn(test, test_names, test_words, n))]) for n in names]
        return {"real to real": np.mean([similarity(u, v, False) for u in sets for v in sets if u is not v])}

    table.row("another voice", others)
    convert(a, model, encoder, utterances, in_turn, real("train"), (test, test_words, test_names))


def convert(a: argparse.Namespace, model, encoder, utterances, in_turn, train, test) -> None:
    """The second table: test words of each voice, said by each other voice."""
    own, names = model.modality.rate, model.modality.classes["speaker"]
    waves, spoken, speakers = test
    note = (
        f"{a.samples} test words of each voice, converted to the five other voices in turn. Network: a small convolutional judge "
        "trained on the voices of the training clips, word by word. Encoder: resemblyzer on ten words of one target at once, "
        "the nearest of the six voices' mean embeddings of real training clips. Word kept: the support vector machine of "
        "audio_judges.py on digits. Bar: 80 %. "
        f"One seed. `{command()}`"
    )
    table = Table("Another voice" + a.tag, note)
    train_waves, train_words, train_names = train
    mels = [judges.mel_of(w) for w in train_waves]
    who = torch.tensor([names.index(n) for n in train_names])
    labels = model.modality.classes["label"]
    ears = judges.train_network(mels, who, len(names), a.judge_seconds)
    reading = judges.train_machine(mels, torch.tensor([labels.index(w) for w in train_words]))
    centres = []
    for name in names:
        some = utterances(in_turn(train_waves, train_names, train_words, name)[:200])
        centres.append(F.normalize(torch.stack([encoder(w) for w in some]).mean(0), dim=0))
    centres = torch.stack(centres)

    def score(made: list[np.ndarray], targets: list[str], said: list[str]) -> dict[str, float]:
        heard = [judges.mel_of(w) for w in made]
        truth = torch.tensor([names.index(t) for t in targets])
        word = np.array([labels.index(w) for w in said])
        right = []
        for name in names:
            long = utterances([w for w, t in zip(made, targets, strict=True) if t == name])
            right += [int((centres @ encoder(w)).argmax()) == names.index(name) for w in long]
        return {
            "network, %": 100 * (judges.ask_network(ears, heard).argmax(1) == truth).float().mean().item(),
            "encoder, %": 100 * float(np.mean(right)),
            "word kept, %": 100 * float((reading.predict(judges.cepstra(heard)) == word).mean()),
        }

    table.row("real test clips", lambda: score(waves, speakers, spoken))
    chosen = [
        k for n in names for k in [j for j, s in enumerate(speakers) if s == n][:: max(1, 50 // a.samples)][: a.samples]
    ]
    targets = [[n for n in names if n != speakers[k]][j % (len(names) - 1)] for j, k in enumerate(chosen)]
    for strength in (0.7, 0.85, 0.9, 1.0):

        def converted(strength: float = strength) -> dict[str, float]:
            begun = time.process_time()
            made = [
                model.convert((waves[k], own), target, strength=strength, seed=j)[0][0]
                for j, (k, target) in enumerate(zip(chosen, targets, strict=True))
            ]
            seconds = time.process_time() - begun
            row = score(made, targets, [spoken[k] for k in chosen])
            return row | {"CPU seconds a second": seconds / sum(len(w) / own for w in made)}

        table.row(f"suffuse, strength {strength:g}", converted)
