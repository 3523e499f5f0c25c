"""`solids`: a family of procedural shapes, furniture-like and organic, made from signed distances. Our own data, no licence.

    made = solids(100, size=24, seed=0)      # {"grid": (100, 24, 24, 24) float32 signed distances, "label": (100,)}

Shapes stand in the cube [-1, 1]^3, z up, front towards -y. Distances are negative inside. Shape k of a seed is always
the same, whatever its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

KINDS = ("chair", "table", "stool", "shelf", "lamp", "vase", "creature", "tree")

Rng = np.random.Generator
Points = np.ndarray


def box(p: Points, centre: tuple, half: tuple, rounding: float = 0.02) -> np.ndarray:
    """Signed distance to a box with rounded edges. p: (..., 3)."""
    q = np.abs(p - np.asarray(centre)) - (np.asarray(half) - rounding)
    return np.linalg.norm(np.maximum(q, 0), axis=-1) + np.minimum(q.max(-1), 0) - rounding


def rod(p: Points, start: tuple, end: tuple, radius: float, radius_end: float | None = None) -> np.ndarray:
    """Signed distance (a bound, where it tapers) to a rod with round ends."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    share = np.clip(((p - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
    thick = radius + (radius if radius_end is None else radius_end) * share - radius * share
    return np.linalg.norm(p - a - share[..., None] * (b - a), axis=-1) - thick


def cylinder(p: Points, centre: tuple, radius: float, half: float) -> np.ndarray:
    """Signed distance to an upright cylinder."""
    q = p - np.asarray(centre)
    d = np.stack([np.hypot(q[..., 0], q[..., 1]) - radius, np.abs(q[..., 2]) - half], axis=-1)
    return np.minimum(d.max(-1), 0) + np.linalg.norm(np.maximum(d, 0), axis=-1)


def ellipsoid(p: Points, centre: tuple, radii: tuple) -> np.ndarray:
    """Approximate signed distance to an ellipsoid (exact sign, right to first order near the surface)."""
    q = (p - np.asarray(centre)) / np.asarray(radii)
    k0 = np.linalg.norm(q, axis=-1)
    k1 = np.linalg.norm(q / np.asarray(radii), axis=-1)
    return np.where(k0 < 1e-9, -min(radii), k0 * (k0 - 1) / np.maximum(k1, 1e-9))


def together(*parts: np.ndarray) -> np.ndarray:
    """The union of parts."""
    return np.minimum.reduce(parts)


def melt(a: np.ndarray, b: np.ndarray, softness: float) -> np.ndarray:
    """A union whose seam is rounded (polynomial smooth minimum)."""
    h = np.clip(0.5 + 0.5 * (b - a) / softness, 0, 1)
    return b * (1 - h) + a * h - softness * h * (1 - h)


def _legs(p: Points, rng: Rng, width: float, depth: float, top: float, thick: float) -> np.ndarray:
    spread = rng.uniform(0, 0.12)
    legs = []
    for x in (-1, 1):
        for y in (-1, 1):
            foot = (x * (width - thick) * (1 + spread), y * (depth - thick) * (1 + spread), -0.85)
            legs.append(
                rod(p, (x * (width - thick), y * (depth - thick), top), foot, thick, thick * rng.uniform(0.8, 1))
            )
    return together(*legs)


def chair(p: Points, rng: Rng) -> np.ndarray:
    width, depth, seat = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.55), rng.uniform(-0.25, 0.05)
    thick, leg = rng.uniform(0.07, 0.12), rng.uniform(0.07, 0.11)
    parts = [box(p, (0, 0, seat), (width, depth, thick)), _legs(p, rng, width, depth, seat, leg)]
    back, top = depth - 0.08, rng.uniform(0.6, 0.88)
    if rng.random() < 0.6:
        parts.append(box(p, (0, back, (seat + top) / 2), (width, 0.09, (top - seat) / 2 + thick)))
    else:
        parts.append(box(p, (0, back, top - 0.12), (width, 0.09, 0.14)))
        parts += [rod(p, (x * (width - leg), back, seat), (x * (width - leg), back, top - 0.1), leg) for x in (-1, 1)]
    if rng.random() < 0.4:
        height = seat + rng.uniform(0.28, 0.4)
        for x in (-1, 1):
            parts.append(box(p, (x * (width - 0.06), 0, height), (0.08, depth, 0.07)))
            parts.append(
                rod(p, (x * (width - 0.06), -depth + 0.1, seat), (x * (width - 0.06), -depth + 0.1, height), 0.07)
            )
    return together(*parts)


