"""The picture of the README: one item of every room of the gallery, as one small PNG.

    suffuse demo -o gallery
    python benchmarks/poster.py gallery/index.html -o docs/gallery.png [--pick images=1,text=0]

Lays the pictures out on a page of its own and takes a picture of it with a headless Chromium (or Chrome), which must be
installed; nothing is drawn that the demo did not make. The colours are then reduced until the file is small.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

STYLE = """
body { margin: 0; background: #faf9f6; color: #1d1f21; font: 17px/1.35 system-ui, "Noto Sans", "DejaVu Sans", sans-serif; }
main { display: grid; grid-template-columns: repeat(3, 1fr); grid-auto-rows: 320px;
       gap: 16px; padding: 16px; width: 1368px; }
section { background: #fff; border: 1px solid #e4e1da; border-radius: 12px; overflow: hidden; display: flex;
          flex-direction: column; }
.shown { flex: 1; display: flex; flex-direction: column; gap: 8px; justify-content: center; padding: 12px; min-height: 0;
         overflow: hidden; }
figure { margin: 0; min-height: 0; flex: 0 1 auto; display: flex; justify-content: center; } figcaption { display: none; }
img, svg { width: 100%; max-height: 255px; min-height: 0; object-fit: contain; }
img.pixels { image-rendering: pixelated; width: 100%; }
audio { display: none; } h2 { margin: 0; padding: 9px 14px 10px; border-top: 1px solid #e4e1da; font: 600 17px/1.3 Georgia,
"Noto Serif", serif; } h2 small { color: #5d6269; font: 400 14px system-ui, "DejaVu Sans", sans-serif; }
blockquote { margin: 0 0 8px; text-align: left; white-space: pre-wrap; font: 17px/1.5 "Noto Serif CJK SC", Georgia, serif; }
mark { background: #d5f2ec; } table { font-size: 14px; border-collapse: collapse; } td, th { padding: 2px 10px; }
"""


def cards(page: str, picks: dict[str, int]) -> str:
    """HTML of one card a room."""
    found = []
    for slug, title, body in re.findall(r'<section id="([^"]+)">\s*<h2>([^<]+)<.*?</h2>(.*?)</section>', page, re.S):
        items = re.findall(r'<article id="[^"]+"[^>]*>\s*<div class="shown[^"]*">(.*?)</div>\s*<div class="told">\s*'
                           r"<h3>(.*?)</h3>", body, re.S)
        items = [(shown, told) for shown, told in items if "<img" in shown or "<blockquote" in shown or "<svg" in shown]
        if items:
            shown, told = items[min(picks.get(slug, 0), len(items) - 1)]
            figures = "".join(f for f in re.findall(r"<figure>.*?</figure>", shown, re.S) if "<audio" not in f)[:2_000_000]
            found.append(f'<section><div class="shown">{figures}</div><h2>{title} <small>{told}</small></h2></section>')
    return "".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/gallery.png"))
    parser.add_argument("--pick", default="", help="which item of a room, counted from 0: images=1,text=0")
    a = parser.parse_args()
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if browser is None:
        raise SystemExit("poster.py needs Chromium or Chrome: install one")
    picks = {k: int(v) for k, v in (pair.split("=") for pair in a.pick.split(",") if pair)}
    body = cards(a.page.read_text(encoding="utf-8"), picks)
    rows = -(-body.count("<section>") // 3)
    with tempfile.TemporaryDirectory() as folder:
        html, png = Path(folder) / "poster.html", Path(folder) / "poster.png"
        html.write_text(f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><main>{body}</main>", encoding="utf-8")
        size = f"--window-size=1400,{rows * 336 + 16}"
        subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", size,
                        f"--screenshot={png}", html.as_uri()], check=True, capture_output=True)
        shrink(png, a.output)
    print(f"{a.output}: {a.output.stat().st_size // 1000} kB")


def shrink(source: Path, target: Path, limit: int = 300_000) -> None:
    """Fewer colours, then fewer pixels, until the file is below `limit` bytes."""
    from PIL import Image

    picture = Image.open(source).convert("RGB")
    for colours, width in ((256, 1400), (128, 1400), (128, 1200), (64, 1200), (64, 1000), (32, 900)):
        height = round(picture.height * width / picture.width)
        small = picture.resize((width, height), Image.Resampling.LANCZOS) if width < picture.width else picture
        small.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
        if target.stat().st_size <= limit:
            return


if __name__ == "__main__":
    main()
