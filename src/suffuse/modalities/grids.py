"""What images, video, shapes and scans share: fields on a grid, and the labels, numbers and captions that go with them.

`GridNetwork` puts named fields through one backbone (`UNet`, `PatchTransformer`). `unit_range` and its inverse scale
stored values; `hole_masks` draws the holes that inpainting trains on; `grid_start` gives the starting levels of the
tasks that all of them train: generate, label, caption, inpaint, classify.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start
from suffuse.networks.layers import LevelEmbedding, TransformerBlock

Fields = dict[str, Tensor]


class TextEncoder(nn.Module):
    """A small transformer over caption tokens: (B, L) int64 in 0..K (K is the null token) -> (B, L, width)."""

    def __init__(self, classes: int, length: int, width: int = 64, depth: int = 1):
        super().__init__()
        self.tokens = nn.Embedding(classes + 1, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, max(1, width // 32)) for _ in range(depth))
        nn.init.normal_(self.tokens.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            h = block(h)
        return h


class GridNetwork(nn.Module):
    """Named fields through one grid backbone: raw = network(x, levels, context, targets), as docs/architecture.md says.

    backbone: UNet or PatchTransformer with in_channels = sum of (channels + 1) over `grids` (each field brings its
      level map as one more channel) plus `context` channels, and out_channels = sum of channels.
    grids: channels of each grid field, in order; all share one grid. channel_axis: where the channel axis of these
      fields stands (1: (B, C, *grid); 2: clips, (B, T, C, H, W)).
    labels: classes of each (B, 1) categorical field, embedded with its null token, answered as logits (B, 1, K).
    numbers: size n of each (B, n) Gaussian field, answered as (B, n).
    captions: (K tokens, length L) of each (B, L) categorical field: pooled into the condition, attended to by the
      backbone when that takes tokens of width `text`, answered as logits (B, L, K).
    context: channels of grid-shaped context tensors by key, given to the backbone as they are.
    condition: width of the conditioning vector; must be the backbone's. normed: whether pooled features are normalised before
      labels and numbers are answered from them (they grow in long training, until the answers see nothing else).
    """

    def __init__(
        self,
        backbone: nn.Module,
        grids: dict[str, int],
        *,
        labels: dict[str, int] | None = None,
        numbers: dict[str, int] | None = None,
        captions: dict[str, tuple[int, int]] | None = None,
        context: dict[str, int] | None = None,
        condition: int = 128,
        text: int = 64,
        channel_axis: int = 1,
        normed: bool = False,
    ):
        super().__init__()
        self.normed = normed
        self.grids, self.labels, self.numbers = dict(grids), dict(labels or {}), dict(numbers or {})
        self.captions, self.context, self.channel_axis = dict(captions or {}), dict(context or {}), channel_axis
        self.backbone = backbone
        fields = [*self.grids, *self.labels, *self.numbers, *self.captions]
        self.level = nn.ModuleDict({name: LevelEmbedding(condition) for name in fields})
        self.top_level = nn.ModuleDict({name: LevelEmbedding(condition) for name in self.grids})
        self.step = LevelEmbedding(condition)
        self.label_in = nn.ModuleDict({name: nn.Embedding(k + 1, condition) for name, k in self.labels.items()})
        self.number_in = nn.ModuleDict({name: _perceptron(n, condition, condition) for name, n in self.numbers.items()})
        self.text = nn.ModuleDict({name: TextEncoder(k, length, text) for name, (k, length) in self.captions.items()})
        self.text_pool = nn.ModuleDict({name: nn.Linear(text, condition) for name in self.captions})
        pooled = backbone.features
        answers = {**self.labels, **self.numbers}
        self.answer = nn.ModuleDict({name: _perceptron(pooled, condition, size) for name, size in answers.items()})
        self.text_answer = nn.ModuleDict(
            {name: _CaptionHead(text, pooled, k) for name, (k, _) in self.captions.items()}
        )
        self.has_answers = bool(answers or self.captions)

    def forward(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        condition = self._condition(x, levels, targets)
        tokens = {name: encoder(x[name]) for name, encoder in self.text.items()}
        for name, token in tokens.items():
            condition = condition + self.text_pool[name](token.mean(dim=1))
        seen = torch.cat(list(tokens.values()), dim=1) if tokens else None
        grid = self._grid(x, levels, context)
        if not self.has_answers:
            return self._split(self.backbone(grid, condition, tokens=seen))
        raw, pooled = self.backbone(grid, condition, tokens=seen, pooled=True)
        out = self._split(raw)
        if self.normed:
            pooled = F.layer_norm(pooled, pooled.shape[-1:])
        for name in self.labels:
            out[name] = self.answer[name](pooled)[:, None, :]
        for name in self.numbers:
            out[name] = self.answer[name](pooled)
        for name, token in tokens.items():
            out[name] = self.text_answer[name](token, pooled)
        return out

    def features(self, x: Fields, levels: Fields, context: Fields) -> Tensor:
        """(B, D) the backbone's pooled features, for whoever wants a representation."""
        condition = self._condition(x, levels, None)
        tokens = [encoder(x[name]) for name, encoder in self.text.items()]
        seen = torch.cat(tokens, dim=1) if tokens else None
        return self.backbone(self._grid(x, levels, context), condition, tokens=seen, pooled=True)[1]

    @torch.no_grad()
    def prepare_flow_map(self) -> None:
        """Before distillation: every step size is embedded as size 0 was in training, until it is learnt otherwise."""
        zero, last = self.step(torch.zeros(1, device=self.step.mlp[-1].bias.device))[0], self.step.mlp[-1]
        last.weight.zero_()
        last.bias.copy_(zero)

    def _grid(self, x: Fields, levels: Fields, context: Fields) -> Tensor:
        parts = []
        for name in self.grids:
            field = x[name].movedim(self.channel_axis, 1)
            level = levels[name].movedim(self.channel_axis, 1).to(field.dtype).mean(dim=1, keepdim=True)
            parts += [field, level.expand(field.shape[0], 1, *field.shape[2:])]
        parts += [context[name].movedim(self.channel_axis, 1).to(parts[0].dtype) for name in self.context]
        return torch.cat(parts, dim=1)

    def _condition(self, x: Fields, levels: Fields, targets: Fields | None) -> Tensor:
        first = next(iter(self.grids))
        step = 0.0
        if targets is not None:
            step = _mean(levels[first]) - _mean(targets[first])
        batch = x[first].shape[0]
        total = self.step(torch.zeros(batch, device=x[first].device) + step)
        for name, embed in self.level.items():
            total = total + embed(_mean(levels[name]).expand(batch))
        for name, embed in self.top_level.items():
            total = total + embed(levels[name].flatten(1).amax(dim=1).expand(batch))
        for name, embed in self.label_in.items():
            total = total + embed(x[name][:, 0])
        for name, embed in self.number_in.items():
            total = total + embed(x[name])
        return total

    def _split(self, raw: Tensor) -> Fields:
        parts = raw.split(list(self.grids.values()), dim=1)
        return {name: part.movedim(1, self.channel_axis) for name, part in zip(self.grids, parts, strict=True)}


