"""What the scripts of benchmarks/audio.py share: the table of results, the test clips, the scores of two sounds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import suffuse
from suffuse.files import write_json, write_text
from suffuse.modalities.audio.waves import normalise, read_wave

RESULTS = Path(__file__).parent / "results" / "audio.json"


class Table:
    """Rows by section, kept as JSON after every row and rendered as Markdown."""

    path = RESULTS

    def __init__(self, section: str, note: str):
        self.all = json.loads(self.path.read_text()) if self.path.is_file() else {}
        self.rows = self.all.setdefault(section, {"note": "", "rows": {}})["rows"]
        self.all[section]["note"] = note

    def row(self, name: str, make: Callable[[], dict[str, float]]) -> dict[str, float]:
        """The row of this name; made if it is not there yet."""
        if name not in self.rows:
            self.rows[name] = {k: round(float(v), 4) for k, v in make().items()}
            print(name, self.rows[name], flush=True)
            write_json(self.all, self.path)
            write_text(render(self.all), self.path.with_suffix(".md"))
        return self.rows[name]


def render(tables: dict) -> str:
    lines = ["# Audio", ""]
    for section, table in tables.items():
        heads = list(dict.fromkeys(k for row in table["rows"].values() for k in row))
        lines += [f"## {section}", "", table["note"], "", "| | " + " | ".join(heads) + " |"]
        lines.append("|---" * (len(heads) + 1) + "|")
        for name, row in table["rows"].items():
            lines.append(f"| {name} | " + " | ".join(f"{row[h]:g}" if h in row else "" for h in heads) + " |")
        lines.append("")
    return "\n".join(lines)


def paths_of(folder: Path) -> list[Path]:
    """The sound files of a folder, in the order of their names."""
    return sorted(p for p in folder.iterdir() if p.suffix in (".wav", ".flac"))


def clips_of(folder: Path, rate: int, count: int | None = None) -> list[np.ndarray]:
    """The first clips of a folder at one rate and at the house's loudness."""
    return [normalise(read_wave(p, rate)[0], rate)[0] for p in paths_of(folder)[:count]]


def asked_of(a: argparse.Namespace, calls: int, weight: float | None = None) -> tuple[dict[str, Any], str]:
    """Settings of sampling by the command line, and how a row of a table names them."""
    asked, name = {"steps": calls}, f"suffuse, {calls} calls"
    if weight is not None:
        asked, name = asked | {"guidance": weight}, f"{name}, guidance {weight:g}"
    if a.stochasticity:
        asked, name = asked | {"stochasticity": a.stochasticity}, f"{name}, stochasticity {a.stochasticity:g}"
    return asked, name


def trained(source: Path, folder: Path, minutes: float, read: dict[str, Any], **recipe: Any) -> suffuse.Model:
    """The model in a folder; trained on `source` for so many CPU minutes where there is none yet (a killed run goes on)."""
    if (folder / "model.safetensors").is_file():
        return suffuse.load(folder)
    settings = {"batch": 32, "compile": False, "channels_last": False, "tell": print, "resume": True, **recipe}
    return suffuse.train(source, "audio", minutes=minutes, output=folder, read=read, **settings)
