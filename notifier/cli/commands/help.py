"""The command `notifier help`, which shows pages of the documentation."""

import os
from collections.abc import Mapping
from pathlib import Path

import click

import notifier
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, is_terminal
from notifier.cli.parameter_types import OneOf

_FOLDER = Path(notifier.__file__).with_name("docs")
_PROGRAMS_FOLDER = "receivers"
"""The folder of example programs. Each program is a topic with the name `FOLDER/FILE`."""


def _topics() -> list[str]:
    pages = sorted(file.stem for file in _FOLDER.glob("*.md"))
    return pages + sorted(
        f"{_PROGRAMS_FOLDER}/{file.name}" for file in (_FOLDER / _PROGRAMS_FOLDER).glob("*_receiver.*")
    )


@click.command(
    "help",
    epilog=examples(
        "notifier help", "notifier help receiving-events", "notifier help receivers/node_receiver.mjs > receiver.mjs"
    ),
)
@click.argument("topic", metavar="[TOPIC]", required=False, type=OneOf(_topics()))
@pass_global_options
def help(_options: GlobalOptions, topic: str | None) -> None:  # noqa: A001 - named as the command is
    """Show a page of the documentation, or the list of topics.

    On a terminal the page is formatted and paged; otherwise it is printed as Markdown. If TOPIC is an example program
    of the page `receivers`, its source code is printed unchanged.
    """
    if topic is None:
        echo(*(f"{name:<18}{title}" for name, title in _titles().items()), "", "`notifier help TOPIC` shows a page.")
        return
    if topic.startswith(f"{_PROGRAMS_FOLDER}/"):
        echo((_FOLDER / topic).read_text(encoding="utf-8").removesuffix("\n"))
        return
    text = (_FOLDER / f"{topic}.md").read_text(encoding="utf-8")
    if is_terminal():
        # Imported here, because these imports take a quarter of a second and no other command needs them.
        from rich.console import Console  # noqa: PLC0415
        from rich.markdown import Markdown  # noqa: PLC0415

        console = Console()
        # Without -R, less shows the codes of colours as text.
        options = os.environ.setdefault("LESS", "-R")
        with console.pager(styles="R" in options):
            console.print(Markdown(text))
    else:
        echo(text.removesuffix("\n"))


def _titles() -> Mapping[str, str]:
    """Return the title of each topic, by the topic's name."""
    files = sorted(_FOLDER.glob("*.md"))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ") for file in files}
