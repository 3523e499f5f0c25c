"""Entry point: which verb, and what becomes of errors."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from suffuse.errors import SuffuseError

BUG, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0; 2 for what a person can mend, 130 after Ctrl-C, 1 for our mistakes."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Threads that wait asleep: spinning ones make small networks many times slower when other programs share the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", category=UserWarning, module=r"suffuse\b")
            warnings.showwarning = note
            return run(words)
    except SuffuseError as error:
        return complain(str(error), BAD_INPUT)
    except KeyboardInterrupt:
        return complain(stopped(words), INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from suffuse.files import explain

        return complain(explain(error), BAD_INPUT)
    except Exception as error:
        if isinstance(error, ImportError) and not (error.name or "suffuse").startswith("suffuse"):
            from suffuse.modalities.registry import missing_library

            return complain(missing_library(error), BAD_INPUT)
        if stray := stray_option(error, words):
            return complain(f"{stray} is not understood here; 'suffuse {words[0]} -h' shows what is right", BAD_INPUT)
        if out_of_memory(error):
            return complain("the memory is not enough for this; ask for fewer or smaller samples at a time", BAD_INPUT)
        if os.environ.get("SUFFUSE_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        return complain(f"a mistake of suffuse, not yours: {what} (SUFFUSE_DEBUG=1 shows where; please report it)", BUG)


def run(words: list[str]) -> int:
    """Parse and carry out; errors are the caller's."""
    from suffuse.cli import parser, sugar

    if words and not words[0].startswith("-") and words[0] not in parser.VERBS:
        return sugar.run(words)
    arguments = parser.parse(words)
    return arguments.run(arguments) or 0


def note(message: Warning | str, *_: Any, **__: Any) -> None:
    """Warnings of our own rooms, such as skipped files, as one line each; those of libraries are not shown."""
    print("suffuse: note: " + " ".join(str(message).split()), file=sys.stderr)


def complain(sentence: str, code: int) -> int:
    """One line on stderr."""
    print("suffuse: " + " ".join(sentence.split()), file=sys.stderr)
    return code


def stopped(words: list[str]) -> str:
    """How to go on after Ctrl-C."""
    if words and words[0] in ("train", "distill"):
        import shlex

        again = words if "--resume" in words else [*words, "--resume"]
        return f"stopped; the last checkpoint is kept, and this goes on from it: suffuse {shlex.join(again)}"
    return "stopped; nothing half-written was left, and the same command starts again"


def out_of_memory(error: Exception) -> bool:
    """Whether Python or torch ran out of memory (torch raises RuntimeError on the CPU)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


def stray_option(error: Exception, words: Sequence[str]) -> str | None:
    """The option behind a TypeError about a keyword, where it was a word of the command line that nobody declared."""
    found = re.search(r"(?:unexpected keyword argument|multiple values for keyword argument) '(\w+)'", str(error))
    if not isinstance(error, TypeError) or found is None:
        return None
    option = "--" + found.group(1).replace("_", "-")
    return next((option for word in words if word.partition("=")[0].replace("_", "-") == option), None)
