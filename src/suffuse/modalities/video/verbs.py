"""What is asked of video by name: extend, interpolate, animate, change."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from suffuse.errors import AskError
from suffuse.modalities.video.files import Clip
from suffuse.modalities.video.paths import anchored


def extend(
    model: Any,
    clip: Any = None,
    frames: int = 64,
    *,
    n: int = 1,
    keep: int | None = None,
    overlap: float | None = None,
    anchors: int | None = None,
    given: dict[str, Any] | None = None,
    steps: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> list[Clip]:
    """Clips of any length, from a beginning or from nothing, window after window.

    keep: how many of the last frames the next window sees (default: half a window). overlap: bring frames down in a
    staircase with so many on the way at a time, instead of all together. anchors: of models with a path, so many of the kept
    frames are the first of the clip instead of the last, so that things look to the end as they did in the beginning (default:
    three quarters of them). given: attributes that hold throughout.

    suffuse extend moving-digits start.gif --frames 64 -o long.gif
    """
    from suffuse.diffusion.path import Staircase

    modality = model.modality
    window = modality.config["frames"]
    keep = window // 2 if keep is None else int(keep)
    if not 1 <= keep < window:
        raise AskError(f"keep must lie between 1 and {window - 1}, not {keep!r}.")
    if frames < 2:
        raise AskError(f"frames must be at least 2, not {frames!r}.")
    followed = bool(modality.config.get("path"))
    anchors = (3 * keep // 4 if followed else 0) if anchors is None else int(anchors)
    if not 0 <= anchors < keep or (anchors and not followed):
        raise AskError(f"anchors must lie between 0 and {keep - 1 if followed else 0} for this model, not {anchors}.")

    def path() -> dict[str, Any]:
        if overlap is None:
            return {"steps": steps}
        return {"path": Staircase(steps or 2 * model.settings["steps"], axis=1, overlap=float(overlap))}

    index = torch.arange(n)
    first = modality.request(n, {**(given or {}), "clip": clip} if clip is not None else given, index=index)
    start = int((first.start.levels["clip"].flatten(2).amax(2) == 0).all(0).sum())
    if start < first.x["clip"].shape[1]:
        _stairs(first)
        x = model.run(first, seed=seed, **path(), **settings)["clip"]
    else:
        x = first.x["clip"]
    number = 1
    while x.shape[1] < frames:
        task = modality.request(n, given, index=index)
        task.x["clip"] = torch.cat([x[:, -keep:], torch.zeros_like(x[:, : window - keep])], dim=1)
        level = (torch.arange(window) >= keep).float().reshape(1, -1, 1, 1, 1).expand(n, -1, 1, 1, 1)
        task.start.levels["clip"], task.given["clip"] = level, level == 0
        task = modality.follow(task)
        if anchors:
            task = anchored(model, task, x[:, :anchors], seed + number)
        made = model.run(task, seed=seed + number, **path(), **settings)["clip"]
        x, number = torch.cat([x, made[:, keep:]], dim=1), number + 1
    return modality.decode({**{k: v for k, v in first.x.items()}, "clip": x[:, :frames]}, first)


def _stairs(task: Any) -> None:
    """Level maps at their full length along time, as staircases need them."""
    frames = task.x["clip"].shape[1]
    for part in (task.start.levels, task.given):
        value = part["clip"]
        part["clip"] = value.expand(value.shape[0], frames, *value.shape[2:])


def interpolate(
    model: Any, first: Any, last: Any, frames: int | None = None, *, n: int = 1, seed: int = 0, **settings: Any
) -> list[Clip]:
    """Clips between two pictures (or the end of one clip and the beginning of another), which are kept as they are.

    suffuse interpolate moving-digits a.png b.png -o between.gif
    """
    frames = model.modality.config["frames"] if frames is None else frames
    before, after = _strip(first), _strip(last)
    if len(before) + len(after) >= frames:
        raise AskError(
            f"{len(before)} and {len(after)} frames are given, and the answer has {frames}; ask for more frames."
        )
    at = [*range(len(before)), *range(frames - len(after), frames)]
    return model.sample(n, [*before, *after], seed=seed, frames=frames, at=at, **settings)


def _strip(thing: Any) -> list[Any]:
    from pathlib import Path

    from suffuse.modalities.video.files import CONTAINERS, MOVING, read_clip

    if isinstance(thing, (str, Path)) and Path(thing).suffix.lower() in (*MOVING, *CONTAINERS, ".npz"):
        thing = read_clip(thing)
    if isinstance(thing, Clip):
        return list(thing.frames)
    if isinstance(thing, np.ndarray) and thing.ndim == 4:
        return list(thing)
    return [thing]


def animate(
    model: Any, picture: Any, *, n: int = 1, given: dict[str, Any] | None = None, seed: int = 0, **settings: Any
) -> list[Clip]:
    """Clips that begin with a picture.

    suffuse animate moving-digits three.png -n 4 -o films/
    """
    return model.sample(n, {**(given or {}), "clip": [picture]}, seed=seed, **settings)


def change(
    model: Any,
    clip: Any,
    given: dict[str, Any] | None = None,
    *,
    was: dict[str, Any] | None = None,
    strength: float = 1.0,
    seed: int = 0,
    **settings: Any,
) -> list[Clip]:
    """Clips with other attributes, everything else kept: to each is added how an edit under the new attributes differs from
    the same edit, with the same noise, under the old ones, so that what the model does not reproduce stays as it was.

    clip: one or a list. given: the attributes that change. was: those that held (default: the clip's own labels, and where it
    has none, what the model names). strength: as in `edit`; 1 where all attributes are known, less where a clip is more than
    they say.

    suffuse change sprites walk.gif --given hair=2 -o other.gif
    """
    if not given:
        raise AskError("change needs the attributes that are to be others, such as given={'hair': '2'}.")
    modality, settings = model.modality, {"guidance": 1.5, **settings}
    modality.split_given(given)
    clips = modality.objects(clip)
    task = modality.request(len(clips), {modality.main: clips}, index=torch.arange(len(clips)))
    source = modality.decode(task.x, task)
    old: dict[str, Any] = dict(was or {})
    for name, classes in modality.labels.items():
        own = [getattr(c, "labels", {}).get(name) for c in clips]
        if name not in old:
            guess = model.predict(source, name).flatten(1).argmax(1).tolist() if None in own else []
            old[name] = [str(k) if k is not None else classes[guess[i]] for i, k in enumerate(own)]
    new = old | dict(given)
    after, before = (model.edit(source, strength, given=v, seed=seed, **settings) for v in (new, old))
    return [
        Clip(
            np.clip(s.frames + (a.frames.astype(np.int64) - b.frames), 0, 255).astype(np.uint8), s.fps, a.labels, s.name
        )
        for s, a, b in zip(source, after, before)
    ]
