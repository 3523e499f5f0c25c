"""Small frozen classifiers whose features measure pictures. They ship, named by the hash of their weights.

    judge = load("fashion")                       # or "digits"
    judge.features(pictures)                      # (B, C, H, W) in [0, 1] -> (B, 64)
    judge.logits(pictures)                        # (B, 10)

Inception weights are not used anywhere: Frechet distances in these features compare with each other, not with
published FIDs.
Trained by `benchmarks/train_features.py`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.errors import ModelError

HERE = Path(__file__).parent


class FeatureNetwork(nn.Module):
    """A small convolutional classifier. Its 64 features are the inputs of the last, linear layer."""

    def __init__(self, channels: int = 1, size: int = 28, classes: int = 10, features: int = 64):
        super().__init__()
        self.channels, self.size, self.classes, self.width = channels, size, classes, features
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
            for inputs, outputs, stride in ((channels, 32, 2), (32, 64, 1), (64, 64, 2), (64, 96, 1))
        )
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for width in (32, 64, 64, 96))
        self.squeeze = nn.Linear(96 * 4, features)
        self.classify = nn.Linear(features, classes)

    def features(self, pictures: Tensor) -> Tensor:
        """pictures: (B, channels, size, size) in [0, 1]. Returns (B, 64)."""
        h = pictures * 2 - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = F.silu(norm(convolution(h)))
        return F.silu(self.squeeze(F.adaptive_avg_pool2d(h, 2).flatten(1)))

    def logits(self, pictures: Tensor) -> Tensor:
        """Class logits, (B, classes)."""
        return self.classify(self.features(pictures))

    forward = logits


def names() -> list[str]:
    """The judges that ship."""
    return sorted(path.stem.rpartition("-")[0] for path in HERE.glob("*.safetensors"))


def save(network: FeatureNetwork, name: str, folder: Path = HERE) -> Path:
    """Write float16 weights as name-HASH.safetensors, HASH being the first 12 hexadecimal digits of their SHA-256."""
    from safetensors.torch import save as to_bytes

    settings = {name: getattr(network, name) for name in ("channels", "size", "classes")} | {"features": network.width}
    data = to_bytes(
        {key: value.half().contiguous() for key, value in network.state_dict().items()},
        metadata={key: str(value) for key, value in settings.items()},
    )
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.safetensors"
    path.write_bytes(data)
    return path


def load(name: str) -> FeatureNetwork:
    """The judge of that name, frozen, float32, in evaluation mode. Raises ModelError when it is missing or altered."""
    from safetensors import safe_open
    from safetensors.torch import load as from_bytes

    found = sorted(HERE.glob(f"{name}-*.safetensors"))
    if not found:
        raise ModelError(f"there is no feature network '{name}'; there are {', '.join(names())}")
    path = found[0]
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest()[:12] != path.stem.rpartition("-")[2]:
        raise ModelError(f"{path} was altered: its contents do not fit the hash in its name; install suffuse again")
    with safe_open(path, "pt") as file:
        settings = {key: int(value) for key, value in file.metadata().items() if key != "format"}
    network = FeatureNetwork(**settings)
    network.load_state_dict({key: value.float() for key, value in from_bytes(data).items()})
    return network.eval().requires_grad_(False)


@torch.no_grad()
def features_of(network: FeatureNetwork, pictures: Tensor, batch: int = 256) -> Tensor:
    """Features of many pictures, (N, 64) float64. pictures: uint8 or float in [0, 1], (N, C, size, size)."""
    return _in_batches(network.features, pictures, batch).double()


@torch.no_grad()
def classes_of(network: FeatureNetwork, pictures: Tensor, batch: int = 256) -> Tensor:
    """Predicted class of many pictures, (N,) int64. pictures: uint8 or float in [0, 1], (N, C, size, size)."""
    return _in_batches(network.logits, pictures, batch).argmax(dim=1)


def _in_batches(function, pictures: Tensor, batch: int) -> Tensor:
    parts = []
    for part in pictures.split(batch):
        part = part.float() / 255 if part.dtype == torch.uint8 else part.float()
        parts.append(function(part))
    return torch.cat(parts)
