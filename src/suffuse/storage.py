"""Model folders: safetensors and JSON only, written whole or not at all, refused when altered."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from suffuse.errors import AskError, MissingModel, ModelError
from suffuse.files import atomic_folder, check_file, read_json

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = 1
ZOO = Path(__file__).parent / "zoo"


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
    return sha.hexdigest()


def zoo_names() -> list[str]:
    """Names of the models that ship."""
    return sorted(p.name for p in ZOO.iterdir() if (p / CONFIG).is_file())


def locate(name: str | Path) -> Path:
    """The folder of a zoo model, a local folder, or a Hub id (downloaded, safetensors and JSON only).

    Raises ModelError where there is none, naming near names.
    """
    path = Path(name).expanduser()
    if (path / CONFIG).is_file():
        return path
    if isinstance(name, str) and name in zoo_names():
        return ZOO / name
    if path.is_dir():
        raise ModelError(f"the folder {path} holds no {CONFIG}, so it is not a suffuse model")
    if isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _from_hub(name)
    from suffuse.modalities.registry import nearest

    ship = zoo_names()
    raise MissingModel(
        f"there is no model '{name}'{nearest(str(name), ship)}; models that ship: {', '.join(ship) or 'none'}",
        str(name),
    )


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise ModelError(f"loading {name} from the Hub needs huggingface_hub: pip install huggingface_hub") from None
    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.md"]))
    except Exception as error:
        raise ModelError(f"the model {name} could not be fetched from the Hub: {type(error).__name__}") from error


def save_folder(
    folder: str | Path, tensors: dict[str, Any], config: dict[str, Any], card: str, extra: dict[str, str] | None = None
) -> Path:
    """Write a model's files into a folder (what else it holds stays). extra: further JSON or text files by name."""
    import json

    from safetensors.torch import save_file

    with atomic_folder(folder, existing="merge") as partial:
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial / WEIGHTS)
        (partial / CONFIG).write_text(
            json.dumps(
                {"format": FORMAT, **config, "sha256": {WEIGHTS: digest(partial / WEIGHTS)}},
                indent=1,
                ensure_ascii=False,
            )
            + "\n",
            encoding="utf-8",
        )
        (partial / CARD).write_text(card, encoding="utf-8")
        for name, text in (extra or {}).items():
            (partial / name).write_text(text, encoding="utf-8")
    return Path(folder)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a model folder, checked for its format. Raises ModelError."""
    config = read_json(folder / CONFIG, error=ModelError)
    if (
        not isinstance(config, dict)
        or not isinstance(config.get("modality"), str)
        or not isinstance(config.get("data"), dict)
    ):
        raise ModelError(f"{folder / CONFIG} is not a suffuse model's configuration")
    if config.get("format") != FORMAT:
        raise ModelError(
            f"{folder / CONFIG} has format {config.get('format')}; this version of suffuse reads format {FORMAT}"
        )
    return config


def read_weights(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a model folder. Raises ModelError when the file is missing, altered or malformed."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    check_file(path, error=ModelError)
    wanted = config.get("sha256", {})
    if not isinstance(wanted, dict) or digest(path) != wanted.get(WEIGHTS):
        raise ModelError(
            f"{path} does not match the checksum in {CONFIG}: it was altered or damaged; fetch the model again"
        )
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from None


def check_counts(**counts: int) -> None:
    """Refuse counts that are not whole numbers of at least 1. Raises AskError."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise AskError(f"{name} must be a whole number of at least 1, not {value!r}")
