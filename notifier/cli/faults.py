"""Faults of the program: shown as they are, for whoever mends it, but without secrets."""

import logging
import traceback
from errno import EDQUOT, EIO, ENOSPC

import click

from notifier.redact import redact

_OUTPUT_FAILED = frozenset({ENOSPC, EDQUOT, EIO})


def own_up(fault: Exception) -> None:
    """Say what went wrong: in the log, in its format, where there is one already."""
    if isinstance(fault, OSError) and fault.errno in _OUTPUT_FAILED and fault.filename is None:
        click.echo(f"Error: the output cannot be written: {fault.strerror}", err=True)
    elif logging.getLogger().handlers:
        logging.getLogger(__name__).critical("a fault of the program ends it: please report it", exc_info=fault)
    else:
        click.echo(redact("".join(traceback.format_exception(fault))), err=True, nl=False)
        click.echo("Error: this is a fault of the program: please report it with what stands above", err=True)