class _CaptionHead(nn.Module):
    """Logits of each caption token from its own embedding and the pooled picture."""

    def __init__(self, text: int, pooled: int, classes: int):
        super().__init__()
        self.picture = nn.Linear(pooled, text)
        self.block = TransformerBlock(text, max(1, text // 32))
        self.out = nn.Linear(text, classes)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor, pooled: Tensor) -> Tensor:
        return self.out(self.block(tokens + self.picture(pooled)[:, None, :]))


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), last)


def _mean(level: Tensor) -> Tensor:
    return level.float().flatten(1).mean(dim=1)


def unit_range(stored: Tensor, low: float = 0.0, high: float = 255.0) -> Tensor:
    """Stored values in [low, high] as float32 in [-1, 1]."""
    return (stored.float() - low) * (2.0 / (high - low)) - 1.0


def from_unit_range(value: Tensor, low: float = 0.0, high: float = 255.0) -> Tensor:
    """The inverse of `unit_range`, clipped to [low, high]; float32, not rounded."""
    return ((value.float() + 1.0) * ((high - low) / 2.0) + low).clamp(low, high)


def hole_masks(grid: Sequence[int], random: Random, index: Tensor, step: int) -> Tensor:
    """(B, 1, *grid) bool, True in the hole: a box, all but a box, one side, or scattered cells, each a quarter.

    Boxes have sides of 1/4 to 3/4 of the grid; a side is 1/4 to 3/4 of one axis; scattered holes cover 30 to 95 %.
    """
    dims, batch = len(grid), len(index)
    u = random.uniform((3 + 3 * dims,), index, step, "hole").to(index.device)
    kind = (u[:, 0] * 4).long()
    inside = torch.ones(batch, *grid, dtype=torch.bool, device=index.device)
    beside = torch.zeros_like(inside)
    side_axis = (u[:, 1] * dims).long()
    for axis, size in enumerate(grid):
        shape = [batch] + [1] * dims
        shape[axis + 1] = -1
        length = (0.25 + 0.5 * u[:, 3 + axis]) * size
        low = u[:, 3 + dims + axis] * (size - length)
        cell = torch.arange(size, device=index.device) + 0.5
        within = (cell >= low[:, None]) & (cell < (low + length)[:, None])
        inside &= within.reshape(shape)
        from_start = u[:, 3 + 2 * dims + axis, None] < 0.5
        side = torch.where(from_start, cell < length[:, None], cell >= size - length[:, None])
        beside |= (side & (side_axis == axis)[:, None]).reshape(shape)
    scattered = random.uniform(tuple(grid), index, step, "scattered") < (0.3 + 0.65 * u[:, 2]).reshape(-1, *[1] * dims)
    pick = kind.reshape(-1, *[1] * dims)
    holes = torch.where(pick == 0, inside, torch.where(pick == 1, ~inside, torch.where(pick == 2, beside, scattered)))
    return holes[:, None]