def table(p: Points, rng: Rng) -> np.ndarray:
    width, depth = rng.uniform(0.65, 0.9), rng.uniform(0.45, 0.85)
    top, thick = rng.uniform(-0.1, 0.45), rng.uniform(0.07, 0.12)
    round_top = rng.random() < 0.3
    plate = cylinder(p, (0, 0, top), width, thick) if round_top else box(p, (0, 0, top), (width, depth, thick))
    if round_top or rng.random() < 0.3:
        foot = cylinder(p, (0, 0, -0.8), width * rng.uniform(0.4, 0.6), 0.08)
        return together(plate, rod(p, (0, 0, top), (0, 0, -0.8), rng.uniform(0.1, 0.18)), foot)
    return together(plate, _legs(p, rng, width, depth, top, rng.uniform(0.08, 0.12)))


def stool(p: Points, rng: Rng) -> np.ndarray:
    radius, seat, count = rng.uniform(0.4, 0.6), rng.uniform(-0.1, 0.4), int(rng.integers(3, 6))
    thick, turn, spread = rng.uniform(0.07, 0.11), rng.uniform(0, 2 * np.pi), rng.uniform(0.9, 1.25)
    parts = [cylinder(p, (0, 0, seat), radius, rng.uniform(0.08, 0.14))]
    for k in range(count):
        x, y = (
            np.cos(turn + 2 * np.pi * k / count) * radius * 0.75,
            np.sin(turn + 2 * np.pi * k / count) * radius * 0.75,
        )
        parts.append(rod(p, (x, y, seat), (x * spread, y * spread, -0.85), thick))
    return together(*parts)


def shelf(p: Points, rng: Rng) -> np.ndarray:
    width, depth, height = rng.uniform(0.45, 0.75), rng.uniform(0.25, 0.4), rng.uniform(0.7, 0.9)
    thick, boards = rng.uniform(0.06, 0.09), int(rng.integers(3, 6))
    parts = [box(p, (x * (width - thick), 0, 0), (thick, depth, height)) for x in (-1, 1)]
    for k in range(boards):
        z = -height + thick + k * (2 * height - 2 * thick) / (boards - 1)
        parts.append(box(p, (0, 0, z), (width, depth, thick)))
    if rng.random() < 0.5:
        parts.append(box(p, (0, depth - 0.07, 0), (width, 0.08, height)))
    return together(*parts)


def lamp(p: Points, rng: Rng) -> np.ndarray:
    base, post, shade = rng.uniform(0.3, 0.5), rng.uniform(0.07, 0.1), rng.uniform(0.35, 0.6)
    low, tall, taper = rng.uniform(0.1, 0.4), rng.uniform(0.35, 0.5), rng.uniform(0.4, 0.9)
    high = min(low + tall, 0.9)
    radius = shade * (1 + (taper - 1) * np.clip((p[..., 2] - low) / (high - low), 0, 1))
    flat = np.hypot(p[..., 0], p[..., 1])
    cone = np.maximum(flat - radius, np.abs(p[..., 2] - (low + high) / 2) - (high - low) / 2)
    return together(cylinder(p, (0, 0, -0.82), base, 0.08), rod(p, (0, 0, -0.8), (0, 0, low), post), cone)


def vase(p: Points, rng: Rng) -> np.ndarray:
    z = np.linspace(-0.9, 0.9, 5)
    r = np.array(
        [
            rng.uniform(0.25, 0.45),
            rng.uniform(0.4, 0.75),
            rng.uniform(0.35, 0.75),
            rng.uniform(0.18, 0.4),
            rng.uniform(0.25, 0.5),
        ]
    )
    t = np.clip((p[..., 2] + 0.9) / 1.8 * 4, 0, 3.999)
    k, f = t.astype(int), t - t.astype(int)
    f = f * f * (3 - 2 * f)
    radius = r[k] * (1 - f) + r[k + 1] * f
    lobes, depth, turn = int(rng.integers(3, 8)), rng.choice([0, rng.uniform(0.04, 0.1)]), rng.uniform(0, 2 * np.pi)
    angle = np.arctan2(p[..., 1], p[..., 0])
    radius = radius * (1 + depth * np.cos(lobes * angle + turn))
    side = (np.hypot(p[..., 0], p[..., 1]) - radius) * 0.9
    return np.maximum(side, np.abs(p[..., 2]) - z[-1])


