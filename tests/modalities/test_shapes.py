"""Shapes as fields: halves complete, units return, labels, renderer and figures against closed forms."""

import numpy as np
import pytest
import torch

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage")

from suffuse.diffusion.random import Random  # noqa: E402
from suffuse.errors import AskError, DataError  # noqa: E402
from suffuse.modalities.shapes import Shape, Shapes  # noqa: E402
from suffuse.modalities.shapes.files import read_shape, write_shape  # noqa: E402
from suffuse.modalities.shapes.modality import DEPTH, region  # noqa: E402
from suffuse.modalities.shapes.pictures import camera, render, turning  # noqa: E402
from suffuse.modalities.shapes.quality import chamfer, cloud_of, clouds_of, one_nna  # noqa: E402
from suffuse.modalities.shapes.solids import lattice, solids  # noqa: E402
from suffuse.model import Model  # noqa: E402


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    modality, data = Shapes.read("solids", size=12, count=16, width=16)
    made = Model.new(modality)
    made.data = data
    return made


def test_data(model):
    batch = model.data.batch(torch.arange(16))
    assert batch.x["grid"].shape == (16, 1, 12, 12, 12) and abs(float(batch.x["grid"].std()) - 1) < 0.02
    assert model.modality.labels["label"][int(batch.x["label"][6, 0])] == "creature"
    held_out = model.modality.dataset("solids", count=8)
    assert not torch.equal(held_out.stored[0], model.data.stored[0])


def test_half_of_a_shape_is_asked(model):
    batch = model.data.batch(torch.arange(16))
    level = model.modality.start("complete", batch, Random(0), 3).levels["grid"]
    assert set(level.unique().tolist()) == {0.0, 1.0}
    share = level.flatten(1).mean(1)
    assert (share > 0.15).all() and (share < 0.85).all()
    for cube in level[:, 0]:  # a half space: constant along two axes
        flat = [cube.amax(dim=d) == cube.amin(dim=d) for d in range(3)]
        assert sum(bool(f.all()) for f in flat) == 2


def test_the_given_part_stays_and_units_return(model):
    ball = trimesh.creation.icosphere(3, 40.0)
    ball.apply_translation([100, 0, -7])
    shape = Shape(np.asarray(ball.vertices), np.asarray(ball.faces))
    task = model.modality.request(2, shape, index=torch.arange(2), keep="z<0.5")
    assert (task.start.levels["grid"][0, 0, :, :, :6] == 0).all() and (
        task.start.levels["grid"][0, 0, :, :, 6:] == 1
    ).all()
    made = model.complete(shape, "z<0.5", n=2, steps=2)
    known = model.modality.unscale(task.x["grid"])[0, 0].numpy() * DEPTH
    for one in made:
        assert np.allclose(one.grid[:, :, :6], known[:, :, :6], atol=1e-4)
    whole = model.modality.decode(task.x, task)[0].mesh()
    assert whole.is_watertight and np.allclose(whole.centroid, [100, 0, -7], atol=1.5)
    assert whole.volume == pytest.approx(4 / 3 * np.pi * 40**3, rel=0.15)
    assert region("x>0.5,y<0.25", 8).sum() == 4 * 2 * 8


def test_sampling_writing_showing(model, tmp_path):
    made = model.sample(3, {"label": "vase"}, steps=2)
    assert all(s.label == 5 and s.name == "vase" for s in made)
    real = [
        Shape(np.empty((0, 3)), np.empty((0, 3), int), grid=(model.data.stored[k, 0].float() * DEPTH).numpy())
        for k in range(3)
    ]
    task = model.modality.request(3, real, index=torch.arange(3))
    back = model.modality.decode(task.x, task)
    assert all(s.mesh().is_watertight for s in back)
    paths = model.modality.write(back, tmp_path / "many")
    assert read_shape(paths[0]).mesh().volume == pytest.approx(back[0].mesh().volume, rel=1e-3)
    model.modality.write(back, tmp_path / "all.npz")
    again, data = Shapes.read(tmp_path / "all.npz")
    assert np.allclose(data.stored[0, 0].float() * DEPTH, real[0].grid, atol=0.01)
    model.modality.show(back, tmp_path / "a.png")
    turning([s.grid for s in back], tmp_path / "a.gif", views=2, size=16)
    assert model.predict(model.data, "label").shape == (16, 1, 8)
    assert len(model.edit(back[0], 0.5, mask="z>0.5", steps=2)) == 1


def test_folders_of_meshes(tmp_path):
    for k, maker in enumerate((trimesh.creation.box, trimesh.creation.icosphere)):
        mesh = maker()
        write_shape(Shape(np.asarray(mesh.vertices), np.asarray(mesh.faces)), tmp_path / f"kind{k}" / "a.ply")
    modality, data = Shapes.read(tmp_path, size=12)
    assert modality.labels == {"label": ["kind0", "kind1"]} and len(data) == 2 and Shapes.recognises(tmp_path) > 0.9
    np.savez(tmp_path / "v.npz", voxels=np.zeros((2, 50, 50, 50), bool))
    with pytest.raises(DataError, match="at most 40"):
        Shapes.read(tmp_path / "v.npz")


def test_refusals(model):
    for given, keep, message in (
        (np.zeros((5, 5, 5)), None, "12 along each edge"),
        (np.zeros((3, 2, 2, 2)), None, "no shape"),
        (None, "z<0.5", "no shape is given"),
        (np.ones((12, 12, 12)), "w<0.5", "no region"),
    ):
        with pytest.raises(AskError, match=message):
            model.sample(1, given, keep=keep, steps=1)
    with pytest.raises(DataError, match="cloud of 2 points"):
        model.sample(1, np.zeros((2, 3)), steps=1)


def test_the_renderer_sees_a_ball_as_a_disc():
    grid = (np.linalg.norm(lattice(24), axis=-1) - 0.7) * 12
    picture = render(grid, size=80)
    seen = (picture != 250).any(-1)
    assert seen.sum() == pytest.approx(np.pi * (0.7 / 1.35 * 40) ** 2, rel=0.05)
    right, up, forward = camera(73.0, 20.0)
    frame = torch.stack([right, up, -forward])
    assert torch.allclose(frame @ frame.T, torch.eye(3), atol=1e-6) and torch.linalg.det(frame) == pytest.approx(
        1, abs=1e-5
    )
    front, back = (
        render(solids(1, 24)["grid"][0] * 12, yaw=0, size=48),
        render(solids(1, 24)["grid"][0] * 12, yaw=180, size=48),
    )
    assert (front != back).mean() > 0.02


def test_figures():
    from scipy.spatial import cKDTree

    a, b = np.random.default_rng(0).normal(size=(2, 60, 3))
    exact = (cKDTree(a).query(b)[0] ** 2).mean() + (cKDTree(b).query(a)[0] ** 2).mean()
    assert float(chamfer(torch.tensor(a), torch.tensor(b))) == pytest.approx(exact)
    same = torch.randn(80, 20, 3)
    assert abs(one_nna(same[:40], same[40:]) - 50) < 20 and one_nna(same[:40], same[40:] + 5) == 100
    made = solids(3, 16)["grid"] * 8
    assert clouds_of([*made, np.ones((16, 16, 16))], 64).shape == (3, 64, 3)
    assert np.abs(cloud_of(made[0])).max() <= 1
