"""The report as one HTML page: everything inline, no network, light and dark, from phone to wide screen."""

from __future__ import annotations

import base64
import io
import mimetypes
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from suffuse.demo.pieces import number
from suffuse.demo.report import Item, Report, Room, pictures

_TYPES = {".flac": "audio/flac", ".wav": "audio/wav", ".webp": "image/webp", ".svg": "image/svg+xml"}


def page(report: Report, machine: str, seconds: float) -> str:
    """The whole page as a string."""
    style = files("suffuse.demo").joinpath("page.css").read_text(encoding="utf-8")
    rooms = [(_slug(room.title, k), room) for k, room in enumerate(report.rooms)]
    links = "".join(f'<a href="#{slug}">{escape(room.title)}</a>' for slug, room in rooms)
    body = "".join(_room(slug, room) for slug, room in rooms) or "<p>No room has a demo in this version.</p>"
    made = sum(len(room.items) for room in report.rooms)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>suffuse: a gallery</title>
<style>
{style}
</style>
</head>
<body>
<header>
<p class="brand">suffuse</p>
<h1>One diffusion engine, every kind of data</h1>
<p class="lead">Everything below was generated, completed or edited on this machine in {seconds:.0f} seconds, by
the small models that ship with suffuse, from real samples that ship beside them. Each figure of quality stands beside
the same figure for real data against real data, or for what the cell names.</p>
<p class="machine">{made} items · {escape(machine)} · made by <code>suffuse demo</code></p>
</header>
<nav aria-label="Rooms">{links}</nav>
<main>
{body}
{_summary(rooms)}
</main>
</body>
</html>
"""


def _room(slug: str, room: Room) -> str:
    intro = f'<p class="intro">{_prose(room.intro)}</p>' if room.intro else ""
    failed = f'<p class="failure">This room could not be finished: {escape(room.failure)}</p>'
    failure = failed if room.failure else ""
    note = f'<p class="note">{_prose(room.note)}</p>\n' if room.note else ""
    items = "".join(_item(f"{slug}-{k}", item) for k, item in enumerate(room.items))
    return f"""<section id="{slug}">
<h2>{escape(room.title)}<small>{room.seconds:.1f} s</small></h2>
{intro}{failure}
<div class="items">{items}</div>
{note}</section>
"""


def _item(slug: str, item: Item) -> str:
    note = f'<p class="note">{_prose(item.note)}</p>' if item.note else ""
    parts = pictures(item.picture)
    shown = "".join(_figure(caption, part, item.title) for caption, part in parts)
    sizes = [_extent(part) for _, part in parts]
    broad = bool(sizes) and all(wide >= 1.8 * high > 0 for wide, high in sizes)
    many = (" many lots" if len(parts) > 4 else " many") if len(parts) > 1 and not broad else ""
    card = ' class="broad"' if broad and max(wide for wide, _ in sizes) >= 900 else ""
    return f"""<article id="{slug}"{card}>