def creature(p: Points, rng: Rng) -> np.ndarray:
    length, girth, lift = rng.uniform(0.45, 0.65), rng.uniform(0.25, 0.38), rng.uniform(-0.25, 0.05)
    soft = rng.uniform(0.1, 0.2)
    body = ellipsoid(p, (0, 0, lift), (girth, length, girth * rng.uniform(0.85, 1.1)))
    head = rng.uniform(0.2, 0.3)
    neck = (0, -length - head * 0.4, lift + rng.uniform(0.15, 0.45))
    body = melt(body, ellipsoid(p, neck, (head, head * rng.uniform(1, 1.3), head)), soft)
    for x in (-1, 1):
        ear = rng.uniform(0.1, 0.3)
        body = melt(
            body,
            rod(
                p,
                (x * head * 0.6, neck[1], neck[2] + head * 0.6),
                (x * head * 0.8, neck[1], neck[2] + head + ear),
                0.07,
            ),
            0.06,
        )
        for y in (-1, 1):
            foot = rng.uniform(0.08, 0.12)
            body = melt(
                body,
                rod(p, (x * girth * 0.6, y * length * 0.6, lift), (x * girth * 0.75, y * length * 0.65, -0.82), foot),
                0.08,
            )
    tail = rng.uniform(0.1, 0.35)
    return melt(body, rod(p, (0, length * 0.9, lift), (0, length + tail, lift + rng.uniform(0, 0.5)), 0.1, 0.06), 0.1)


def tree(p: Points, rng: Rng) -> np.ndarray:
    trunk, top = rng.uniform(0.1, 0.16), rng.uniform(-0.2, 0.2)
    out = rod(p, (0, 0, -0.88), (0, 0, top), trunk, trunk * 0.7)
    if rng.random() < 0.4:
        low, wide = top - 0.4, rng.uniform(0.45, 0.7)
        fall = np.clip((0.92 - p[..., 2]) / (0.92 - low), 0, 1)
        cone = np.maximum(
            (np.hypot(p[..., 0], p[..., 1]) - wide * fall) * 0.8, np.maximum(low - p[..., 2], p[..., 2] - 0.92)
        )
        return melt(out, cone, 0.05)
    for _ in range(int(rng.integers(3, 6))):
        place = (*rng.uniform(-0.4, 0.4, 2), rng.uniform(top, 0.55))
        out = melt(
            melt(out, rod(p, (0, 0, top - 0.1), place, trunk * 0.6), 0.05),
            ellipsoid(p, place, tuple(rng.uniform(0.25, 0.42, 3))),
            0.12,
        )
    return out


MAKERS: dict[str, Callable[[Points, Rng], np.ndarray]] = {
    "chair": chair,
    "table": table,
    "stool": stool,
    "shelf": shelf,
    "lamp": lamp,
    "vase": vase,
    "creature": creature,
    "tree": tree,
}


def lattice(size: int) -> np.ndarray:
    """Centres of the cells of [-1, 1]^3, (size, size, size, 3), axes x, y, z."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def solid(kind: str, seed: int, index: int, size: int) -> np.ndarray:
    """One shape of one kind: (size, size, size) signed distances in units of half the cube."""
    rng = np.random.default_rng([seed, index, KINDS.index(kind)])
    return MAKERS[kind](lattice(size), rng).astype(np.float32)


def solids(
    n: int, size: int = 24, seed: int = 0, first: int = 0, kinds: tuple[str, ...] = KINDS
) -> dict[str, np.ndarray]:
    """Shapes first..first+n-1 of a seed; kinds take turns. Returns grid (n, size, size, size) float32 and label (n,) int64."""
    label = np.array([KINDS.index(kinds[(first + k) % len(kinds)]) for k in range(n)], np.int64)
    grid = (
        np.stack([solid(KINDS[label[k]], seed, first + k, size) for k in range(n)])
        if n
        else np.empty((0, size, size, size))
    )
    return {"grid": grid.astype(np.float32), "label": label}
