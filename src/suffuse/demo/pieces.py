"""Pieces that rooms build their pictures from, so that all of the page has one look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

CHART = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.transparent": True,
    "savefig.dpi": 160,
    "text.color": "#808080",
    "axes.edgecolor": "#999999",
    "axes.labelcolor": "#808080",
    "xtick.color": "#808080",
    "ytick.color": "#808080",
    "grid.color": "#80808040",
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}
"""Settings for matplotlib charts that read well on light and on dark: `with matplotlib.rc_context(CHART): ...`.
Colours that suit both: GIVEN for what was known, MADE for what was generated, TRUTH for what really was."""

GIVEN, MADE, TRUTH = "#8a8f98", "#0f9d8a", "#d9822b"


def text_block(text: str | Iterable[str], label: str = "") -> str:
    """HTML of a text, or of several one below the other. Newlines and spaces are kept."""
    texts = [text] if isinstance(text, str) else list(text)
    head = f'<div class="label">{escape(label)}</div>' if label else ""
    body = "".join(f'<blockquote dir="auto">{escape(t)}</blockquote>' for t in texts)
    return f'<div class="texts">{head}{body}</div>'


def marked_text(parts: Iterable[tuple[str, bool]]) -> str:
    """HTML of a text whose parts are (text, made): what the model wrote is marked, what was given is plain."""
    body = "".join(f"<mark>{escape(t)}</mark>" if made else escape(t) for t, made in parts)
    return f'<div class="texts"><blockquote dir="auto">{body}</blockquote></div>'


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = ()) -> str:
    """HTML of a small table. Numbers are set to three significant digits."""
    top = "<thead><tr>" + "".join(f"<th>{escape(str(c))}</th>" for c in head) + "</tr></thead>" if head else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(number(c))}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'


def number(value: Any) -> str:
    """A figure as a person reads it: three significant digits, other things as they are."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if hasattr(value, "item") and hasattr(value, "shape"):  # a number in an array or a tensor
        value = value.item()
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return "–"
        if value == 0 or 1e-3 <= abs(value) < 1e5:
            digits = max(0, 3 - len(str(int(abs(value)))) if abs(value) >= 1 else 3)
            return f"{value:.{digits}f}"
        return f"{value:.2e}"
    return str(value)


def sheet(pictures: Sequence[Any], columns: int | None = None, scale: int | None = None, gap: int = 2) -> Any:
    """A contact sheet: pictures (PIL images, or uint8 arrays (H, W) or (H, W, 3)) in rows, on a transparent ground.

    columns: default is all in one row up to 8. scale: whole-number enlargement without smoothing; default makes a
    picture at least 64 pixels high. Raises ValueError on no pictures.
    """
    from PIL import Image

    if not pictures:
        raise ValueError("no pictures for the sheet")
    images = [p if isinstance(p, Image.Image) else Image.fromarray(p) for p in pictures]
    columns = columns or min(8, len(images))
    wide, high = max(i.width for i in images), max(i.height for i in images)
    scale = scale or max(1, -(-64 // high))
    rows = -(-len(images) // columns)
    step_x, step_y = wide * scale + gap * 2, high * scale + gap * 2
    out = Image.new("RGBA", (columns * step_x - gap * 2, rows * step_y - gap * 2), (0, 0, 0, 0))
    for k, image in enumerate(images):
        large = image.convert("RGBA").resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
        out.paste(large, (k % columns * step_x, k // columns * step_y))
    return out
