"""Minibatch transport against brute force, and its laws given conditions."""

import itertools

import pytest
import torch

from suffuse.diffusion.objectives.coupling import condition_weight, couple, squared_distances

pytest.importorskip("scipy")


def spent(x, noise):
    return (x - noise).square().sum().item()


def test_cheapest_of_all_permutations():
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 6, 3, generator=generator)
    found = couple(x, noise)
    best = min(spent(x, noise[list(order)]) for order in itertools.permutations(range(6)))
    assert spent(x, found) == pytest.approx(best, rel=1e-5)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, noise.tolist()))


def test_in_one_dimension_it_sorts():
    generator = torch.Generator().manual_seed(1)
    x, noise = torch.randn(2, 100, 1, generator=generator)
    found = couple(x, noise)
    assert torch.equal(found[x[:, 0].argsort(), 0], noise[:, 0].sort().values)


def test_classes_keep_their_own_noise():
    generator = torch.Generator().manual_seed(2)
    x, noise = torch.randn(2, 60, 2, generator=generator)
    label = torch.randint(3, (60, 1), generator=generator)
    found = couple(x + 5 * label, noise, classes=label)
    for k in range(3):
        mine = label[:, 0] == k
        assert sorted(map(tuple, found[mine].tolist())) == sorted(map(tuple, noise[mine].tolist()))
    assert spent(x, found) < spent(x, noise)


def test_weight_meets_its_ratio_and_small_ratios_stay_near_the_condition():
    generator = torch.Generator().manual_seed(3)
    x, noise = torch.randn(2, 256, 2, generator=generator)
    condition = x[:, :1]
    cost, distance = squared_distances(noise, x), squared_distances(condition, condition)
    for ratio in (0.02, 0.1):
        w = condition_weight(cost, distance, ratio)
        assert (cost + w * distance <= cost.diagonal()[:, None]).double().mean() == pytest.approx(ratio, abs=2e-3)
    # the plain coupling ties the first coordinate of the noise to the condition; the aware one hardly does
    plain = couple(x, noise)
    aware = couple(x, noise, condition=condition, ratio=0.01)

    def tie(n):
        return torch.corrcoef(torch.stack([n[:, 0], condition[:, 0]]))[0, 1].item()

    assert tie(plain) > 0.9 and abs(tie(aware)) < 0.35 < abs(tie(plain))
    assert spent(x[:, 1], aware[:, 1]) < 0.8 * spent(x[:, 1], noise[:, 1])


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        couple(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="finite"):
        couple(torch.full((3, 2), float("nan")), torch.zeros(3, 2))
