"""The commands and their options, by argparse. Nothing here loads a heavy library."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from suffuse import __version__
from suffuse.cli import values
from suffuse.errors import AskError

VERBS = {
    "demo": "what the models that ship can do, as one page",
    "train": "train a model on your data",
    "sample": "generate, or complete what is given",
    "edit": "change what is there, all of it or within a mask",
    "restore": "undo blur, noise, holes, low resolution",
    "predict": "a label or a property of your data",
    "tune": "find the best time grid and solver for few network calls; minutes, no retraining",
    "distill": "train a copy of a model to answer in one, two or four network calls",
    "evaluate": "quality of a model, beside real against real",
    "info": "what a model or a data set is",
    "modalities": "the kinds of data, and what each adds",
}

EXAMPLES = {
    "demo": "suffuse demo -o gallery",
    "train": "suffuse train pictures/ -o my-model --minutes 20",
    "sample": "suffuse sample digits -n 16 --given label=3 --steps 8 -o threes/",
    "edit": "suffuse edit digits three.png --strength 0.6 --given label=5 -o five.png",
    "restore": "suffuse restore fashion small.png --operator downsample:4 -o large.png",
    "predict": "suffuse predict digits three.png label",
    "tune": "suffuse tune digits --calls 5 -o quick-digits",
    "distill": "suffuse distill digits train-pictures/ --minutes 5 -o two-step-digits",
    "evaluate": "suffuse evaluate digits test-pictures/",
    "info": "suffuse info digits",
    "modalities": "suffuse modalities",
}


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is one sentence and raises AskError."""

    def error(self, message: str) -> Any:
        raise AskError(f"{message.removeprefix('argument ')}; '{self.prog} -h' shows what is right")


class Help(argparse.RawDescriptionHelpFormatter):
    """Help with room for the names."""

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, **{"max_help_position": 28} | options)


