"""How a command ends that cannot do what was asked: with an exit code and a sentence, never with a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import click

from notifier.cli.text import harmless


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    WRONG_CONFIGURATION = 78
    """`EX_CONFIG` of sysexits.h: the systemd unit does not start again after it."""
    INTERRUPTED = 130
    """What a shell says of a program that Ctrl-C ended."""


class Failure(click.ClickException):
    """The command failed; the first line says what and what to do, further ones are details."""

    exit_code = ExitCode.FAILED

    def __init__(self, *lines: str) -> None:
        """Take the lines to print."""
        super().__init__("\n  ".join(harmless(line) for line in lines))


class UnknownName(Failure):
    """A source or destination was named that is not in the configuration, or a record or an event that is not known."""

    exit_code = ExitCode.WRONG_USAGE


class WrongConfiguration(Failure):
    """The configuration is wrong or missing."""

    exit_code = ExitCode.WRONG_CONFIGURATION


@contextmanager
def told(*errors: type[Exception]) -> Iterator[None]:
    """Turn these errors, whose text is a sentence for people, into a Failure."""
    try:
        yield
    except errors as error:
        raise Failure(str(error)) from error
