"""The network of scans: channels with a noise level each, and a mask, through one grid backbone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from suffuse.modalities.grids import GridNetwork

Fields = dict[str, Tensor]


class ScanNetwork(nn.Module):
    """raw = network(x, levels, context, targets) for image (B, C, *grid), mask (B, *grid) tokens and labels (B, 1).

    Every channel of the image is a grid field of its own to the shared `GridNetwork`, so that each brings its own level
    map (modalities may be given one by one); the mask enters as one channel a class (all zero where it is masked) and
    leaves as logits (B, *grid, K).
    """

    def __init__(self, backbone: nn.Module, channels: int, mask_classes: int, labels: dict[str, int], condition: int):
        super().__init__()
        self.channels, self.mask_classes = channels, mask_classes
        grids = {f"channel{c}": 1 for c in range(channels)} | ({"mask": mask_classes} if mask_classes else {})
        self.body = GridNetwork(backbone, grids, labels=labels, condition=condition)

    def _apart(self, values: Fields, is_level: bool) -> Fields:
        out = {name: v for name, v in values.items() if name not in ("image", "mask")}
        image = values["image"]
        for c in range(self.channels):
            out[f"channel{c}"] = image if image.shape[1] == 1 else image[:, c : c + 1]
        if self.mask_classes and is_level:
            out["mask"] = values["mask"][:, None]
        elif self.mask_classes:
            hot = F.one_hot(values["mask"], self.mask_classes + 1)[..., : self.mask_classes]
            out["mask"] = hot.movedim(-1, 1).to(image.dtype)
        return out

    def forward(self, x: Fields, levels: Fields, context: Fields, targets: Fields | None = None) -> Fields:
        then = None if targets is None else self._apart(targets, True)
        raw = self.body(self._apart(x, False), self._apart(levels, True), context, then)
        out = {name: v for name, v in raw.items() if not name.startswith("channel")}
        parts = [raw[f"channel{c}"] for c in range(self.channels)]
        out["image"] = torch.cat(parts, dim=1)
        if self.mask_classes:
            out["mask"] = raw["mask"].movedim(1, -1)
        return out

    def features(self, x: Fields, levels: Fields, context: Fields) -> Tensor:
        """(B, features) pooled features of the backbone."""
        return self.body.features(self._apart(x, False), self._apart(levels, True), context)
