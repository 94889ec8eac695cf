"""Draws tables, coloured words and a progress bar on a terminal, with the library `rich`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from notifier.cli.formatting import Column

_GAP: Final = 2
_STYLES: Final = {
    "ok": "green",
    "yes": "green",
    "delivered": "green",
    "starting": "yellow",
    "pending": "yellow",
    "retrying": "yellow",
    "rate_limited": "yellow",
    "failing": "red",
    "dead": "red",
    "disabled": "red",
    "no": "red",
}
"""The colour of a cell that contains exactly this word."""


def draw(columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], *, show_titles: bool) -> None:
    """Print rows as a table; with `show_titles`, print the titles of the columns first.

    A row wider than the terminal is not cut; the terminal wraps it.
    """
    console = Console(highlight=False)
    widest = [max([width, *map(cell_len, cells)]) for width, *cells in zip(widths, *rows, strict=True)]
    console.width = max(console.width, sum(widest) + _GAP * len(widths))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=show_titles, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column.title, justify="right" if column.align_right else "left", no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console.print(table)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Show a progress bar; yield a function that sets the amount done, the total (None: unknown) and a remark."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[remark]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(highlight=False)) as progress:
        task = progress.add_task(title, total=None, remark="")

        def update(done: int, total: int | None, remark: str) -> None:
            progress.update(task, completed=done, total=total, remark=remark)

        yield update
