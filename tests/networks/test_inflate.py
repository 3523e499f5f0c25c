"""The inflated U-Net: an image network frame by frame at first, frames mixed in time afterwards."""

import pytest
import torch

from suffuse.networks.inflate import FrameMix, InflatedUNet
from suffuse.networks.motion import MotionFilter
from suffuse.networks.spacetime import AxialRotary, SpaceTime
from suffuse.networks.unet import UNet

SETTINGS = dict(widths=(16, 32), condition=32, patch=2)


def filled(module, seed=0):
    """All parameters drawn anew, so that nothing is hidden behind zeros."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return module


def test_starts_as_the_image_network_on_every_frame():
    image = filled(UNet(2, 1, dims=2, **SETTINGS))
    net = InflatedUNet(2, 1, level_channel=1, **SETTINGS)
    net.frame.load_state_dict(image.state_dict())
    x, condition = torch.randn(3, 2, 5, 11, 14), torch.randn(3, 32)
    y, pooled = net(x, condition, pooled=True)
    each = [image(x[:, :, t], condition, pooled=True) for t in range(5)]
    assert torch.allclose(y, torch.stack([a for a, _ in each], dim=2), atol=1e-4)
    assert torch.allclose(pooled, torch.stack([p for _, p in each]).mean(0), atol=1e-4)


def test_frames_see_each_other_once_trained_and_levels_reach_their_own_frame():
    net = filled(InflatedUNet(2, 1, level_channel=1, **SETTINGS), 1)
    x, condition = torch.randn(2, 2, 6, 8, 8), torch.randn(2, 32)
    other = x.clone()
    other[:, 0, 0] += 1
    assert (net(x, condition) - net(other, condition))[:, :, 5].abs().max() > 1e-4
    alone = InflatedUNet(2, 1, level_channel=1, **SETTINGS)
    filled(alone.frame, 2), filled(alone.frame_level, 3)
    shifted = x.clone()
    shifted[:, 1, 2] += 0.5
    change = (alone(x, condition) - alone(shifted, condition)).abs().amax(dim=(0, 1, 3, 4))
    assert change[2] > 1e-4 and change[[0, 1, 3, 4, 5]].max() == 0


def test_mixing_in_time_is_the_same_wherever_the_clip_starts():
    mix = filled(FrameMix(32))
    x = torch.zeros(1, 9, 32, 2, 2)
    pulse = torch.randn(2, 32, 2, 2)
    early, late = x.clone(), x.clone()
    early[0, 2:4], late[0, 4:6] = pulse, pulse
    near = FrameMix(32, attention=False)
    near.load_state_dict({k: v for k, v in mix.state_dict().items() if k.startswith(("norm.", "near"))})
    a, b = near(early[0], 9), near(late[0], 9)
    assert torch.allclose(a[1:5], b[3:7], atol=1e-5)
    q = torch.randn(1, 1, 9, 32)
    turn = mix.rotary(torch.arange(9))
    from suffuse.networks.layers import rotate

    score = rotate(q, turn) @ rotate(q[:, :, :1].expand(1, 1, 9, 32), turn).transpose(-1, -2)
    same = rotate(q[:, :, :1].expand(1, 1, 9, 32), turn) @ rotate(q[:, :, :1].expand(1, 1, 9, 32), turn).transpose(
        -1, -2
    )
    assert torch.allclose(same[0, 0, 0, 2], same[0, 0, 5, 7], atol=1e-4) and score.shape == same.shape


def test_batch_rows_do_not_meet():
    net = filled(InflatedUNet(2, 1, level_channel=1, **SETTINGS), 4)
    x, condition = torch.randn(3, 2, 4, 8, 8), torch.randn(3, 32)
    assert torch.allclose(net(x, condition)[1:2], net(x[1:2], condition[1:2]), atol=1e-4)


def test_attention_over_space_and_time_starts_as_nothing_and_follows_what_moves():
    image = filled(UNet(2, 1, dims=2, **SETTINGS))
    net = InflatedUNet(2, 1, level_channel=1, whole=(1, 2), **SETTINGS)
    net.frame.load_state_dict(image.state_dict())
    x, condition = torch.randn(2, 2, 5, 11, 14), torch.randn(2, 32)
    each = torch.stack([image(x[:, :, t], condition) for t in range(5)], dim=2)
    assert torch.allclose(net(x, condition), each, atol=1e-4)
    block = filled(SpaceTime(32), 5)
    x = torch.randn(2 * 6, 32, 4, 4)
    other = x.clone()
    other[0, :, 0, 0] += 1  # the first frame's first cell
    change = (block(x, 6) - block(other, 6)).abs().amax(1)
    assert change[5, 3, 3] > 1e-5 and change[6:].max() == 0
    filled(net, 6)
    for frames in (2, 5, 9):
        assert net(torch.randn(1, 2, frames, 11, 14), condition[:1]).shape == (1, 1, frames, 11, 14)


def test_attention_over_space_and_time_knows_only_how_far_apart_cells_are():
    from suffuse.networks.layers import rotate

    turn = AxialRotary(32, (100.0, 20.0, 20.0))
    q, k = torch.randn(1, 1, 1, 32), torch.randn(1, 1, 1, 32)
    grid = (5, 4, 6)
    q, k = (rotate(v.expand(1, 1, 120, 32), turn(grid)) for v in (q, k))
    score = (q @ k.transpose(-1, -2)).reshape(*grid, *grid)
    assert torch.allclose(score[0, 0, 1, 2, 1, 3], score[2, 2, 3, 4, 3, 5], atol=1e-4)
    near = [score[2, 1, 3, 3, 1, 3], score[2, 1, 3, 2, 2, 3], score[2, 1, 3, 2, 1, 4], score[2, 1, 3, 2, 1, 3]]
    assert len({round(float(v), 4) for v in near}) == 4
    with pytest.raises(ValueError, match="head size"):
        AxialRotary(4, (100.0, 20.0, 20.0))


def test_codes_of_frames_start_as_nothing_and_reach_all_frames():
    settings = dict(SETTINGS, level_channel=1)
    net = InflatedUNet(2, 1, code=True, **settings)
    plain = InflatedUNet(2, 1, **settings)
    net.load_state_dict({**net.state_dict(), **plain.state_dict()})
    x, condition = torch.randn(2, 2, 7, 11, 14), torch.randn(2, 32)
    assert torch.allclose(net(x, condition), plain(x, condition), atol=1e-5)
    filled(net.code, 1), filled(net.steer, 2), filled(net.motion, 3)
    filled(net.frame, 4)
    other = x.clone()
    other[:, 0, 0] += 1
    far = (net(x, condition) - net(other, condition))[:, :, 6].abs().max()
    assert far > 1e-4


def test_a_filter_moves_the_frame_before_into_its_place():
    layer = MotionFilter(4, 8, (2, 2), count=1, side=3)
    for weight in layer.parameters():
        torch.nn.init.zeros_(weight)
    kernel = torch.zeros(3, 3, 3)
    kernel[0, 1, 0] = 2.0  # the frame before, one pixel to the left; twice, since the map says one half
    layer.kernel[-1].bias.data = kernel.flatten()
    x = torch.randn(5, 1, 8, 8)
    moved = layer(x, torch.randn(5, 8, 4, 4), torch.randn(5, 4), 5)
    assert torch.allclose(moved[1:, :, :, 1:], x[:-1, :, :, :-1], atol=1e-6)
    assert not moved[0].any()
