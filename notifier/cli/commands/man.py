"""The command `notifier man`, which shows the manual page."""

import shutil
import subprocess

import click

from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.man_page import page
from notifier.cli.output import echo, is_terminal


@click.command(epilog=examples("notifier man", "notifier man > notifier.1"))
@pass_global_options
def man(_global_options: GlobalOptions) -> None:
    """Show the manual page.

    On a terminal it is opened with man, if man is installed; otherwise its source is printed.
    """
    reader = shutil.which("man") if is_terminal() else None
    if reader is None:
        echo(page().removesuffix("\n"))
    else:
        subprocess.run([reader, "-l", "-"], input=page(), text=True, check=False)  # noqa: S603 - man, with our own page
