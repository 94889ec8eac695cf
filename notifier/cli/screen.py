"""The one way out to the screen, a pipe or a file: lines, facts and tables."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import click
import orjson

from notifier.cli.columns import Column
from notifier.cli.failures import ExitCode, Failure
from notifier.cli.text import harmless, harmless_json

Page = TypeVar("Page")

_GAP: Final = "  "


def is_terminal() -> bool:
    """Tell whether a person reads what is printed, not a program."""
    return sys.stdout is not None and sys.stdout.isatty()


def say(*lines: str) -> None:
    """Print lines at once.

    Ends the command, quietly and with success, when the reader has seen enough (`notifier events | head`).
    Raises Failure when what is printed cannot be written, to a full disk for example.
    """
    if not lines:
        return
    try:
        click.echo("\n".join(lines))
    except BrokenPipeError:
        raise click.exceptions.Exit(ExitCode.DONE) from None
    except OSError as error:
        raise Failure(f"the output cannot be written: {error.strerror}") from error


def say_json(documents: Iterable[Any]) -> None:
    """Print JSON Lines at once: one document a line."""
    say(*(harmless_json(orjson.dumps(document).decode()) for document in documents))


def show_pages(pages: Iterable[Page], show: Callable[[Page], None]) -> None:
    """Show page after page as they come; when there is none, say so where it is no part of the output."""
    empty = True
    for page in pages:
        show(page)
        empty = False
    if empty:
        click.echo("there are none", err=True)


def say_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line, aligned."""
    pairs = list(facts)
    width = max((len(name) for name, _ in pairs), default=0)
    say(*(f"{name:<{width}}{_GAP}{harmless(value)}" for name, value in pairs))


class Listing:
    """A table that can grow: the titles once, then rows, in as many goes as it takes.

    On a terminal it is `rich` that draws it, into a pipe it is plain text under titles in capitals.
    """

    def __init__(self, *columns: Column) -> None:
        """Take the columns."""
        self._columns = columns
        self._widths = tuple(len(column.title) for column in columns)
        self._begun = False

    def show(self, rows: Iterable[Sequence[str]]) -> None:
        """Print rows, aligned with those before as far as possible."""
        cells = [[harmless(cell) for cell in row] for row in rows]
        lengths = ([len(cell) for cell in row] for row in cells)
        self._widths = tuple(map(max, zip(self._widths, *lengths, strict=True)))
        if is_terminal():
            # Drawing takes a tenth of a second to import, which a pipe never needs.
            from notifier.cli.terminal import draw  # noqa: PLC0415

            draw(self._columns, cells, self._widths, titled=not self._begun)
        else:
            titles = [] if self._begun else [[column.title.upper() for column in self._columns]]
            say(*(self._line(row) for row in [*titles, *cells]))
        self._begun = True

    def _line(self, row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(self._columns, row, self._widths, strict=True)
        )
        return _GAP.join(padded).rstrip()
