"""The Markdown tables that benchmarks write beside themselves."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


PLACES = ("--work", "--data", "--out", "--results", "--peers", "-o")
"""Options that name folders of whoever ran it: no part of the command that is printed."""


def command() -> str:
    """The command line of this process, without folders; of other paths the last part."""
    script, *words = sys.argv
    kept, rest = [script], iter(words)
    for word in rest:
        if word in PLACES:
            next(rest, None)
        elif not word.startswith(tuple(f"{place}=" for place in PLACES)):
            kept.append(Path(word).name if "/" in word else word)
    return f"python {' '.join(kept)}"


def table(name: str, title: str, head: list[str], rows: list[list[Any]], notes: str) -> None:
    """Write (and print) one Markdown table with the command that made it."""
    RESULTS.mkdir(exist_ok=True)
    lines = [
        f"# {title}",
        "",
        f"`{command()}`, {time.strftime('%Y-%m-%d')}, torch {torch.__version__}, {torch.get_num_threads()} thread(s)",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
    ]
    lines += ["| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in row) + " |" for row in rows]
    text = "\n".join(lines) + f"\n\n{notes}\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def training_time(notes: dict[str, Any]) -> str:
    """How long a model was trained and on what, from its notes; of one that went on from another, both stages."""
    if "stages" in notes:
        return ", then ".join(notes["stages"])
    minutes = notes.get("minutes", notes["recipe"]["minutes"])
    if (device := notes.get("accelerator")) is None:
        return f"{minutes:g} CPU minutes on one core"
    return f"{minutes:g} minutes of one {device} that {notes.get('sharing', 1)} trainings shared"
