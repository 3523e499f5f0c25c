"""Trains and packs the models of sound that ship: `spoken-digits`, `kathleen`.

    python benchmarks/audio.py prepare --data ../shared/data --work runs/audio
    python benchmarks/zoo_audio.py train kathleen --work runs/audio --minutes 12        # resumes when repeated
    python benchmarks/zoo_audio.py pack kathleen --work runs/audio                      # figures, card, samples

`train` is `suffuse train` with the settings below; `pack` writes src/suffuse/zoo/NAME, with the figures of benchmarks/audio.py
where they have been measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from audio_speaking import READ as SPOKEN
from tables import training_time

import suffuse
from suffuse.files import atomic_folder
from suffuse.storage import ZOO

VOICES = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
MODELS: dict[str, dict[str, Any]] = {
    "spoken-digits": {
        "folder": "fsdd",
        "read": {"width": 184, "depth": 5, "attention": "1,3", "rank": 16, "cond": 60, "patch": 2, "view": False},
        "minutes": 9.0,
        "then": {
            "minutes": 40.0,
            "tasks": {"label": 0.72, "vocode": 0.1, "generate": 0.06, "fill": 0.05, "extend": 0.03, "classify": 0.04},
            "learning_rate": 3e-3,
            "precision": "bf16",
        },
        "data": "Free Spoken Digit Dataset, 2,700 training recordings (numbers 5 to 49 of each digit and speaker)",
        "licence": "CC BY-SA 4.0, Zohar Jackson and contributors, https://github.com/Jakobovski/free-spoken-digit-dataset",
        "title": "Spoken digits at 8 kHz, by digit and by one of six voices",
        "example": 'model.sample(4, given={"label": 7, "speaker": "theo"})',
        "samples": [f"{d}_{VOICES[d % 6]}_{d % 5}.wav" for d in range(10)],
        "quality": {"Spoken digits (49 minutes)": ("network, %", "machine, %", "NDB/K")},
        "real": ("real test clips",),
    },
    "kathleen": {
        "folder": "spoken-ipa",
        "test": "kathleen",
        "read": SPOKEN,
        "phonemes": "en-us",
        "minutes": 45.0,
        "then": {
            "minutes": 12.0,
            "tasks": {"speak": 0.5, "vocode": 0.2, "fill": 0.25, "extend": 0.05},
            "learning_rate": 2e-3,
        },
        "data": "Kathleen's recordings of CMU Arctic sentences, 576 for training, with transcripts as espeak-ng's phonemes",
        "licence": "CC0 1.0, https://github.com/rhasspy/dataset-voice-kathleen",
        "title": "One voice at 16 kHz: text to speech, speech from mel spectrograms, gaps, bandwidth",
        "example": 'model.speak("I saw 21 ships.")  # needs the program espeak-ng; model.vocode((samples, rate)) does not',
        "samples": ["arctic_b0012.flac", "arctic_b0031.flac"],
        "quality": {
            "Copy synthesis, n_fft 512, hop 128 (no guidance)": ("PESQ", "STOI", "log-spectral distance, dB"),
            "Text to speech, ipa (all 50 heard)": ("sentence found, %", "word error open, %"),
        },
        "real": ("real against itself", "real"),
    },
}


RECIPE = {"compile": False, "channels_last": False}
BATCH = {"spoken-digits": 64, "kathleen": 20}


def train(name: str, work: Path, minutes: float, device: str | None = None) -> None:
    """The recipe; a killed run goes on where it stopped."""
    spec = MODELS[name]
    folder, target = work / spec["folder"] / "train", work / f"{name}-model"
    first = work / f"{name}-first" if "then" in spec else target
    same = {"tell": print, "device": device, "batch": BATCH[name], "resume": True, **RECIPE}
    model = suffuse.train(folder, "audio", minutes=minutes, output=first, read=spec["read"], **same)
    if "then" in spec:
        model = suffuse.train(folder, "audio", start_from=first, output=target, **spec["then"], **same)
    print(name, model.notes["steps"], "steps", model.notes["seconds"], "seconds")


def pack(name: str, work: Path, settings: dict[str, Any]) -> None:
    """16-bit weights, card, recipe, and a few real test clips."""
    spec = MODELS[name]
    model = suffuse.load(work / f"{name}-model")
    model.settings |= settings
    quality, rows = figures(name, spec)
    model.notes |= {"title": name, "data": spec["data"], "licence": spec["licence"], "quality": quality}
    minutes, device = (
        spec.get("minutes", model.notes["recipe"]["minutes"]),
        " --device cuda" if "accelerator" in model.notes else "",
    )
    command = f"python benchmarks/zoo_audio.py train {name} --work runs/audio --minutes {minutes:g}{device}"
    recipe = {"command": command, "data": "python benchmarks/audio.py prepare", "recipe": model.notes["recipe"]}
    if "phonemes" in spec:  # the transcripts of the training folder are phonemes already; texts to speak are not
        model.modality.text["phonemes"] = spec["phonemes"]
    size = sum(p.numel() for p in model.denoiser.parameters())
    card = f"""# {name}

