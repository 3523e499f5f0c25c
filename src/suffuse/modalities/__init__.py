"""Kinds of data: `names()`, `find(name)`, `recognise(source)`; each lives in a file or folder of this package."""

from suffuse.modalities.registry import available, find, names, recognise

__all__ = ["available", "find", "names", "recognise"]
