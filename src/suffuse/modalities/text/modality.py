"""Text and other token sequences: many tokens at once, in any order, with both sides in view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suffuse.diffusion import logits
from suffuse.diffusion.orders import Blocks, Even, FirstHitting, Stripes
from suffuse.diffusion.path import Clock
from suffuse.diffusion.process import Categorical, Joint
from suffuse.diffusion.random import Random
from suffuse.diffusion.state import Batch, Start, Task
from suffuse.errors import AskError, DataError
from suffuse.files import atomic_write
from suffuse.modalities.contract import Modality
from suffuse.modalities.text import asking, preparing, reading
from suffuse.modalities.text.data import TextData
from suffuse.modalities.text.maps import starting_levels
from suffuse.modalities.text.verbs import VERBS
from suffuse.modalities.text.vocabulary import Vocabulary


class Text(Modality):
    """Field `text`, categorical (B, L), and, where the data is labelled, `label` (B, 1).

    Config (plain JSON): vocabulary, form ('lines': one sample a document, 'packed': windows), length (most tokens of a sample),
    ending ('length': the number of tokens is drawn or asked; 'token': an end token fills the rest), sizes (how often each
    length was seen, by label), labels (their names), prior, streams, and the network's dim, depth, heads, rank.
    """

    name = "text"
    summary = "Text and token sequences: free text, prefixes, blanks, rewriting, labels, hard limits, any-order scores"
    extra = "text"
    spelt = True
    verbs = VERBS

    def __init__(self, **config: Any):
        super().__init__(**config)
        self.vocabulary = Vocabulary(**config["vocabulary"])
        self.length, self.form = int(config["length"]), config["form"]
        self.labels: list[str] = config.get("labels") or []
        self.ending = config.get("ending", "length")
        self.block = int(config.get("block", 0))

    # -- reading ------------------------------------------------------------------------------------------------
    @classmethod
    def recognises(cls, source: Any) -> float:
        if isinstance(source, (str, Path)) and (isinstance(source, Path) or len(source) < 4096):
            return preparing.path_score(Path(source))
        if hasattr(source, "column_names") and "text" in source.column_names:
            return 0.9
        if hasattr(source, "columns"):
            return 0.6 if "text" in source.columns else 0.0
        if isinstance(source, (list, tuple)) and source:
            first = source[0]
            if isinstance(first, dict):
                return 0.8 if isinstance(first.get("text"), str) else 0.0
            return 0.6 if isinstance(first, str) else 0.0
        return 0.0

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        vocabulary: str | Path = "characters",
        limit: int | None = None,
        form: str | None = None,
        length: int | None = None,
        ending: str = "length",
        prior: str = "mask",
        text: str = "text",
        label: str = "label",
        encoding: str = "utf-8",
        streams: int = 0,
        block: int = 0,
        dim: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        rank: int | None = None,
        nearby: int = 7,
    ) -> tuple[Text, TextData]:
        """Learn vocabulary, labels and lengths from training data.

        vocabulary: 'characters', 'bytes', 'integers', or the path of a tokenizers file. limit: keep the most frequent characters
        only; samples with others are left out ('lines') or hold an unknown token ('packed').
        form: 'lines' (a text file gives one sample a line) or 'packed'; default: packed for text files, else lines if short.
        length: window, or longest sample (longer ones are left out). dim, depth, heads, rank, nearby: sizes of the network.
        Raises DataError in one sentence.
        """
        for name, value, allowed in (
            ("form", form, (None, "lines", "packed")),
            ("ending", ending, ("length", "token")),
            ("prior", prior, ("mask", "uniform")),
        ):
            if value not in allowed:
                raise AskError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")
        found = list(reading.documents(source, text, label, encoding))
        if block and (prior != "mask" or form == "lines" or ending != "length"):
            raise AskError("block diffusion is for packed text under masks: leave form, prior and ending as they are")
        if not found:
            raise DataError("the source is empty: there is nothing to learn from")
        integers = not isinstance(found[0].text, str)
        form = form or ("packed" if block else preparing.likely_form(found))
        found = preparing.lines_of(found) if form == "lines" else found
        words = preparing.make_vocabulary(vocabulary, found, limit, integers, end=ending == "token")
        names = sorted({d.label for d in found if d.label is not None})
        if names and any(d.label is None for d in found):
            lacking = next(d for d in found if d.label is None)
            raise DataError(
                f"{lacking.where} has no label, and others have: label all samples or none (label=None leaves them out)"
            )
        if block and names:
            raise AskError("block diffusion has no labels yet: leave block out, or name no label column")
        if block and length and length % block:
            raise AskError(f"a window of {length} tokens does not divide into blocks of {block}")
        config = {
            "vocabulary": words.config,
            "form": form,
            "ending": ending,
            "labels": names,
            "prior": prior,
            "streams": streams,
            "block": block,
        }
        sequences = [preparing.encode(words, d) for d in found]
        if form == "packed":
            config["length"] = length or min(256, max(len(s) for s in sequences) // max(block, 1) * max(block, 1))
        else:
            config["length"] = length or min(max(len(s) for s in sequences), preparing.LONGEST_LINE)
        sizes = {"dim": dim, "depth": depth, "heads": heads, "rank": rank, "nearby": nearby}
        config |= {k: v for k, v in sizes.items() if v is not None}
        made = cls(**config)
        data = made._data(found, sequences)
        if form == "lines":
            made.config["sizes"] = made._sizes(data)
        return made, data

    def dataset(
        self, source: Any, *, text: str = "text", label: str = "label", encoding: str = "utf-8", **options: Any
    ) -> TextData:
        """More text of the same vocabulary. Characters the model does not know raise DataError naming them."""
        found = list(reading.documents(source, text, label, encoding))
        found = preparing.lines_of(found) if self.form == "lines" else found
        return self._data(found, [preparing.encode(self.vocabulary, d) for d in found], **options)

    def _data(self, found: list[reading.Document], sequences: list[np.ndarray], stride: int | None = None) -> TextData:
        unknown = self.vocabulary.unknown
        if self.form == "lines":
            room = self.length - (self.ending == "token")
            keep = [0 < len(s) <= room and (unknown is None or unknown not in s) for s in sequences]
            found = [d for d, k in zip(found, keep, strict=True) if k]
            sequences = [s for s, k in zip(sequences, keep, strict=True) if k]
            if not sequences:
                raise DataError(
                    f"no sample has between 1 and {room} tokens, all in the vocabulary: pass a larger length= or limit="
                )
        labels = None
        if self.labels:
            strange = next((d for d in found if d.label not in self.labels), None)
            if strange is not None:
                raise DataError(
                    f"{strange.where} has the label {strange.label!r}; the model knows {', '.join(self.labels)}"
                )
            labels = np.array([self.labels.index(d.label) for d in found])
        offsets = np.concatenate([[0], np.cumsum([len(s) for s in sequences])])
        end = self.vocabulary.end if self.ending == "token" else None
        return TextData(
            np.concatenate(sequences), offsets, labels, self.form, self.length, end, stride, bool(self.block)
        )

    def _sizes(self, data: TextData) -> list[list[int]]:
        groups = np.zeros(len(data), int) if data.labels is None else data.labels
        return [
            np.bincount(data.size[groups == g], minlength=self.length + 1).tolist()
            for g in range(max(len(self.labels), 1))
        ]

    # -- the model's parts --------------------------------------------------------------------------------------
    def joint(self) -> Joint:
        processes = {"text": Categorical(self.vocabulary.size, self.config.get("prior", "mask"))}
        if self.labels:
            processes["label"] = Categorical(len(self.labels))
        return Joint(processes, {"label": 0.1} if self.labels else {})

    def network(self) -> nn.Module:
        from suffuse.modalities.text.blocks import BlockTextNetwork
        from suffuse.modalities.text.network import TextNetwork

        sizes = {k: self.config[k] for k in ("dim", "depth", "heads", "rank", "nearby") if k in self.config}
        if self.block:
            return BlockTextNetwork(self.vocabulary.size, self.block, streams=self.config.get("streams", 0), **sizes)
        return TextNetwork(
            self.vocabulary.size,
            labels=len(self.labels),
            length=self.length,
            anchored=self.form == "lines",
            streams=self.config.get("streams", 0),
            levels=self.config.get("prior", "mask") != "mask",
            **sizes,
        )

    def path(self, steps: int, grid: Any) -> Clock:
        """Running text opens in stripes of `steps` tokens, all from the left at once; lines of a form (a poem's rhymes would be
        drawn at once in stripes) and interleaved streams in random order; blocks from the left, one by one."""
        if self.block:
            return Clock(self.length, order=Blocks(self.block, FirstHitting(max(1, -(-self.length // steps)))))
        running = self.form == "packed" and not self.config.get("streams")
        return Clock(steps, grid, Stripes(steps) if running else Even())

    # -- training -----------------------------------------------------------------------------------------------
    @property
    def tasks(self) -> dict[str, float]:
        """generate: any number of tokens masked at random; prefix: the left side given; blank: one gap to fill;
        and, with labels, unlabelled (the label held) and classify (the label asked)."""
        if self.block:
            return {"generate": 1.0}
        tasks = {"generate": 0.7, "prefix": 0.1, "blank": 0.1} | (
            {"unlabelled": 0.1, "classify": 0.1} if self.labels else {}
        )
        return tasks

    def start(self, task: str, batch: Batch, random: Random, step: int) -> Start:
        masked = self.config.get("prior", "mask") == "mask"
        return starting_levels(task, batch, random, step, masked, bool(self.labels), self.block)

    def defaults(self) -> dict[str, Any]:
        return {"batch": 32, "learning_rate": 3e-3, "sampling": {"steps": 20}}

    # -- asking -------------------------------------------------------------------------------------------------
    def request(
        self,
        n: int,
        given: Any = None,
        *,
        index: Tensor,
        label: str | None = None,
        prefix: Any = None,
        length: int | None = None,
        blank: int | Sequence[int] | None = None,
        mark: str = "_",
        force: Mapping[int, Any] | None = None,
        forbid: Any = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
    ) -> Task:
        """given: a text with blanks ("the ___ of the king": one token an underscore), a sequence of tokens with -1 where unknown,
        or {"text": ..., "label": ...}; a list of them gives one per sample. prefix: what the text begins with. length: tokens.
        blank: tokens of each blank, instead of the underscores. force: {position: token}. forbid: tokens, or {position: tokens}.
        temperature, top_p: as in transformers' `generate`. stop: text ends before the first of these strings.
        """
        given = asking.from_file(given)
        many = (
            isinstance(given, (list, tuple))
            and bool(given)
            and isinstance(given[0], (str, dict, list, tuple, np.ndarray))
        )
        asked = list(given) if many else [given] * n
        if len(asked) != n:
            raise AskError(f"{len(asked)} texts are given for {n} samples: give one, or one per sample")
        if isinstance(given, Mapping) and isinstance(given.get("text"), (list, tuple)) and len(given["text"]) == n:
            many, asked = True, [{**given, "text": t} for t in given["text"]]
        rows = [self._row(g, label, prefix, blank, mark) for g in asked]
        shared = not many
        templates = [rows[0][0]] * n if shared else [r[0] for r in rows]
        names = [r[1] for r in rows]
        sizes = [
            self._size(t, name, length, int(i), given is not None)
            for t, name, i in zip(templates, names, index, strict=True)
        ]
        width = max(sizes) if self.form == "lines" and self.ending == "length" else self.length
        tokens = np.full((n, width), -1, dtype=np.int64)
        for row, (template, size) in enumerate(zip(templates, sizes, strict=True)):
            tokens[row, : len(template)] = template
            if self.ending == "token" and (length is not None or (template >= 0).size == size and given is not None):
                tokens[row, size:] = self.vocabulary.end
        at = torch.arange(width)
        inside = at < torch.tensor(sizes)[:, None]
        forbidden = asking.forbidden_tokens(forbid, width, self.vocabulary)
        forced = asking.fixed_tokens(force, min(sizes), self.vocabulary)
        for row in range(n):
            asking.clash(tokens[row], forced, forbidden, self.vocabulary)
            for position, token in forced.items():
                tokens[row, position] = token
        task = self._task(torch.from_numpy(tokens), inside, torch.from_numpy(forbidden), names, index)
        logits.ask(task.context, "temperature", temperature, ["text"])
        logits.ask(task.context, "top_p", top_p, ["text"])
        self._stops(task, stop)
        return task

    def _stops(self, task: Task, stop: str | Sequence[str] | None) -> None:
        """Stop strings as tokens in the task's context, -1 where shorter than the longest."""
        strings = [stop] if isinstance(stop, str) else list(stop or [])
        codes = [self.vocabulary.encode(s) for s in strings if len(s)]
        if codes:
            width = max(len(c) for c in codes)
            rows = [np.pad(c, (0, width - len(c)), constant_values=-1) for c in codes]
            task.context["stop:text"] = torch.from_numpy(np.stack(rows).astype(np.int64))[None]

    def _row(self, given: Any, label: str | None, prefix: Any, blank: Any, mark: str) -> tuple[np.ndarray, int | None]:
        """One request as template tokens (-1 unknown) and the number of its label, or None."""
        if isinstance(given, Mapping):
            strange = set(given) - {"text", "label", "prefix"}
            if strange:
                raise AskError(
                    f"{sorted(strange)[0]!r} is no field of this model; give text"
                    + (" or label" if self.labels else "")
                )
            label, prefix, given = given.get("label", label), given.get("prefix", prefix), given.get("text")
        if given is not None and prefix is not None:
            raise AskError("give a text with blanks or a prefix, not both")
        given = prefix if given is None else given
        template = (
            np.zeros(0, np.int32) if given is None else asking.read_template(given, self.vocabulary, mark, blank).tokens
        )
        if len(template) > self.length:
            raise AskError(f"the text given has {len(template)} tokens, and the model takes at most {self.length}")
        if label is None:
            return template, None
        if not self.labels:
            raise AskError("this model has no labels: leave label out")
        if str(label) not in self.labels:
            raise AskError(f"the label {label!r} is not known; the model knows {', '.join(self.labels)}")
        return template, self.labels.index(str(label))

    def _size(self, template: np.ndarray, label: int | None, length: int | None, number: int, complete: bool) -> int:
        """How many tokens one answer has: as asked, or as given, or drawn as often as the data has it."""
        if length is not None:
            if not 1 <= length <= self.length:
                raise AskError(f"length must be from 1 to {self.length}, not {length}")
            if length < len(template):
                raise AskError(f"the text given has {len(template)} tokens and cannot fit into a length of {length}")
            return length
        if self.form == "packed" or self.ending == "token":
            return len(template) if complete and len(template) else self.length
        if complete and len(template):
            return len(template)
        sizes = np.array(self.config["sizes"], dtype=float)
        weight = sizes.sum(0) if label is None else sizes[label]
        weight[: len(template)] = 0
        if not weight.sum():
            raise AskError(f"no sample of the data was longer than the {len(template)} tokens given: pass length=")
        u = Random(0).uniform((), torch.tensor([number]), 0, "length").item()
        return int(np.searchsorted(np.cumsum(weight) / weight.sum(), u))

    def _task(self, tokens: Tensor, inside: Tensor, forbidden: Tensor, names: list[int | None], index: Tensor) -> Task:
        known = tokens >= 0
        if self.block and bool((known[:, 1:] & ~known[:, :-1]).any()):
            raise AskError(
                "a model of blocks writes from left to right: give a prefix, without blanks before known text"
            )
        packed = self.form == "packed"
        x = {"text": tokens.clamp(min=0)}
        levels, held, given = {"text": (~known).float()}, {}, {"text": known}
        exists = {} if packed or self.ending == "token" else {"text": inside}
        if packed and not bool(inside.all()):  # what surrounds the text is unknown, and stays so
            held["text"] = ~inside & ~known
        if self.labels:
            answers = torch.tensor([[-1 if i is None else i] for i in names])
            x["label"] = answers.clamp(min=0)
            levels["label"], given["label"] = (answers < 0).float(), answers >= 0
        context = {"forbidden:text": forbidden[None], "size:text": inside.sum(1, keepdim=True)}
        return Task(x, Start(levels, held), given, exists, context, index)

    def decode(self, fields: dict[str, Tensor], task: Task) -> list[Any]:
        """Strings (or lists of integers), one a sample, cut to their size and at the end token."""
        width = fields["text"].shape[1]
        sizes = task.context["size:text"][:, 0].tolist() if "size:text" in task.context else [width] * len(task)
        out = []
        for row, size in zip(fields["text"].cpu().numpy(), sizes, strict=True):
            row = row[:size]
            if self.vocabulary.end is not None and (row == self.vocabulary.end).any():
                row = row[: int((row == self.vocabulary.end).argmax())]
            out.append(self.vocabulary.decode(self._cut(row, task)))
        return out

    def _cut(self, row: np.ndarray, task: Task) -> np.ndarray:
        """Tokens before the first stop sequence."""
        for stop in task.context["stop:text"][0].cpu().numpy() if "stop:text" in task.context else ():
            stop = stop[stop >= 0]
            for i in range(len(row) - len(stop) + 1):
                if (row[i : i + len(stop)] == stop).all():
                    row = row[:i]
                    break
        return row

    def write(self, samples: Sequence[Any], path: Path, first: int = 0) -> list[Path]:
        """.txt (samples parted by blank lines when they hold line ends), .jsonl or .json; integers as .npy or JSON."""
        import json

        path = Path(path)
        path = path / "samples.txt" if path.is_dir() or not path.suffix else path
        if path.suffix in (".jsonl", ".ndjson"):
            content = "".join(json.dumps({"text": s}, ensure_ascii=False) + "\n" for s in samples)
        elif path.suffix == ".json":
            content = json.dumps(list(samples), ensure_ascii=False, indent=1) + "\n"
        elif path.suffix in reading.PLAIN:
            rows = [s if isinstance(s, str) else " ".join(map(str, s)) for s in samples]
            content = ("\n\n" if any("\n" in r for r in rows) else "\n").join(rows) + "\n"
        else:
            raise AskError(f"text cannot be written as {path.suffix}: choose .txt, .jsonl or .json")
        with atomic_write(path) as partial:
            partial.write_text(content, encoding="utf-8")
        return [path]

    def show(self, samples: Sequence[Any], path: Path) -> Path:
        """A page fragment with the samples."""
        import html

        rows = [s if isinstance(s, str) else " ".join(map(str, s)) for s in samples]
        path = Path(path).with_suffix(".html")
        with atomic_write(path) as partial:
            partial.write_text("".join(f"<pre>{html.escape(r)}</pre>\n" for r in rows), encoding="utf-8")
        return path

    def evaluate(self, model: Any, data: TextData, **options: Any) -> dict[str, float]:
        """Bits a token (an upper bound), and entropy, diversity and repetition of samples beside those of the data."""
        from suffuse.modalities.text.quality import evaluate

        return evaluate(model, data, **options)