{spec["title"]}. A suffuse model: fields {", ".join(model.joint)}; {size:,} parameters, stored as float16.

```python
import suffuse

model = suffuse.load("{name}")
sounds = {spec["example"]}
```

- data: {spec["data"]}
- licence of the data, and so of this model and its samples: {spec["licence"]}
- training: {model.notes["steps"]} steps, {training_time(model.notes)}
- command: `{command}`
- sound: {model.modality.rate} Hz, STFT of {model.modality.spectral.n_fft} samples every {model.modality.spectral.hop}, \
{model.modality.spectral.bands} mel bands; other mel settings are refused
- `samples/`: real test clips, unchanged; the model has not seen them

## Quality

{rows}
"""
    target = ZOO / name
    model.save(target, half=True, card=card)
    (target / "recipe.json").write_text(json.dumps(recipe, indent=1) + "\n")
    with atomic_folder(target / "samples", existing="replace") as partial:
        for sample in spec["samples"]:
            (partial / sample).write_bytes((work / spec.get("test", spec["folder"]) / "test" / sample).read_bytes())
        (partial / "ATTRIBUTION.md").write_text(f"Real test clips of: {spec['data']}.\n\nLicence: {spec['licence']}.\n")
    print(f"{target}: {(target / 'model.safetensors').stat().st_size / 2**20:.2f} MiB")


def figures(name: str, spec: dict[str, Any]) -> tuple[dict[str, float], str]:
    """Figures of benchmarks/results/audio.json as (quality, Markdown)."""
    path = Path(__file__).parent / "results" / "audio.json"
    tables = json.loads(path.read_text()) if path.is_file() else {}
    quality: dict[str, float] = {}
    lines = []
    for section, heads in spec["quality"].items():
        table = tables.get(section)
        if table is None:
            continue
        lines += [f"{section}: {table['note']}", "", "| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        for row, values in table["rows"].items():
            lines.append(f"| {row} | " + " | ".join(f"{values[h]:g}" for h in heads) + " |")
        ours = [v for row, v in table["rows"].items() if row.startswith("suffuse")]
        real = next((table["rows"][r] for r in spec["real"] if r in table["rows"]), {})
        best = max(reversed(ours), key=lambda v: v[heads[0]], default={})
        quality |= {h: best[h] for h in heads if h in best} | {f"{h}_real": real[h] for h in heads if h in real}
    return quality, "\n".join(lines) or "Not measured."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "pack"])
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("--work", type=Path, default=Path("runs/audio"))
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--device", help="train: cpu, cuda or mps (default: the best at hand)")
    parser.add_argument("--steps", type=int, help="pack: calls by default")
    parser.add_argument("--guidance", type=float, help="pack: guidance by default")
    parser.add_argument("--stochasticity", type=float, help="pack: stochasticity by default")
    a = parser.parse_args()
    if a.what == "train":
        train(a.model, a.work, a.minutes, a.device)
    else:
        pack(
            a.model,
            a.work,
            {k: getattr(a, k) for k in ("steps", "guidance", "stochasticity") if getattr(a, k) is not None},
        )


if __name__ == "__main__":
    main()
