"""How far a copy of the state file has come, for whoever watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from notifier.cli.screen import is_terminal

_PAGE: Final = 4096


@contextmanager
def shown_copying(title: str) -> Iterator[Callable[[int, int], None]]:
    """Draw progress on a terminal, of so many pages of so many; elsewhere the line at the end is enough."""
    if not is_terminal():
        yield lambda _done, _of: None
        return
    # Drawing takes a tenth of a second to import, which a pipe never needs.
    from notifier.cli.terminal import progress_bar  # noqa: PLC0415

    with progress_bar(title) as update:
        yield lambda done, of: update(done, of, f"{done * _PAGE / 1_000_000:,.1f} MB")
