"""Scans as fields: level maps of the tasks, what is given stays, geometry of the answer, figures against closed forms."""

import numpy as np
import pytest
import torch

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("pydicom")
pytest.importorskip("PIL")

from suffuse.diffusion.random import Random  # noqa: E402
from suffuse.errors import AskError, DataError  # noqa: E402
from suffuse.metrics.frechet import frechet  # noqa: E402
from suffuse.modalities.scans import Case, Scans, Volume  # noqa: E402
from suffuse.modalities.scans.nifti import read_nifti, write_nifti  # noqa: E402
from suffuse.modalities.scans.quality import auroc, balanced_accuracy, dice, unlikeness  # noqa: E402
from suffuse.model import Model  # noqa: E402

AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two modalities of six volumes with masks; the last lacks its T2, and two have other sizes."""
    root, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for k in range(6):
        shape = (12, 10, 9) if k < 4 else (8 + k, 8, 7)
        place = np.stack(np.meshgrid(*[np.linspace(-1, 1, s) for s in shape], indexing="ij"))
        ball = ((place - rng.uniform(-0.3, 0.3, 3)[:, None, None, None]) ** 2).sum(0) < 0.3
        t1 = (100 * ball + rng.normal(20, 3, shape)).astype(np.int16)
        write_nifti(Volume(t1, AFFINE), root / "t1" / f"case{k}.nii.gz")
        if k < 5:
            write_nifti(Volume((400 - 2 * t1).astype(np.int16), AFFINE), root / "t2" / f"case{k}.nii.gz")
        write_nifti(Volume(ball.astype(np.uint8), AFFINE), root / "masks" / f"case{k}.nii.gz")
    return root


@pytest.fixture(scope="module")
def model(folder):
    torch.manual_seed(0)
    modality, data = Scans.read(folder, width=8)
    made = Model.new(modality)
    for parameter in made.denoiser.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    made.data = data
    return made


def test_reading_finds_channels_masks_and_holes(model):
    config, data = model.modality.config, model.data
    assert config["channels"] == ["t1", "t2"] and config["mask_classes"] == 2 and config["orientation"] == "LAS"
    assert config["grid"] == [8, 8, 8] and len(data) == 6
    batch = data.batch(torch.arange(6))
    assert not batch.observed["image"][5, 1].any() and batch.observed["image"][0].all()
    assert not batch.observed["image"][4, 0, :, :, 0].any() and batch.observed["image"][4, 0, :, :, 1:].all()
    seen = batch.x["image"][batch.observed["image"]]
    assert abs(float(seen.mean())) < 0.05 and abs(float(seen.std()) - 1) < 0.05


def test_tasks_start_where_they_should(model):
    batch, modality = model.data.batch(torch.arange(6)), model.modality
    segment = modality.start("segment", batch, Random(0), 1)
    assert segment.levels["image"].max() == 0 and segment.levels["mask"].min() == 1 and "mask" not in segment.held
    paint = modality.start("paint", batch, Random(0), 1)
    assert paint.levels["mask"].max() == 0 and paint.levels["image"].min() == 1
    given = torch.stack(
        [modality.start("translate", batch, Random(0), s).levels["image"].flatten(2)[..., 0] for s in range(60)]
    )
    assert (given.amax(-1) == 1).all() and (given == 0).float().mean() == 0.5


def test_every_channel_brings_its_own_level(model):
    network, x = (
        model.denoiser.network,
        {"image": torch.randn(1, 2, 8, 8, 8), "mask": torch.randint(0, 3, (1, 8, 8, 8))},
    )
    levels = {"image": torch.zeros(1, 2, 1, 1, 1), "mask": (x["mask"] == 2).float()}
    first, second = dict(levels), dict(levels)
    first["image"], second["image"] = (
        torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1, 1),
        torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1, 1),
    )
    a, b = network(x, first, {}), network(x, second, {})
    assert a["image"].shape == (1, 2, 8, 8, 8) and a["mask"].shape == (1, 8, 8, 8, 2)
    assert (a["image"] - b["image"]).abs().max() > 1e-4


def test_given_voxels_and_geometry_come_back(model, folder, tmp_path):
    source = read_nifti(folder / "t1" / "case0.nii.gz")
    made = model.sample(2, {"t1": source}, steps=2)
    for case in made:
        assert np.array_equal(case.volumes["t1"].affine, source.affine) and case.volumes["t2"].shape == source.shape
        inside = (slice(2, 10), slice(1, 9), slice(0, 8))
        assert np.allclose(case.volumes["t1"].values[inside], source.values[inside], rtol=2e-3, atol=0.5)
        assert case.mask.shape == source.shape and case.volumes["t2"].synthetic
    assert not np.array_equal(made[0].volumes["t2"].values, made[1].volumes["t2"].values)
    written = model.modality.write(made[:1], tmp_path / "out")
    assert {p.name for p in written} == {"000_t1.nii.gz", "000_t2.nii.gz", "000_mask.nii.gz"}
    assert b"not for clinical use" in bytes(nibabel.load(written[0]).header["descrip"])
    dicom = model.modality.write(made[:1], tmp_path / "dicom")
    assert len(dicom) == 3 * source.shape[2]


def test_orientation_is_turned_back_into_the_models_frame(model, folder):
    source = read_nifti(folder / "t1" / "case0.nii.gz")
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(source.stored, source.affine))
    a = model.modality.request(1, {"t1": source}, index=torch.zeros(1, dtype=torch.int64)).x["image"]
    b = model.modality.request(
        1, {"t1": Volume(np.asarray(turned.dataobj), turned.affine)}, index=torch.zeros(1, dtype=torch.int64)
    )
    assert torch.equal(a, b.x["image"])


def test_masks_and_segmentation(model, folder):
    case = {n: read_nifti(folder / n / "case1.nii.gz") for n in ("t1", "t2")}
    mask = read_nifti(folder / "masks" / "case1.nii.gz")
    painted = model.sample(1, {"mask": mask}, steps=2)[0]
    assert np.array_equal(painted.mask.values[2:10, 1:9, :8], mask.values[2:10, 1:9, :8])
    one, many = model.segment(case), model.segment(case, samples=3)
    for made in (one, many):
        assert made.mask.shape == mask.shape and made.volumes["t1"] is case["t1"]
        assert np.allclose(made.notes["probability"][:, 2:10, 1:9, :8].sum(0), 1, atol=1e-5)
    with pytest.raises(AskError, match="label 7"):
        model.sample(1, {"mask": Volume(np.full((12, 10, 9), 7, np.uint8), AFFINE)})


def test_translation_modes(model, folder):
    source = {"t1": read_nifti(folder / "t1" / "case5.nii.gz")}
    mean = model.translate(source, samples=3, steps=2)
    assert (
        len(mean) == 1 and mean[0].notes["deviation"]["t2"].max() > 0 and mean[0].notes["deviation"]["t1"].max() < 1e-3
    )
    assert len(model.translate(source, "sample", samples=2, steps=2)) == 2
    assert len(model.translate(source, "one-step")) == 1
    with pytest.raises(AskError, match="one-step"):
        model.translate(source, "median")


def test_pictures_2d_with_labels(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "x.npz",
        train_images=rng.integers(0, 255, (9, 12, 12), np.uint8),
        train_labels=np.arange(9)[:, None] % 2,
    )
    modality, data = Scans.read(tmp_path / "x.npz", classes="well,ill", width=8)
    model = Model.new(modality)
    made = model.sample(3, {"label": "ill"}, steps=2, guidance=2.0)
    assert made[0].reference.shape == (12, 12) and made[0].label == 1 and made[0].notes["label"] == "ill"
    assert model.sample(1, steps=2, start=2)[0].label is None
    assert [p.suffix for p in modality.write(made, tmp_path / "png")] == [".png"] * 3
    modality.show(made, tmp_path / "sheet.png")
    assert model.predict(data, "label").shape == (9, 1, 2)
    assert model.anomaly(made[0], repeats=1, steps=2).notes["score"] >= 0
    healthy, _ = Scans.read(tmp_path / "x.npz", classes="well,ill", only="well", width=8)
    assert healthy.labels == {} and len(_) == 5
    for ask, message in (({"label": "odd"}, "knows well, ill"), ({"hair": 1}, "no field 'hair'")):
        with pytest.raises(AskError, match=message):
            model.sample(1, ask)
    with pytest.raises(DataError, match="class names"):
        Scans.read(tmp_path / "x.npz", classes="one")


def test_typicality_tells_unusual_scans_and_is_a_mahalanobis_distance(tmp_path):
    rng = np.random.default_rng(0)
    usual = rng.integers(60, 190, (24, 12, 12)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", train_images=usual)
    modality, data = Scans.read(tmp_path / "x.npz", width=8)
    torch.manual_seed(0)
    model = Model.new(modality)
    rough = rng.choice([0, 255], (2, 12, 12)).astype(np.uint8)
    score = model.typicality(np.concatenate([rough, usual[:6]]), data)
    assert score.shape == (8,) and score[:2].min() > 2 * score[2:].max()
    with pytest.raises(AskError, match="at least 20"):
        model.typicality(usual, usual[:5])
    x, usual = torch.randn(5, 3, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64) * 4 + 1
    gap, inverse = x - usual.mean(0), torch.linalg.inv(torch.cov(usual.T))
    assert torch.allclose(unlikeness(x, usual, 0.0), (gap @ inverse * gap).sum(1), rtol=1e-4)


def test_masks_of_another_grid_are_refused_while_reading(folder, tmp_path):
    write_nifti(Volume(np.zeros((5, 5, 5), np.int16), AFFINE), tmp_path / "images" / "a.nii.gz")
    write_nifti(Volume(np.zeros((5, 5, 6), np.uint8), AFFINE), tmp_path / "labels" / "a.nii.gz")
    with pytest.raises(DataError, match="grid 5 x 5 x 6"):
        Scans.read(tmp_path)
    with pytest.raises(DataError, match="no NIfTI files"):
        (tmp_path / "none").mkdir()
        Scans.read(tmp_path / "none")


def test_figures_match_their_definitions():
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    rng = np.random.default_rng(1)
    score, truth = np.round(rng.normal(size=200), 1), rng.random(200) < 0.3
    assert auroc(score, truth) == pytest.approx(roc_auc_score(truth, score))
    a, b = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    assert balanced_accuracy(torch.tensor(a), torch.tensor(b)) == pytest.approx(balanced_accuracy_score(b, a))
    made, real = torch.zeros(1, 4, 4, dtype=torch.int64), torch.zeros(1, 4, 4, dtype=torch.int64)
    made[0, :2], real[0, 1:3] = 1, 1
    assert dice(made, real, 3)[0].tolist() == [0.5, 1.0]
    x = torch.randn(4000, 3, dtype=torch.float64)
    assert frechet(x, x * 2 + 1) == pytest.approx(3 * (1 + 1), rel=0.1)


def test_case_needs_a_volume():
    with pytest.raises(DataError, match="no volume"):
        Case({"t1": None}).check()
