"""What the README and the pages under docs show is true: the README's examples run, and every verb, option and import exists."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import suffuse
from suffuse.cli import parser, sugar
from suffuse.errors import SuffuseError
from suffuse.modalities import available
from suffuse.model import Model
from suffuse.storage import ZOO
from tests import seeds

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
COMMAND = re.compile(r"^suffuse ([a-z]+ .* -.*?)(?: +#.*)?$|`suffuse ([a-z]+ [^`]* -[^`]*)`", re.M)
EXAMPLES = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))


def surroundings(folder: Path) -> dict:
    """What the README's examples speak of without making it: files in the folder, names in what is answered."""
    import pandas as pd
    from PIL import Image

    (folder / "my-pictures").mkdir()
    seeds.images(folder / "my-pictures")
    for name in ("a.npz", "a.npy", "train-images-idx3-ubyte"):
        (folder / "my-pictures" / name).unlink()
    seeds.audio(folder)
    (folder / "a.wav").rename(folder / "speech.wav")
    picture = Image.open(ZOO / "fashion/samples/00.png").convert("L")
    hole = np.zeros((28, 28), dtype=np.uint8)
    hole[8:20, 8:20] = 255
    frame = pd.read_csv(ZOO / "air/samples/december.csv", parse_dates=["ds"])
    frame = frame[frame.ds < frame.ds.min() + pd.Timedelta(hours=48)].reset_index(drop=True)
    frame.loc[::7, "y"] = None
    scan = next((ZOO / "hippocampus/samples").rglob("*.nii.gz"))
    shutil.copy(scan, folder / "scan.nii.gz")
    return {
        "suffuse": suffuse,
        "picture": picture,
        "mask": Image.fromarray(hole),
        "small": picture.resize((7, 7), Image.Resampling.BOX),
        "frame": frame,
        "times": list(frame.ds.unique()[:2] + pd.Timedelta(minutes=30)),
    }


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_readme_runs(number, tmp_path, monkeypatch):
    code = EXAMPLES[number].replace("minutes=20", "steps=2")
    if "espeak-ng" in code and shutil.which("espeak-ng") is None:
        code = "\n".join(line for line in code.splitlines() if "espeak-ng" not in line)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"README.md, example {number + 1}", "exec"), surroundings(tmp_path))


def calls(page: Path):
    """(verb, names of its options) of each method call in a page's Python examples, and the imports there."""
    for block in BLOCK.findall(page.read_text("utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield node.func.attr, [k.arg for k in node.keywords if k.arg], None
            elif isinstance(node, ast.ImportFrom):
                yield from ((alias.name, [], node.module) for alias in node.names)


def verbs(name: str) -> list:
    """All that answers to a verb: the package's own function, a model's, or one kind's."""
    kinds = [kind.verbs for kind in available().values()]
    found = [getattr(place, name) for place in (suffuse, Model) if hasattr(place, name)]
    return found + [kind[name] for kind in kinds if name in kind]


def takes(function, option: str) -> bool:
    parameters = inspect.signature(function).parameters
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_option_and_import_exists(page):
    for name, options, module in calls(page):
        if name == "load_dataset":  # of the library datasets
            continue
        if module is not None:
            assert hasattr(importlib.import_module(module), name), f"{module}.{name}"
            continue
        known = verbs(name)
        assert known, f"{page.name} shows a verb .{name}() that no model has"
        assert any(all(takes(verb, option) for option in options) for verb in known), f"{page.name}: {name}({options})"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_is_understood(page):
    shown = [
        line
        for pair in COMMAND.findall(page.read_text("utf-8"))
        for line in pair
        if line and not re.search(r"\.\.\.|\[", line)
    ]
    for line in shown:
        words = shlex.split(line)
        if words[0] in parser.VERBS:
            parser.parse(words)
        else:
            assert any(understood(words, kind.verbs) for kind in available().values()), line
    assert shown or page.name != "README.md"


def understood(words: list[str], known: dict) -> bool:
    """Whether a kind of data with these verbs takes the command line."""
    if words[0] not in known:
        return False
    command = sugar._parser(words[0], known[words[0]])[0]
    try:
        return not command.parse_known_args(words[1:])[1]
    except SuffuseError:
        return False
