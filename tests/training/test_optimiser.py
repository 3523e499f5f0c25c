"""Our AdamW against torch's; Muon against the singular value decomposition."""

import copy

import pytest
import torch
from torch import nn

from suffuse.errors import ModelError
from suffuse.training.optimiser import Optimiser, is_hidden_matrix, orthogonalise


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 16, 144), (2, 200, 24)])
def test_orthogonalised_matrices_share_the_singular_vectors(shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    y = orthogonalise(x)
    s = torch.linalg.svdvals(y)
    assert y.shape == x.shape and s.min() > 0.3 and s.max() < 1.3
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    core = u.mT @ y @ vh.mT
    assert (core - torch.diag_embed(core.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-3
    assert core.diagonal(dim1=-2, dim2=-1).min() > 0


def test_well_conditioned_matrices_become_orthogonal_to_a_fifth():
    torch.manual_seed(0)
    x = torch.linalg.qr(torch.randn(40, 40)).Q @ torch.diag(torch.linspace(0.5, 2, 40))
    s = torch.linalg.svdvals(orthogonalise(x[None])[0])
    assert s.min() > 0.65 and s.max() < 1.25


def test_zero_gradients_stay_finite():
    assert torch.isfinite(orthogonalise(torch.zeros(1, 16, 16))).all()


def net():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Embedding(30, 24), nn.Linear(24, 32), nn.SiLU(), nn.Linear(32, 20), nn.SiLU(), nn.Linear(20, 2)
    )


def train(network, optimiser, steps, first=0, rate=1e-2):
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        token = torch.randint(30, (64,), generator=generator)
        loss = (network(token) - torch.stack([token.float().sin(), token.float().cos()], 1)).square().mean()
        loss.backward()
        optimiser.step(rate)
        optimiser.zero_grad()
    return loss.item()


def test_adamw_equals_torch():
    ours, theirs = net(), net()
    optimiser = Optimiser(ours, "adamw", (0.9, 0.95), weight_decay=0.1)
    train(ours, optimiser, 25)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95))
    for step in range(25):
        generator = torch.Generator().manual_seed(step)
        token = torch.randint(30, (64,), generator=generator)
        (theirs(token) - torch.stack([token.float().sin(), token.float().cos()], 1)).square().mean().backward()
        reference.step()
        reference.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert torch.allclose(a, b, atol=1e-5)


def test_muon_takes_hidden_matrices_and_leaves_the_rest():
    network = net()
    optimiser = Optimiser(network, "muon")
    assert sorted(optimiser.matrices) == ["1.weight", "3.weight"]
    assert "0.weight" in optimiser.rest and "5.weight" in optimiser.rest and "1.bias" in optimiser.rest
    assert is_hidden_matrix(nn.Conv2d(16, 32, 3), torch.zeros(32, 16, 3, 3))
    assert not is_hidden_matrix(nn.Conv2d(16, 1, 3), torch.zeros(1, 16, 3, 3))


def test_muon_step_is_the_formula():
    """Nesterov momentum, orthogonalised, 0.2 sqrt(max side), decoupled decay: worked by hand for two steps."""
    torch.manual_seed(2)
    layer = nn.Linear(24, 16, bias=False)
    weight = layer.weight.detach().clone()
    optimiser = Optimiser(layer, "muon", momentum=0.9, weight_decay=0.1)
    velocity = torch.zeros_like(weight)
    for _ in range(2):
        grad = torch.randn_like(weight)
        layer.weight.grad = grad.clone()
        optimiser.step(0.01)
        velocity = 0.9 * velocity + grad
        update = orthogonalise((grad + 0.9 * velocity)[None])[0]
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * 0.2 * 24**0.5 * update
    assert torch.allclose(layer.weight, weight, atol=1e-6)
    size = (0.2 * 24**0.5 * update).square().mean().sqrt()
    assert 0.1 < size < 0.3


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_learns_and_resumes_to_the_same_bits(kind):
    whole = net()
    first = train(whole, Optimiser(whole, kind), 1)
    torch.set_num_threads(1)
    whole = net()
    optimiser = Optimiser(whole, kind)
    train(whole, optimiser, 20)
    broken = copy.deepcopy(whole)
    again = Optimiser(broken, kind)
    again.load({k: v.clone() for k, v in optimiser.tensors().items()})
    last = train(whole, optimiser, 100, 20)
    train(broken, again, 100, 20)
    assert last < 0.2 * first
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), broken.parameters()))


def test_state_of_another_network_is_refused():
    state = Optimiser(net(), "muon").tensors()
    with pytest.raises(ModelError, match="another network"):
        Optimiser(nn.Linear(24, 32), "muon").load(state)
