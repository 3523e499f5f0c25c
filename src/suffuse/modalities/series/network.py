"""The bridge from the engine's fields to the axial transformer: baseline, features, and the residual's preconditioning."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from suffuse.modalities.series.baseline import Baseline, baseline, mean_and_spread
from suffuse.modalities.series.linear import ahead
from suffuse.networks.axial import AxialTransformer, Encoded

CANDIDATES = 4
NODE_FEATURES = 12


class SeriesNetwork(nn.Module):
    """network(x, levels, context, targets) -> {"series": (B, N, T)}, an x0 prediction in units of `std`.

    The prediction is a learnt blend of cheap baselines (linear interpolation, the same lifted by the mean over nodes, the
    seasonal values, the mean over nodes, zero; with `profile` also the node's own mean and its seasonal means; with `line`,
    the weights (horizon, past) of a linear forecast, also that), computed
    from entries at level 0 alone, plus what the axial transformer says is left. What is left has its own deviation s, learnt
    from the gap to the known entries and their size, and its own EDM preconditioning (Karras et al. 2022, table 1, with
    sigma_data = s): the noisy value enters as (x - alpha b) / sqrt(alpha^2 s^2 + sigma^2), so an easy entry is not drowned
    in noise made for a hard one.

    patch: so many times in a row make one token (Nie et al. 2023, "A time series is worth 64 words"), which shortens
    attention by its square: the choice for long windows. mixing: what reads the known part, "attention", "rnn" or "both".

    instance: what is known of a node is shown by its own mean and deviation in the window (Kim et al. 2022, "Reversible instance
    normalization"), so that the answer follows a level or an amplitude never seen in training.

    node_bias: (N, N) similarity of nodes, which biases their attention and weighs the mean over nodes.

    context: times (B, T) in median steps, and where there are any calendar (B, K, T), known (B, C, N or 1, T), static
    (B, S, N or 1), exists:series (B, N or 1, T), question (B,): rows with the same number share what is given.
    """

    def __init__(
        self,
        nodes: int,
        *,
        std: float = 0.4,
        seasons: Sequence[int] = (),
        calendar: int = 0,
        known: int = 0,
        static: int = 0,
        named: bool = True,
        node_bias: Tensor | None = None,
        use_baseline: bool = True,
        profile: bool = True,
        patch: int = 1,
        mixing: str = "attention",
        instance: bool = False,
        line: Tensor | None = None,
        **sizes,
    ):
        super().__init__()
        self.std, self.seasons, self.use_baseline, self.patch = std, tuple(seasons), use_baseline, patch
        self.profile, self.instance = profile, instance
        self.node = nn.Parameter(torch.randn(nodes, NODE_FEATURES) * 0.3) if named and nodes > 1 else None
        self.register_buffer("line", line)
        many = len(self.seasons)
        extra = NODE_FEATURES if self.node is not None else 0
        means = 1 + many if profile else 0
        far = line is not None
        options = CANDIDATES + many + means + far
        self.blend = nn.Sequential(
            nn.Linear(9 + many + 2 * profile + far + extra, 24), nn.SiLU(), nn.Linear(24, options + 1)
        )
        with torch.no_grad():
            self.blend[2].weight.mul_(0.1)
            self.blend[2].bias.copy_(
                torch.tensor([2.0, 0.0, -1.0, 0.0, *[0.0] * (many + means), *[4.0] * far, math.log(0.5)])
            )
        given = 18 + 2 * many + means + profile + 2 * far + calendar + known + static + extra
        if mixing == "rnn":
            sizes["encoder_layers"] = 0
        given += patch > 1
        self.register_buffer("near", None if node_bias is None else neighbours(node_bias), persistent=False)
        self.body = AxialTransformer(
            given * patch,
            10 * patch,
            patch,
            nodes=nodes > 1,
            node_bias=node_bias,
            memory=mixing != "attention",
            **sizes,
        )
        self._memo: tuple[list[Tensor], tuple] | None = None

    def forward(self, x: dict, levels: dict, context: dict, targets: dict | None = None) -> dict:
        value, level = x["series"], levels["series"].to(x["series"].dtype)
        level = level.expand(value.shape)
        angle = level * (math.pi / 2)
        cos, sin = torch.cos(angle), torch.sin(angle)
        cos = torch.where(level == 1, torch.zeros_like(cos), cos)
        value = value * torch.sqrt((cos * self.std) ** 2 + sin**2)  # alpha x0 + sigma noise, in angle form
        known = level == 0
        exists = context.get("exists:series")
        if exists is not None:
            known = known & exists
        rows = first_rows(context.get("question"), len(value))
        encoded, blend, scale, centre = self.look(
            torch.where(known, value, torch.zeros_like(value)), known, context, exists, rows
        )
        if len(rows) < len(value):
            repeat = len(value) // len(rows)
            blend, scale, centre = (t.repeat_interleave(repeat, 0) for t in (blend, scale, centre))
        total = torch.sqrt((cos * scale) ** 2 + sin**2)
        residual = (value - cos * blend) / total
        unknown = ~known
        clock = torch.where(level > 0, level, torch.ones_like(level)).flatten(1).amin(1)
        own = [residual * unknown, level, level - clock[:, None, None], unknown.to(value.dtype)]
        active = unknown & (level <= clock[:, None, None] + 1e-6)
        shifts = pooled(value - cos * blend, cos, sin, scale, active)
        noisy = folded(torch.stack(own + contrasts(value - cos * centre, sin) + shifts, -1), self.patch)
        target = None
        if targets is not None:
            after = targets["series"].to(value.dtype).expand(value.shape)
            target = torch.where(unknown, after, torch.ones_like(after)).flatten(1).amin(1)
        raw = self.body.decode(encoded, noisy, clock, target).flatten(2)[..., : value.shape[-1]]
        clean = (scale / total) ** 2 * cos * value + (sin / total) ** 2 * blend + scale * sin / total * raw
        return {"series": clean / self.std}

    def look(
        self, given: Tensor, known: Tensor, context: dict, exists: Tensor | None, rows: Tensor
    ) -> tuple[Encoded, Tensor, Tensor, Tensor]:
        """What the known entries say, once per question: (encoded, blended baseline, its deviation, the nodes' centre (B, N, 1)).
        While sampling the answer of the previous call is used again when nothing it depends on has changed."""
        full = {k: v for k, v in context.items() if k in ("times", "calendar", "known", "static")}
        if len(rows) < len(given):
            n = len(given)
            given, known = given[rows], known[rows]
            full = {k: v[rows] if v.shape[0] == n else v for k, v in full.items()}
            exists = exists[rows] if exists is not None and exists.shape[0] == n else exists
        inputs = [given, known, *full.values()] + ([exists] if exists is not None else [])
        memo = self._memo
        if not torch.is_grad_enabled() and memo is not None and same(memo[0], inputs):
            return memo[1]
        answer = self._look(given, known, full, exists)
        self._memo = None if torch.is_grad_enabled() else (inputs, answer)
        return answer

    def _look(
        self, given: Tensor, known: Tensor, context: dict, exists: Tensor | None
    ) -> tuple[Encoded, Tensor, Tensor, Tensor]:
        times = context["times"].to(given.dtype).expand(len(given), -1)
        centre = torch.zeros_like(given[..., :1])
        if self.instance:
            given, centre, unit = centred(given, known)
        base = baseline(given, known, times, self.seasons, self.near)
        gaps = torch.stack([torch.log1p(base.left), torch.log1p(base.right)], -1)
        flags = torch.stack([base.has_left, base.has_right, base.has_mean], -1)
        flags = torch.cat([flags, base.has_season], -1).to(given.dtype)
        node = [] if self.node is None else [self.node[None, :, None].expand(*given.shape[:1], -1, given.shape[-1], -1)]
        local = torch.asinh(torch.stack([base.linear, base.mean, base.lifted, base.change.abs()], -1))
        moments = []
        if self.profile:
            moments = [torch.stack([torch.asinh(base.own), torch.log(base.spread + 0.01)], -1)]
        line = None if self.line is None else ahead(base.linear, known, times, self.line)
        if line is not None:
            flags = torch.cat([flags, line[1][..., None].to(given.dtype)], -1)
        answer = self.blend(torch.cat([gaps, flags, local, *moments, *node], -1))
        blend, scale = self._blend(answer, base, given, known, line)
        own = torch.stack([base.linear, base.mean, base.lifted, given, known.to(given.dtype), blend], -1)
        features = [
            own,
            base.seasonal,
            gaps,
            flags,
            local,
            scale.log()[..., None],
            self._near(gaps),
            *moments,
            *([base.profile] if self.profile else []),
            *([] if line is None else [line[0][..., None]]),
            *node,
            *self._extras(context, given),
        ]
        if self.instance:
            blend, scale = blend * unit + centre, scale * unit
        return self._encode(torch.cat(features, -1), times, exists), blend, scale, centre

    def _encode(self, features: Tensor, times: Tensor, exists: Tensor | None) -> Encoded:
        if self.patch == 1:
            return self.body.encode(features, times, exists)
        size = self.patch
        parts = [times[:, k : k + size] for k in range(0, times.shape[1], size)]
        middle = torch.stack([p.mean(1) for p in parts], 1)
        apart = torch.cat([p - m[:, None] for p, m in zip(parts, middle.unbind(1), strict=True)], 1) / size
        features = torch.cat([features, apart[:, None, :, None].expand(*features.shape[:3], 1)], -1)
        if exists is not None:
            exists = folded(exists[..., None], size).any(-1)
        return self.body.encode(folded(features, size), middle, exists)

    def _blend(
        self, answer: Tensor, base: Baseline, given: Tensor, known: Tensor, line: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        if not self.use_baseline:
            return torch.where(known, given, torch.zeros_like(given)), torch.ones_like(given)
        near = base.has_left | base.has_right
        there = torch.stack([near, near & base.has_mean, base.has_mean, torch.ones_like(near)], -1)
        there = torch.cat([there, base.has_season], -1)
        if self.profile:
            there = torch.cat([there, base.has_own[..., None], base.has_profile], -1)
        if line is not None:
            there = torch.cat([there, line[1][..., None]], -1)
        weight = answer[..., :-1].masked_fill(~there, -1e4).softmax(-1)
        options = torch.stack([base.linear, base.lifted, base.mean, torch.zeros_like(given)], -1)
        options = torch.cat([options, base.seasonal], -1)
        if self.profile:
            options = torch.cat([options, base.own[..., None], base.profile], -1)
        if line is not None:
            options = torch.cat([options, line[0][..., None]], -1)
        blend = torch.where(known, given, (weight * options).sum(-1))
        return blend, torch.exp(answer[..., -1].clamp(-4, 0.7))

    def _near(self, gaps: Tensor) -> Tensor:
        """Closeness to each side, sharper than the logarithm of the gap."""
        return torch.exp(-gaps)

    def _extras(self, context: dict, given: Tensor) -> list[Tensor]:
        rows, nodes, times = given.shape
        extras = []
        if "calendar" in context:
            extras.append(context["calendar"].to(given.dtype).transpose(1, 2)[:, None].expand(rows, nodes, times, -1))
        if "known" in context:
            extras.append(context["known"].to(given.dtype).permute(0, 2, 3, 1).expand(rows, nodes, times, -1))
        if "static" in context:
            extras.append(context["static"].to(given.dtype).transpose(1, 2)[:, :, None].expand(rows, nodes, times, -1))
        return extras


def neighbours(similarity: Tensor) -> Tensor:
    """(N, N) weights of the other nodes: their similarity, and a thousandth for every node, for those that know no other."""
    away = 1 - torch.eye(len(similarity))
    return (similarity.float().clamp(min=0) + 1e-3) * away


def folded(x: Tensor, patch: int) -> Tensor:
    """(B, N, T, F) -> (B, N, ceil(T / patch), patch F), zeros at the end where T is no multiple."""
    if patch == 1:
        return x
    x = nn.functional.pad(x, (0, 0, 0, -x.shape[2] % patch))
    return x.unflatten(2, (-1, patch)).flatten(3)


def centred(given: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(known entries less their node's mean, over their deviation, (B, N, T); that mean and deviation (B, N, 1))."""
    weight = known.to(given.dtype)
    mean, spread, count = mean_and_spread(given, weight)
    unit = torch.where(count > 1, spread + 0.05, torch.ones_like(spread))
    return (given - mean) * weight / unit, mean, unit


FLOOR = 0.02


def contrasts(value: Tensor, noise: Tensor) -> list[Tensor]:
    """Differences to the time before, the time after and the mean over nodes, in units of their own noise plus a floor, on a
    logarithmic scale: structure that is small beside the level of a series (prices, neighbouring sensors) stays visible."""
    apart = torch.diff(value, dim=-1) / (FLOOR + torch.sqrt(noise[..., 1:] ** 2 + noise[..., :-1] ** 2))
    apart = torch.asinh(apart)
    edge = torch.zeros_like(value[..., :1])
    mean = (value - value.mean(1, keepdim=True)) / (FLOOR + noise)
    return [torch.cat([edge, apart], -1), torch.cat([apart, edge], -1), torch.asinh(mean)]


def pooled(residual: Tensor, alpha: Tensor, sigma: Tensor, scale: Tensor, active: Tensor) -> list[Tensor]:
    """The shift of the residual that entries share, per node, per time, and over all: its posterior mean, in units of its
    deviation, if it were the same for all of them. Averages see far below the noise of a single entry."""
    weight = active.to(residual.dtype)
    answer = []
    for axes in ((2,), (1,), (1, 2)):
        count = weight.sum(axes, keepdim=True)
        m, a, s, d = (
            (t * weight).sum(axes, keepdim=True) / count.clamp(min=1) for t in (residual, alpha, sigma, scale)
        )
        shift = d * a * m / (d**2 * a**2 + s**2 / count.clamp(min=1)).clamp(min=1e-8)
        answer.append((shift * (count > 0)).clamp(-8, 8).expand_as(residual))
    return answer


def same(old: list[Tensor], new: list[Tensor]) -> bool:
    """True when two lists of tensors are equal."""
    return len(old) == len(new) and all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(old, new, strict=True))


def first_rows(question: Tensor | None, size: int) -> Tensor:
    """The first row of each question when all have the same number of neighbouring rows, else every row."""
    every = torch.arange(size)
    if question is None or size < 2 or len(question) != size:
        return every
    question = question.cpu()
    first = torch.cat([torch.zeros(1, dtype=torch.long), torch.nonzero(question[1:] != question[:-1])[:, 0] + 1])
    counts = torch.diff(first, append=torch.tensor([size]))
    return first if bool((counts == counts[0]).all()) else every