def parser() -> Parser:
    """The parser of the commands that every model has."""
    top = Parser(
        prog="suffuse",
        description="One diffusion engine for every kind of data.",
        epilog="The kind of data adds commands of its own, such as forecast, impute: 'suffuse modalities' lists them.\n"
        "'suffuse COMMAND -h' tells more, with an example.",
        formatter_class=Help,
    )
    top.add_argument("--version", action="version", version=f"suffuse {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", dest="verb", title="commands", parser_class=Parser)
    for verb, summary in VERBS.items():
        command = commands.add_parser(
            verb,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {EXAMPLES[verb]}",
            formatter_class=Help,
            allow_abbrev=False,
        )
        _OPTIONS[verb](command)
        command.set_defaults(run=_later(verb))
    return top


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse, or raise AskError. `arguments.extra` holds options that nobody declared, where the command takes them."""
    top = parser()
    arguments, unknown = top.parse_known_args(list(words))
    if arguments.verb is None:
        if unknown:
            raise AskError(f"'{unknown[0]}' is not understood; 'suffuse -h' shows what is right")
        top.print_help()
        arguments.run = lambda _: 0
        return arguments
    if unknown and arguments.verb not in ("train", "sample", "edit", "evaluate", "predict", "restore"):
        raise AskError(f"'{unknown[0]}' is not understood; 'suffuse {arguments.verb} -h' shows what is right")
    arguments.extra = values.extras(unknown, arguments.verb)
    return arguments


def _later(verb: str) -> Callable[[argparse.Namespace], int | None]:
    """The function that carries a verb out, imported when it runs."""

    def run(arguments: argparse.Namespace) -> int | None:
        return getattr(importlib.import_module("suffuse.cli.commands"), verb)(arguments)

    return run


def sampling(command: argparse.ArgumentParser, number: bool = True, batch: bool = True) -> None:
    """Options of all commands that sample."""
    if number:
        command.add_argument("-n", type=values.whole(1), default=1, metavar="N", help="how many (default 1)")
    command.add_argument("--steps", type=values.whole(1), metavar="K", help="network calls (default: the model's own)")
    command.add_argument("--guidance", type=values.real(), metavar="W", help="guidance scale, 1 is off")
    command.add_argument("--seed", type=values.whole(0), default=0, metavar="S", help="same seed, same result")
    if number:
        command.add_argument("--start", type=values.whole(0), default=0, metavar="K", help="number of the first sample")
    if batch:
        command.add_argument("--batch", type=values.whole(1), metavar="B", help="how many at a time")
    command.add_argument(
        "--precision", choices=["fp32", "bf16", "auto"], help="of the network's calls; auto: the faster one, measured"
    )
    device(command)


def device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, mps (default: the best there is)")


def _output(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument("-o", "--output", metavar="OUT", required=required, help="file or folder to write")


def _model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a model that ships, a folder, or a Hub id")


def _given(command: argparse.ArgumentParser) -> None:
    text = "what is known: a file (holes are completed), or a field and its value; may be repeated"
    command.add_argument("--given", action="append", metavar="FILE|KEY=VALUE", help=text)


def _demo(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", default="gallery", metavar="DIR", help="folder to write (default gallery)")
    command.add_argument("--only", metavar="ROOM,...", help="these kinds of data only")


def _train(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="DATA", help="a folder, a file or a data set of the Hub")
    command.add_argument("-o", "--output", required=True, metavar="MODEL", help="folder to write")
    command.add_argument("--modality", metavar="M", help="the kind of data (default: recognised)")
    command.add_argument("--tasks", metavar="T,...", help="train for these tasks only (default: all of the modality)")
    length = command.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=values.real(0, open_low=True), metavar="N", help="time budget to plan for")
    length.add_argument("--steps", type=values.whole(1), metavar="N", help="number of steps")
    command.add_argument("--from", dest="start_from", metavar="MODEL", help="go on from the weights of this model")
    command.add_argument("--resume", action="store_true", help="go on where the last run to this folder stopped")
    command.add_argument("--seed", type=values.whole(0), default=0, metavar="S", help="default 0")
    device(command)


def _sample(command: argparse.ArgumentParser) -> None:
    _model(command)
    _given(command)
    sampling(command)
    _output(command, required=False)


def _edit(command: argparse.ArgumentParser) -> None:
    _model(command)
    command.add_argument("file", metavar="FILE", help="what to edit")
    text = "0 keeps all, 1 keeps nothing (default 0.5)"
    command.add_argument("--strength", type=values.real(0, 1), default=0.5, metavar="S", help=text)
    command.add_argument("--mask", metavar="FILE", help="edit only where this is white")
    _given(command)
    sampling(command, number=False)
    _output(command)


def _restore(command: argparse.ArgumentParser) -> None:
    _model(command)
    command.add_argument("file", metavar="FILE", help="the measurement")
    text = "what was done to it; for pictures downsample:4, blur:1.5, grey, noise"
    command.add_argument("--operator", required=True, metavar="NAME[:VALUE]", help=text)
    command.add_argument("--noise", type=values.real(0), default=0.0, metavar="S", help="deviation of its noise")
    _given(command)
    sampling(command, batch=False)
    _output(command)


def _predict(command: argparse.ArgumentParser) -> None:
    _model(command)
    command.add_argument("file", metavar="FILE", help="the data")
    command.add_argument("field", metavar="FIELD", help="what to predict, such as label")
    command.add_argument("--batch", type=values.whole(1), metavar="B", help="how many at a time")
    device(command)
    _output(command, required=False)


def _tune(command: argparse.ArgumentParser) -> None:
    _model(command)
    command.add_argument("--calls", type=values.whole(1), default=8, metavar="K", help="network calls (default 8)")
    command.add_argument(
        "--guidance", type=values.real(), metavar="W", help="guidance scale (default: the model's own)"
    )
    _given(command)
    _output(command)
    device(command)


def _distill(command: argparse.ArgumentParser) -> None:
    _model(command)
    command.add_argument("data", metavar="DATA", help="the data the model was trained on")
    minutes = values.real(0, open_low=True)
    command.add_argument("--minutes", type=minutes, default=5.0, metavar="N", help="time budget (default 5)")
    command.add_argument(
        "--guidance", type=values.real(), metavar="W", help="weight to fold in (default: the model's own)"
    )
    command.add_argument("--resume", action="store_true", help="go on where the last run to this folder was stopped")
    command.add_argument("--seed", type=values.whole(0), default=0, metavar="S", help="same seed, same result")
    _output(command)
    device(command)


def _evaluate(command: argparse.ArgumentParser) -> None:
    _model(command)
    command.add_argument("data", metavar="DATA", help="real data that the model has not seen")
    _output(command, required=False)
    device(command)


def _info(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", metavar="MODEL|DATA", help="a model or a data set")
    command.add_argument("--modality", metavar="M", help="the kind of data (default: recognised)")


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "demo": _demo,
    "train": _train,
    "sample": _sample,
    "edit": _edit,
    "restore": _restore,
    "predict": _predict,
    "tune": _tune,
    "distill": _distill,
    "evaluate": _evaluate,
    "info": _info,
    "modalities": lambda command: None,
}
