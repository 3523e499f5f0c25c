"""What moves is brought to rest and back: whole pixels exactly, places from maps, paths frame by frame."""

import torch

from suffuse.networks.inflate import InflatedUNet
from suffuse.networks.tracks import PathNetwork, TrackMix, moved, where


def pixels(columns, rows, size=16):
    """A place in pixels from the middle, as `moved` takes it."""
    return torch.tensor([[2 * columns / size, 2 * rows / size]])


def test_whole_pixels_are_moved_without_blur():
    x = torch.randn(1, 3, 16, 16)
    there = moved(x, pixels(3, -2))
    assert torch.allclose(there[:, :, 4:12, 4:12], x[:, :, 2:10, 7:15], atol=1e-5)
    back = moved(there, -pixels(3, -2))
    assert torch.allclose(back[:, :, 4:12, 5:12], x[:, :, 4:12, 5:12], atol=1e-5)


def test_a_clean_frame_is_shown_where_the_thing_is_in_the_others():
    frames, layer = 3, TrackMix(1, 8, 4, (2, 2))
    layer.paint.bias.data[:] = 1.0
    x, level = torch.randn(frames, 1, 16, 16), torch.tensor([1.0, 0.0, 1.0])
    place = torch.cat(
        [pixels(-2.3, 1.4), pixels(0.7, 1.4), pixels(2.7, -0.6)]
    )  # whole pixels apart, not on whole pixels
    _, painted = layer(x, torch.randn(frames, 8, 8, 8), torch.zeros(frames, 4), level, place, frames)
    clean, other = x[1], 2 * torch.exp(torch.tensor(-6.0))
    assert (painted[1, :, 4:12, 4:12] - clean[:, 4:12, 4:12]).abs().max() < 20 * other
    assert (painted[0, :, 4:12, 4:10] - clean[:, 4:12, 7:13]).abs().max() < 20 * other
    assert (painted[2, :, 4:10, 4:12] - clean[:, 6:12, 2:10]).abs().max() < 20 * other


def test_maps_hold_the_place():
    place = torch.tensor([[[0.25, -0.5], [0.0, 0.75]]])
    maps = where(place, torch.tensor([[[0.0], [1.0]]]), (8, 12))
    assert maps.shape == (1, 2, 3, 8, 12)
    assert torch.allclose(-maps[:, :, :2].mean((3, 4)), place, atol=1e-6)
    assert maps[0, 0, 2].unique() == 0 and maps[0, 1, 2].unique() == 1
    assert abs(float(maps[0, 0, 0, 0, 7] - (15 / 12 - 1 - 0.25))) < 1e-6


def test_a_network_with_a_path_starts_as_the_one_without():
    settings = dict(widths=(8, 16), condition=32, patch=2, level_channel=1, code=True)
    net, plain = InflatedUNet(2, 1, path=True, **settings), InflatedUNet(2, 1, **settings)
    net.load_state_dict({**net.state_dict(), **plain.state_dict()})
    x, maps, condition = torch.randn(2, 2, 5, 11, 14), torch.randn(2, 3, 5, 11, 14), torch.randn(2, 32)
    assert torch.allclose(net(torch.cat([x, maps], 1), condition), plain(x, condition), atol=1e-5)


def test_the_path_network_knows_time_only_by_distance():
    net = PathNetwork(width=16, depth=2, heads=2, condition=8)
    for weight in net.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    path, level = torch.randn(1, 6, 2), torch.rand(1, 6, 1)
    assert net(path, level).shape == (1, 6, 2)
    turned = net(path.flip(1), level.flip(1)).flip(1)
    assert not torch.allclose(turned, net(path, level), atol=1e-3)  # order matters
    other = path.clone()
    other[0, 0] += 1
    assert (net(other, level) - net(path, level))[0, 5].abs().max() > 1e-4
