"""Questions to a person on a terminal: asked again, with the reason, until the answer can be used."""

import sys
from collections.abc import Callable

import click

from notifier.cli.text import harmless

Check = Callable[[str], str | None]
"""Says why an answer cannot be used; None when it can."""


def somebody_is_there() -> bool:
    """Tell whether a person can be asked: questions go to standard error, so that the output may go elsewhere."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(question: str, check: Check, *, default: str = "", hidden: bool = False) -> str:
    """Ask for a line of text; Enter alone means the default, and `hidden` text is not shown while it is typed.

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
