"""The axial transformer: sharing, folding, times and node biases."""

import torch

from suffuse.networks.axial import AxialTransformer


def network(share=True, **more):
    torch.manual_seed(0)
    net = AxialTransformer(3, 2, dim=16, heads=2, encoder_layers=1, layers=2, share=share, longest=20, **more)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


def inputs(questions=2, samples=3, nodes=4, times=6):
    torch.manual_seed(1)
    given = torch.randn(questions, nodes, times, 3)
    noisy = torch.randn(questions * samples, nodes, times, 2)
    clock = torch.rand(questions, times).cumsum(1)
    return given, noisy, clock, torch.rand(questions * samples)


def test_folded_samples_equal_samples_one_by_one():
    for share in (True, False):
        net = network(share)
        given, noisy, clock, level = inputs()
        folded = net.decode(net.encode(given, clock), noisy, level)
        apart = net.decode(net.encode(given.repeat_interleave(3, 0), clock.repeat_interleave(3, 0)), noisy, level)
        torch.testing.assert_close(folded, apart, atol=1e-5, rtol=1e-5)
        assert folded.std() > 0.01


def test_only_differences_of_times_matter():
    net = network()
    given, noisy, clock, level = inputs()
    a = net.decode(net.encode(given, clock), noisy, level)
    torch.testing.assert_close(net.decode(net.encode(given, clock + 7), noisy, level), a, atol=1e-4, rtol=1e-4)
    assert (net.decode(net.encode(given, 3 * clock), noisy, level) - a).abs().max() > 1e-3


def test_padding_is_not_attended_to():
    net = network(nodes=False)
    given, noisy, clock, level = inputs(nodes=1)
    exists = torch.ones(2, 1, 6, dtype=torch.bool)
    exists[:, :, 4:] = False
    long = net.decode(net.encode(given, clock, exists), noisy, level)[:, :, :4]
    short = net.decode(net.encode(given[:, :, :4], clock[:, :4]), noisy[:, :, :4], level)
    torch.testing.assert_close(long, short, atol=1e-5, rtol=1e-5)


def test_node_bias_and_permutation():
    bias = torch.rand(4, 4)
    given, noisy, clock, level = inputs()
    net, order = network(node_bias=bias), torch.tensor([2, 0, 3, 1])
    a = net.decode(net.encode(given, clock), noisy, level)
    moved = network(node_bias=bias[order][:, order])
    b = moved.decode(moved.encode(given[:, order], clock), noisy[:, order], level)
    torch.testing.assert_close(b, a[:, order], atol=1e-5, rtol=1e-5)
    other = network(node_bias=-bias)
    assert (other.decode(other.encode(given, clock), noisy, level) - a).abs().max() > 1e-4


def test_a_memory_reads_the_known_part_in_both_directions():
    net = network(memory=True, nodes=False)
    given, noisy, clock, level = inputs(questions=1, samples=1, nodes=1)
    a = net.decode(net.encode(given, clock), noisy, level)
    for place in (0, 5):
        changed = given.clone()
        changed[:, :, place] += 1
        assert (
            net.recall(net.memory(net.given(changed)[0])[0]) != net.recall(net.memory(net.given(given)[0])[0])
        ).all()
        assert (net.decode(net.encode(changed, clock), noisy, level) - a).abs().min() > 1e-7


def test_several_answers_a_token():
    net = AxialTransformer(3, 2, 5, dim=16, heads=2)
    given, noisy, clock, level = inputs()
    assert net.decode(net.encode(given, clock), noisy, level).shape == (6, 4, 6, 5)


def test_a_new_network_answers_zero_and_takes_targets():
    net = AxialTransformer(3, 2, dim=16, heads=2)
    given, noisy, clock, level = inputs()
    assert (net.decode(net.encode(given, clock), noisy, level, 0.5 * level) == 0).all()
