"""The package as a whole: light to import, its layers kept, nothing that may not be there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import suffuse

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pinned() -> dict[str, str]:
    lines = [line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement(text: str) -> str:
    return normal(re.match(r"[A-Za-z0-9._-]+", text).group())


def test_import_loads_no_torch_and_the_public_face_is_there():
    code = (
        "import sys, suffuse\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "assert sorted(dir(suffuse)) == sorted(suffuse.__all__)\n"
        "suffuse.modalities.names()\n"
        "assert 'torch' not in sys.modules\n"
        "suffuse.Model, suffuse.train, suffuse.load\n"
        "heavy = {'pandas', 'PIL', 'rdkit', 'networkx', 'matplotlib', 'nibabel', 'trimesh', 'av', 'soundfile', 'datasets'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        suffuse.trian  # noqa: B018


def test_layers_are_kept():
    from importlinter.api import use_cases  # noqa: F401  (the tool is there)

    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_style():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--extend-ignore=E501", "src", "tests", "benchmarks"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_versions_agree():
    assert PROJECT["project"]["version"] == suffuse.__version__
    assert f"version: {suffuse.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_every_dependency_is_pinned_told_and_not_a_forbidden_one():
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {requirement(text) for text in wanted} - {"suffuse"}
    pins, told = pinned(), (ROOT / "docs" / "dependencies.md").read_text()
    assert names <= set(pins), names - set(pins)
    assert [n for n in sorted(names) if f"`{n}`" not in told] == []
    assert not {"torchvision", "torchaudio"} & (names | set(pins))
    assert pins["torch"] == "2.13.0"
    for name in suffuse.modalities.names():
        assert name in project["optional-dependencies"]


def test_the_pins_hold_all_that_the_extras_bring():
    """Every requirement of an installed, pinned library is pinned as well (on this platform)."""
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement

    pins, missing = pinned(), set()
    for name in pins:
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for text in needs:
            need = Requirement(text)
            if (need.marker is None or need.marker.evaluate({"extra": ""})) and normal(need.name) not in pins:
                missing.add(normal(need.name))
    assert {m for m in missing if not m.startswith(("nvidia", "cuda", "triton"))} == set()


def test_nothing_forbidden_is_imported():
    bad = re.compile(r"^\s*(import|from)\s+(torchvision|torchaudio|pickle|cPickle|dill)\b|weights_only=False", re.M)
    found = [str(p) for p in (ROOT / "src").rglob("*.py") if bad.search(p.read_text())]
    assert found == []


def test_models_that_the_pages_name_ship():
    from suffuse import storage

    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r'suffuse\.load\("([a-z0-9-]+)"\)', page.read_text())}
    assert named - set(storage.zoo_names()) == set()


def test_the_zoo_is_small():
    sizes = {p: p.stat().st_size for p in (ROOT / "src" / "suffuse" / "zoo").rglob("*") if p.is_file()}
    assert sum(sizes.values()) <= 40 << 20
    # 3 MiB a model is the rule; the exceptions, clips, colour pictures and text to speech, have bounds of their own
    bound = {"sprites": 3_800_000, "moving-digits": 3_720_000, "emoji": 3_700_000, "kathleen": 3_850_000}
    models = {p: size for p, size in sizes.items() if p.name == "model.safetensors"}
    large = {str(p): size for p, size in models.items() if size > bound.get(p.parent.name, 3 << 20)}
    assert large == {}


@pytest.mark.parametrize("name", suffuse.modalities.available())
def test_what_a_modality_names_is_there(name):
    kind = suffuse.modalities.find(name)
    assert kind.name == name and all(callable(function) for function in kind.verbs.values())
