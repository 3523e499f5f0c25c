"""Every room trains, samples and is distilled on a device that is not the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import suffuse
from suffuse.modalities.shapes.views import solid_views
from suffuse.storage import ZOO
from suffuse.training.recipe import Recipe
from suffuse.training.trainer import Trainer
from tests.virtual_device import Far, elsewhere  # noqa: F401

SOURCES = {
    "fashion": "", "shakespeare": "passage.txt", "tang": "poems.jsonl", "qm9": "held.smi", "air": "december.csv",
    "stocks": "windows.csv", "spoken-digits": "", "kathleen": "", "sprites": "sprites.npz", "hippocampus": "",
}  # fmt: skip


def room(name: str) -> tuple[Any, Any]:
    """A shipped model and the real examples beside it."""
    model = suffuse.load(name)
    if name == "solids":
        return model, model.modality.dataset("solids", count=8)
    if name == "solid-views":
        return model, model.modality.dataset(solid_views(8))
    source = ZOO / name / "samples" / SOURCES[name]
    return model, model.modality.dataset(source)


@pytest.mark.parametrize("name", [*SOURCES, "solids", "solid-views"])
def test_trains_and_samples_elsewhere(name: str, elsewhere: str) -> None:  # noqa: F811
    model, data = room(name)
    recipe = Recipe.make(steps=2, batch=min(4, len(data)), device=elsewhere, precision="fp32", optimiser="muon")
    outcome = Trainer(model.modality, data, model.denoiser, recipe, None).run()
    assert outcome.skipped == 0 and isinstance(next(model.denoiser.parameters()).data, Far)
    fields = model.run(model.modality.request(2, None, index=torch.arange(2)), steps=2)
    assert all(not isinstance(value, Far) for value in fields.values())


@pytest.mark.parametrize("name", ["fashion", "shakespeare", "air"])
def test_distils_elsewhere(name: str, elsewhere: str) -> None:  # noqa: F811
    model, data = room(name)
    model.to(elsewhere)
    student = model.distill(
        data, minutes=None, steps=1, points=8, batch=min(4, len(data)), device=elsewhere, precision="fp32"
    )
    assert student.denoiser.flow_map


def test_the_stand_in_refuses_what_a_device_would(elsewhere: str) -> None:  # noqa: F811
    far, near = torch.ones(3, device=elsewhere), torch.ones(3)
    assert (far + torch.tensor(1.0)).cpu().tolist() == [2.0] * 3
    with pytest.raises(RuntimeError, match="two devices meet"):
        far + near


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_draws_what_the_cpu_draws() -> None:
    from suffuse.diffusion.random import Random

    random, index = Random(2**40 + 12345), torch.arange(50) * 7 + 2**33
    assert torch.equal(random.bits(37, index, 5, "x"), random.bits(37, index.cuda(), 5, "x").cpu())
