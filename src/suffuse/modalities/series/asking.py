"""Putting questions about long records to a model whose window is short: a window that moves, sample by sample."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from suffuse.diffusion.state import Start, Task
from suffuse.errors import AskError
from suffuse.modalities.series import scaling
from suffuse.modalities.series.panel import Record
from suffuse.modalities.series.windows import Window, collate, cut, scale_record

TOKENS = 60_000
"""At most this many (sample, node, time) tokens go through the network at once."""

SETTINGS = ("steps", "solver", "stochasticity", "path", "progress")


@dataclass
class Filled:
    """A record's answer. values: (S, N, T) in original units, given entries repeated, NaN where neither given nor asked;
    asked: (N, T) bool."""

    record: Record
    values: np.ndarray
    asked: np.ndarray


@dataclass
class _Walk:
    """One record on its way: the scaled window over the whole record, its samples, NaN where still unknown, and what is
    asked (N, T)."""

    whole: Window
    samples: np.ndarray
    shared: np.ndarray
    asked: np.ndarray

    def next(self, size: int, horizon: int) -> tuple[int, int, int] | None:
        """(first, last, accept): the next window, and the time before which its answers are final."""
        open_times = (np.isnan(self.samples[0]) & self.asked).any(0)
        if not open_times.any():
            return None
        total, hole = len(open_times), int(np.argmax(open_times))
        if total <= size and not self._ahead(hole, horizon):
            return 0, total, total
        if self._ahead(hole, horizon):
            first = max(0, min(hole - (size - horizon), total - size))
            last = min(first + size, total, hole + horizon)
            return max(0, min(first, last - 2)), last, last
        first = max(0, min(hole - size // 3, total - size))
        last = min(first + size, total)
        return first, last, last if last == total else last - size // 4

    def _ahead(self, hole: int, horizon: int) -> bool:
        """Nothing is known within the horizon after the hole begins: the question is a forecast, not an interpolation."""
        known = ~np.isnan(self.samples[0])
        return hole + horizon < known.shape[1] and not known[:, hole : hole + horizon + 1].any()


def fill(
    model: Any,
    records: list[Record],
    samples: int = 100,
    seed: int = 0,
    asked: list[np.ndarray] | None = None,
    **how: Any,
) -> list[Filled]:
    """Draw `samples` joint completions of every NaN of every record. how: handed to `model.run` (steps, solver, ...).

    asked: masks (N, T) of the entries wanted, where that is not every NaN; the rest stays unknown, as holes do in training:
    the better question, and the cheaper answer, about sporadic channels.

    Long records are answered window by window from the left, each window given what its own sample holds so far, so a
    sample is one consistent path. Stretches with nothing known for longer than the trained horizon are rolled out (told).
    """
    for name in how:
        if name not in SETTINGS:
            raise AskError(
                f"there is no setting '{name}'; besides the verb's own there are {', '.join(SETTINGS)} and seed"
            )
    config = model.modality.config
    size, horizon = config["window"], config["horizon"]
    walks = []
    for k, r in enumerate(records):
        whole = scale_record(r, config)
        start = np.repeat(whole.values[None], samples, 0)
        holes = np.isnan(whole.values)
        wanted = holes if asked is None else holes & asked[k]
        walks.append(_Walk(whole, start, np.ones(len(whole.times), bool), wanted))
    rolled, count = False, 0
    while True:
        questions = [(w, place) for w in walks if (place := w.next(size, horizon)) is not None]
        if not questions:
            break
        rolled |= any(w._ahead(int(np.argmax(np.isnan(w.samples[0]).any(0))), horizon) for w, _ in questions)
        answers = put(model, [(w, first, last) for w, (first, last, _) in questions], samples, seed, count, **how)
        count += len(questions)
        for (w, (first, _, accept)), answer in zip(questions, answers, strict=True):
            stretch = w.samples[:, :, first:accept]
            new = np.isnan(stretch) & w.asked[:, first:accept]
            stretch[new] = answer[:, :, : accept - first][new]
            w.shared[first:accept] &= ~new.any((0, 1))
    if rolled:
        text = f"the horizon is longer than the {horizon} steps the model was trained for: rolled out in several pieces"
        warnings.warn(text, stacklevel=4)
    done = []
    for record, walk in zip(records, walks, strict=True):
        values = scaling.original(walk.samples, walk.whole.centre, walk.whole.scale, config)
        done.append(Filled(record, np.where(walk.asked, values, record.values), walk.asked))
    return done


def put(model: Any, questions: list, samples: int, seed: int, count: int, **how: Any) -> list[np.ndarray]:
    """Ask the model about stretches (walk, first, last); returns scaled values (S, N, last - first) each."""
    config = model.modality.config
    parts, answers = [], []
    wanted = [walk.asked[:, first:last] for walk, first, last in questions]
    for k, (walk, first, last) in enumerate(questions):
        piece = cut(walk.whole, first, last)
        shared = bool(walk.shared[first:last].all())
        rows = max(1, TOKENS // (len(config["nodes"]) * (last - first)))
        for begin in range(0, samples, rows):
            chosen = np.arange(begin, min(begin + rows, samples))
            parts.append((k, piece, walk.samples[chosen, :, first:last], chosen, shared))
        answers.append(np.empty((samples, len(config["nodes"]), last - first), np.float32))
    group: list = []
    for part in parts:
        if group and (
            _tokens(group) + _tokens([part]) > TOKENS or group[0][4] != part[4] or len(group[0][3]) != len(part[3])
        ):
            _answer(model, group, answers, wanted, samples, seed, count, how)
            group = []
        group.append(part)
    _answer(model, group, answers, wanted, samples, seed, count, how)
    return answers


def _tokens(group: list) -> int:
    return sum(len(p[3]) for p in group) * max(p[2].shape[1] * p[2].shape[2] for p in group)


def _answer(
    model: Any, group: list, answers: list, wanted: list, samples: int, seed: int, count: int, how: dict
) -> None:
    task = task_of(group, model.modality.config, samples, count)
    task.start.held.update(left_open(task, [wanted[p[0]] for p in group], [len(p[3]) for p in group]))
    with warnings.catch_warnings():
        fields = model.run(task, seed=seed, batch=len(task), **how)
    values, row = fields["series"].cpu().numpy(), 0
    for k, piece, _, chosen, _ in group:
        answers[k][chosen] = values[row : row + len(chosen), :, : len(piece.times)]
        row += len(chosen)


def task_of(group: list, config: dict[str, Any], samples: int, count: int = 0) -> Task:
    """A task of all samples of several pieces (number, window, values (S, N, T), sample numbers, shared)."""
    windows, question, index = [], [], []
    for k, piece, values, chosen, shared in group:
        windows += [replace(piece, values=v) for v in values] if not shared else [piece]
        question += [k] * len(chosen) if shared else [-1] * len(chosen)
        index += [(count + k) * 65536 + int(s) for s in chosen]
    x, observed, exists, context = collate(windows, config)
    if group[0][4]:
        repeat = torch.tensor([len(p[3]) for p in group])
        x, observed = x.repeat_interleave(repeat, 0), observed.repeat_interleave(repeat, 0)
        exists = {n: v.repeat_interleave(repeat, 0) for n, v in exists.items()}
        context = {n: v.repeat_interleave(repeat, 0) for n, v in context.items()}
        context["question"] = torch.tensor(question)
    start = Start({"series": (~observed).float()})
    return Task({"series": x}, start, exists=exists, context=context, index=torch.tensor(index))


def left_open(task: Task, wanted: list[np.ndarray], repeats: list[int]) -> dict:
    """{"series": (B, N, T) bool}, the unknown entries that are not asked; empty where all are."""
    unknown = task.start.levels["series"] > 0
    mask = np.zeros(unknown.shape, bool)
    row = 0
    for want, repeat in zip(wanted, repeats, strict=True):
        mask[row : row + repeat, :, : want.shape[1]] = want
        row += repeat
    held = unknown & ~torch.from_numpy(mask)
    if "series" in task.exists:
        held = held & task.exists["series"]
    return {"series": held} if bool(held.any()) else {}
