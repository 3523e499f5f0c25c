"""Commands that a kind of data adds (forecast, impute, ...); options are made from their signatures."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from typing import Any

from suffuse.cli import commands, parser, values
from suffuse.errors import AskError


def run(words: list[str]) -> int:
    """suffuse VERB MODEL ...: load the model and let its modality's function answer."""
    verb, rest = words[0], words[1:]
    model_word = next((word for word in rest if not word.startswith("-")), None)
    if model_word is None:
        return _without_model(verb, rest)
    import suffuse

    kinds = _all()
    if verb not in kinds:
        raise _unknown_verb(verb, [*parser.VERBS, *kinds])
    model = suffuse.load(model_word)
    known = model.modality.verbs
    if verb not in known:
        has = f"it adds {', '.join(known)}" if known else "it adds none of its own"
        raise AskError(f"{model_word} is a model of {model.modality.name}, which knows no '{verb}'; {has}")
    command, positional = _parser(verb, known[verb])
    arguments, unknown = command.parse_known_args(rest)
    if arguments.device:
        model = commands.to_device(model, arguments.device)
    asked = {
        name: getattr(arguments, name)
        for name in vars(arguments)
        if name not in ("model", "output", "device", *positional) and getattr(arguments, name) is not None
    }
    if unknown:
        if not _takes_more(known[verb]):
            raise AskError(f"'{unknown[0]}' is not understood; 'suffuse {verb} -h' shows what is right")
        asked |= values.extras(unknown, verb)
    if "given" in asked:
        asked["given"] = commands.given(asked["given"], model)
    made = known[verb](model, *(getattr(arguments, name) for name in positional), **asked)
    return commands.deliver(model, made, arguments.output)


def _without_model(verb: str, rest: list[str]) -> int:
    kinds = _all()
    if verb not in kinds:
        raise _unknown_verb(verb, [*parser.VERBS, *kinds])
    if "-h" not in rest and "--help" not in rest:
        raise AskError(f"'suffuse {verb}' needs a model; 'suffuse {verb} -h' shows how")
    for name, function in kinds[verb].items():
        if len(kinds[verb]) > 1:
            print(f"With a model of {name}:\n")
        _parser(verb, function)[0].print_help()
    return 0


def _unknown_verb(name: str, known: list[str]) -> AskError:
    """The error for a verb nobody knows."""
    from suffuse.modalities.registry import nearest

    return AskError(f"there is no command '{name}'{nearest(name, known)}; 'suffuse --help' lists them")


def _all() -> dict[str, dict[str, Callable[..., Any]]]:
    """Every sugar verb of every modality that is there, as {verb: {modality: function}}."""
    from suffuse.modalities import registry

    found: dict[str, dict[str, Callable[..., Any]]] = {}
    for name, kind in registry.available().items():
        for verb, function in kind.verbs.items():
            found.setdefault(verb, {})[name] = function
    return found


def _takes_more(function: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def _parser(verb: str, function: Callable[..., Any]) -> tuple[parser.Parser, list[str]]:
    """A parser from the signature `function(model, words..., option=default, ..., **sampling)`, and the words' names."""
    lines = [line.strip() for line in (inspect.getdoc(function) or verb).splitlines()]
    examples = [line for line in lines if line.startswith("suffuse ")] or [f"suffuse {verb} MODEL -h"]
    command = parser.Parser(
        prog=f"suffuse {verb}",
        description=lines[0],
        epilog="example:\n  " + "\n  ".join(examples),
        formatter_class=parser.Help,
        allow_abbrev=False,
    )
    command.add_argument("model", metavar="MODEL", help="a model that ships, a folder, or a Hub id")
    positional = []
    taken = {"model", "output", "device"}
    parameters = list(inspect.signature(function).parameters.values())[1:]
    for p in parameters:
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or p.name in taken or p.name == "progress":
            continue
        taken.add(p.name)
        if p.default is p.empty:
            positional.append(p.name)
            continue
        flag = "-n" if p.name == "n" else f"--{p.name.replace('_', '-')}"
        told = "" if p.default in (None, "") else f"default {p.default}"
        if p.name == "given":
            command.add_argument(flag, action="append", metavar="FILE|KEY=VALUE", help="what is known")
        elif p.default is False:
            command.add_argument(flag, dest=p.name, action="store_true", default=None)
        else:
            command.add_argument(flag, dest=p.name, type=_limits(p), metavar=p.name[0].upper(), help=told)
    for name in positional:
        several = {"nargs": "+", "action": _OneOrMore} if len(positional) == 1 else {}
        command.add_argument(name, metavar=name.upper(), **several)
    if _takes_more(function):
        meanings = {"steps": "network calls", "guidance": "guidance scale, 1 is off", "seed": "same seed, same result"}
        for name, meaning in meanings.items():
            if name not in taken:
                kind = values.real() if name == "guidance" else values.whole(1 if name == "steps" else 0)
                command.add_argument(f"--{name}", type=kind, metavar=name[0].upper(), help=meaning)
    command.add_argument("-o", "--output", metavar="OUT", help="file or folder to write")
    parser.device(command)
    return command, positional


class _OneOrMore(argparse.Action):
    """One word as it is, several as a list: `suffuse classify MODEL *.png`."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, words: Any, option: str | None = None) -> None:
        setattr(namespace, self.dest, words[0] if len(words) == 1 else list(words))


def _limits(parameter: inspect.Parameter) -> Callable[[str], Any]:
    """The type of an option; counts are checked here, before a model is asked."""
    if parameter.name in ("steps", "n", "samples", "horizon", "batch"):
        return values.whole(1)
    if parameter.name in ("seed", "start"):
        return values.whole(0)
    if parameter.name == "strength":
        return values.real(0, 1)
    return values.annotated(parameter)
