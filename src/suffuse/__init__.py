"""suffuse: one diffusion engine for every kind of data.

    import suffuse

    model = suffuse.load("digits")                   # a model that ships, a folder, or a Hub id
    pictures = model.sample(16, given={"label": 3})
    model = suffuse.train("air.csv", minutes=5)      # the kind of data is recognised, or named

Importing this package loads no heavy library: names are looked up when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from suffuse import modalities as modalities
    from suffuse.fit import train as train
    from suffuse.model import Model as Model
    from suffuse.model import load as load

__version__ = "0.1.0"
__all__ = ["Model", "__version__", "load", "modalities", "train"]

_FROM = {"Model": "suffuse.model", "load": "suffuse.model", "train": "suffuse.fit"}


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(importlib.import_module(_FROM[name]), name)
    if name == "modalities":
        return importlib.import_module("suffuse.modalities")
    raise AttributeError(f"module 'suffuse' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
