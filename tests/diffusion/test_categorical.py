"""Categorical steps by transition matrices, not by sampling."""

import itertools

import pytest
import torch

from suffuse.diffusion.process import Categorical

A, B = 3, 2  # classes of two coupled tokens share one alphabet of 3; the second never takes class 2
JOINT = torch.tensor([[0.30, 0.05, 0.0], [0.05, 0.25, 0.0], [0.20, 0.15, 0.0]], dtype=torch.float64)


def conditional(state, process):
    """Exact clean probabilities of both tokens given a noised pair: (2, K)."""

    def evidence(alpha):
        prior = process.probabilities()
        keep = torch.eye(3, dtype=torch.float64) * alpha + (1 - alpha) * prior  # rows x0, columns x_t
        return JOINT * keep[:, state[0]][:, None] * keep[:, state[1]][None]

    return evidence


def masked_conditional(state):
    """State entries are classes or 3 for masked."""
    table = JOINT.clone()
    for axis, value in enumerate(state):
        if value < 3:
            pick = torch.zeros(3, dtype=torch.float64)
            pick[value] = 1
            table = table * (pick[:, None] if axis == 0 else pick[None])
    table = table / table.sum()
    return table.sum(1), table.sum(0)


def test_masked_one_at_a_time_is_exact():
    """Opening token 0, then token 1 given it (and the other way round) reproduces the joint law to 1e-12."""
    for first in (0, 1):
        law = torch.zeros(3, 3, dtype=torch.float64)
        marginal = masked_conditional((3, 3))[first]
        for value in range(3):
            if marginal[value] == 0:
                continue
            state = (value, 3) if first == 0 else (3, value)
            rest = masked_conditional(state)[1 - first]
            for other in range(3):
                law[(value, other) if first == 0 else (other, value)] += marginal[value] * rest[other]
        assert (law - JOINT).abs().max() < 1e-12


@pytest.mark.parametrize("steps", [64])
def test_masked_parallel_total_variation(steps):
    """Ancestral opening in 64 steps by exact propagation of all 16 states: total variation under .01."""
    process = Categorical(3)
    law = {(3, 3): 1.0}
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    for t, s in itertools.pairwise(grid):
        jump = 1.0 if s == 0 else float(process.jump(t, s))
        following = {}
        for state, mass in law.items():
            p = masked_conditional(state)
            choices = []
            for axis in (0, 1):
                if state[axis] < 3:
                    choices.append([(state[axis], 1.0)])
                else:
                    choices.append([(3, 1 - jump)] + [(k, jump * float(p[axis][k])) for k in range(3)])
            for (a, pa), (b, pb) in itertools.product(*choices):
                if pa * pb > 0:
                    following[(a, b)] = following.get((a, b), 0.0) + mass * pa * pb
        law = following
    final = torch.zeros(3, 3, dtype=torch.float64)
    for (a, b), mass in law.items():
        final[a, b] += mass
    assert 0.5 * (final - JOINT).abs().sum() < 0.01


@pytest.mark.parametrize("prior", ["uniform", (0.5, 0.3, 0.2)])
@pytest.mark.parametrize("stochasticity", [0.0, 0.5, 1.0])
def test_uniform_and_marginal_processes_converge(prior, stochasticity):
    """All nine states propagated with the exact denoiser: total variation under .01 at 64 steps and shrinking with steps."""
    process = Categorical(3, prior)
    pi = process.probabilities()
    errors = []
    for steps in (16, 64):
        law = pi[:, None] * pi[None]
        grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        for t, s in itertools.pairwise(grid):
            following = torch.zeros(3, 3, dtype=torch.float64)
            for a, b in itertools.product(range(3), range(3)):
                posterior = conditional((a, b), process)(float(process.schedule.alpha(t)))
                posterior = posterior / posterior.sum()
                p = torch.stack([posterior.sum(1), posterior.sum(0)])
                step = process.transition(torch.tensor([a, b]), p, t, s, stochasticity)
                following += law[a, b] * step[0][:, None] * step[1][None]
            law = following
        errors.append(0.5 * (law - JOINT).abs().sum().item())
    assert errors[1] < 0.01 and errors[1] < 0.5 * errors[0], errors


@pytest.mark.parametrize("stochasticity", [0.0, 1.0])
def test_one_token_keeps_its_marginal_in_any_number_of_steps(stochasticity):
    """For one token the predicted clean law is exact, so every step count gives exact marginals."""
    process = Categorical(3, (0.6, 0.1, 0.3))
    data = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    pi = process.probabilities()
    for steps in (1, 2, 5):
        law = pi.clone()
        grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
        for t, s in itertools.pairwise(grid):
            alpha = process.schedule.alpha(t)
            following = torch.zeros(3, dtype=torch.float64)
            for a in range(3):
                like = alpha * torch.eye(3, dtype=torch.float64)[:, a] + (1 - alpha) * pi[a]
                p = data * like / (data * like).sum()
                following += law[a] * process.transition(torch.tensor([a]), p[None], t, s, stochasticity)[0]
            law = following
        assert (law - data).abs().max() < 1e-12
