"""What a demo hands in: rooms with items, each with what was asked, the call that does it, its cost and its quality."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Picture = Any
"""A path (png, jpg, webp, gif, svg, wav, flac, mp3, mp4, html), a PIL image, an HTML fragment (a string that starts
with "<"), a list of those side by side, or a dict of captions to those."""


@dataclass
class Item:
    """One thing shown. `quality` and `real` have the same keys: our figure, and the same for real against real."""

    title: str
    asked: str
    code: str
    picture: Picture = None
    calls: int | None = None
    seconds: float | None = None
    quality: dict[str, Any] = field(default_factory=dict)
    real: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass
class Room:
    """One kind of data. `failure` is the sentence to show where the room could not be finished, `note` a last remark."""

    title: str
    intro: str = ""
    items: list[Item] = field(default_factory=list)
    seconds: float = 0.0
    failure: str = ""
    note: str = ""


class Report:
    """Collects rooms and items in the order they are handed in."""

    def __init__(self) -> None:
        self.rooms: list[Room] = []

    def room(self, title: str, intro: str = "") -> Room:
        """Name the room that follows, with one or two sentences: which models, which data, under which licence."""
        last = self.rooms[-1] if self.rooms else None
        if last is None or last.items or last.intro or last.failure or last.seconds:
            last = Room("")
            self.rooms.append(last)
        last.title, last.intro = title, intro
        return last

    def item(
        self,
        title: str,
        asked: str,
        code: str,
        picture: Picture = None,
        calls: int | None = None,
        seconds: float | None = None,
        quality: Any = None,
        real: Any = None,
        note: str = "",
    ) -> Item:
        """Show one thing.

        title: a few words. asked: one sentence in a person's words. code: the Python call that does it, as it would be
        typed. picture: see `Picture`; it is put into the page, so keep it below some 300 kB. calls: network calls a
        sample; seconds: wall time of the call (see `watch` for both). quality, real: a figure, a sentence or a dict
        {name of figure: value}, for what was made and for real data against real data.
        """
        if not self.rooms:
            self.rooms.append(Room("Demo"))
        made = Item(title, asked, code, picture, calls, seconds, _figures(quality), _figures(real), note)
        self.rooms[-1].items.append(made)
        return made

    def watch(self, model: Any = None) -> Watch:
        """Count the seconds of a block and, given a model, the calls of its network.

        with report.watch(model) as seen:
            pictures = model.sample(16, steps=8)
        report.item(..., calls=seen.calls, seconds=seen.seconds)
        """
        return Watch(model)


class Watch:
    """Seconds of a block, and how often the network of `model` (or a module itself) was called in it."""

    def __init__(self, model: Any = None):
        denoiser = getattr(model, "denoiser", model)
        self.network = getattr(denoiser, "network", denoiser)
        self.calls = 0
        self.seconds = 0.0

    def __enter__(self) -> Watch:
        self._hook = None
        if hasattr(self.network, "register_forward_pre_hook"):
            self._hook = self.network.register_forward_pre_hook(self._count)
        self._begin = time.perf_counter()
        return self

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def __exit__(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self._begin
        if self._hook is not None:
            self._hook.remove()


def _figures(value: Any) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    return dict(value) if isinstance(value, Mapping) else {"quality": value}


def pictures(picture: Picture) -> list[tuple[str, Any]]:
    """The parts of `Item.picture` as (caption, part) pairs."""
    if picture is None:
        return []
    if isinstance(picture, Mapping):
        return [(str(caption), part) for caption, part in picture.items()]
    if isinstance(picture, Sequence) and not isinstance(picture, (str, bytes, Path)):
        return [("", part) for part in picture]
    return [("", picture)]
