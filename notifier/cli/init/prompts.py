"""Asks questions on a terminal, and repeats each one until the answer is valid."""

import sys
from collections.abc import Callable

import click

from notifier.cli.formatting import harmless

Check = Callable[[str], str | None]
"""Returns why an answer is not valid, or None if it is."""


def somebody_is_there() -> bool:
    """Return whether standard input and standard error are terminals, so that questions can be asked.

    Questions are written to standard error, so that standard output can be redirected.
    """
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(question: str, check: Check, *, default: str = "", hidden: bool = False) -> str:
    """Ask for a line of text. Enter alone means the default; `hidden` text is not shown while it is typed.

    Raises click.Abort on Ctrl-C and at the end of the input.
    """
    while True:
        typed: str = click.prompt(question, default=default, show_default=bool(default), hide_input=hidden, err=True)
        answer = typed.strip()
        reason = check(answer)
        if reason is None:
            return answer
        click.echo(f"  That cannot be used: {harmless(reason)}", err=True)


def confirm(question: str, *, default: bool = True) -> bool:
    """Ask for yes or no. Raises click.Abort on Ctrl-C and at the end of the input."""
    return click.confirm(question, default=default, err=True)
