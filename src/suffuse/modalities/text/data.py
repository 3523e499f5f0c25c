"""Text as a data set: one sample a line (or document), or windows packed from longer documents."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from suffuse.diffusion.state import Batch
from suffuse.errors import DataError


class TextData:
    """Random access to tokens. Lines: example i is document i. Packed: example i is a window of `length` tokens of one
    document; windows start every `stride` tokens, so that each token is seen in many places.

    tokens: (total,) int32 of all documents; offsets: (documents + 1,) their borders; labels: (documents,) or None.
    beside: hand the clean text out as context, which networks of blocks look at.
    end: fill each line to `length` with this end token (all positions exist); None: pad, and say where text exists.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        offsets: np.ndarray,
        labels: np.ndarray | None,
        form: str,
        length: int,
        end: int | None = None,
        stride: int | None = None,
        beside: bool = False,
    ):
        self.tokens, self.offsets, self.labels, self.form = tokens, offsets, labels, form
        self.length, self.end, self.beside = length, end, beside
        sizes = np.diff(offsets)
        if form == "packed":
            self.stride = stride or max(1, length // 8)
            windows = np.maximum((sizes - length) // self.stride + 1, 0)
            self.document = np.repeat(np.arange(len(sizes)), windows)
            first = np.concatenate([[0], np.cumsum(windows)[:-1]])
            self.begin = offsets[self.document] + (np.arange(len(self.document)) - first[self.document]) * self.stride
            self.size = np.full(len(self.document), length)
            if not len(self.document):
                raise DataError(
                    f"no document has {length} tokens (the longest {sizes.max(initial=0)}): pass a smaller length="
                )
        else:
            self.document = np.arange(len(sizes))
            self.begin, self.size = offsets[:-1], sizes

    def __len__(self) -> int:
        return len(self.document)

    def batch(self, indices: Tensor) -> Batch:
        """Tokens {"text": (B, L)} and {"label": (B, 1)}; L is the longest of the batch, or the window."""
        rows = indices.cpu().numpy()
        begin, size = self.begin[rows], self.size[rows]
        width = self.length if self.form == "packed" or self.end is not None else int(size.max())
        at = np.arange(width)
        inside = at < size[:, None]
        text = np.where(inside, self.tokens[np.minimum(begin[:, None] + at, len(self.tokens) - 1)], self.end or 0)
        x = {"text": torch.from_numpy(text.astype(np.int64))}
        exists = {}
        if self.form == "lines" and self.end is None:
            exists["text"] = torch.from_numpy(inside)
        if self.labels is not None:
            x["label"] = torch.from_numpy(self.labels[self.document[rows]].astype(np.int64))[:, None]
        context = {"clean:text": x["text"]} if self.beside else {}
        return Batch(x, exists=exists, context=context, index=indices)
