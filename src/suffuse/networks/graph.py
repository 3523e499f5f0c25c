"""Graph transformer over nodes, node pairs and, optionally, coordinates.

Node and edge streams as in DiGress (Vignac et al., "DiGress", ICLR 2023) and relative random-walk features as in DeFoG
(Qin et al., "DeFoG", ICML 2025); the coordinates stream keeps several equivariant coordinate sets per node in the
manner of SemlaFlow (Irwin et al., 2024). Each pair is held once: the edge stream is (B, P, C) with P = N(N-1)/2, sums
between nodes and pairs are products with the incidence matrix, and only attention biases are mirrored to (N, N).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.networks.graph_features import node_cycles, random_walks
from suffuse.networks.pairs import node_count, pair_tables


def _waves(level: Tensor, count: int = 4) -> Tensor:
    """(..., 1 + 2 count) smooth features of a level in [0, 1]."""
    angle = level[..., None] * (math.pi * torch.arange(1, count + 1, device=level.device))
    return torch.cat([level[..., None], angle.sin(), angle.cos()], dim=-1)


_WAVES = 9


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:]) * (1 + scale) + shift


def own_posterior(x: Tensor, level: Tensor, prior: Tensor) -> Tensor | float:
    """(..., K) log posterior of clean classes given the noisy one alone: prior_k ((1 - level) [k = x] + level prior_x), up to a
    constant. Null tokens say nothing. 0 without a prior."""
    count = len(prior)
    if count == 0:
        return 0.0
    floor = prior.clamp(min=1e-6)
    seen = F.one_hot(x, count + 1)[..., :count].to(floor.dtype)
    drawn = (seen * floor).sum(-1, keepdim=True)
    share = (1 - level[..., None]) * seen + level[..., None] * drawn
    silent = (x == count)[..., None]
    return floor.log() + torch.where(silent, torch.zeros_like(share), share.clamp(min=1e-6).log())


class GraphLayer(nn.Module):
    """One round: pairs bias the attention between nodes and send them messages; nodes then update the pairs."""

    def __init__(self, width: int, edge_width: int, heads: int, directed: bool, sets: int):
        super().__init__()
        self.heads, self.directed, self.sets = heads, directed, sets
        self.modulate = _zero(nn.Linear(width // 2, 6 * width + 3 * edge_width))
        self.sizes = [width] * 6 + [edge_width] * 3
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.bias = nn.Linear(edge_width, heads, bias=False)
        self.message = nn.Linear(edge_width, edge_width * (2 if directed else 1), bias=False)
        self.out = nn.Linear(width + edge_width * (2 if directed else 1), width)
        self.grow = nn.Linear(width, 4 * width, bias=False)
        self.shrink = nn.Linear(2 * width, width)
        self.pair = nn.Linear(edge_width, 4 * edge_width)
        self.ends = nn.Linear(width, 4 * edge_width * (2 if directed else 1), bias=False)
        self.pair_out = nn.Linear(2 * edge_width, edge_width)
        if sets:
            self.distance = nn.Linear(2 * sets, 4 * edge_width, bias=False)
            self.pull = nn.Linear(edge_width, sets)
            self.mix = nn.Linear(sets, sets, bias=False)
            with torch.no_grad():  # coordinates start by staying where they are
                self.pull.weight.mul_(0.1)
                self.pull.bias.zero_()
                self.mix.weight.copy_(torch.eye(sets))

    def forward(
        self,
        h: Tensor,
        e: Tensor,
        c: Tensor,
        mask: Tensor,
        bias: Tensor,
        pairs: Tensor,
        tables: dict[str, Tensor],
        x: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        batch, n, width = h.shape
        s1, b1, g1, s2, b2, g2, s3, b3, g3 = self.modulate(c)[:, None].split(self.sizes, dim=-1)
        a, z = _norm(h, s1, b1), _norm(e, s3, b3)
        q, k, v = self.qkv(a).view(batch, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        extra = self.bias(z).index_select(1, tables["full"]).view(batch, n, n, self.heads).permute(0, 3, 1, 2)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + extra * tables["off"] + bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, n, width)
        m = self.message(z) * pairs
        if self.directed:
            one, two = m.chunk(2, dim=-1)
            summed = torch.cat([tables["one"].T @ one, tables["two"].T @ two], dim=-1)
        else:
            summed = tables["both"].T @ m
        h = h + g1 * self.out(torch.cat([mixed, summed * 0.3], dim=-1))
        up, gate = self.grow(_norm(h, s2, b2)).chunk(2, dim=-1)
        h = h + g2 * self.shrink(up * F.silu(gate))
        ends = self.ends(h)
        if self.directed:
            ends = tables["one"] @ ends[..., : ends.shape[-1] // 2] + tables["two"] @ ends[..., ends.shape[-1] // 2 :]
        else:
            ends = tables["both"] @ ends
        u = self.pair(z) + ends
        if x is not None:
            difference = (tables["sign"] @ x.flatten(2)).view(batch, -1, *x.shape[2:])
            squared = difference.square().sum(2)
            length = (squared + 1e-4).sqrt()
            u = u + self.distance(torch.cat([length.clamp(max=20.0), (-squared.clamp(max=30.0)).exp()], dim=-1))
        up, gate = u.chunk(2, dim=-1)
        e = e + g3 * self.pair_out(up * F.silu(gate))
        if x is not None:
            pull = (self.pull(F.rms_norm(e, e.shape[-1:])) * pairs)[:, :, None] * (
                difference / (1 + length)[:, :, None]
            )
            x = self.mix(x + (tables["sign"].T @ pull.flatten(2)).view_as(x) * 0.3)
        return h, e * pairs, x


class GraphTransformer(nn.Module):
    """Nodes, edges, coordinates and graph properties of one noisy graph to raw outputs, one key a field.

    Fields: nodes (B, N) when node_classes > 1, edges (B, N(N-1)/2) or (B, N(N-1)) directed, coordinates (B, N, dims)
    when dims > 0, and a (B, 1) field a property (`properties`: name -> classes, 0 for a number). `context["sizes"]`,
    (B, 1), says how many nodes each graph has; later nodes are padding. Equivariant under permutation of nodes and
    under rotation and reflection of the coordinates, whose raw output has zero mean.
    """

    def __init__(
        self,
        node_classes: int,
        edge_classes: int,
        properties: dict[str, int] | None = None,
        dims: int = 0,
        directed: bool = False,
        width: int = 128,
        edge_width: int = 48,
        layers: int = 5,
        heads: int = 8,
        walks: int = 8,
        sets: int = 16,
        typical: float = 9.0,
        priors: dict[str, list[float]] | None = None,
        fine: int = 0,
    ):
        """priors: per categorical field ('nodes', 'edges') the probabilities that lost entries are drawn from; with them, answers
        start from what one entry says of itself (Bayes' rule), and only what the rest of the graph adds is learnt. fine: 1 also
        shows fourth roots of the levels, which tell apart the small ones near the end of sampling."""
        super().__init__()
        self.node_classes, self.edge_classes, self.dims, self.directed = node_classes, edge_classes, dims, directed
        self.properties = dict(properties or {})
        for name in ("nodes", "edges"):
            prior = torch.tensor((priors or {}).get(name, []))
            self.register_buffer(f"{name}_prior", prior, persistent=False)
        self.walks, self.typical = walks, typical
        self.certain: tuple[int, ...] = ()
        """Edge classes that noise never makes: where one is seen it is the clean one (a prior without edges)."""
        sides = 2 if directed else 1
        features = (node_classes + 1) * (node_classes > 1) + sides * (edge_classes + walks) + 3 + 1
        self.node_in = nn.Linear(features + _WAVES, width)
        pair_features = sides * (edge_classes + 1) + 2 * walks + _WAVES
        self.edge_in = nn.Linear(pair_features, edge_width)
        self.graph_in = nn.Linear(2 * _WAVES + 1 + (_WAVES if dims else 0), width)
        if fine:
            self.fine_in = _zero(nn.Linear(2 * _WAVES, width))
        self.fine = bool(fine)
        self.target_in = _zero(nn.Linear(2 * _WAVES + (_WAVES if dims else 0), width))
        self.property_in = nn.ModuleDict(
            {p: nn.Linear(_WAVES + (k + 1 if k else 3), width) for p, k in self.properties.items()}
        )
        self.condition = nn.Sequential(nn.SiLU(), nn.Linear(width, width // 2), nn.SiLU())
        sets = sets if dims else 0
        self.layers = nn.ModuleList([GraphLayer(width, edge_width, heads, directed, sets) for _ in range(layers)])
        for layer in self.layers:
            with (
                torch.no_grad()
            ):  # residual gates start open at a small value, so that the streams move from the first step
                layer.modulate.bias[5 * width : 6 * width] = layer.modulate.bias[2 * width : 3 * width] = layers**-0.5
                layer.modulate.bias[-edge_width:] = layers**-0.5
        if node_classes > 1:
            self.node_out = _zero(nn.Linear(width, node_classes))
        self.edge_out = _zero(nn.Linear(edge_width, edge_classes))
        self.edge_skip = nn.Linear(pair_features, edge_width)
        if dims:
            self.set_in = nn.Parameter(torch.linspace(0.5, 2.0, sets)[None])
            self.radial = nn.Linear(24, edge_width, bias=False)
            self.set_out = _zero(nn.Linear(sets, 1, bias=False))
        self.pool = nn.Linear(2 * width + edge_width + width // 2, width)
        self.property_out = nn.ModuleDict({p: _zero(nn.Linear(width, k or 1)) for p, k in self.properties.items()})

    def forward(
        self,
        x: dict[str, Tensor],
        levels: dict[str, Tensor],
        context: dict[str, Tensor],
        targets: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        edges = x["edges"]
        batch, count = edges.shape
        n = node_count(count, self.directed)
        tables = pair_tables(n, self.directed, str(edges.device))
        sizes = context["sizes"].view(-1, 1).expand(batch, 1)
        mask = torch.arange(n, device=edges.device) < sizes
        pairs = (mask[:, tables["first"]] & mask[:, tables["second"]])[..., None].to(torch.float32)
        size = sizes.to(torch.float32) / self.typical
        # what is known of the noisy graph
        kind = F.one_hot(edges, self.edge_classes + 1).to(torch.float32) * pairs
        linked = 1 - kind[..., :1] - kind[..., -1:]
        adjacency = (linked * pairs)[..., 0].index_select(1, tables["full"]).view(batch, n, n) * tables["off"]
        steps = random_walks(adjacency, self.walks)  # (B, N, N, K)
        edge_level = levels["edges"].expand(batch, count)
        flat = steps.flatten(1, 2)
        here = tables["first"] * n + tables["second"]
        there = tables["second"] * n + tables["first"]
        pair_walks = [flat[:, here], flat[:, there]]
        if not self.directed:
            pair_walks = [pair_walks[0] + pair_walks[1], (pair_walks[0] - pair_walks[1]).abs()]
        edge_inputs = [kind, *pair_walks, _waves(edge_level)]
        degrees = [tables["both"].T @ kind[..., 1:]]
        returns = [steps.diagonal(dim1=1, dim2=2).transpose(1, 2)]
        if self.directed:
            edge_inputs.insert(1, kind[:, tables["reverse"]])
            degrees = [tables["one"].T @ kind[..., 1:], tables["two"].T @ kind[..., 1:]]
            returns.append(random_walks(adjacency.transpose(1, 2), self.walks).diagonal(dim1=1, dim2=2).transpose(1, 2))
        edge_features = torch.cat(edge_inputs, dim=-1)
        cycles = node_cycles(torch.maximum(adjacency, adjacency.transpose(1, 2)))
        node_inputs = [*degrees, *returns, (cycles / 4).tanh(), size[:, None].expand(batch, n, 1)]
        means = [(edge_level * pairs[..., 0]).sum(1) / pairs.sum((1, 2)).clamp(min=1)]
        if self.node_classes > 1:
            node_level = levels["nodes"].expand(batch, n)
            node_inputs.insert(0, F.one_hot(x["nodes"], self.node_classes + 1).to(torch.float32))
        else:
            node_level = means[0][:, None].expand(batch, n)
        means.append((node_level * mask).sum(1) / sizes[:, 0].clamp(min=1))
        level_summary = [_waves(mean) for mean in means]
        h = self.node_in(torch.cat([*node_inputs, _waves(node_level)], dim=-1))
        e = self.edge_in(edge_features)
        sets = None
        if self.dims:
            level_summary.append(_waves((levels["coordinates"].expand(batch, n, self.dims)[..., 0] * mask).amax(1)))
            sets = x["coordinates"][..., None] * self.set_in * mask[..., None, None]
            length = (tables["sign"] @ x["coordinates"]).square().sum(-1, keepdim=True).sqrt()
            centres = torch.linspace(0, 5, 24, device=edges.device)
            e = e + self.radial(
                (-((length - centres).square() * 8).clamp(max=30.0)).exp()
            )  # never subnormal, which is slow
        c = self.graph_in(torch.cat([*level_summary, size], dim=-1))
        if self.fine:
            c = c + self.fine_in(torch.cat([_waves(mean**0.25) for mean in means], dim=-1))
        if targets is not None:
            c = c + self.target_in(torch.cat(self._targets(targets, mask, pairs), dim=-1))
        for name, classes in self.properties.items():
            value = F.one_hot(x[name], classes + 1).to(torch.float32)[:, 0] if classes else self._number(x[name])
            c = c + self.property_in[name](torch.cat([_waves(levels[name].expand(batch, 1)[:, 0]), value], dim=-1))
        c = self.condition(c)
        bias = torch.zeros(batch, 1, 1, n, device=edges.device).masked_fill(~mask[:, None, None], -1e4)
        e = e * pairs
        for layer in self.layers:
            h, e, sets = layer(h, e, c, mask, bias, pairs, tables, sets)
        h, e = F.rms_norm(h, h.shape[-1:]), F.rms_norm(e + self.edge_skip(edge_features), e.shape[-1:])
        raw = {"edges": self.edge_out(e) + own_posterior(edges, edge_level, self.edges_prior)}
        if self.certain:
            sure = sum(edges == k for k in self.certain).bool()[..., None]
            raw["edges"] = torch.where(
                sure, F.one_hot(edges.clamp(max=self.edge_classes - 1), self.edge_classes) * 30.0, raw["edges"]
            )
        if self.node_classes > 1:
            raw["nodes"] = self.node_out(h) + own_posterior(x["nodes"], node_level, self.nodes_prior)
        if self.dims:
            moved = self.set_out(sets - x["coordinates"][..., None] * self.set_in)[..., 0] * mask[..., None]
            raw["coordinates"] = (moved - moved.sum(1, keepdim=True) / sizes[..., None]) * mask[..., None]
        if self.properties:
            mean = (h * mask[..., None]).sum(1)
            pooled = self.pool(
                torch.cat([mean / sizes, mean / self.typical, (e * pairs).sum(1) / (self.typical * sizes), c], dim=-1)
            )
            for name in self.properties:
                out = self.property_out[name](F.silu(pooled))
                raw[name] = out[:, None] if self.properties[name] else out
        return raw

    def _targets(self, targets: dict[str, Tensor], mask: Tensor, pairs: Tensor) -> list[Tensor]:
        """Mean next levels, in the order of the level summary."""
        edges = targets["edges"].expand(pairs.shape[:2])
        mean = (edges * pairs[..., 0]).sum(1) / pairs.sum((1, 2)).clamp(min=1)
        summary = [_waves(mean)]
        nodes = targets["nodes"].expand(mask.shape) if self.node_classes > 1 else mean[:, None].expand(mask.shape)
        summary.append(_waves((nodes * mask).sum(1) / mask.sum(1).clamp(min=1)))
        if self.dims:
            summary.append(_waves(targets["coordinates"].flatten(1)[:, :1].expand(mask.shape[0], 1)[:, 0]))
        return summary

    @staticmethod
    def _number(value: Tensor) -> Tensor:
        """(B, 3) features of a number of unit deviation."""
        return torch.cat([value, value.sin(), (2 * value).sin()], dim=-1)
