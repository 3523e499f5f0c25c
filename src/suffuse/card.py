"""The model card a saved model carries."""

from __future__ import annotations

import json
from typing import Any


def write_card(model: Any) -> str:
    """Markdown: what the model is, what it was trained on and how, its figures where they were measured."""
    notes, modality = model.notes, model.modality
    size = sum(p.numel() for p in model.denoiser.parameters())
    lines = [
        f"# A suffuse {modality.name} model",
        "",
        modality.summary,
        "",
        f"- parameters: {size:,}",
        f"- fields: {', '.join(model.joint)}",
        f"- trained on: {notes.get('data', 'not stated')} ({notes.get('examples', '?')} examples)",
        f"- licence of the data: {notes.get('licence', 'not stated')}",
    ]
    if "steps" in notes:
        device = f" on {notes['accelerator']}" if "accelerator" in notes else ""
        lines.append(f"- training: {notes['steps']} steps, {notes['seconds']} seconds of computing{device}")
    if "stages" in notes:
        told = notes.get("recipe_of", "the first")
        lines.append(f"- stages (the steps and the recipe are of {told}): {', then '.join(notes['stages'])}")
    if "recipe" in notes:
        lines += ["", "## Recipe", "", "```json", json.dumps(notes["recipe"], indent=1), "```"]
    if notes.get("quality"):
        lines += ["", "## Quality", "", "| figure | value |", "| --- | --- |"]
        lines += [
            f"| {name} | {value:.4g} |" if isinstance(value, float) else f"| {name} | {value} |"
            for name, value in notes["quality"].items()
        ]
    return "\n".join(lines) + "\n"
