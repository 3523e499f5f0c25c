"""What each command does, once its words are parsed."""

from __future__ import annotations

import inspect
from argparse import Namespace
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from suffuse.cli import show, values
from suffuse.errors import AskError, DataError, SuffuseError


def demo(a: Namespace) -> int:
    """suffuse demo"""
    from suffuse.demo import run_demo

    only = [name.strip() for name in a.only.split(",") if name.strip()] if a.only else []
    with show.rooms() as say:
        report = run_demo(a.output, only, say)
    show.gallery(report, Path(a.output) / "index.html")
    return 1 if any(room.failure for room in report.rooms) else 0


def train(a: Namespace) -> int:
    """suffuse train"""
    import suffuse

    tasks = [name.strip() for name in a.tasks.split(",") if name.strip()] if a.tasks else None
    recipe, read = training_options(a)
    suffuse.train(
        a.data,
        modality=a.modality,
        minutes=a.minutes,
        steps=a.steps,
        tasks=tasks,
        start_from=a.start_from,
        output=a.output,
        resume=a.resume,
        seed=a.seed,
        device=a.device,
        progress=show.interactive(),
        tell=show.line,
        read=read,
        **recipe,
    )
    show.line(f"{a.output} is ready; try: suffuse sample {a.output} -n 4 -o samples")
    return 0


