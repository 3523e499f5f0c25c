"""Measurement operators: <A x, y> = <x, A^T y>, A A^+ A = A, constants are kept."""

import pytest
import torch

from suffuse.diffusion.operators import Blur, Downsample, Grey, Keep, Noise

MASK = torch.rand(1, 1, 8, 12, generator=torch.Generator().manual_seed(0)) < 0.5


@pytest.mark.parametrize("operator", [Noise(), Downsample(4), Blur(0.4), Grey(), Keep(MASK)])
def test_adjoint_and_pseudo_inverse(operator):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    y = operator.apply(x)
    other = torch.randn_like(y)
    assert torch.allclose((y * other).sum(), (x * operator.adjoint(other)).sum())
    assert torch.allclose(operator.apply(operator.inverse(y)), y, atol=1e-9)
    if not isinstance(operator, Keep):
        assert torch.allclose(operator.apply(torch.full_like(x, 3.0)), torch.full_like(y, 3.0))


def test_downsample_three_axes_is_block_means():
    x = torch.arange(64.0).reshape(1, 1, 4, 4, 4)
    assert torch.equal(Downsample(2, dims=3).apply(x), torch.nn.functional.avg_pool3d(x, 2))
    with pytest.raises(ValueError, match="no multiple"):
        Downsample(3).apply(x)
