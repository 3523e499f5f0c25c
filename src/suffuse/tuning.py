"""Tuning a trained model's sampler: a time grid and solver weights for one number of calls. Minutes, no retraining.

A tuned sampler is deterministic: it follows the same model's many-step answer from the same noise.
Three ingredients, all judged by that distance:
- grids by dynamic programming over teacher trajectories (GITS, Chen et al. 2024, arXiv 2405.11326, section 4): the cost of an
  edge is the error of one first-order step between two points of the trajectory;
- weights by least squares: the kernel is linear in its weights, so those that carry the student to the teacher's next point
  have a closed form, step after step along the student's own path (the aim of S4S, arXiv 2502.17423, without gradients);
- the published tables and grids as rivals: the winner on noise that was not fitted is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Gaussian
from suffuse.diffusion.solver import SOLVERS, Solver, step_factors
from suffuse.errors import AskError

if TYPE_CHECKING:
    from suffuse.model import Model

RIVALS = ("dpmpp2m", "deis2", "ipndm2", "ipndm4", "unipc2", "exact3", "ddim")
GRIDS = ("uniform", "rho3", "karras", "log_snr")


def tuned_solver(tuned: dict[str, Any]) -> Solver:
    """The solver of a stored tuning."""
    if not tuned.get("weights"):
        return SOLVERS[tuned["solver"]]
    rows = tuple(tuple(float(w) for w in row) for row in tuned["weights"])
    return Solver("tuned", max(len(row) for row in rows), table=rows)


def tune(
    model: Model,
    calls: int = 8,
    *,
    given: Any = None,
    guidance: float | None = None,
    n: int = 64,
    teacher_steps: int = 48,
    seed: int = 20_000,
    save: bool = False,
    tell: Any = None,
    **asked: Any,
) -> Model:
    """Fit grid and weights for `calls` network calls and make them the model's default.

    given, asked, guidance: the question to tune for (as in `sample`; by default plain generation). n: trajectories, half of them
    held out for the choice. Stored in `model.settings["tuned"]`, and in the model's folder when `save`. Raises
    `AskError`, also for categorical data, where a fitted clock did not help (docs/sampling.md).
    """
    main = model.modality.main
    process = model.joint[main]
    if isinstance(calls, bool) or not isinstance(calls, int) or calls < 1:
        raise AskError(f"calls must be a whole number of at least 1, not {calls}")
    if not isinstance(process, Gaussian):
        raise AskError(f"tuning is for continuous data; {model.modality.name} keep the path that was measured best")
    if tell and model.settings["stochasticity"] > 0:
        tell(
            "this model samples with fresh noise by default and a tuned sampler uses none: compare both before you keep it"
        )
    task = model.modality.request(n, given, index=torch.arange(n), **asked)
    settings = {"guidance": guidance, "seed": seed, "stochasticity": 0.0}
    if calls >= teacher_steps:
        teacher_steps = 2 * calls
    teacher_grid = Clock(teacher_steps, "rho3").clock(process.schedule, 1.0)
    fine = _follow(model, task, Clock(teacher_steps, teacher_grid), SOLVERS["dpmpp2m"], settings)
    fit, held = slice(0, n // 2), slice(n // 2, n)
    truth = fine["x"][-1][held]

    def score(grid: Tensor | str, solver: Solver) -> float:
        with_rows = task.rows(held)
        out = model.run(with_rows, path=model.modality.path(calls, grid), solver=solver, batch=n, **settings)[main]
        return float((out.double() - truth.double()).square().mean().sqrt())

    grids: dict[str, Any] = {name: name for name in GRIDS}
    grids["gits"] = best_grid(process, teacher_grid, fine["x"], fine["clean"], calls)
    found: list[tuple[float, dict[str, Any]]] = []
    for grid_name, grid in grids.items():
        times = grid if isinstance(grid, Tensor) else Clock(calls, grid).clock(process.schedule, 1.0)
        for name in RIVALS:
            found.append(
                (
                    score(times, SOLVERS[name]),
                    {"grid_name": grid_name, "solver": name, "grid": times.tolist(), "weights": []},
                )
            )
        table = fit_weights(model, task.rows(fit), times, teacher_grid, [x[fit] for x in fine["x"]], settings)
        solver = Solver("tuned", max(len(r) for r in table), table=table)
        found.append(
            (
                score(times, solver),
                {
                    "grid_name": grid_name,
                    "solver": "fitted",
                    "grid": times.tolist(),
                    "weights": [list(r) for r in table],
                },
            )
        )
        if tell:
            tell(f"{grid_name}: best distance so far {min(f[0] for f in found):.4f}")
    error, best = min(found, key=lambda f: f[0])
    best["distance"] = error
    best["table"] = {f"{b['solver']} on {b['grid_name']}": round(e, 5) for e, b in found}
    model.settings = {**model.settings, "steps": calls, "tuned": {**model.settings.get("tuned", {}), str(calls): best}}
    if save and model.folder is not None:
        model.save(model.folder)
    return model


def _follow(model: Model, task: Any, path: Any, solver: Solver, settings: dict[str, Any]) -> dict[str, list[Tensor]]:
    """The trajectory of the main field: x before each step and at the end, and the clean prediction of each step."""
    main = model.modality.main
    xs: list[Tensor] = []
    cleans: list[Tensor] = []
    for event in model.events(task, path=path, solver=solver, **settings):
        cleans.append(event.clean[main].cpu())
        xs.append(event.x[main].cpu())
    return {"x": [_initial(model, task, settings), *xs], "clean": cleans}


def _initial(model: Model, task: Any, settings: dict[str, Any]) -> Tensor:
    """The noised start of the main field, as the sampler draws it."""
    from suffuse.diffusion.random import Random
    from suffuse.diffusion.sampling import INITIAL_STEP

    main = model.modality.main
    process = model.joint[main]
    context = dict(task.context)
    noise = process.noise(task.x[main], context, Random(settings["seed"]), task.index, INITIAL_STEP, main)
    start = task.start.levels.get(main, torch.ones(()))
    return process.corrupt(task.x[main], noise, start.to(task.x[main].dtype))


def cheapest(cost: Tensor, calls: int) -> list[int]:
    """The way of `calls` steps from the first point to the last with the least summed cost, by dynamic programming.

    cost: (points, points) of a step from one point to another, inf where there is none. Returns calls + 1 positions.
    """
    points = len(cost)
    total = torch.full((calls + 1, points), float("inf"), dtype=torch.float64)
    back = torch.zeros(calls + 1, points, dtype=torch.long)
    total[0, 0] = 0.0
    for k in range(1, calls + 1):
        total[k], back[k] = (total[k - 1][:, None] + cost).min(0)
    chosen = [points - 1]
    for k in range(calls, 0, -1):
        chosen.append(int(back[k, chosen[-1]]))
    return chosen[::-1]


def best_grid(
    process: Gaussian, grid: Tensor, xs: list[Tensor], cleans: list[Tensor], calls: int, power: float = 1.0
) -> Tensor:
    """The sub-grid of `calls` steps with the least summed error of first-order steps along teacher trajectories."""
    points = len(grid)
    cost = torch.full((points, points), float("inf"), dtype=torch.float64)
    for i in range(points - 1):
        for j in range(i + 1, points):
            a, b, _ = step_factors(process.schedule, process.level(grid[i]), process.level(grid[j]), 0.0, False)
            guess = float(a) * xs[i] + float(b) * cleans[i]
            cost[i, j] = float((guess - xs[j]).double().square().mean().sqrt()) ** power
    return grid[torch.tensor(cheapest(cost, calls))]


def fit_weights(
    model: Model,
    task: Any,
    grid: Tensor,
    teacher_grid: Tensor,
    teacher: list[Tensor],
    settings: dict[str, Any],
    order: int = 3,
    pull: float = 1e-3,
) -> tuple[tuple[float, ...], ...]:
    """Least-squares weights, step after step: those that bring the student from where it is to the teacher's point at the next
    time. The teacher's points between its own times are interpolated in the kernel's variable x / sigma. pull: ridge towards
    the first-order rule, relative to the size of the predictions."""
    process = model.joint[model.modality.main]
    rows: list[tuple[float, ...]] = []
    levels = process.level(grid)
    for k in range(len(grid) - 1):
        history: list[Tensor] = []
        x = teacher[0]
        solver = Solver("tuned", order, table=(*rows, *(((1.0,),) * (len(grid) - 1 - k))))
        for event in model.events(task, path=model.modality.path(len(grid) - 1, grid), solver=solver, **settings):
            history.insert(0, event.clean[model.modality.main].cpu())
            if event.step == k + 1:
                break
            x = event.x[model.modality.main].cpu()
        a, b, _ = step_factors(process.schedule, levels[k], levels[k + 1], 0.0, False)
        if abs(float(b)) < 1e-9:
            rows.append((1.0,))
            continue
        aim = _at(process, teacher_grid, teacher, float(grid[k + 1]))
        wanted = (aim.double() - float(a) * x.double()) / float(b)
        # the first step starts from pure noise, where history is empty; the order grows with it
        nodes = torch.stack([h.double().flatten() for h in history[:order]], 1)
        base = torch.zeros(nodes.shape[1], dtype=torch.float64)
        base[0] = 1.0
        gram = nodes.T @ nodes
        ridge = pull * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
        solution = base + torch.linalg.solve(gram + ridge, nodes.T @ (wanted.flatten() - nodes @ base))
        rows.append(tuple(float(w) for w in solution))
    return tuple(rows)


def _at(process: Gaussian, grid: Tensor, xs: list[Tensor], time: float) -> Tensor:
    """The teacher's point at a time: linear between its own in x / sigma over log-SNR, the end itself at time 0."""
    if time <= 0:
        return xs[-1]
    k = int((grid > time + 1e-12).sum())
    if k < len(grid) and abs(float(grid[k]) - time) < 1e-9:
        return xs[k]
    above, below = process.level(grid[k - 1]), process.level(grid[k])
    here = process.level(torch.tensor(time, dtype=torch.float64))
    if float(below) == 0 or not bool(torch.isfinite(process.schedule.log_snr(above))):
        share = float((above - here) / (above - below))
        return xs[k - 1] + share * (xs[k] - xs[k - 1])
    sigma = [float(process.schedule.sigma(v)) for v in (above, here, below)]
    snr = [float(process.schedule.alpha(v)) / s for v, s in zip((above, here, below), sigma, strict=True)]
    share = (snr[1] - snr[0]) / (snr[2] - snr[0])
    return sigma[1] * ((1 - share) * xs[k - 1] / sigma[0] + share * xs[k] / sigma[2])
