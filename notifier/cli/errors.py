"""The exit codes and errors of commands. Only an internal error prints a traceback; other errors print a sentence."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from errno import EDQUOT, EIO, ENOSPC

import click

from notifier.cli.formatting import terminal_safe
from notifier.redact import hide_remembered, redact

_OUTPUT_ERRNOS = frozenset({ENOSPC, EDQUOT, EIO})


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    WRONG_CONFIGURATION = 78
    """`EX_CONFIG` of sysexits.h. After this code, systemd does not restart the service."""
    INTERRUPTED = 130
    """The code that shells use for a program that was ended by Ctrl-C."""


class CommandError(click.ClickException):
    """A command failed. The first line says what failed and what to do; further lines give details."""

    exit_code = ExitCode.FAILED

    def __init__(self, *lines: str) -> None:
        """Initialise with the lines to print."""
        super().__init__("\n  ".join(terminal_safe(hide_remembered(line)) for line in lines))


class NameNotFoundError(CommandError):
    """A source or destination is not configured, or a record, event or person is not stored."""

    exit_code = ExitCode.WRONG_USAGE


class StandbyError(CommandError):
    """The daemon on this machine stands by, so it does nothing but say which process holds the store."""


class BusyError(CommandError):
    """The daemon cannot answer now, because other requests read its state."""


class ConfigurationError(CommandError):
    """The configuration is wrong or missing."""

    exit_code = ExitCode.WRONG_CONFIGURATION


@contextmanager
def as_command_error(*errors: type[Exception]) -> Iterator[None]:
    """Convert exceptions of these types into CommandError. Operators see the text of the exception unchanged."""
    try:
        yield
    except errors as error:
        raise CommandError(str(error)) from error


def report_internal_error(fault: Exception) -> None:
    """Report an unexpected exception in the log, or on standard error if logging is not set up.

    A failed write of the output, for example to a full disk, is reported as such and not as an internal error.
    """
    if isinstance(fault, OSError) and fault.errno in _OUTPUT_ERRNOS and fault.filename is None:
        click.echo(f"Error: the output cannot be written: {fault.strerror}", err=True)
    elif logging.getLogger().handlers:
        logging.getLogger(__name__).critical(
            "the program ends because of an internal error: please report it", exc_info=fault
        )
    else:
        click.echo(redact("".join(traceback.format_exception(fault))), err=True, nl=False)
        click.echo("Error: this is an internal error: please report it with the text above", err=True)
