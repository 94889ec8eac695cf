"""Shows the progress of copying the state file on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from notifier.cli.output import is_terminal

_PAGE: Final = 4096


@contextmanager
def shown_copying(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows progress on a terminal, and does nothing elsewhere.

    Its arguments are the number of pages copied and their total.
    """
    if not is_terminal():
        yield lambda _done, _of: None
        return
    # Imported only for a terminal, because the import takes a tenth of a second.
    from notifier.cli.rich_output import progress_bar  # noqa: PLC0415

    with progress_bar(title) as update:
        yield lambda done, of: update(done, of, f"{done * _PAGE / 1_000_000:,.1f} MB")
