"""What is asked of shapes by name: complete."""

from __future__ import annotations

from typing import Any

from suffuse.modalities.shapes.files import Shape


def complete(
    model: Any, shape: Any, keep: str = "z<0.5", *, n: int = 4, given: dict[str, Any] | None = None, **settings: Any
) -> list[Shape]:
    """n ways to complete a shape of which one part holds.

    keep: that part, in shares of the shape's cube: "z<0.5" is the lower half, "x>0.4,y<0.6" two cuts.

    suffuse complete solids half.ply --keep "z<0.5" -o completed/
    """
    return model.sample(n, {**(given or {}), "grid": shape}, keep=keep, **settings)
