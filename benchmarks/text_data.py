"""Prepare the text sets of the benchmarks and of the zoo from the raw downloads. Deterministic; writes JSONL and text files.

    python benchmarks/text_data.py --data ../shared/data -o data/text

tang_train.jsonl, tang_test.jsonl: quatrains of the Quan Tang Shi (chinese-poetry, MIT) with `label` five or seven, each line
  of five or seven characters; train also holds both halves of eight-line regulated poems. One poem in 20 is held out whole.
  tang_judge.jsonl: stretches of four lines from poems of other lengths, disjoint from both, for a judge to learn from.
shakespeare_{train,valid,test}.txt: tiny Shakespeare, first 90 %, next 5 %, last 5 %.
wiki27_{train,valid,test}.txt: a-z and space from an English Wikipedia sample (206 pages, CC BY-SA), split by page.
fairy_{train,test}.txt: the Blue Fairy Book (public domain) without its header.
sources_{train,test}.jsonl: windows of the three with `label`, all in 27 letters.
chorales_{train,test}.json: JSB chorales, four voices in turn, transposed values 0 (rest) to 60.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import re
import tarfile
import zlib
from pathlib import Path


def tang(data: Path, out: Path) -> None:
    train, test, judge = [], [], []
    with tarfile.open(data / "text/chinese_poetry/quan_tang_shi_json.tar.xz") as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            if not re.search(r"poet\.tang\.\d+\.json$", member.name):
                continue
            for poem in json.load(archive.extractfile(member)):
                lines = [line for p in poem["paragraphs"] for line in re.split("[，。？！；]", p) if line]
                width = len(lines[0]) if lines else 0
                if width not in (5, 7) or any(len(line) != width for line in lines):
                    continue
                if not all("一" <= c <= "鿿" for line in lines for c in line):
                    continue
                if len(lines) not in (4, 8):
                    judge += [{"text": _poem(lines[i : i + 4])} for i in range(0, len(lines) - 3, 4)]
                    continue
                held = zlib.crc32(poem["id"].encode()) % 20 == 0
                label = "five" if width == 5 else "seven"
                parts = [lines] if len(lines) == 4 else [] if held else [lines[:4], lines[4:]]
                for part in parts:
                    (test if held else train).append(
                        {"text": _poem(part), "label": label, "author": poem["author"], "whole": len(lines) == 4}
                    )
    seen = {r["text"] for r in train}
    test = [r for r in test if r["text"] not in seen]
    judge = [r for r in judge if r["text"] not in seen]
    for name, rows in (("train", train), ("test", test), ("judge", judge)):
        rows = list({r["text"]: r for r in rows}.values())
        (out / f"tang_{name}.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
        print(f"tang_{name}: {len(rows)} quatrains, {sum(r.get('whole', 0) for r in rows)} whole poems")


def _poem(lines: list[str]) -> str:
    return "".join(line + mark for line, mark in zip(lines, "，。，。", strict=True))


def letters(text: str) -> str:
    return re.sub("[^a-z]+", " ", text.lower()).strip()


def english(data: Path, out: Path) -> None:
    text = (data / "text/tinyshakespeare.txt").read_text()
    borders = [0, int(0.9 * len(text)), int(0.95 * len(text)), len(text)]
    plays = [text[a:b] for a, b in zip(borders, borders[1:], strict=False)]
    for name, part in zip(("train", "valid", "test"), plays, strict=True):
        (out / f"shakespeare_{name}.txt").write_text(part)
    dump = next((data / "text/enwiki_sample").glob("*.bz2"))
    pages = re.findall(r"<text[^>]*>(.*?)</text>", bz2.open(dump, "rt", encoding="utf8").read(), flags=re.S)
    kept = [letters(plain(p)) for p in pages if not p.startswith("#REDIRECT")]
    kept = [p for p in kept if len(p) > 1000]
    wiki = {"train": [], "valid": [], "test": []}
    for i, page in enumerate(kept):
        wiki["test" if i % 20 == 0 else "valid" if i % 20 == 10 else "train"].append(page)
    for name, part in wiki.items():
        (out / f"wiki27_{name}.txt").write_text("\n".join(part))
    book = gzip.open(data / "text/blue_fairy_book_503-0.txt.gz", "rt", encoding="utf8").read()
    book = book[book.index("*** START") :].split("\n", 1)[1].split("*** END")[0]
    tales = letters(book)
    cut = int(0.9 * len(tales))
    (out / "fairy_train.txt").write_text(tales[:cut])
    (out / "fairy_test.txt").write_text(tales[cut:])
    for name in ("train", "test"):
        rows = []
        for label, source in (
            ("shakespeare", letters((out / f"shakespeare_{name}.txt").read_text())),
            ("fairy", (out / f"fairy_{name}.txt").read_text()),
            ("wikipedia", letters((out / f"wiki27_{name}.txt").read_text())[:1_000_000]),
        ):
            rows += [
                {"text": source[i : i + 128], "label": label}
                for i in range(0, len(source) - 128, 64 if name == "train" else 128)
            ]
        (out / f"sources_{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        print(f"sources_{name}: {len(rows)} windows;", {n: len(v) for n, v in wiki.items()}, "wiki pages")


def plain(markup: str) -> str:
    """Wikipedia markup to running text, roughly as text8 does it."""
    text = re.sub(r"&lt;ref.*?&lt;/ref&gt;|&lt;.*?&gt;|<.*?>", " ", markup, flags=re.S)
    while "{{" in text:
        text, n = re.subn(r"\{\{[^{}]*\}\}", " ", text)
        if not n:
            break
    text = re.sub(r"\{\|.*?\|\}", " ", text, flags=re.S)
    text = re.sub(r"\[\[(?:File|Image|Category)[^\]]*\]\]", " ", text)
    text = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", text)
    text = re.sub(r"\[?https?://\S+|&\w+;|\[http[^\]]*\]", " ", text)
    for digit, name in enumerate("zero one two three four five six seven eight nine".split()):
        text = text.replace(str(digit), f" {name} ")
    return text


def chorales(data: Path, out: Path) -> None:
    sets = json.load(gzip.open(data / "audio/jsb_chorales/jsb-chorales-16th.json.gz"))
    for name in ("train", "test"):
        rows = []
        for piece in sets[name]:
            steps = [[0 if p is None or p < 0 else int(p) - 35 for p in (list(s) + [-1] * 4)[:4]] for s in piece]
            rows.append([v for step in steps for v in step])
        (out / f"chorales_{name}.json").write_text(json.dumps(rows))
        print(f"chorales_{name}: {len(rows)} pieces, values to {max(map(max, rows))}, least {min(map(min, rows))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)
    for make in (tang, english, chorales):
        make(asked.data, asked.output)


if __name__ == "__main__":
    main()
