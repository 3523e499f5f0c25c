"""The frame network: shapes, masks, zero start."""

import pytest
import torch

from suffuse.networks.frames import FrameNetwork


def network(**options):
    torch.manual_seed(0)
    made = FrameNetwork(
        {"frames": 10, "mel": 4}, {"label": 3}, width=16, depth=2, taps={"frames": 3}, rank=4, cond=16, **options
    )
    return made


def question(frames=13, batch=2, level=1.0):
    g = torch.Generator().manual_seed(1)
    x = {"frames": torch.randn(batch, 10, frames, generator=g), "mel": torch.randn(batch, 4, frames, generator=g)}
    x["label"] = torch.tensor([[3]] * batch)
    levels = {
        "frames": torch.full((batch, 1, 1), level),
        "mel": torch.zeros(batch, 1, 1),
        "label": torch.ones(batch, 1),
    }
    return x, levels


def shake(made):
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g))
    return made


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_shapes_and_zero_start(patch):
    made = network(attention=[0], patch=patch)
    raw = made(*question())
    assert {k: tuple(v.shape) for k, v in raw.items()} == {"frames": (2, 10, 13), "mel": (2, 4, 13), "label": (2, 1, 3)}
    assert all((v == 0).all() for v in raw.values())
    x, levels = question()
    full = {k: v.expand_as(x[k]).clone() if k != "label" else v for k, v in levels.items()}
    shake(made)
    for name, value in made(x, full).items():
        assert torch.allclose(value, made(x, levels)[name], atol=1e-5)


@pytest.mark.parametrize("patch", [1, 2])
def test_padding_changes_nothing(patch):
    made = shake(network(attention=[1], patch=patch))
    x, levels = question(12)
    alone = made(x, levels)
    longer = {k: torch.cat([v, torch.randn(2, v.shape[1], 8)], -1) if k != "label" else v for k, v in x.items()}
    exists = (torch.arange(20) < 12)[None, None].expand(2, 1, 20)
    padded = made(longer, levels, {"exists:frames": exists})
    keep = 11  # the last frame's filter sees the first padded one
    assert torch.allclose(padded["mel"][..., :12], alone["mel"], atol=1e-4)
    assert torch.allclose(padded["frames"][..., :keep], alone["frames"][..., :keep], atol=1e-4)
    assert torch.allclose(padded["label"], alone["label"], atol=1e-4)


def test_the_filter_head_turns_phases():
    """With one tap set to i on the frame before, the answer is the input delayed by one frame and turned by 90 degrees."""
    made = network()
    head = made.taps["frames"]
    with torch.no_grad():
        bias = head.up.bias.view(3, 2, 5)
        bias[0, 1] = 1.0
    x, levels = question()
    raw = made(x, levels)["frames"]
    real, imaginary = x["frames"].chunk(2, dim=1)
    assert torch.allclose(raw[:, :5, 1:], -imaginary[..., :-1], atol=1e-6)
    assert torch.allclose(raw[:, 5:, 1:], real[..., :-1], atol=1e-6)


def test_levels_and_targets_are_seen():
    made = shake(network())
    x, levels = question()
    half = {**levels, "frames": torch.full((2, 1, 1), 0.5)}
    assert not torch.allclose(made(x, levels)["mel"], made(x, half)["mel"])
    hole = levels["frames"].expand(2, 10, 13).clone()
    hole[..., :6] = 0
    assert not torch.allclose(made(x, levels)["mel"], made(x, {**levels, "frames": hole})["mel"])
    assert not torch.allclose(made(x, levels, None, half)["mel"], made(x, levels, None, levels)["mel"])
