"""Errors a person can mend. The command line prints them as one sentence and exits with 2."""


class SuffuseError(Exception):
    """Base of all errors whose message is one clear sentence: what is wrong, where, and what would be right."""


class DataError(SuffuseError):
    """Data that cannot be read or used as asked."""


class AskError(SuffuseError):
    """A request that makes no sense for this model: a wrong value, size, name or range."""


class ModelError(SuffuseError):
    """A model folder that is missing, incomplete, altered or unsafe."""


class MissingModel(ModelError):
    """There is no model of that name. `name` is what was asked for."""

    def __init__(self, message: str, name: str = ""):
        super().__init__(message)
        self.name = name


class TrainingError(SuffuseError):
    """A training run that cannot go on; the last good state is kept."""
