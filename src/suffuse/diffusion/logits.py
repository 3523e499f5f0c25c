"""What a person may ask of categorical predictions: forbidden classes, a temperature, a nucleus.

They travel in a task's context, as `forbidden:<field>` bool (B or 1, *entries or 1, K), `temperature:<field>` and
`top_p:<field>` floats (B or 1, 1, ..., 1) with the field's number of axes, and are applied after guidance.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from suffuse.diffusion.process import Joint
from suffuse.diffusion.state import Fields
from suffuse.errors import AskError

SHAPERS = ("forbidden", "temperature", "top_p")
MOST = {"temperature": 100.0, "top_p": 1.0}


def ask(context: Fields, name: str, value: float | None, fields: Iterable[str]) -> None:
    """Note a temperature or top_p of fields in a task's context; None asks nothing. Raises AskError for a value out of range."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MOST[name]:
        raise AskError(f"{name} must be a number above 0 and at most {MOST[name]:g}, not {value!r}")
    context |= {f"{name}:{f}": torch.full((1, 1), float(value)) for f in fields}


def nucleus(logits: Tensor, share: Tensor) -> Tensor:
    """Keep the likeliest classes whose probabilities add up to at least `share`, set the rest to -inf (Holtzman et al. 2020).
    logits (..., K), share broadcastable to (..., 1)."""
    p = torch.softmax(logits.double(), -1)
    ordered, order = p.sort(dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    dropped = (before >= share.double()).scatter(-1, order, before >= share.double())
    return logits.masked_fill(dropped, -torch.inf)


def shape_logits(clean: Fields, joint: Joint, context: Fields) -> Fields:
    """The clean prediction with what the context asks of its categorical fields; the same dict where it asks nothing."""
    if not any(key.split(":")[0] in SHAPERS for key in context):
        return clean
    out = dict(clean)
    for name, process in joint.items():
        if not process.categorical:
            continue
        logits = out[name]
        if f"temperature:{name}" in context:
            logits = logits / context[f"temperature:{name}"].to(logits.dtype).unsqueeze(-1)
        if f"forbidden:{name}" in context:
            logits = logits.masked_fill(context[f"forbidden:{name}"], -torch.inf)
        if f"top_p:{name}" in context:
            logits = nucleus(logits, context[f"top_p:{name}"].unsqueeze(-1))
        out[name] = logits
    return out
