"""What a person sees: tables and progress by rich, loaded when used."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from suffuse.demo.pieces import number


def console() -> Any:
    from rich.console import Console

    return Console(highlight=False)


def interactive() -> bool:
    """Whether someone is looking: progress bars are drawn only then."""
    return sys.stdout.isatty()


def line(text: str) -> None:
    """One line on stdout."""
    print(text)


def written(paths: Sequence[Path]) -> None:
    """Tell what was written: the file, or how many and where."""
    paths = [Path(p) for p in paths]
    if len(paths) == 1:
        line(f"wrote {paths[0]}")
    elif paths:
        line(f"wrote {len(paths)} files, {paths[0]} to {paths[-1]}")


def figures(values: dict[str, Any]) -> None:
    """Quality beside real against real: keys that end in `_real` stand in the second column."""
    if not values:
        line("this kind of data has no figures of quality")
        return
    table = _table("", "model", "real against real")
    for name, figure in values.items():
        if name.endswith("_real") and name.removesuffix("_real") in values:
            continue
        table.add_row(name.replace("_", " "), number(figure), number(values.get(f"{name}_real")))
    console().print(table)


def modalities(rows: Sequence[tuple[str, str, str]]) -> None:
    """The kinds of data."""
    table = _table("modality", "what it is", "adds")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def model(name: str, folder: Path) -> None:
    """What a model folder says about itself."""
    from suffuse import storage
    from suffuse.files import human_size

    config = storage.read_config(folder)
    size = (folder / storage.WEIGHTS).stat().st_size
    table = _table("model", name)
    table.add_row("folder", str(folder))
    table.add_row("modality", config["modality"])
    table.add_row("weights", f"{human_size(size)}")
    for key, value in config["data"].items():
        table.add_row(key.replace("_", " "), _short(value))
    console().print(table)
    card = folder / storage.CARD
    if card.is_file():
        from rich.markdown import Markdown

        text = re.sub(r"## Recipe\n.*?```json.*?```\n*", "", card.read_text(encoding="utf-8"), flags=re.DOTALL)
        console().print(Markdown(text))


def data(source: str, modality: Any, count: int) -> None:
    """What a data set was recognised as."""
    table = _table("data", source)
    table.add_row("modality", modality.name)
    table.add_row("examples", str(count))
    for key, value in modality.config.items():
        table.add_row(key.replace("_", " "), _short(value))
    table.add_row("training tasks", ", ".join(f"{name} {weight:g}" for name, weight in modality.tasks.items()))
    console().print(table)


def value(made: Any) -> None:
    """Print a result that is no sample."""
    if hasattr(made, "to_csv"):
        print(made.to_csv(index=False), end="")
    elif isinstance(made, dict):
        print(json.dumps(made, indent=1, ensure_ascii=False, default=plain))
    elif hasattr(made, "tolist") or isinstance(made, (list, tuple)):
        rows = made.tolist() if hasattr(made, "tolist") else made
        for one in rows if isinstance(rows, (list, tuple)) else [rows]:
            print(json.dumps(one, ensure_ascii=False, default=plain) if not isinstance(one, str) else one)
    else:
        print(made if isinstance(made, str) else number(made))


def write_value(made: Any, path: Path) -> Path:
    """Write a result that is no sample: CSV for frames, text for strings, JSON for the rest."""
    from suffuse.files import atomic_write, write_json, write_text

    if hasattr(made, "to_csv"):
        with atomic_write(path) as partial:
            made.to_csv(partial, index=False)
        return path
    if isinstance(made, str):
        return write_text(made + "\n", path)
    return write_json(json.loads(json.dumps(made, default=plain), parse_constant=lambda constant: None), path)


def plain(thing: Any) -> Any:
    """Arrays, tensors and paths as JSON values."""
    if hasattr(thing, "tolist"):
        return thing.tolist()
    return str(thing)


@contextlib.contextmanager
def rooms() -> Iterator[Callable[[str, Any], None]]:
    """A status line while the demo goes through its rooms."""
    from rich.console import Console

    screen = Console(stderr=True, highlight=False)
    with screen.status("the demo begins") as status:

        def say(what: str, thing: Any) -> None:
            if what == "room":
                status.update(f"{thing} ...")
            elif what == "done":
                mark = "[red]failed[/]" if thing.failure else f"{len(thing.items)} items"
                screen.print(f"{thing.title:12} {mark}, {thing.seconds:.1f} s")

        yield say


def gallery(report: Any, path: Path) -> None:
    """The demo's table, and where the page is."""
    table = _table("room", "what was asked", "calls", "seconds", "quality (real, or as said)")
    for room in report.rooms:
        for k, item in enumerate(room.items):
            told = [
                f"{name} {number(figure)}" + (f" ({number(item.real[name])})" if name in item.real else "")
                for name, figure in item.quality.items()
            ]
            title = room.title if k == 0 else ""
            table.add_row(title, item.title, number(item.calls), number(item.seconds), _safe("; ".join(told)))
        if room.failure:
            table.add_row(room.title if not room.items else "", f"[red]{_safe(room.failure)}[/]", "", "", "")
    console().print(table)
    line(f"open {path} in a browser: it needs no network")


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _table(*head: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for k, name in enumerate(head):
        table.add_column(name, overflow="fold", no_wrap=k == 0)
    return table


def _short(thing: Any, limit: int = 100) -> str:
    text = json.dumps(thing, ensure_ascii=False, default=str) if not isinstance(thing, str) else thing
    return text if len(text) <= limit else text[: limit - 3] + "..."
