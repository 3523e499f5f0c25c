"""The command line: one thin command a verb. Nothing heavy is imported before a verb needs it."""

from suffuse.cli.main import main

__all__ = ["main"]
