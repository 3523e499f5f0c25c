"""An accelerator made of nothing: tensors that say they are elsewhere, compute on the CPU and refuse to meet CPU tensors.

It finds what a machine without a GPU cannot otherwise see: masks, tables and draws left on the CPU. Its tensors call
themselves 'meta', hold a CPU tensor, and follow a device's rules: single numbers may mix, everything else raises.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = "meta"
MIXES = ("aten._to_copy", "aten.copy_", "aten.index.", "aten.index_put")


class Far(torch.Tensor):
    """A tensor elsewhere; `near` is its value here."""

    near: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Far:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=DEVICE, requires_grad=False
        )
        made.near = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


def _dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name, leaves = str(func), tree_leaves((args, kwargs))
    far = [v for v in leaves if isinstance(v, Far)]
    near = [v for v in leaves if isinstance(v, torch.Tensor) and not isinstance(v, Far) and v.ndim > 0]
    if far and near and not name.startswith(MIXES):
        raise RuntimeError(
            f"two devices meet in {name}: {[tuple(v.shape) for v in far]}, {[tuple(v.shape) for v in near]}"
        )
    stays = bool(far) and not name.startswith("aten._local_scalar")
    if kwargs.get("device") is not None:
        stays = torch.device(kwargs["device"]).type == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if name.startswith("aten.copy_"):
        stays = isinstance(args[0], Far)
    here = tree_map(lambda v: v.near if isinstance(v, Far) else v, (args, kwargs))
    known = {id(v.near): v for v in far}
    out = func(*here[0], **here[1])
    if not stays:
        return out
    if name.startswith(("aten.detach", "aten.alias")):
        known = {}

    def carry(value: Any) -> Any:
        if isinstance(value, Far) or not isinstance(value, torch.Tensor):
            return value
        return known.get(id(value)) if id(value) in known else Far(value)

    return tree_map(carry, out)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The device inside the test. What torch itself does on devices outside its dispatcher is stood in for."""
    tensor, listed, autocast = torch.tensor, torch.Tensor.tolist, torch.autocast.__init__
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)

    def make(*args: Any, device: Any = None, **options: Any) -> torch.Tensor:
        made = tensor(*args, **options)
        return made if device is None else made.to(device)

    def refuse(self: torch.Tensor, *args: Any) -> Any:
        raise RuntimeError("numpy() of a tensor that is elsewhere")

    monkeypatch.setattr(torch, "tensor", make)
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: listed(self.near if isinstance(self, Far) else self))
    monkeypatch.setattr(Far, "numpy", refuse)
    monkeypatch.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else torch.enable_grad())
    monkeypatch.setattr(
        torch.autocast,
        "__init__",
        lambda self, kind, *a, **k: autocast(self, "cpu" if kind == DEVICE else kind, *a, **k),
    )
    with _Mode():
        yield DEVICE
    torch.__future__.set_overwrite_module_params_on_conversion(before)
