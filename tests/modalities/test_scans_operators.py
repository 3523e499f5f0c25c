"""k-space as an operator: adjoint and inverse against their definitions, reconstruction with all of it."""

import numpy as np
import pytest
import torch

pytest.importorskip("nibabel")

from suffuse.errors import AskError  # noqa: E402
from suffuse.modalities.scans import Scans  # noqa: E402
from suffuse.modalities.scans.operators import KSpace, lines  # noqa: E402
from suffuse.model import Model  # noqa: E402


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_adjoint_and_inverse(factor):
    operator = KSpace(lines((12, 16), factor))
    x, y = torch.randn(3, 1, 12, 16), torch.randn(3, 2, 12, 16)
    left, right = (operator.apply(x) * y * operator.keep).sum(), (x * operator.adjoint(y)).sum()
    assert torch.allclose(left, right, atol=1e-3)
    measured = operator.apply(x)
    assert torch.allclose(operator.apply(operator.inverse(measured)), measured, atol=1e-4)
    if factor == 1:
        assert torch.allclose(operator.inverse(measured), x, atol=1e-5)
    assert operator.keep[0].sum() == round(16 / factor)


def test_every_picture_has_its_own_mask():
    x, masks = torch.randn(2, 1, 12, 16), [lines((12, 16), 4, seed=k) for k in range(2)]
    together = KSpace(torch.stack(masks)[:, None])
    for name in ("adjoint", "inverse"):
        each = torch.cat([getattr(KSpace(m), name)(KSpace(m).apply(x[k : k + 1])) for k, m in enumerate(masks)])
        assert torch.allclose(getattr(together, name)(together.apply(x)), each, atol=1e-6)


def test_reconstruction_keeps_what_was_measured(tmp_path):
    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 255, (6, 12, 12), np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images)
    modality, _ = Scans.read(tmp_path / "x.npz", width=8)
    model = Model.new(modality)
    full = np.fft.fft2(images[0], norm="ortho")
    made = model.reconstruct(full, np.ones((12, 12), bool), method="ddnm", steps=3)[0].reference.values
    assert np.abs(made - images[0]).max() < 0.1
    part = lines((12, 12), 2).numpy()
    made = model.reconstruct(full * part, part, n=2, method="ddnm", steps=3)[1].reference.values
    assert np.abs(np.fft.fft2(made, norm="ortho")[part] - full[part]).max() < 0.5
    with pytest.raises(AskError, match="grid"):
        model.reconstruct(full[:5], part[:5])


def test_a_model_that_is_shown_the_measurement(tmp_path):
    from suffuse.diffusion.random import Random
    from suffuse.modalities.scans.measured import channels
    from suffuse.training.tasks import mixture

    torch.manual_seed(0)
    images = np.random.default_rng(0).integers(0, 255, (6, 12, 12), np.uint8)
    np.savez(tmp_path / "x.npz", train_images=images)
    part = lines((12, 12), 2)
    modality, data = Scans.read(tmp_path / "x.npz", width=8, sampled=part.numpy())
    x = data.batch(torch.arange(4)).x["image"]
    assert x.shape == (4, 2, 12, 12) and abs(float(x[:, 0].std()) - 1) < 0.2
    again = modality.dataset(tmp_path / "x.npz").batch(torch.arange(4)).x["image"]
    assert torch.equal(x, again) and torch.allclose(
        modality.unscale(x), channels(torch.from_numpy(images[:4, None] / 255).float(), modality.config), atol=0.01
    )
    start = modality.start("reconstruct", data.batch(torch.arange(4)), Random(0), 0).levels["image"]
    assert start.shape == (4, 2, 1, 1) and (start[:, 0] == 1).all() and (start[:, 1] == 0).all()
    assert "reconstruct" not in mixture(modality, None) and mixture(modality, {"reconstruct": 1.0})
    full = np.fft.fft2(images[0], norm="ortho")
    model = Model.new(modality)
    made = model.reconstruct(full, part.numpy(), n=2, steps=3)
    assert list(made[1].volumes) == ["image"] and made[1].volumes["image"].synthetic
    assert np.abs(np.fft.fft2(made[1].reference.values, norm="ortho") - full)[part.numpy()].max() < 0.5
    with pytest.raises(AskError, match="ddnm"):
        model.reconstruct(full, part.numpy(), method="pigdm")
    with pytest.raises(AskError, match="sampled must be"):
        Scans.read(tmp_path / "x.npz", sampled=part.numpy()[:5])
