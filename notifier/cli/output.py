"""Prints lines, JSON, names with values, and tables to standard output."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import click
import orjson

from notifier.cli.errors import CommandError, ExitCode
from notifier.cli.formatting import Column, terminal_safe, terminal_safe_json

Page = TypeVar("Page")

_GAP: Final = "  "

_LONGEST_CELL: Final = 1000
"""Maximum number of characters in a cell of a table; longer text is cut, but not with `--json`."""


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def echo(*lines: str) -> None:
    """Print lines, and flush them.

    If the reader has closed the pipe (`notifier events | head`), the command ends without an error. Raises CommandError
    if the output cannot be written, for example to a full disk.
    """
    if lines:
        _print("\n".join(lines))


def echo_bytes(content: bytes) -> None:
    """Print bytes unchanged. A closed pipe or a failed write has the same effect as in `echo`."""
    if content:
        _print(content, nl=False)


def _print(content: str | bytes, *, nl: bool = True) -> None:
    try:
        click.echo(content, nl=nl)
    except BrokenPipeError:
        raise click.exceptions.Exit(ExitCode.DONE) from None
    except OSError as error:
        raise CommandError(f"the output cannot be written: {error.strerror}") from error


def echo_json(documents: Iterable[Any]) -> None:
    """Print documents as JSON Lines, one per line, and flush them."""
    echo(*(terminal_safe_json(orjson.dumps(document).decode()) for document in documents))


def show_pages(pages: Iterable[Page], show: Callable[[Page], None]) -> None:
    """Call `show` with each page as soon as the page is read. If there are no pages, print a note on standard error."""
    empty = True
    for page in pages:
        show(page)
        empty = False
    if empty:
        click.echo("there are none", err=True)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair per line, with the values aligned."""
    pairs = list(facts)
    width = max((len(name) for name, _ in pairs), default=0)
    echo(*(f"{name:<{width}}{_GAP}{terminal_safe(value)}" for name, value in pairs))


def _cut(cell: str) -> str:
    return cell if len(cell) <= _LONGEST_CELL else f"{cell[: _LONGEST_CELL - 1]}…"


class TableWriter:
    """Prints a table in parts: the titles once, then rows in any number of calls.

    On a terminal, `rich` draws the table. Otherwise the table is plain text with titles in capitals.
    """

    def __init__(self, *columns: Column, may_grow: bool = False) -> None:
        """Initialise with the columns. With `may_grow`, later rows may need more space, so minimum widths apply."""
        self._columns = columns
        self._widths = tuple(max(len(column.title), column.min_width if may_grow else 0) for column in columns)
        self._titles_printed = False

    def show(self, rows: Iterable[Sequence[str]]) -> None:
        """Print rows, aligned with those of earlier calls. A cell wider than its column shifts the cells after it."""
        cells = [[_cut(terminal_safe(cell)) for cell in row] for row in rows]
        if not self._titles_printed:
            lengths = ([len(cell) for cell in row] for row in cells)
            self._widths = tuple(map(max, zip(self._widths, *lengths, strict=True)))
        if is_terminal():
            # Imported only here: the import takes a tenth of a second, and a pipe never needs it.
            from notifier.cli.rich_output import draw  # noqa: PLC0415

            draw(self._columns, cells, self._widths, show_titles=not self._titles_printed)
        else:
            titles = [] if self._titles_printed else [[column.title.upper() for column in self._columns]]
            echo(*(self._line(row) for row in [*titles, *cells]))
        self._titles_printed = True

    def _line(self, row: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column.align_right else cell.ljust(width)
            for column, cell, width in zip(self._columns, row, self._widths, strict=True)
        )
        return _GAP.join(padded).rstrip()
