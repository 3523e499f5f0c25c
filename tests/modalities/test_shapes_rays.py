"""The differentiable renderer against balls and boxes, whose pictures are known, and its gradients against differences."""

import math

import pytest
import torch

from suffuse.errors import AskError
from suffuse.modalities.shapes.rays import AMBIENT, EXTENT, Cameras
from suffuse.modalities.shapes.solids import box, lattice

CELLS, RADIUS = 24, 0.6
PLACES = torch.from_numpy(lattice(CELLS)).float()
BALL = (PLACES.norm(dim=-1) - RADIUS) * CELLS / 2


def pixels(size):
    axis = ((torch.arange(size) + 0.5) / size * 2 - 1) * EXTENT
    return axis[None, :].expand(size, size), -axis[:, None].expand(size, size)  # right, up


@pytest.mark.parametrize("yaw", [0.0, 37.0])
def test_fog_ball_absorbs_along_its_chord(yaw):
    opacity = 0.1
    right, up = pixels(24)
    chord = 2 * (RADIUS**2 - right**2 - up**2).clamp(min=0).sqrt()
    expected = 1 - torch.exp(-opacity * CELLS / 2 * chord)
    seen, _ = Cameras([yaw], 20, 24, steps=200).render(BALL, opacity, 0.02)
    assert (seen[0] - expected).abs().mean() < 0.005 and (seen[0] - expected).abs().max() < 0.08


def test_solid_ball_silhouette_depth_and_shading():
    size = 48
    right, up = pixels(size)
    off = (right**2 + up**2).sqrt()
    cameras = Cameras([110.0], 20, size, steps=120)
    seen, shaded = cameras.render(BALL, 10.0, 0.05)
    assert (seen[0][off < RADIUS - 0.06] > 0.99).all() and (seen[0][off > RADIUS + 0.06] < 0.01).all()
    core = off < 0.45
    front = -(RADIUS**2 - off**2).clamp(min=0).sqrt()
    assert (cameras.depths(BALL, 10.0, 0.05)[0] - front)[core].abs().max() < 0.05
    normal = torch.stack([right, up, front], -1) / RADIUS  # in the camera's axes
    light = torch.tensor([-0.5, 0.7, -0.8])
    expected = AMBIENT + (1 - AMBIENT) * (normal @ (light / light.norm())).clamp(min=0)
    assert (shaded[0] - expected)[core].abs().max() < 0.06


@pytest.mark.parametrize("yaw, half", [(0.0, 0.5), (45.0, 0.5 * math.sqrt(2)), (90.0, 0.5)])
def test_box_silhouette_is_its_rectangle(yaw, half):
    grid = torch.from_numpy(box(lattice(CELLS), (0, 0, 0), (0.5, 0.5, 0.7), 0.0)).float() * CELLS / 2
    right, up = pixels(40)
    seen = Cameras([yaw], 0.0, 40, steps=64).render(grid, 20.0, 0.1)[0][0]
    edge = torch.minimum((right.abs() - half).abs(), (up.abs() - 0.7).abs()) < 0.07
    inside = (right.abs() < half) & (up.abs() < 0.7)
    assert ((seen > 0.5) == inside)[~edge].all()


def test_perspective_ball_looks_larger():
    right, up = pixels(64)
    distance = 2.0
    radius = (
        RADIUS * distance / math.sqrt(distance**2 - RADIUS**2)
    )  # of the cone that touches the ball, in the middle plane
    seen = Cameras([0.0], 0.0, 64, steps=96, distance=distance).render(BALL, 10.0, 0.05)[0][0]
    area = float((seen > 0.5).float().mean()) * (2 * EXTENT) ** 2
    assert area == pytest.approx(math.pi * radius**2, rel=0.05)
    with pytest.raises(AskError, match="inside the shape"):
        Cameras([0.0], distance=1.0)


def test_gradients_are_those_of_differences():
    grid = (BALL[::4, ::4, ::4] / 4).double() + 0.05
    grid = (grid + 0.1 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(0)).double()).requires_grad_()
    cameras = Cameras([20.0, 200.0], 20, 4, steps=8)
    assert torch.autograd.gradcheck(lambda g: cameras.render(g, 1.0, 0.5), grid, fast_mode=True)
    assert torch.autograd.gradcheck(lambda g: cameras.depths(g, 1.0, 0.5), grid, fast_mode=True)


def test_views_turn_the_right_way_round():
    """What stands at the front is near in view 0, hidden behind in view 180, and a quarter turn moves +x to the front."""
    grid = torch.from_numpy(box(lattice(CELLS), (0.6, -0.6, 0), (0.2, 0.2, 0.2))).float() * CELLS / 2
    cameras = Cameras([0.0, 180.0], 0.0, 32)
    depth = cameras.depths(grid)
    seen = cameras.render(grid)[0] > 0.5
    right = pixels(32)[0]
    assert depth[0][seen[0]].mean() < -0.3 < 0.3 < depth[1][seen[1]].mean()
    assert right[seen[0]].mean() > 0.4 and right[seen[1]].mean() < -0.4
