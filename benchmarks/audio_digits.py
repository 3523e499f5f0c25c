"""Lines 3 and 4 of benchmarks/audio.py: spoken digits, recognised and varied."""

from __future__ import annotations

import argparse
import time
from typing import Any

import audio_judges as judges
import numpy as np
import torch
from audio_common import Table, asked_of
from tables import command

import suffuse
from suffuse.modalities.audio.waves import read_wave


def digits(a: argparse.Namespace) -> None:
    model = suffuse.load(a.model)
    m = model.modality
    names = m.classes["label"]

    def real(part: str) -> tuple[list, torch.Tensor]:
        paths = sorted((a.work / "fsdd" / part).iterdir())
        return [read_wave(p)[0] for p in paths], torch.tensor([names.index(p.stem.split("_")[0]) for p in paths])

    waves, labels = real("train")
    test_waves, test_labels = real("test")
    mels, test_mels = ([judges.mel_of(w) for w in v] for v in (waves, test_waves))
    network = judges.train_network(mels, labels, len(names), a.judge_seconds)
    machine = judges.train_machine(mels, labels)

    def features(clips: list) -> np.ndarray:
        with torch.no_grad():
            return network.features(judges.stack(clips)).numpy()

    train_features = features(mels)

    def nearest(clips: list) -> float:
        here = torch.cdist(judges.stack(clips).flatten(1), judges.stack(mels).flatten(1))
        return here.amin(1).mean().item()

    def score(clips: list, truth: torch.Tensor) -> dict[str, float]:
        chances = judges.ask_network(network, clips)
        frames = [judges.cepstra([c])[0][-1] * 200 * judges.MEL.hop / judges.RATE for c in clips]
        within = [np.std([f for f, t in zip(frames, truth.tolist()) if t == d]) for d in range(len(names))]
        return {
            "network, %": 100 * (chances.argmax(1) == truth).float().mean().item(),
            "machine, %": 100 * float((machine.predict(judges.cepstra(clips)) == truth.numpy()).mean()),
            "inception score": judges.inception_score(chances),
            "NDB/K": judges.different_bins(train_features, features(clips)),
            "nearest training clip": nearest(clips),
            "duration, s": float(np.mean(frames)),
            "its deviation a digit, s": float(np.mean(within)),
        }

    note = (
        f"{a.samples} samples, {len(names)} digits and {len(m.classes.get('speaker', [1]))} voices in turn, seed 0; judges "
        "trained on the 2,700 training clips (audio_judges.py); real: the 300 official test clips, which no model has seen. "
        "Nearest training clip: mean distance of log-mels. One seed. "
        f"`{command()}`"
    )
    table = Table("Spoken digits" + a.tag, note)
    table.row("real test clips", lambda: score(test_mels, test_labels))

    def vocoded() -> dict[str, float]:
        made = [
            model.vocode((w, m.rate), steps=4)[0][0] for w in test_waves if len(w) <= (m.length - 1) * m.spectral.hop
        ]
        truth = test_labels[[len(w) <= (m.length - 1) * m.spectral.hop for w in test_waves]]
        return score([judges.mel_of(w) for w in made], truth)

    table.row("real test clips, vocoded", vocoded)
    given = {"label": [names[k % len(names)] for k in range(a.samples)]}
    if "speaker" in m.classes:
        known = m.classes["speaker"]
        given["speaker"] = [known[(k // len(names)) % len(known)] for k in range(a.samples)]
    truth = torch.tensor([k % len(names) for k in range(a.samples)])
    for calls in a.calls:
        for weight in a.guidance:
            asked, name = asked_of(a, calls, weight)

            def sampled(asked: dict[str, Any] = asked) -> dict[str, float]:
                begun = time.process_time()
                made = model.sample(a.samples, given=given, batch=50, **asked)
                seconds = time.process_time() - begun
                long = sum(len(w) for w, _ in made) / m.rate
                return score([judges.mel_of(w) for w, _ in made], truth) | {"CPU seconds a second": seconds / long}

            table.row(name, sampled)
