"""What a terminal can show beyond lines: tables that fit it, words in colours, a bar that moves."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from notifier.cli.columns import Column

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
"""Words that say how something is doing."""


def draw(columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int], *, titled: bool) -> None:
    """Print rows as a table, under titles if wanted.

    What is wider than the terminal is left for it to wrap: that can still be copied, and stays aligned.
    """
    console = Console(highlight=False)
    console.width = max(console.width, sum(widths) + _GAP * len(widths))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=titled, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=True, min_width=width)
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console.print(table)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Show a bar; yields a function that takes how much is done, of how much (None: unknown), and a remark."""
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
