"""Inner blocks of a transformer that answer for several calls."""

import pytest
import torch

import suffuse
from suffuse.caching import inner_blocks, reused_blocks
from suffuse.errors import AskError
from suffuse.networks.transformer import TokenTransformer


def lively(depth: int) -> TokenTransformer:
    """A transformer none of whose weights are zero."""
    torch.manual_seed(0)
    network = TokenTransformer(dim=32, depth=depth, heads=4)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def test_the_same_input_gets_the_same_answer_with_fewer_computations(monkeypatch):
    network, x, computed = lively(5), torch.randn(2, 7, 32), []
    plain = network(x)
    for k, block in enumerate(network.blocks):
        monkeypatch.setattr(block, "compute", lambda *a, k=k, f=block.compute: (computed.append(k), f(*a))[1])
    with reused_blocks(network, 3):
        answers = [network(x) for _ in range(4)]
    for answer in answers:
        torch.testing.assert_close(answer, plain)
    assert [computed.count(k) for k in range(5)] == [4, 2, 2, 2, 4]
    assert all(block.memory is None for block in network.blocks)


def test_another_input_keeps_the_inner_residuals():
    network, x, y = lively(3), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    first, middle, last = network.blocks
    with reused_blocks(network, 2), torch.no_grad():
        network(x)
        got = network(y)
        rotary = network.rotation(7, None, x.device)
        before, other = first(x, None, rotary), first(y, None, rotary)
        residual = middle.compute(before, None, rotary, None) - before
        torch.testing.assert_close(got, network.norm(last(other + residual, None, rotary)))
        torch.testing.assert_close(
            network(x[:1]), network.norm(last(middle.compute(before[:1], None, rotary, None), None, rotary))
        )


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "2"])
def test_refuses_what_is_no_number_of_calls(every):
    with pytest.raises(AskError, match="reuse must be"), reused_blocks(lively(3), every):
        pass


def test_models():
    model = suffuse.load("shakespeare")
    assert len(inner_blocks(model.denoiser.network)) == 2
    plain = model.sample(2, steps=8)
    assert model.sample(2, steps=8, reuse=1) == plain
    assert model.sample(2, steps=8, reuse=2) != plain
    assert model.sample(2, steps=8) == plain
    with pytest.raises(AskError, match="no transformer"):
        suffuse.load("digits").sample(1, reuse=2)
