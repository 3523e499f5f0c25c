"""What a video model knows of films that are given: features frame by frame, points followed, frames that do not belong."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from suffuse.errors import AskError


def _task(model: Any, films: Any, level: Tensor | float, noisy: bool = False) -> Any:
    """A task that noises each frame of films to a level (broadcast to (n, T, 1, 1, 1)), attributes held back. noisy: the films
    carry noise, so that their paths cannot be read off."""
    x = (
        films
        if isinstance(films, Tensor)
        else model._data(films).batch(torch.arange(len(model._data(films)))).x["clip"]
    )
    n, frames = x.shape[:2]
    task = model.modality.request(n, None, index=torch.arange(n), frames=frames)
    task.x["clip"] = x
    task.start.levels["clip"] = torch.as_tensor(level).float().expand(n, frames, 1, 1, 1)
    task.given["clip"] = task.start.levels["clip"] == 0
    return task if noisy else model.modality.follow(task)


def known_level(model: Any, noise: float) -> float:
    """The level at which a film with noise of deviation `noise` (grey levels of 255) stands."""
    ratio = torch.tensor(max(noise, 1e-3) / model.modality.config["std"])
    return float(model.joint["clip"].schedule.time(-torch.log(ratio)))


def frame_features(
    model: Any, films: Any, level: float = 0.1, *, stage: int = -1, noise: float = 0.0, seed: int = 0, batch: int = 32
) -> Tensor:
    """(n, T, C, h, w) activations of the network after a stage on the way up, one call a film.

    films: anything the modality reads, or (n, T, C, H, W) in model units. level: the noise that is put on them. stage: 0 the
    finest resolution, -1 the coarsest. noise: deviation in grey levels of noise that the films carry already; then none is
    added, and `level` follows from it. Raises AskError for a level outside (0, 1).
    """
    if noise:
        level = known_level(model, noise)
    layer = model.denoiser.network.backbone.last_up(stage)
    return features_of(model, layer, films, level, noise, seed, batch)


def frame_codes(
    model: Any, films: Any, level: float = 0.1, *, noise: float = 0.0, seed: int = 0, batch: int = 32
) -> Tensor:
    """(n, T, D) the code of each frame, which knows where things are in all frames (`networks.motion.FrameCode`); one call a
    film, options as for `frame_features`. Raises AskError for a network without codes."""
    layer = model.denoiser.network.backbone.code
    if layer is None:
        raise AskError("this model's network has no codes of frames; ask for frame_features.")
    return features_of(model, layer, films, known_level(model, noise) if noise else level, noise, seed, batch)


def features_of(
    model: Any, layer: Any, films: Any, level: float = 0.1, noise: float = 0.0, seed: int = 0, batch: int = 32
) -> Tensor:
    """What any layer of the network answers for films at a level, (n, ...), or (n, T, ...) where it sees frame by frame."""
    if not 0 < level < 1:
        raise AskError(f"level must lie between 0 and 1, not {level!r}.")
    task, found = _task(model, films, level, noisy=noise > 0), []
    hook = layer.register_forward_hook(lambda m, i, out: found.append(out.cpu()))
    frames = task.x["clip"].shape[1]
    try:
        for first in range(0, len(task), batch):
            part = task.rows(slice(first, first + batch))
            state = None
            if noise:
                alpha = model.joint["clip"].schedule.alpha(torch.tensor(level))
                state = dict(part.x) | {"clip": alpha * part.x["clip"]}
            model.run(part, steps=1, seed=seed, guidance=1.0, batch=batch, state=state)
    finally:
        hook.remove()
    out = torch.cat(found)
    return out if len(out) == len(task) else out.unflatten(0, (-1, frames))


def dense_features(model: Any, films: Tensor, level: float = 0.1, *, noise: float = 0.0, seed: int = 0) -> Tensor:
    """(n, T, C, H, W) features of the finest stage at every pixel: films (model units) are moved by each part of a patch.

    As many calls a film as a patch has pixels. The lowest row and the last column repeat their neighbours.
    """
    patch = model.denoiser.network.backbone.frame.multiple[0] // 2 ** (len(model.denoiser.network.backbone.mix_up) - 1)
    n, frames, _, high, wide = films.shape
    out: Tensor | None = None
    centre = patch // 2
    for down in range(patch):
        for right in range(patch):
            padded = F.pad(films.flatten(0, 1), (right, 0, down, 0), mode="replicate")[..., :high, :wide]
            f = frame_features(model, padded.unflatten(0, (n, frames)), level, stage=0, noise=noise, seed=seed)
            if out is None:
                out = torch.zeros(n, frames, f.shape[2], high + patch, wide + patch)
            rows = torch.arange(f.shape[3]) * patch - down + patch
            columns = torch.arange(f.shape[4]) * patch - right + patch
            out[:, :, :, rows[:, None], columns] = f
    assert out is not None
    return out[..., patch - centre : high + patch - centre, patch - centre : wide + patch - centre]


def track(features: Tensor, points: Tensor) -> Tensor:
    """(n, T, 2) where a point of the first frame (n, 2: row, column) is in each frame: the pixel with the most similar feature.

    features: (n, T, C, H, W), compared by the cosine of what differs from their mean over the film.
    """
    f = features - features.mean((1, 3, 4), keepdim=True)
    f = F.normalize(f, dim=2)
    mark = f[torch.arange(len(f)), 0, :, points[:, 0], points[:, 1]]
    best = torch.einsum("ntchw,nc->nthw", f, mark).flatten(2).argmax(2)
    return torch.stack([best // f.shape[-1], best % f.shape[-1]], dim=-1)


def odd_frames(
    model: Any, films: Any, level: float = 0.7, *, repeats: int = 1, seed: int = 0, batch: int = 64
) -> Tensor:
    """(n, T) how badly each frame follows from the others: it alone is noised to `level`, and the score is the mean squared
    error (model units) of the network's expectation of it. One call a frame; `repeats`: mean of so many noises."""
    if not 0 < level <= 1:
        raise AskError(f"level must lie above 0 and at most at 1, not {level!r}.")
    whole = _task(model, films, 0.0).x["clip"]
    scores = []
    for k in range(whole.shape[1]):
        alone = torch.zeros(1, whole.shape[1], 1, 1, 1)
        alone[:, k] = level
        total = torch.zeros(len(whole))
        for r in range(repeats):
            made = model.run(_task(model, whole, alone), steps=1, seed=seed + r, guidance=1.0, batch=batch)["clip"]
            total = total + (made - whole)[:, k].square().mean((1, 2, 3))
        scores.append(total / repeats)
    return torch.stack(scores, dim=1)
