"""Make the text models that ship.

    python benchmarks/text_data.py --data ../shared/data -o runs/data
    python benchmarks/zoo_text.py train tang --work runs --minutes 7        # resumes when repeated
    python benchmarks/zoo_text.py pack tang --work runs                     # figures, card, samples (needs pypinyin)

`train` is `suffuse train` with the settings below; `pack` writes src/suffuse/zoo/NAME.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import text_poems
from tables import training_time

import suffuse
from suffuse.metrics.text import KneserNey, words
from suffuse.modalities.text.quality import figures, real_texts
from suffuse.modalities.text.scoring import mean_bits
from suffuse.storage import ZOO

RECIPE = {"optimiser": "muon", "learning_rate": 3e-3, "threads": 1}
MODELS: dict[str, dict[str, Any]] = {
    "tang": {
        "train": "tang_train.jsonl",
        "test": "tang_test.jsonl",
        "read": {"limit": 4000, "dim": 160, "depth": 3, "heads": 5, "rank": 128},
        "recipe": {**RECIPE, "batch": 256},
        "data": "Quatrains of the Quan Tang Shi and halves of its eight-line poems, as the chinese-poetry project has them",
        "licence": "MIT, https://github.com/chinese-poetry/chinese-poetry; the poems are in the public domain",
        "about": "Classical Chinese quatrains, 24 or 32 characters with punctuation, `label` five or seven characters a line.",
    },
    "shakespeare": {
        "train": "shakespeare_train.txt",
        "test": "shakespeare_test.txt",
        "read": {"dim": 176, "depth": 4, "heads": 4, "length": 128},
        "recipe": {**RECIPE, "batch": 128},
        "data": "tiny Shakespeare, first 90 %",
        "licence": "public domain, https://github.com/karpathy/char-rnn",
        "about": "English of the plays, character by character, in windows of 128.",
    },
}


def train(name: str, work: Path, minutes: float, device: str | None = None) -> None:
    spec = MODELS[name]
    source = work / "data" / spec["train"]
    suffuse.train(
        source,
        "text",
        minutes=minutes,
        read=spec["read"],
        output=work / name,
        resume=True,
        tell=print,
        device=device,
        **spec["recipe"],
    )


def pack(name: str, work: Path, samples: int) -> None:
    """Measure the trained model, then write 16-bit weights, card, recipe and real samples to the zoo."""
    spec, model = MODELS[name], suffuse.load(work / name)
    test = model.modality.dataset(work / "data" / spec["test"])
    head, rows = (poems if name == "tang" else english)(model, work / "data", samples)
    quality = {"bits a character, at most": round(mean_bits(model, test, 192, 8), 4)}
    model.notes |= {"title": name, "data": spec["data"], "licence": spec["licence"], "quality": quality}
    target = ZOO / name
    (target / "samples").mkdir(parents=True, exist_ok=True)
    minutes, device = model.notes["recipe"]["minutes"], " --device cuda" if "accelerator" in model.notes else ""
    script = "python benchmarks/zoo_text.py"
    command = f"{script} train {name} --minutes {minutes:g}{device} && {script} pack {name}"
    card = write(model, name, spec, command, head, rows)
    model.save(target, half=True, card=card)
    recipe = {"command": command, "modality": "text", "read": spec["read"], "recipe": model.notes["recipe"]}
    (target / "recipe.json").write_text(json.dumps({**recipe, "tasks": model.modality.tasks}, indent=1) + "\n")
    keep(name, model, work / "data", target / "samples", spec)
    print(f"{target}: {(target / 'model.safetensors').stat().st_size / 2**20:.2f} MiB")
    print(card)


def poems(model: Any, data: Path, n: int) -> tuple[list[str], list[list[Any]]]:
    return text_poems.table(model, data, n)


def english(model: Any, data: Path, n: int) -> tuple[list[str], list[list[Any]]]:
    judge = KneserNey([(data / f"shakespeare_{part}.txt").read_text() for part in ("valid", "test")])
    real, _ = real_texts(model.modality, model.modality.dataset(data / "shakespeare_train.txt"), n)
    known = set(words((data / "shakespeare_train.txt").read_text()))

    def row(name: str, texts: list[str]) -> list[Any]:
        found = [w for t in texts for w in words(t[t.find(" ") : t.rfind(" ")])]
        return [name, judge.bits(texts), sum(w in known for w in found) / len(found), *figures(texts).values()]

    rows = [row("real", real)]
    for steps, temperature in ((16, 1.0), (64, 1.0), (64, 0.8)):
        texts = model.sample(n, steps=steps, temperature=temperature, seed=1)
        rows.append(row(f"{steps} calls, temperature {temperature}", texts))
    head = ["texts", "judge bits/char", "words of the training text", "entropy of words", "repeated 4-grams"]
    return [*head, "distinct-1", "distinct-2", "distinct-3", "self-BLEU-4"], rows


def cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) and not math.isnan(value) else str(value)


def write(model: Any, name: str, spec: dict, command: str, head: list[str], rows: list[list[Any]]) -> str:
    notes = model.notes
    size = sum(p.numel() for p in model.denoiser.parameters())
    judge = (
        "The judge is a Kneser-Ney character 4-gram on other poems of the collection; rhyme and tones are read in modern Mandarin"
        if name == "tang"
        else "The judge is a Kneser-Ney character 6-gram on the last tenth of the text, which the model has not seen"
    )
    lines = [
        f"# {name}", "", spec["about"], "",
        f"- masked diffusion, {size:,} parameters, 16-bit weights",
        f"- data: {spec['data']} ({notes['examples']} examples)",
        f"- licence of the data: {spec['licence']}",
        f"- training: {notes['steps']} steps, {training_time(notes)}",
        f"- made by: `{command}`", "", "## Quality", "",
    ]  # fmt: skip
    lines += [f"- {key}: {value} (held-out text, exact-count bound)" for key, value in notes["quality"].items()]
    lines += [
        "",
        f"{judge}. The first row is real text.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
    ]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    lines += ["", "A small model: it has the shape and the sound of its texts, not their sense.", ""]
    return "\n".join(lines)


def keep(name: str, model: Any, data: Path, folder: Path, spec: dict) -> None:
    """Real samples, unseen in training, for the demo."""
    folder.mkdir(exist_ok=True)
    if name == "tang":
        known = set(model.modality.vocabulary.symbols)
        read = [json.loads(line) for line in (data / "tang_test.jsonl").read_text().splitlines()]
        fits = [r for r in read if set(r["text"]) <= known]
        five, seven = ([r for r in fits if r["label"] == label][:12] for label in ("five", "seven"))
        rows = [{k: r[k] for k in ("text", "label", "author")} for pair in zip(five, seven) for r in pair]
        (folder / "poems.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    else:
        text = (data / "shakespeare_test.txt").read_text()
        begin = text.index("\n\n", 2000) + 2
        (folder / "passage.txt").write_text(text[begin : begin + 600])
        counts: dict[str, int] = {}
        for word in words((data / "shakespeare_train.txt").read_text()):
            counts[word] = counts.get(word, 0) + 1
        (folder / "words.txt").write_text("\n".join(sorted(w for w, n in counts.items() if n > 1)) + "\n")
    (folder / "LICENCE.txt").write_text(f"{spec['data']}\n{spec['licence']}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("train", "pack"))
    parser.add_argument("name", choices=MODELS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--samples", type=int, default=160)
    parser.add_argument("--device", help="train: cpu, cuda or mps (default: the best at hand)")
    asked = parser.parse_args()
    if asked.verb == "train":
        train(asked.name, asked.work, asked.minutes, asked.device)
    else:
        pack(asked.name, asked.work, asked.samples)


if __name__ == "__main__":
    main()