<div class="shown{many}">{shown}</div>
<div class="told">
<h3>{escape(item.title)}</h3>
<p class="asked">{_prose(item.asked)}</p>
{_code(item.code)}
{_cost(item)}
{_quality(item)}
{note}
</div>
</article>
"""


def _prose(text: str) -> str:
    """Plain text as HTML; words between backticks or <code> tags are set as code."""
    text = escape(text).replace("&lt;code&gt;", "`").replace("&lt;/code&gt;", "`")
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text)


def _cost(item: Item) -> str:
    parts = []
    if item.calls is not None:
        parts.append(f"<b>{item.calls}</b> network call{'' if item.calls == 1 else 's'}")
    if item.seconds is not None:
        parts.append(f"<b>{_seconds(item.seconds)}</b>")
    return f'<p class="cost">{" · ".join(parts)}</p>' if parts else ""


def _quality(item: Item) -> str:
    if not item.quality and not item.real:
        return ""
    columns = {"suffuse": item.quality} | ({"real, or as said": item.real} if item.real else {})
    rows = ""
    for name in dict.fromkeys([*item.quality, *item.real]):
        cells = "".join(f"<td>{escape(number(figures.get(name)))}</td>" for figures in columns.values())
        rows += f"<tr><th>{escape(str(name))}</th>{cells}</tr>"
    head = "<thead><tr><th></th>" + "".join(f"<th>{name}</th>" for name in columns) + "</tr></thead>"
    return f'<div class="scroll"><table class="quality">{head}<tbody>{rows}</tbody></table></div>'


def _summary(rooms: list[tuple[str, Room]]) -> str:
    rows = ""
    for slug, room in rooms:
        for k, item in enumerate(room.items):
            calls = "–" if item.calls is None else str(item.calls)
            seconds = "–" if item.seconds is None else _seconds(item.seconds)
            name = escape(room.title) if k == 0 else ""
            rows += (
                f'<tr><th>{name}</th><td><a href="#{slug}-{k}">{escape(item.title)}</a></td>'
                f"<td>{calls}</td><td>{seconds}</td></tr>"
            )
    if not rows:
        return ""
    head = "<thead><tr><th></th><th>What was asked</th><th>Calls</th><th>Time</th></tr></thead>"
    return (
        '<section id="summary"><h2>All of it</h2><div class="scroll"><table class="summary">'
        f"{head}<tbody>{rows}</tbody></table></div></section>"
    )


def _figure(caption: str, part: Any, title: str) -> str:
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{_part(part, caption or title)}{told}</figure>"


def _part(part: Any, title: str) -> str:
    if isinstance(part, str) and part.lstrip().startswith("<"):
        return part
    if hasattr(part, "save") and hasattr(part, "width"):
        buffer = io.BytesIO()
        part.save(buffer, format="PNG", optimize=True)
        return _image(buffer.getvalue(), "image/png", title)
    path = Path(part)
    data = path.read_bytes()
    kind = _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("audio/"):
        return f'<audio controls preload="none" title="{escape(title)}" src="{_uri(data, kind)}"></audio>'
    if kind.startswith("video/"):
        return f'<video controls loop muted playsinline title="{escape(title)}" src="{_uri(data, kind)}"></video>'
    if kind == "text/html":
        return data.decode("utf-8")
    if kind.startswith("text/"):
        return f"<pre>{escape(data.decode('utf-8'))}</pre>"
    return _image(data, kind, title)


def _image(data: bytes, kind: str, title: str) -> str:
    width, height = _size(data)
    drawn = kind == "image/svg+xml"  # drawn sharp at any size: the page decides
    size = f' width="{width}" height="{height}"' if width and not drawn else ""
    pixels = ' class="pixels"' if 0 < width <= 200 and not drawn else ' class="drawn"' if drawn else ""
    return f'<img{pixels}{size} alt="{escape(title)}" loading="lazy" src="{_uri(data, kind)}">'


def _extent(part: Any) -> tuple[int, int]:
    """Width and height of one part of a picture where they are known, (0, 0) otherwise."""
    if hasattr(part, "save") and hasattr(part, "width"):
        return part.width, part.height
    if isinstance(part, str) and part.lstrip().startswith("<"):
        return 0, 0
    return _size(Path(part).read_bytes())


def _size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, GIF or SVG from its header; (0, 0) for others."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:3] == b"GIF":
        return int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if b"<svg" in data[:2000]:
        head = data[:4000].decode("utf-8", "replace").partition("<svg")[2].partition(">")[0]
        found = [re.search(rf'\b{name}=["\']([0-9.]+)', head) for name in ("width", "height")]
        if all(found):
            return int(float(found[0].group(1))), int(float(found[1].group(1)))
    return 0, 0


def _uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _code(code: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import BashLexer, PythonLexer

    lexer = BashLexer() if code.lstrip().startswith("suffuse ") else PythonLexer()
    return f'<pre class="code"><code>{highlight(code.strip(), lexer, HtmlFormatter(nowrap=True))}</code></pre>'


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _slug(title: str, k: int) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or f"room-{k}"
