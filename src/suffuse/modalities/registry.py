"""Which kinds of data there are. One line each; nothing is imported before it is asked for."""

from __future__ import annotations

import difflib
import importlib
import os
from typing import TYPE_CHECKING, Any

from suffuse.errors import AskError, DataError, ModelError

if TYPE_CHECKING:
    from suffuse.modalities.contract import Modality

MODALITIES: dict[str, str] = {
    "images": "suffuse.modalities.images:Images",
    "series": "suffuse.modalities.series:Series",
    "text": "suffuse.modalities.text:Text",
    "graphs": "suffuse.modalities.graphs:Graphs",
    "molecules": "suffuse.modalities.molecules:Molecules",
    "audio": "suffuse.modalities.audio:Audio",
    "video": "suffuse.modalities.video:Video",
    "shapes": "suffuse.modalities.shapes:Shapes",
    "scans": "suffuse.modalities.scans:Scans",
}
"""Name -> "module:Class". The name is also that of the pip extra which brings the libraries."""


class _Absent(ModelError):
    """A registered modality whose own code is not whole (as opposed to one whose libraries are missing)."""


def names() -> list[str]:
    """The names of all kinds of data, in the order of the documentation."""
    return list(MODALITIES)


def find(name: str) -> type[Modality]:
    """The class of one kind of data. Raises AskError on an unknown name, ModelError where its libraries are missing."""
    if name not in MODALITIES:
        raise AskError(f"there is no modality '{name}'{nearest(name, MODALITIES)}; there are {', '.join(MODALITIES)}")
    module, _, attribute = MODALITIES[name].partition(":")
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        if (error.name or "suffuse").partition(".")[0] == "suffuse":
            raise _Absent(f"the modality '{name}' is not whole in this version of suffuse: {error}") from None
        raise ModelError(missing_library(error, name)) from None
    if not hasattr(loaded, attribute):
        raise _Absent(f"the modality '{name}' is not whole in this version of suffuse: {module} has no {attribute}")
    return getattr(loaded, attribute)


def available() -> dict[str, type[Modality]]:
    """All kinds of data whose code and libraries are there."""
    found = {}
    for name in MODALITIES:
        try:
            found[name] = find(name)
        except ModelError:
            continue
    return found


def recognise(source: Any) -> type[Modality]:
    """The kind of data that `source`, a path or an object, most looks like.

    Every modality is asked how sure it is; the surest wins, and of two equally sure ones the first registered. Raises
    DataError where there is no such file, or none is more than 0 sure.
    """
    looks_like_a_path = isinstance(source, os.PathLike) or (
        isinstance(source, str) and len(source) < 4096 and "\n" not in source and source.startswith((".", "/", "~"))
    )
    if looks_like_a_path and not os.path.exists(os.path.expanduser(source)):
        raise DataError(f"there is no file or folder {os.fspath(source)}")
    found = available()
    scores = {name: float(modality.recognises(source)) for name, modality in found.items()}
    best = max(scores, key=scores.__getitem__, default=None)
    if best is not None and scores[best] > 0:
        return found[best]
    what = os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"an object of type {type(source).__name__}"
    if len(what) > 100:
        what = what[:97] + "..."
    left_out = [name for name in MODALITIES if name not in found and _lacks_libraries(name)]
    note = f" (not looked at, for want of their libraries: {', '.join(left_out)})" if left_out else ""
    raise DataError(f"cannot tell what kind of data {what} is; name it as modality, one of {', '.join(found)}{note}")


def _lacks_libraries(name: str) -> bool:
    try:
        find(name)
    except ModelError as error:
        return not isinstance(error, _Absent)
    return False


def missing_library(error: ImportError, modality: str | None = None) -> str:
    """One sentence for a library that is not installed: which, and which extra brings it."""
    library = (error.name or str(error)).partition(".")[0]
    extra = modality or _EXTRA_OF.get(library, "all")
    return f"this needs the library {library}, which is not installed; pip install 'suffuse[{extra}]' brings it"


def nearest(name: str, known: Any) -> str:
    """ "; did you mean 'x'?" where a known name is near `name`, otherwise nothing. For error messages."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


_EXTRA_OF = {
    "PIL": "images",
    "pyarrow": "images",
    "datasets": "images",
    "pandas": "series",
    "matplotlib": "series",
    "tokenizers": "text",
    "networkx": "graphs",
    "scipy": "graphs",
    "rdkit": "molecules",
    "soundfile": "audio",
    "av": "video",
    "trimesh": "shapes",
    "skimage": "shapes",
    "nibabel": "scans",
    "pydicom": "scans",
}
"""Import name of a library -> the extra that brings it."""
