"""Training: the recipe, the loop, the optimisers, averages of weights and checkpoints.

    trainer = Trainer(modality, dataset, denoiser, Recipe(minutes=5), folder)
    outcome = trainer.run()              # the denoiser now holds the averaged weights
    trainer.adopt(0.10)                  # or those of any other width, without training again

Names load when they are first used.
"""

from __future__ import annotations

from typing import Any

_WHERE = {
    "Recipe": "recipe",
    "Trainer": "trainer",
    "Outcome": "trainer",
    "Interrupted": "trainer",
    "Checkpoints": "checkpoint",
    "Averages": "averaging",
    "Optimiser": "optimiser",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(f"suffuse.training.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
