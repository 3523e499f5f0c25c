"""From a few pictures to a solid: a volume optimised through a renderer, under a 2-D model of views.

    shape = lift(suffuse.load("solid-views"), views, angles=[0, 90, 180, 270])

Nothing here has seen 3-D data: the given views fix what they show, score distillation of random other views fills in the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse.diffusion.guidance import ClassifierFree
from suffuse.diffusion.objectives.distillation import annealed_levels, score_distillation_loss
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Start
from suffuse.errors import AskError
from suffuse.modalities.shapes.files import Shape
from suffuse.modalities.shapes.grid import Frame, to_mesh
from suffuse.modalities.shapes.rays import Cameras, slopes
from suffuse.modalities.shapes.views import ELEVATION
from suffuse.progress import follow

MOST_VIEWS = 16
START = 2.0
"""Signed distances begin cut off at so many cells: deeper ones would be too opaque to be moved."""
ROUGH = 0.01
OPACITY = (1.0, 4.0)
"""Density a cell at the beginning, where light reaches deep and hollows can form, and at the end."""
SEEN = 0.15
"""Pixels darker than this share of white are background: half of the light that a shaded surface has at least."""


def lift(
    model: Any,
    views: Any,
    angles: Sequence[float] | str,
    *,
    silhouettes: Any = None,
    steps: int = 80,
    cells: int = 24,
    prior: float = 1.0,
    prior_views: int = 2,
    high: float = 0.5,
    low: float = 0.08,
    guidance: float = 1.0,
    antithetic: bool = True,
    shading: bool = True,
    elevation: float = ELEVATION,
    seed: int = 0,
    progress: bool | Callable[[int, int], None] = False,
) -> Shape:
    """A watertight `Shape` in the cube [-1, 1]^3 from one or a few grey pictures of it on black, taken at `angles` (degrees).

    model: a picture model whose labels are view angles in degrees, such as the zoo's `solid-views`; None: views alone.
    views: (V, H, W) pictures in [0, 1] or bytes, or what becomes that (files, PIL images). silhouettes: (V, H, W), where not
    every pixel of the background is black. steps: of Adam, each renders the given views and `prior_views` others, whose noise
    level falls from `high` to `low`. cells: of the volume. prior: weight of score distillation against the squared error of
    the given views. guidance: of the angle. antithetic: the variance-reduced form, at twice the calls. shading: False fits
    silhouettes only. elevation: of all cameras, degrees. The shape's `notes` say seconds and network calls. Raises AskError.
    """
    begun = time.perf_counter()
    bins = _bins(model)
    given, angles = read_views(views, angles)
    if model is not None:
        wanted = model.modality.config["size"][0]
        if given.shape[-1] != wanted:
            raise AskError(
                f"the views have {given.shape[-1]} pixels along an edge, and this model's pictures {wanted}."
            )
    if not 8 <= cells <= 64 or steps < 1:
        raise AskError(f"a lift takes 8 to 64 cells and at least one step, not {cells} and {steps}.")
    shown = (given > SEEN).float() if silhouettes is None else read_views(silhouettes, angles)[0]
    if not bool(shown.flatten(1).any(1).all()):
        raise AskError("one of the views is wholly black; each must show the shape, bright on black.")
    cameras = Cameras(angles, elevation, given.shape[-1])
    others = {k: Cameras([b], elevation, given.shape[-1]) for k, b in enumerate(bins) if b % 360 not in angles}
    grid = hull(cameras, shown, cells).clamp(-START, START).requires_grad_()
    edge = F.pad(torch.full((cells - 2,) * 3, -3.0), (1,) * 6, value=1.0)  # nothing reaches the cube's faces
    with torch.no_grad():
        grid.copy_(torch.maximum(grid, edge))
    optimiser = torch.optim.Adam([grid], lr=0.12, betas=(0.9, 0.95))
    random, calls = Random(seed), 0
    with follow(progress, "lifting") as report:
        for step in range(steps):
            share = step / steps
            for group in optimiser.param_groups:
                group["lr"] = 0.12 * (1 - 0.8 * share)
            opacity = OPACITY[0] * (OPACITY[1] / OPACITY[0]) ** min(1.0, share / 0.6)
            silhouette, shaded = cameras.render(grid, opacity)
            loss = 2 * F.mse_loss(silhouette, shown)
            if shading:
                loss = loss + F.mse_loss(shaded, given)
            if model is not None and prior > 0 and others:
                row = torch.tensor([step])
                keys = list(others)
                picked = random.uniform((len(keys),), row, 0, "view")[0].argsort()[:prior_views].tolist()
                pictures = torch.cat([others[keys[k]].render(grid, opacity)[1] for k in picked])
                angle = torch.tensor([keys[k] for k in picked])
                level = annealed_levels(share, len(picked), high, low)
                pull = _prior_loss(model, pictures, angle, level, random, step, guidance, antithetic)
                loss = loss + prior * pull.mean()
                calls += 1
            (loss + ROUGH * roughness(grid)).backward()
            grid.grad = blur(grid.grad)
            optimiser.step()
            optimiser.zero_grad()
            with torch.no_grad():
                grid.copy_(torch.maximum(grid.clamp(-3, 3), edge))
            report(step + 1, steps)
    shape = to_mesh(grid.detach().numpy(), Frame(np.full(3, -1.0), 2.0), keep=0.03)
    told = f"lifted from {len(given)} views in {time.perf_counter() - begun:.1f} s, {calls} network calls"
    return replace(shape, name="lifted", notes=(told,))


def _prior_loss(
    model: Any,
    pictures: Tensor,
    angle: Tensor,
    level: Tensor,
    random: Random,
    step: int,
    guidance: float,
    antithetic: bool,
) -> Tensor:
    """(B,) score-distillation losses of rendered pictures (B, H, W) in [0, 1], so scaled that their gradient is that of the mean
    squared error to the cleaned pictures."""
    config, n = model.modality.config, len(pictures)
    value = (pictures[:, None] * 2 - 1 - config["mean"]) / config["deviation"]
    start = Start({"label": torch.zeros(n, 1)})
    denoiser: Any = model.denoiser
    if guidance != 1.0:
        denoiser = ClassifierFree(denoiser, model.joint, guidance, ("label",))
    x = {"image": value, "label": angle[:, None]}
    loss = score_distillation_loss(denoiser, model.joint, x, start, "image", level, random, step, antithetic=antithetic)
    return loss * 2 * (config["deviation"] / 2) ** 2  # from model units to [0, 1], and d(e^2) = 2 e de


def hull(cameras: Cameras, silhouettes: Tensor, cells: int) -> Tensor:
    """(R, R, R) signed distances in cells, cut off at 3, of the visual hull (Laurentini 1994): what no silhouette (V, H, W) of a
    parallel camera excludes."""
    from suffuse.modalities.shapes.grid import from_voxels
    from suffuse.modalities.shapes.rays import EXTENT
    from suffuse.modalities.shapes.solids import lattice

    points = torch.from_numpy(lattice(cells)).float().reshape(-1, 3)
    inside = torch.ones(len(points), dtype=torch.bool)
    for (right, up), picture in zip(cameras.planes, silhouettes, strict=True):
        place = torch.stack([points @ right, -(points @ up)], dim=-1) / EXTENT
        seen = F.grid_sample(picture[None, None], place[None, None], align_corners=False)[0, 0, 0]
        inside &= seen > 0.5
    voxels = inside.reshape(cells, cells, cells).numpy()
    if not voxels.any():
        return torch.full((cells, cells, cells), 0.5)
    return torch.from_numpy(from_voxels(voxels)).clamp(-3, 3)


def blur(grid: Tensor, times: int = 1) -> Tensor:
    """A grid smoothed by 3 x 3 x 3 means. Smoothed gradients move surfaces as a whole (Sobolev preconditioning)."""
    for _ in range(times):
        grid = F.avg_pool3d(grid[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    return grid


def roughness(grid: Tensor) -> Tensor:
    """How far a grid of signed distances in cells is from one: slopes other than 1 near the surface (the eikonal term, Gropp et
    al. 2020, eq. 2), and bends."""
    near = torch.exp(-grid.detach().square())
    eikonal = (near * ((slopes(grid).square().sum(0) + 1e-6).sqrt() - 1).square()).mean()
    bend = sum(torch.diff(grid, n=2, dim=d).square().mean() for d in range(3))
    return eikonal + 0.3 * bend


def read_views(views: Any, angles: Sequence[float] | str) -> tuple[Tensor, list[float]]:
    """((V, H, H) float32 in [0, 1], V angles in degrees in [0, 360)) of arrays, PIL images or files. Raises AskError."""
    if isinstance(angles, str):
        angles = angles.split(",")  # type: ignore[assignment]
    try:
        turns = [float(a) % 360 for a in np.atleast_1d(np.asarray(angles, dtype=np.float64))]
    except ValueError:
        raise AskError(f"angles are numbers of degrees, one a view, such as 0,90,180,270; not {angles!r}.") from None
    if isinstance(views, (list, tuple)):
        parts = [_grey(v) for v in views]
        if len({p.shape for p in parts}) > 1:
            raise AskError("the views differ in size; make them the same.")
        array = np.stack(parts)
    else:
        array = _grey(views)
        array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[1] != array.shape[2] or not 1 <= len(array) <= MOST_VIEWS:
        raise AskError(f"views are 1 to {MOST_VIEWS} square grey pictures (V, H, H), not an array of {array.shape}.")
    if len(turns) != len(array):
        raise AskError(f"{len(array)} views and {len(turns)} angles are given; give one angle a view.")
    if not np.isfinite(array).all() or not np.isfinite(turns).all():
        raise AskError("the views or angles hold NaN; numbers are meant.")
    return torch.from_numpy(array.clip(0, 1)), turns


def _grey(view: Any) -> np.ndarray:
    from pathlib import Path

    from PIL import Image

    if isinstance(view, (str, Path)):
        from suffuse.modalities.images.decoding import open_picture

        view = open_picture(view, str(view))
    if isinstance(view, Image.Image):
        view = view.convert("L")
    array = np.asarray(view)
    if array.ndim == 3 and array.shape[-1] == 3 and array.dtype == np.uint8:
        array = np.asarray(Image.fromarray(array).convert("L"))
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return array.astype(np.float32) / (255 if array.dtype == np.uint8 else 1)


def _bins(model: Any) -> list[float]:
    """The view angles that a picture model knows. Raises AskError where its labels are none."""
    if model is None:
        return []
    try:
        bins = [float(name) for name in model.modality.config["classes"]]
    except (KeyError, ValueError, TypeError):
        bins = []
    if not bins or model.modality.config["channels"] != 1:
        raise AskError(
            "lifting wants a model of grey pictures whose labels are view angles in degrees, such as solid-views."
        )
    return bins
