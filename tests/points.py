"""A tiny kind of data for tests of the command line: points in the plane with a class, as CSV lines x,y,label."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from suffuse.diffusion.process import Categorical, Gaussian, Joint
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.files import atomic_write, read_text
from suffuse.modalities.contract import Modality


class Rows:
    def __init__(self, rows):
        self.rows = torch.tensor(rows, dtype=torch.float32)

    def __len__(self):
        return len(self.rows)

    def batch(self, indices):
        rows = self.rows[indices]
        return Batch({"point": rows[:, :2], "label": rows[:, 2:].long()}, index=indices)


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.table = nn.Embedding(classes + 1, 8)
        self.body = nn.Sequential(nn.Linear(12, 16), nn.SiLU(), nn.Linear(16, 2 + classes))

    def forward(self, x, levels, context, targets=None):
        n = len(x["point"])
        seen = [levels["point"].expand(n, 2), levels["label"].expand(n, 1).float()][:1]
        raw = self.body(torch.cat([x["point"], self.table(x["label"])[:, 0], *seen], 1))
        return {"point": raw[:, :2], "label": raw[:, None, 2:]}


def turn(model, source, times: int = 1, loud: bool = False, **sampling):
    """Turn points a quarter round.

    suffuse turn MODEL points.csv --times 2 -o turned.csv
    """
    if times > 4:
        raise AskError("times is at most 4")
    points = read_rows(source)
    for _ in range(times):
        points = [(-y, x, label) for x, y, label in points]
    return [f"{x:g},{y:g},{int(label)}" for x, y, label in points] if loud else points


def count(model, source):
    """Count the points of a file, or of several."""
    return {"points": sum(len(read_rows(s)) for s in ([source] if isinstance(source, str) else source))}


def names(model, source):
    """Name each point."""
    return [f"point {k}" for k in range(len(read_rows(source)))]


def tell(model, source, n: int = 2):
    """Tell of the points, piece by piece."""
    for row in read_rows(source)[:n]:
        yield f"({row[0]:g})"


def read_rows(source):
    path = Path(source)
    rows = []
    for number, line in enumerate(read_text(path, 1 << 20).splitlines(), 1):
        try:
            x, y, label = (float(part) for part in line.split(","))
        except ValueError:
            raise DataError(f"{path} line {number} is not x,y,label") from None
        if not abs(x) + abs(y) < 1e6 or label not in (0, 1, 2):
            raise DataError(f"{path} line {number} holds a value out of range")
        rows.append((x, y, label))
    if not rows:
        raise DataError(f"{path} holds no points")
    return rows


class Points(Modality):
    name, summary, extra = "points", "points in the plane", "points"
    verbs = {"turn": turn, "count": count, "names": names, "tell": tell}

    @classmethod
    def recognises(cls, source):
        return 1.0 if str(source).endswith(".csv") else 0.0

    @classmethod
    def read(cls, source, skip: int = 0):
        rows = read_rows(source)[skip:]
        return cls(classes=int(max(r[2] for r in rows)) + 1), Rows(rows)

    def dataset(self, source, **options):
        return Rows(read_rows(source))

    def joint(self):
        return Joint({"point": Gaussian(), "label": Categorical(self.config["classes"])})

    def network(self):
        return Net(self.config["classes"])

    @property
    def tasks(self):
        return {"generate": 1.0, "classify": 1.0}

    def start(self, task, batch, random, step):
        return Start({} if task == "generate" else {"point": torch.zeros(1, 1)})

    def defaults(self):
        return {"batch": 8}

    def request(self, n, given=None, *, index, **asked):
        if asked:
            raise AskError(f"points know no '{next(iter(asked))}'")
        x = {"point": torch.zeros(n, 2), "label": torch.zeros(n, 1, dtype=torch.int64)}
        levels = {}
        if isinstance(given, str):
            given = {"point": given}
        for key, value in (given or {}).items():
            if key == "point":
                x["point"] = torch.tensor(read_rows(value))[:, :2][:1].expand(n, 2)
            elif key == "label":
                if value not in range(self.config["classes"]):
                    raise AskError(f"there is no label {value}; labels are 0 to {self.config['classes'] - 1}")
                x["label"] = torch.full((n, 1), value)
            else:
                raise AskError(f"points have no '{key}'; they have point and label")
            levels[key] = torch.zeros(n, 1)
        return Task(x, Start(levels), index=index)

    def decode(self, fields, task):
        rows = torch.cat([fields["point"], fields["label"].float()], 1)
        return [tuple(row) for row in rows.tolist()]

    def write(self, samples, path):
        with atomic_write(path) as partial:
            partial.write_text("".join(f"{x:g},{y:g},{int(label)}\n" for x, y, label in samples))
        return [path]

    def evaluate(self, model, data, **options):
        return {"spread": 1.25, "spread_real": 1.5, "count": len(data)}
