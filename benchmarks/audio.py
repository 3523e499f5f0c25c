"""The audio room measured. Tables go to benchmarks/results/audio.md; finished rows are kept in audio.json and not run again.

    python benchmarks/audio.py prepare --data ../shared/data --work runs/audio      # unpack, split train and test
    python benchmarks/audio.py vocode kathleen --work runs/audio --calls 1,4        # line 1: copy synthesis
    python benchmarks/audio.py diffwave --work runs/audio --minutes 10 --clips 4    # line 2: a raw-wave peer
    python benchmarks/audio.py digits spoken-digits --work runs/audio --calls 10    # line 3: recognised, varied
    python benchmarks/audio.py spread spoken-digits --work runs/audio --calls 10    # line 4: within a digit and voice
    python benchmarks/audio.py voices spoken-digits --work runs/audio --samples 20  # line 5: kept, converted
    python benchmarks/audio.py texts ipa --work runs/audio                          # line 6: phonemes (or: letters)
    python benchmarks/audio.py say ipa --work runs/audio --minutes 11 --calls 10    # trains on them, speaks
    python benchmarks/audio.py noises --work runs/audio                             # line 7: sentences and noises
    python benchmarks/audio.py enhance --work runs/audio --minutes 13 --calls 1,4   # trains on them, takes noise away
    python benchmarks/audio.py gaps kathleen --work runs/audio --calls 8            # line 8: gaps and bandwidth
    python benchmarks/audio.py chorales --work runs/audio                           # line 9: chorales played
    python benchmarks/audio.py music --work runs/audio --minutes 8 --calls 20       # trains on them, 30 s clips
    python benchmarks/audio.py speed kathleen --work runs/audio                     # line 10: real-time factors

Needs, beside suffuse[audio]: pesq 0.0.4, pystoi 0.4.1, scikit-learn; for line 5 resemblyzer 0.1.4 (its weights only); for lines 6
and 7 noisereduce 3.0.3 and pocketsphinx 5.1.1; for line 6 espeak-ng; for line 9 fluidsynth with the font TimGM6mb. Test data: the
last 100 Kathleen sentences; FSDD recordings 0 to 4 of each digit and speaker (its official test split).
"""

from __future__ import annotations

import argparse
import importlib
import shutil
import tarfile
from pathlib import Path

from audio_common import RESULTS, Table

PARTS = {
    "vocode": "audio_vocode",
    "diffwave": "audio_diffwave",
    "digits": "audio_digits",
    "noises": "audio_enhance",
    "enhance": "audio_enhance",
    "texts": "audio_speaking",
    "say": "audio_speaking",
    "chorales": "audio_music",
    "music": "audio_music",
    "gaps": "audio_repair",
    "speed": "audio_speed",
    "spread": "audio_spread",
    "voices": "audio_voices",
}


def prepare(a: argparse.Namespace) -> None:
    """Unpack both sets into work/NAME/train and work/NAME/test."""
    for name, archive in (("fsdd", "fsdd/recordings.tar.xz"), ("kathleen", "kathleen_arctic/kathleen_16k_flac.tar")):
        with tarfile.open(a.data / "audio" / archive) as tar:
            members = sorted((m for m in tar if m.name.endswith((".wav", ".flac"))), key=lambda m: m.name)
            for number, member in enumerate(members):
                test = (
                    int(Path(member.name).stem.split("_")[-1]) < 5 if name == "fsdd" else number >= len(members) - 100
                )
                path = a.work / name / ("test" if test else "train") / Path(member.name).name
                path.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", *PARTS])
    parser.add_argument(
        "model", nargs="?", default="kathleen", help="a zoo name or a folder; texts, say: ipa or letters"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("runs/audio"))
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--calls", type=lambda v: [int(c) for c in v.split(",")], default=[16])
    parser.add_argument("--guidance", type=lambda v: [float(c) for c in v.split(",")], default=[1.5])
    parser.add_argument("--stochasticity", type=float, default=0.0, help="of sampling: spread, digits, say, music")
    parser.add_argument("--seeds", type=int, default=1, help="say")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training: diffwave, say, enhance, music")
    parser.add_argument("--judge-seconds", type=float, default=60.0)
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="JSON of finished rows; the Markdown stands beside it"
    )
    parser.add_argument("--tag", default="", help="added to the tables' names")
    a = parser.parse_args()
    Table.path = a.results
    a.tag = f" ({a.tag})" if a.tag else ""
    if a.what == "prepare":
        prepare(a)
    else:
        getattr(importlib.import_module(PARTS[a.what]), a.what)(a)


if __name__ == "__main__":
    main()