def training_options(a: Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The undeclared options of `train` as (settings of the recipe, options of the modality's reader).

    Raises AskError on a name that is neither, where the reader says which options it has.
    """
    from dataclasses import fields

    from suffuse.modalities import registry
    from suffuse.training.recipe import Recipe

    settings = [field.name for field in fields(Recipe)]
    recipe = {name: value for name, value in a.extra.items() if name in settings}
    read = {name: value for name, value in a.extra.items() if name not in settings}
    if read:
        kind = registry.find(a.modality) if a.modality else registry.recognise(a.data)
        known = inspect.signature(kind.read).parameters.values()
        names = [p.name for p in known if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)][1:]
        if not any(p.kind is p.VAR_KEYWORD for p in known):
            for name in read:
                if name not in names:
                    near = registry.nearest(name, [*names, *settings])
                    raise AskError(f"--{name.replace('_', '-')} is no option of training on {kind.name}{near}")
    return recipe, read


def sample(a: Namespace) -> int:
    """suffuse sample"""
    model = load(a)
    ready(a.output, model)
    asked = sampling(a) | a.extra
    asked |= {"given": given(a.given, model), "start": a.start, "progress": show.interactive()}
    if a.output is None or Path(a.output).suffix or not model.modality.numbered:
        return deliver(model, model.sample(a.n, **asked), a.output)
    batches = model.batches(a.n, **asked)
    first = next(batches)
    if plain(first, model):
        return deliver(model, [*first, *chain.from_iterable(batches)], a.output)
    number, files = a.start, []
    for made in chain([first], batches):
        files += model.modality.write(made, Path(a.output), first=number)
        number += len(made)
    show.written(files)
    return 0


def edit(a: Namespace) -> int:
    """suffuse edit"""
    model = load(a)
    asked = sampling(a) | a.extra | {"strength": a.strength, "given": conditions(a)}
    if a.mask is not None:
        asked["mask"] = there(a.mask)
    made = model.edit(there(a.file), **asked)
    return deliver(model, made, a.output)


def restore(a: Namespace) -> int:
    """suffuse restore"""
    model = load(a)
    asked = sampling(a) | a.extra | {"n": a.n, "start": a.start, "noise": a.noise, "given": conditions(a)}
    made = model.restore(there(a.file), a.operator, **asked)
    return deliver(model, made, a.output)


def predict(a: Namespace) -> int:
    """suffuse predict"""
    model = load(a)
    options = {} if a.batch is None else {"batch": a.batch}
    if "field" in a.extra:
        raise AskError("the field to predict stands after the file, without --field: suffuse predict MODEL FILE FIELD")
    answer = model.predict(there(a.file), a.field, **options, **a.extra)
    if model.joint[a.field].categorical and answer.ndim == 3 and answer.shape[1] == 1:
        answer = likeliest(answer[:, 0], class_names(model.modality.config))
    return deliver(model, answer, a.output, samples=False)


def likeliest(probabilities: Any, names: list[str] | None) -> list[dict[str, Any]]:
    """The likeliest class of each row of (n, K) probabilities, with its name where classes have names."""
    best, where = probabilities.max(-1)
    rows = [{"class": int(k), "probability": round(float(p), 4)} for k, p in zip(where, best)]
    if names is not None and len(names) == probabilities.shape[-1]:
        rows = [{"class": row["class"], "name": names[row["class"]]} | row for row in rows]
    return rows


def class_names(config: dict[str, Any]) -> list[str] | None:
    """The names of the classes, where a modality's config holds them under `labels` or `classes`."""
    for key in ("labels", "classes"):
        if isinstance(config.get(key), list):
            return [str(name) for name in config[key]]
    return None


def tune(a: Namespace) -> int:
    """suffuse tune"""
    model = load(a)
    model.tune(a.calls, given=given(a.given, model), guidance=a.guidance, tell=show.line)
    model.save(a.output)
    show.line(f"{a.output} is ready; try: suffuse sample {a.output} --steps {a.calls} -n 4 -o samples")
    return 0


def distill(a: Namespace) -> int:
    """suffuse distill"""
    model = load(a)
    model.distill(
        a.data, a.minutes, guidance=a.guidance, resume=a.resume, seed=a.seed, output=a.output, device=a.device,
        progress=show.interactive(), tell=show.line,
    )  # fmt: skip
    show.line(f"{a.output} is ready; try: suffuse sample {a.output} --steps 2 -n 4 -o samples")
    return 0


def evaluate(a: Namespace) -> int:
    """suffuse evaluate"""
    model = load(a)
    figures = model.evaluate(a.data, **a.extra)
    if a.output is None:
        show.figures(figures)
        return 0
    return deliver(model, figures, a.output, samples=False)


def info(a: Namespace) -> int:
    """suffuse info"""
    from suffuse import storage

    path = Path(a.source)
    if a.modality is None and (a.source in storage.zoo_names() or (path / storage.CONFIG).is_file()):
        show.model(a.source, storage.locate(a.source))
        return 0
    from suffuse.modalities import registry

    if not path.exists():
        near = registry.nearest(a.source, storage.zoo_names())
        raise DataError(f"{a.source} is neither a model that ships nor a file or folder{near}")
    kind = registry.find(a.modality) if a.modality else registry.recognise(a.source)
    modality, dataset = kind.read(a.source)
    show.data(a.source, modality, len(dataset))
    return 0


def modalities(a: Namespace) -> int:
    """suffuse modalities"""
    from suffuse.modalities import registry

    rows = []
    for name in registry.names():
        try:
            kind = registry.find(name)
            rows.append((name, kind.summary, ", ".join(kind.verbs)))
        except SuffuseError as error:
            rows.append((name, str(error), ""))
    show.modalities(rows)
    return 0


def load(a: Namespace) -> Any:
    """The model a command names, on the device it names."""
    import suffuse

    model = suffuse.load(a.model)
    if getattr(a, "device", None):
        model = to_device(model, a.device)
    return model


def to_device(model: Any, name: str) -> Any:
    """Move a model. Raises AskError on a device that is not there."""
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise AskError(f"there is no device '{name}' on this machine; leave --device out, or give cpu") from None
    return model.to(device)


def sampling(a: Namespace) -> dict[str, Any]:
    """The sampling options that were given."""
    names = ("steps", "guidance", "seed", "batch", "precision")
    return {name: getattr(a, name) for name in names if getattr(a, name, None) is not None}


def conditions(a: Namespace) -> dict[str, Any] | None:
    """`--given` where the data has a word of its own: KEY=VALUE pairs only."""
    pairs = values.given(a.given)
    if isinstance(pairs, str) or (pairs and "file" in pairs):
        raise AskError("--given takes KEY=VALUE here, as in --given label=3")
    return pairs


def given(words: list[str] | None, model: Any) -> Any:
    """`--given` as the model's kind of data reads it: where samples are words, so may be what is given."""
    return values.given(words, list(model.joint.processes) if model.modality.spelt else None)


def there(word: str) -> str:
    """A file named on the command line, checked to be there."""
    if not Path(word).exists():
        raise DataError(f"there is no file or folder {word}")
    return word


def ready(output: str | None, model: Any) -> None:
    """Ask for -o before the work where samples cannot be printed."""
    if output is None and not model.modality.spelt:
        raise AskError(f"{model.modality.name} are written to files; say where with -o")


def deliver(model: Any, made: Any, output: str | None, samples: bool = True) -> int:
    """Write or print what came back: samples by the modality, other things as JSON, CSV or text.

    A list holds samples, unless it is of plain words or numbers and the modality's samples are not. A generator is
    printed piece by piece as it comes (or collected, where it goes to a file).
    """
    if inspect.isgenerator(made):
        return stream(made, output)
    if samples and not plain(made, model):
        made = made if isinstance(made, (list, tuple)) else [made]
        if output is not None:
            show.written(model.modality.write(made, Path(output)))
        else:
            ready(output, model)
            for m in made:
                print(model.modality.spell(m))
    elif output is not None:
        show.written([show.write_value(made, Path(output))])
    else:
        show.value(made)
    return 0


def plain(made: Any, model: Any) -> bool:
    """Whether what came back is to be written as values, and not as samples of the modality."""
    if isinstance(made, (list, tuple)) and made:
        words = all(isinstance(m, (str, int, float)) for m in made)
        return all(isinstance(m, dict) for m in made) or (words and not model.modality.spelt)
    return isinstance(made, (dict, str, int, float, bool, type(None))) or hasattr(made, "to_csv")


def stream(pieces: Iterator[Any], output: str | None) -> int:
    """Print pieces of text as they come, or write them whole."""
    if output is not None:
        from suffuse.files import write_text

        show.written([write_text("".join(map(str, pieces)) + "\n", Path(output))])
        return 0
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return 0
