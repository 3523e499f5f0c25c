"""U-Net, patch transformer and the grid adapter: any size, zero at the start, gradients everywhere, masks obeyed."""

import pytest
import torch

from suffuse.diffusion.random import Random
from suffuse.modalities.grids import GridNetwork, hole_masks
from suffuse.networks.grid_layers import unfold_patches
from suffuse.networks.patches import PatchTransformer
from suffuse.networks.unet import UNet

GRIDS = [(1, (37,), 4, 2), (2, (27, 31), 2, 2), (2, (9, 9), 1, 2), (3, (5, 9, 11), (1, 2, 2), [(1, 2, 2)])]


def networks(dims, patch, strides):
    yield UNet(2, 3, dims=dims, widths=(16, 32), patch=patch, strides=strides, tokens=8, condition=12)
    yield PatchTransformer(2, 3, dims=dims, width=32, depth=1, patch=patch, tokens=8, condition=12)


def wake(network):
    """Give zero-initialised layers weights, so that outputs depend on inputs."""
    torch.manual_seed(1)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.mark.parametrize("dims, grid, patch, strides", GRIDS)
def test_any_grid_size_and_zero_start(dims, grid, patch, strides):
    for network in networks(dims, patch, strides):
        x, condition = torch.randn(2, 2, *grid), torch.randn(2, 12)
        y, pooled = network(x, condition, torch.randn(2, 4, 8), pooled=True)
        assert y.shape == (2, 3, *grid) and not y.any()
        assert pooled.shape == (2, network.features) and bool(pooled.isfinite().all())


@pytest.mark.parametrize("dims, grid, patch, strides", GRIDS)
def test_samples_do_not_mix_and_padding_is_not_seen(dims, grid, patch, strides):
    for network in networks(dims, patch, strides):
        wake(network)
        x, condition, tokens = torch.randn(3, 2, *grid), torch.randn(3, 12), torch.randn(3, 4, 8)
        exists = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]).bool()
        whole = network(x, condition, tokens, exists)
        for row in range(3):
            alone = network(*(t[row : row + 1] for t in (x, condition, tokens, exists)))
            assert torch.allclose(alone, whole[row : row + 1], atol=1e-4)
        tokens[0, 2:] += 5
        assert torch.allclose(network(x, condition, tokens, exists), whole, atol=1e-4)
        tokens[0, 0] += 5
        assert not torch.allclose(network(x, condition, tokens, exists)[0], whole[0], atol=1e-4)


def test_every_weight_gets_a_gradient():
    backbone = UNet(4, 3, widths=(16, 32), patch=2, tokens=64, condition=32)
    network = GridNetwork(
        backbone, {"image": 3}, labels={"label": 5}, captions={"caption": (7, 4)}, numbers={"size": 2}, condition=32
    )
    wake(network)
    x = {
        "image": torch.randn(2, 3, 12, 12), "label": torch.tensor([[1], [5]]), "caption": torch.randint(0, 8, (2, 4)),
        "size": torch.randn(2, 2),
    }  # fmt: skip
    levels = {
        "image": torch.rand(2, 1, 12, 12),
        "label": torch.rand(2, 1),
        "caption": torch.rand(2, 1),
        "size": torch.rand(2, 1),
    }
    out = network(x, levels, {}, None)
    assert {k: tuple(v.shape) for k, v in out.items()} == {
        "image": (2, 3, 12, 12), "label": (2, 1, 5), "caption": (2, 4, 7), "size": (2, 2)
    }  # fmt: skip
    sum(v.square().sum() for v in out.values()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
    then = {k: v * 0.5 for k, v in levels.items()}
    assert not torch.allclose(network(x, levels, {}, then)["image"], out["image"])
    assert network.features(x, levels, {}).shape == (2, 32)


def test_level_maps_reach_the_network_cell_by_cell():
    network = wake(GridNetwork(UNet(2, 1, widths=(16,), attention=[False], condition=32), {"image": 1}, condition=32))
    x, level = {"image": torch.zeros(1, 1, 16, 16)}, torch.zeros(1, 1, 16, 16)
    level[..., 0, 0] = 1.0
    other = level.flip(-1)  # the same mean and top level, elsewhere
    a, b = (network(x, {"image": m}, {})["image"] for m in (level, other))
    assert not torch.allclose(a, b, atol=1e-4)


def test_clips_keep_their_axis_order():
    network = wake(
        GridNetwork(UNet(4, 3, dims=3, widths=(16,), condition=32), {"clip": 3}, condition=32, channel_axis=2)
    )
    clip = torch.randn(1, 5, 3, 8, 8)
    assert network({"clip": clip}, {"clip": torch.rand(1, 5, 1, 1, 1)}, {})["clip"].shape == clip.shape


def test_unfold_patches_is_pixel_shuffle():
    x = torch.randn(2, 12, 5, 6)
    assert torch.equal(unfold_patches(x, 3, (2, 2)), torch.nn.functional.pixel_shuffle(x, 2))


def test_hole_masks_are_counter_based_and_varied():
    holes = hole_masks((28, 28), Random(0), torch.arange(400), 3)
    assert torch.equal(hole_masks((28, 28), Random(0), torch.tensor([7, 99]), 3), holes[[7, 99]])
    share = holes.float().mean((1, 2, 3))
    assert 0.4 < share.mean() < 0.65 and share.min() > 0 and share.max() < 1
