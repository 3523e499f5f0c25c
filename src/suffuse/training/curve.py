"""The loss curve of a run: rows in memory, a CSV file and a picture."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import torch
from torch import Tensor

from suffuse.files import atomic_write, write_text

COLUMNS = ("step", "seconds", "loss", "gradient", "rate", "skipped")


class Curve:
    """Rows of (step, seconds, loss, gradient norm, learning rate, skipped steps so far, loss of each field)."""

    def __init__(self, fields: tuple[str, ...] = ()):
        self.fields = fields
        self.rows: list[list[float]] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return COLUMNS + tuple(f"loss.{name}" for name in self.fields)

    def column(self, name: str) -> list[float]:
        """All values of one column."""
        k = self.columns.index(name)
        return [row[k] for row in self.rows]

    def add(self, row: list[float]) -> None:
        """One more row, in the order of `columns`."""
        self.rows.append([float(value) for value in row])

    def tensor(self) -> Tensor:
        """(rows, columns) float64, for a checkpoint."""
        return torch.tensor(self.rows, dtype=torch.float64).reshape(-1, len(self.columns))

    def load(self, rows: Tensor) -> None:
        """Take back what `tensor()` gave."""
        self.rows = rows.tolist()

    def write(self, folder: Path) -> None:
        """Write loss.csv and, where Pillow is installed, loss.png."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.columns)
        for row in self.rows:
            writer.writerow(f"{value:.6g}" if k not in (0, 5) else int(value) for k, value in enumerate(row))
        write_text(text.getvalue(), folder / "loss.csv")
        self.draw(folder / "loss.png")

    def draw(self, path: Path, width: int = 760, height: int = 420) -> None:
        """Draw the loss (log scale, thin: as logged, thick: smoothed) over steps; nothing where Pillow is missing."""
        try:
            from PIL import Image, ImageDraw
        except ImportError:
            return
        points = [(row[0], row[2]) for row in self.rows if math.isfinite(row[2]) and row[2] > 0]
        if len(points) < 2:
            return
        stride = max(1, len(points) // 2000)
        points = points[::stride]
        smooth, value = [], math.log10(points[0][1])
        share = min(1.0, 20 / len(points) + 0.02)
        for x, y in points:
            value += share * (math.log10(y) - value)
            smooth.append((x, value))
        raw = [(x, math.log10(y)) for x, y in points]
        low, high = min(y for _, y in raw), max(y for _, y in raw)
        low, high = low - 0.05 * (high - low) - 1e-3, high + 0.05 * (high - low) + 1e-3
        end = max(x for x, _ in points)
        left, right, top, bottom = 74, width - 18, 16, height - 44
        image = Image.new("RGB", (width, height), "white")
        pen = ImageDraw.Draw(image)

        def at(point: tuple[float, float]) -> tuple[float, float]:
            x, y = point
            return left + (right - left) * x / max(end, 1), bottom - (bottom - top) * (y - low) / (high - low)

        for k in range(6):
            y = low + (high - low) * k / 5
            pen.line([at((0, y)), at((end, y))], fill="#e4e4e4")
            pen.text((6, at((0, y))[1] - 6), f"{10**y:.4g}", fill="#444444")
            x = end * k / 5
            pen.text((at((x, low))[0] - 12, bottom + 8), f"{x:.0f}", fill="#444444")
        pen.line([at(p) for p in raw], fill="#b9cde5", width=1)
        pen.line([at(p) for p in smooth], fill="#1f4e9c", width=3)
        pen.rectangle([left, top, right, bottom], outline="#888888")
        pen.text(((left + right) / 2 - 12, height - 18), "step", fill="#444444")
        pen.text((left + 8, top + 4), "training loss", fill="#444444")
        with atomic_write(path) as partial:
            image.save(partial, format="PNG")