def grid_start(
    task: str,
    batch: Batch,
    random: Random,
    step: int,
    *,
    grids: Sequence[str],
    conditions: Sequence[str] = (),
    channel_axis: int = 1,
) -> Start:
    """Starting levels of the tasks that all grid modalities train.

    task: 'generate' (conditions held), 'label' (conditions given), 'inpaint' (cells outside a random hole given,
      conditions given for half of the examples) or 'classify' (grids given, conditions asked).
    grids: names of the grid fields. conditions: names of the label, number and caption fields. Conditions whose truth
    is not observed are held at 1; an example that has none to classify generates. Where all conditions are labels, those
    to classify are wholly masked (exact levels). Levels have one cell along every axis that does not need more.
    """
    if task not in ("generate", "label", "inpaint", "classify"):
        raise ValueError(f"unknown grid task {task!r}")
    first = batch.x[grids[0]]
    size, device = len(batch), first.device
    index = torch.arange(size, device=device) if batch.index is None else batch.index
    known = {}
    for name in conditions:
        seen = batch.observed.get(name, torch.ones(1, dtype=torch.bool, device=device))
        known[name] = seen.expand(size, *seen.shape[1:]).reshape(size, -1).all(dim=1)
    given = torch.full((size,), task == "label", device=device)
    asked = torch.full((size,), task == "classify", device=device)
    full = (size, *[1] * (first.dim() - 1))
    grid_level = torch.ones(full, device=device)
    if task == "inpaint":
        cells = tuple(length for axis, length in enumerate(first.shape) if axis not in (0, channel_axis))
        grid_level = hole_masks(cells, random, index, step).movedim(1, channel_axis).float()
        given = random.uniform((), index, step, "condition given").to(device) < 0.5
    elif task == "classify":
        some = torch.stack([*known.values(), torch.zeros_like(asked)]).any(dim=0)
        grid_level = torch.where(some.reshape(full), 0.0, grid_level)
    levels, held = {name: grid_level for name in grids}, {}
    for name in conditions:
        shape = (size, *[1] * (batch.x[name].dim() - 1))
        levels[name] = torch.where(given & known[name], 0.0, 1.0).reshape(shape)
        held[name] = ~((given | asked) & known[name]).reshape(shape)
    single = all(batch.x[name].shape[1:] == (1,) and not batch.x[name].is_floating_point() for name in conditions)
    exact = asked.clone() if task == "classify" and single and conditions else None
    if exact is not None:
        exact &= torch.stack(list(known.values())).any(dim=0)
    return Start(levels, held, exact)
