"""Reports internal errors with their traceback, for a bug report, but without secrets."""

import logging
import traceback
from errno import EDQUOT, EIO, ENOSPC

import click

from notifier.redact import redact

_OUTPUT_FAILED = frozenset({ENOSPC, EDQUOT, EIO})


def own_up(fault: Exception) -> None:
    """Report an internal error in the log, or on standard error if logging is not set up yet."""
    if isinstance(fault, OSError) and fault.errno in _OUTPUT_FAILED and fault.filename is None:
        click.echo(f"Error: the output cannot be written: {fault.strerror}", err=True)
    elif logging.getLogger().handlers:
        logging.getLogger(__name__).critical(
            "the program ends because of an internal error: please report it", exc_info=fault
        )
    else:
        click.echo(redact("".join(traceback.format_exception(fault))), err=True, nl=False)
        click.echo("Error: this is an internal error: please report it with the text above", err=True)
