"""The token transformer: starts as the identity, respects masks, rotates relatively, and is causal when told to."""

import pytest
import torch

from suffuse.networks.layers import AdaptiveNorm, LevelEmbedding, Rotary, SelfAttention, attention_bias, rotate
from suffuse.networks.transformer import TokenTransformer, block_causal, causal


def random_network(**options):
    torch.manual_seed(0)
    network = TokenTransformer(32, 2, 4, **options)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return network


def test_new_blocks_are_the_identity():
    x = torch.randn(2, 5, 32)
    plain, adaptive = TokenTransformer(32, 2, 4), TokenTransformer(32, 2, 4, cond=8)
    assert torch.allclose(plain(x), plain.norm(x))
    assert torch.allclose(
        adaptive(x, torch.randn(2, 1, 8)), torch.nn.functional.rms_norm(x, (32,), eps=1e-6), atol=1e-6
    )


def test_first_step_of_training_moves_every_branch():
    network = TokenTransformer(32, 1, 4, cond=8)
    network(torch.randn(2, 5, 32), torch.randn(2, 5, 8)).pow(3).sum().backward()
    assert network.blocks[0].norm1.modulation.weight.grad.abs().sum() > 0
    assert network.blocks[0].norm2.modulation.weight.grad.abs().sum() > 0


def test_padding_changes_nothing():
    network, x = random_network(cond=8), torch.randn(2, 7, 32)
    cond, mask = torch.randn(2, 7, 8), torch.arange(7) < 4
    short = network(x[:, :4], cond[:, :4])
    assert torch.allclose(network(x, cond, mask.expand(2, 7))[:, :4], short, atol=1e-5)
    assert network(x, cond, torch.zeros(2, 7, dtype=torch.bool)).isfinite().all()


def test_rotary_depends_on_differences_only():
    rotary, q, k = Rotary(16), torch.randn(1, 2, 6, 16), torch.randn(1, 2, 6, 16)
    positions = torch.rand(1, 6) * 20
    scores = [rotate(q, rotary(p)) @ rotate(k, rotary(p)).transpose(-1, -2) for p in (positions, positions + 37.25)]
    assert torch.allclose(*scores, atol=1e-4)
    assert not torch.allclose(scores[0], q @ k.transpose(-1, -2), atol=0.1)


@pytest.mark.parametrize("bias, seen", [(causal(6), 4), (block_causal(6, 2), 4)])
def test_causal_masks(bias, seen):
    network, x = random_network(), torch.randn(1, 6, 32)
    other = x.clone()
    other[:, seen:] += 1
    a, b = network(x, bias=bias), network(other, bias=bias)
    assert torch.allclose(a[:, :seen], b[:, :seen], atol=1e-5)
    assert not torch.allclose(a[:, seen:], b[:, seen:], atol=1e-2)


def test_without_rotary_tokens_are_a_set():
    network, x, order = random_network(rotary=False), torch.randn(1, 6, 32), torch.randperm(6)
    assert torch.allclose(network(x)[:, order], network(x[:, order]), atol=1e-5)


def test_plain_attention_equals_fused():
    network, x = random_network(), torch.randn(2, 6, 32)
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    assert torch.allclose(network(x, key_mask=mask), network.plain_attention()(x, key_mask=mask), atol=1e-5)


def test_key_mask_joins_additive_bias():
    bias = attention_bias(torch.tensor([[True, False]]), torch.zeros(1, 1, 2, 2))
    assert bias.softmax(-1)[0, 0].tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_level_embedding_any_shape_and_distinct():
    embed = LevelEmbedding(16)
    assert embed(torch.rand(3, 1)).shape == (3, 1, 16) and embed(torch.rand(2, 4, 5)).shape == (2, 4, 5, 16)
    assert (embed(torch.tensor(0.0)) - embed(torch.tensor(1.0))).abs().max() > 0.05


def test_condition_per_sample_equals_condition_per_token():
    norm = AdaptiveNorm(8, 4)
    torch.nn.init.normal_(norm.modulation.weight)
    x, cond = torch.randn(2, 3, 8), torch.randn(2, 1, 4)
    for a, b in zip(norm(x, cond), norm(x, cond.expand(2, 3, 4)), strict=True):
        assert torch.allclose(a.expand(2, 3, 8), b, atol=1e-6)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="multiple"):
        SelfAttention(30, 4)
