"""Shapes in and out, signed distances against closed forms, watertight meshes, refusals."""

import numpy as np
import pytest

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage")

from suffuse.errors import DataError  # noqa: E402
from suffuse.modalities.shapes.files import Shape, read_grids, read_shape, write_shape  # noqa: E402
from suffuse.modalities.shapes.grid import Frame, from_voxels, sample_points, to_grid, to_mesh  # noqa: E402
from suffuse.modalities.shapes.solids import KINDS, lattice, solids  # noqa: E402


def ball(radius=5.0, subdivisions=3):
    mesh = trimesh.creation.icosphere(subdivisions, radius)
    return Shape(np.asarray(mesh.vertices) + [3, -2, 7], np.asarray(mesh.faces), name="ball")


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb", ".stl", ".off"])
def test_mesh_round_trip_keeps_units_and_axes(tmp_path, suffix):
    shape = ball()
    again = read_shape(write_shape(shape, tmp_path / f"a{suffix}"))
    assert again.mesh().is_watertight and again.mesh().volume == pytest.approx(shape.mesh().volume, rel=1e-4)
    assert np.allclose(again.vertices.mean(0), [3, -2, 7], atol=1e-3)
    tolerance = 1e-5 if suffix in (".ply", ".stl", ".glb") else 1e-6
    assert np.allclose(np.sort(again.vertices, axis=0), np.sort(shape.vertices, axis=0), atol=tolerance * 10)


def test_cloud_round_trip(tmp_path):
    points = np.random.default_rng(0).normal(size=(100, 3))
    for name in ("a.ply", "a.xyz"):
        again = read_shape(write_shape(Shape(points, np.empty((0, 3), int)), tmp_path / name))
        assert np.allclose(again.vertices, points, atol=1e-6) and not len(again.faces)


def test_distances_to_a_ball_match_the_formula():
    grid, frame = to_grid(ball(), 24)
    cell = frame.side / 24
    centres = frame.corner + (np.stack(np.meshgrid(*[np.arange(24) + 0.5] * 3, indexing="ij"), -1)) * cell
    exact = (np.linalg.norm(centres - [3, -2, 7], axis=-1) - 5.0) / cell
    assert np.abs(grid - exact).max() < 0.35 and (np.sign(grid) == np.sign(exact))[np.abs(exact) > 0.35].all()
    mesh = to_mesh(grid, frame).mesh()
    assert mesh.is_watertight and mesh.volume == pytest.approx(4 / 3 * np.pi * 125, rel=0.06)
    assert np.allclose(mesh.centroid, [3, -2, 7], atol=0.05)


def test_clouds_of_a_surface_become_solids():
    points = sample_points(ball(), 6000)
    grid, frame = to_grid(Shape(points, np.empty((0, 3), int)), 16)
    assert to_mesh(grid, frame).mesh().volume == pytest.approx(4 / 3 * np.pi * 125, rel=0.35)


def test_voxels_to_mesh_and_back():
    exact = np.linalg.norm(lattice(20), axis=-1) - 0.7
    mesh = to_mesh(from_voxels(exact < 0)).mesh()
    assert mesh.is_watertight and mesh.volume == pytest.approx((exact < 0).sum(), rel=0.05)
    again, _ = to_grid(Shape(np.asarray(mesh.vertices), np.asarray(mesh.faces)), 20, Frame(np.zeros(3), 20.0))
    assert ((again < 0) == (exact < 0)).mean() > 0.99


def test_random_grids_give_watertight_meshes():
    rng = np.random.default_rng(0)
    for _ in range(20):
        grid = np.round(rng.normal(size=(9, 9, 9)), 1)
        assert to_mesh(grid).mesh().is_watertight
    assert len(to_mesh(np.ones((5, 5, 5))).faces) == 0


def test_sampled_points_lie_evenly_on_the_surface():
    points = sample_points(ball(), 4000) - [3, -2, 7]
    assert np.allclose(np.linalg.norm(points, axis=1), 5, atol=0.06)
    assert np.abs(points.mean(0)).max() < 0.25 and np.allclose(np.cov(points.T), np.eye(3) * 25 / 3, atol=0.6)


def test_solids_are_reproducible_distinct_and_closed():
    made = solids(16, size=16, seed=3)
    assert np.array_equal(made["grid"][9], solids(1, size=16, seed=3, first=9)["grid"][0])
    assert set(made["label"]) == set(range(len(KINDS)))
    inside = (made["grid"] < 0).reshape(16, -1)
    assert (inside.mean(1) > 0.01).all() and (inside.mean(1) < 0.5).all()
    assert len(np.unique(inside, axis=0)) == 16
    border = made["grid"].copy()
    border[:, 1:-1, 1:-1, 1:-1] = 1
    assert (border > 0).mean() > 0.995
    for grid in made["grid"]:
        assert to_mesh(grid * 8).mesh().is_watertight


def test_refusals(tmp_path):
    def refused(shape, message, name="x.ply"):
        with pytest.raises(DataError, match=message):
            shape.mesh().export(tmp_path / name)
            read_shape(tmp_path / name)

    vertices, faces = ball().vertices.copy(), ball().faces
    refused(Shape(np.random.default_rng(0).normal(size=(2, 3)), np.empty((0, 3), int)), "cloud of 2 points")
    refused(Shape(vertices * [1, 1, 0], faces), "flat")
    bad = vertices.copy()
    bad[3] = np.nan
    refused(Shape(bad, faces), "NaN")
    (tmp_path / "e.off").write_text("OFF\n0 0 0\n")
    with pytest.raises(DataError, match="e.off"):
        read_shape(tmp_path / "e.off")
    (tmp_path / "t.stl").write_bytes(ball().mesh().export(file_type="stl")[:500])
    with pytest.raises(DataError, match="t.stl: "):
        read_shape(tmp_path / "t.stl")
    half = Shape(vertices, faces[: len(faces) // 2], name="half")
    with pytest.raises(DataError, match="encloses no volume"):
        to_grid(half, 16)
    np.savez(tmp_path / "v.npz", voxels=np.zeros((4, 4)))
    with pytest.raises(DataError, match="2 axes"):
        read_grids(tmp_path / "v.npz")
    np.savez(tmp_path / "w.npz", voxels=np.full((1, 4, 4, 4), 0.5))
    with pytest.raises(DataError, match="0 and 1"):
        read_grids(tmp_path / "w.npz")
    with pytest.raises(DataError, match="not a shape"):
        (tmp_path / "a.doc").write_text("x")
        read_shape(tmp_path / "a.doc")


def test_a_mesh_with_two_million_faces_is_refused_by_count(monkeypatch, tmp_path):
    import suffuse.modalities.shapes.files as files

    monkeypatch.setattr(files, "MAX_FACES", 1000)
    with pytest.raises(DataError, match="1280 faces, at most 1000"):
        read_shape(write_shape(ball(), tmp_path / "a.ply"))


def test_open_and_textured_meshes_say_so(tmp_path):
    shape = ball()
    path = write_shape(Shape(shape.vertices, shape.faces[:-1]), tmp_path / "open.ply")
    assert any("not watertight" in note for note in read_shape(path).notes)
