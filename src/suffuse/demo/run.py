"""Run every room's demo and write the page."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from suffuse.demo.page import page
from suffuse.demo.report import Report, Room
from suffuse.errors import AskError, MissingModel, SuffuseError
from suffuse.files import atomic_write, write_text
from suffuse.modalities.registry import MODALITIES, missing_library, nearest


def room_of(name: str) -> Callable[[Report, Path], None] | None:
    """The `demo` function of suffuse/demo/<name>.py, or None where there is no such room yet."""
    module = f"suffuse.demo.{name}"
    try:
        return importlib.import_module(module).demo
    except ModuleNotFoundError as error:
        if error.name == module:
            return None
        raise


Say = Callable[[str, Any], None]


def run_demo(folder: str | Path = "gallery", only: Sequence[str] = (), say: Say | None = None) -> Report:
    """Run the rooms (all, or those named in `only`) and write `folder/index.html`, one page that needs nothing else.

    What a room writes stands in `folder/<room>/`. A room that fails is shown with its error; the others go on. A room whose
    models do not ship (yet) is left out, or ends where they are missing, and says so.
    say(what, value) is told what happens: ("room", name), ("done", Room), ("page", path). Raises AskError on an unknown
    room and DataError where the folder cannot be written.
    """
    folder = Path(folder)
    for name in only:
        if name not in MODALITIES:
            raise AskError(f"there is no room '{name}' in the demo{nearest(name, MODALITIES)}")
    say = say or (lambda what, value: None)
    with atomic_write(folder / "index.html") as partial:  # a folder that cannot be written is told before the work
        partial.write_text("<!doctype html><title>suffuse</title><p>The demo is being made.", encoding="utf-8")
    report = Report()
    begin = time.perf_counter()
    for name in only or MODALITIES:
        start = time.perf_counter()
        room = Room(name.capitalize())
        report.rooms.append(room)
        try:
            demo = room_of(name)
            if demo is None:
                report.rooms.pop()
                continue
            say("room", name)
            place = folder / name
            place.mkdir(parents=True, exist_ok=True)
            demo(report, place)
        except MissingModel as error:
            room.note = f"There is more to this room: {error.name} does not ship with this version."
            if not room.items:
                report.rooms.pop()
                with contextlib.suppress(OSError):
                    place.rmdir()
                continue
        except SuffuseError as error:
            room.failure = str(error)
        except ImportError as error:
            room.failure = missing_library(error, name)
        except Exception as error:
            if os.environ.get("SUFFUSE_DEBUG"):
                raise
            room.failure = f"{type(error).__name__}: {error}"
        room.seconds = time.perf_counter() - start
        say("done", room)
    write_text(page(report, machine(), time.perf_counter() - begin), folder / "index.html")
    say("page", folder / "index.html")
    return report


def machine() -> str:
    """One line: what the figures were measured on."""
    import torch

    from suffuse import __version__

    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"suffuse {__version__}, torch {torch.__version__}, {system}, {cores} cores{device}"
