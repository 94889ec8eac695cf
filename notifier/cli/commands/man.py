"""`notifier man`."""

import shutil
import subprocess

import click

from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.manual import page
from notifier.cli.screen import is_terminal, say


@click.command(epilog=examples("notifier man", "notifier man > notifier.1"))
@takes_given
def man(_given: Given) -> None:
    """Show the manual page.

    On a terminal man shows it, where there is one; elsewhere it is printed as man reads it.
    """
    reader = shutil.which("man") if is_terminal() else None
    if reader is None:
        say(page().removesuffix("\n"))
    else:
        subprocess.run([reader, "-l", "-"], input=page(), text=True, check=False)  # noqa: S603 - man, with our own page
