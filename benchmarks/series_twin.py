"""The point-plus-Gaussian twin of a series model: the same network, a mean and a deviation an entry, no diffusion.

It sees what is given, at level 1, without noise; its head has a second output, the log of the deviation in units of the
inner baseline's own. Trained by the Gaussian log-likelihood on the same tasks, optimiser, rate and minutes. Its samples are
independent between entries, as those of every such head.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.diffusion.random import Random
from suffuse.modalities.series import frames
from suffuse.modalities.series.panel import Record
from suffuse.modalities.series.windows import Windows, collate, scale_record
from suffuse.training.optimiser import Optimiser
from suffuse.training.recipe import Recipe


class Twin(nn.Module):
    """mean, deviation (B, N, T) of hidden entries, from a SeriesNetwork asked at level 1."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.spread = nn.Linear(network.body.head.in_features, 1)
        nn.init.zeros_(self.spread.weight), nn.init.zeros_(self.spread.bias)

    def forward(self, x: Tensor, hidden: Tensor, context: dict) -> tuple[Tensor, Tensor]:
        """x (B, N, T) scaled values, hidden (B, N, T) bool."""
        seen = {}
        hook = self.network.body.norm.register_forward_hook(lambda m, a, out: seen.update(features=out))
        value = torch.where(hidden, torch.zeros_like(x), x / self.network.std)
        mean = self.network({"series": value}, {"series": hidden.to(x.dtype)}, context)["series"] * self.network.std
        hook.remove()
        log = self.spread(seen["features"]).reshape(x.shape)
        return mean, torch.exp(log.clamp(-5, 3))


def train(model, dataset: Windows, tasks: dict[str, float], minutes: float, batch: int, seed: int = 0) -> Twin:
    """A twin of `model`'s network, from scratch, for `minutes` of process time; averaged over the last tenth."""
    torch.manual_seed(seed)
    modality = model.modality
    twin, random = Twin(modality.network()), Random(seed)
    recipe = Recipe(
        minutes=minutes, **{k: v for k, v in modality.defaults().items() if k in ("optimiser", "learning_rate")}
    )
    optimiser = Optimiser(twin, recipe.optimiser, weight_decay=recipe.weight_decay)
    names, weights = list(tasks), np.array(list(tasks.values())) / sum(tasks.values())
    rng, begin, step, average, count = np.random.default_rng(seed), time.process_time(), 0, None, 0
    while (done := (time.process_time() - begin) / (60 * minutes)) < 1:
        rows = dataset.batch(torch.from_numpy(rng.integers(0, len(dataset), batch)))
        kinds, hidden = rng.choice(len(names), batch, p=weights), torch.zeros_like(rows.x["series"], dtype=torch.bool)
        for k, name in enumerate(names):
            if (chosen := torch.from_numpy(kinds == k)).any():
                level = modality.start(name, rows, random, step).levels["series"].expand(hidden.shape)
                hidden[chosen] = level[chosen] > 0
        x, observed = rows.x["series"], rows.observed["series"]
        mean, deviation = twin(x, hidden | ~observed, rows.context)
        scored = hidden & observed
        loss = (torch.log(deviation) + 0.5 * ((x - mean) / deviation) ** 2)[scored].mean()
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimiser.step(recipe.rate(done))
        optimiser.zero_grad()
        step += 1
        if done > 0.9:
            state = {k: v.detach().clone() for k, v in twin.state_dict().items()}
            average = state if average is None else {k: v + (state[k] - v) / (count + 1) for k, v in average.items()}
            count += 1
    twin.load_state_dict(average or twin.state_dict())
    twin.steps = step
    return twin.eval()


@torch.no_grad()
def answer(model, twin: Twin, records: list[Record], hidden: list[np.ndarray], n: int, seed: int = 0) -> np.ndarray:
    """(n, K, N, T) independent draws in original units, given entries repeated."""
    config, rng, found = model.modality.config, np.random.default_rng(seed), []
    for record, mask in zip(records, hidden):
        question = Record(record.id, record.times, np.where(mask, np.nan, record.values))
        x, observed, exists, context = collate([scale_record(question, config)], config)
        mean, deviation = twin(x, ~observed, context)
        draws = mean + deviation * torch.from_numpy(rng.normal(size=(n, *x.shape[1:]))).float()
        draws = frames.unscale(draws, context, config)
        known = np.isfinite(question.values)
        found.append(np.where(known, np.nan_to_num(question.values), np.asarray(draws)))
    return np.stack(found, 1)


def kept(path: Path, model, dataset: Windows, tasks: dict[str, float], minutes: float, batch: int) -> Twin:
    """The twin saved at `path`, or a new one."""
    from safetensors.torch import load_file, save_file

    if path.exists():
        twin = Twin(model.modality.network())
        twin.load_state_dict(load_file(path))
        twin.steps = None
        return twin.eval()
    twin = train(model, dataset, tasks, minutes, batch)
    save_file(twin.state_dict(), path)
    return twin
