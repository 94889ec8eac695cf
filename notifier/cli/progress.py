"""Shows, on a terminal, the progress of a sweep or of a copy of the state file."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from notifier.cli import daemon_client
from notifier.cli.errors import BusyError, CommandError
from notifier.cli.formatting import format_count
from notifier.cli.output import is_terminal

_PAGE_BYTES: Final = 4096
_REFRESH_SECONDS: Final = 0.3
_LONGEST_BUSY_SECONDS: Final = 60.0
ShowSweep = Callable[[Mapping[str, Any]], None]
"""A function that shows the progress of a sweep. Its argument is the object `sweep` of a source in `/v1/status`."""


@contextmanager
def copy_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows the progress of a copy. Without a terminal, the function does nothing.

    The function takes the number of pages copied so far, and the total.
    """
    if not is_terminal():
        yield lambda _done, _total: None
        return
    # Imported only for a terminal, because the import takes a tenth of a second.
    from notifier.cli.rich_output import progress_bar  # noqa: PLC0415

    with progress_bar(title) as update:
        yield lambda done, total: update(done, total, f"{done * _PAGE_BYTES / 1_000_000:,.1f} MB")


def request_progress(state_file: Path, path: str) -> daemon_client.DaemonAnswer | None:
    """Request the progress of work that the daemon does; return None if no daemon is running.

    The daemon may be too busy to answer, for example with searches in the dashboard, although the work goes on. Then
    this asks again. Raises CommandError; raises BusyError after _LONGEST_BUSY_SECONDS.
    """
    deadline = time.monotonic() + _LONGEST_BUSY_SECONDS
    while True:
        try:
            return daemon_client.request(state_file, "GET", path)
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_REFRESH_SECONDS)


def wait_for_sweep(state_file: Path, source: str, show: ShowSweep) -> Mapping[str, Any]:
    """Wait until the daemon's sweep of a source ends, and return the sweep's last progress.

    The progress is the object `sweep` of the source in `/v1/status`, and is passed to `show` repeatedly. Raises
    CommandError if the sweep is interrupted.
    """
    while True:
        answer = request_progress(state_file, "/v1/status")
        if answer is None:
            raise CommandError("the daemon has stopped; the next `notifier run` continues the sweep")
        if source not in answer.body["sources"]:
            raise CommandError(f"{source} was removed from the daemon's configuration, so its sweep was interrupted")
        source_status = answer.body["sources"][source]
        progress: Mapping[str, Any] = source_status["sweep"]
        show(progress)
        if progress["finished_at"] is not None and not progress["running"]:
            return progress
        if not progress["running"]:
            failing = source_status["failing"]
            error = failing.get("scan") or failing.get("head") or source_status["last_error"]
            raise CommandError(f"{source}: {error['message'] if error else 'the sweep was interrupted'}")
        time.sleep(_REFRESH_SECONDS)


@contextmanager
def sweep_progress(source: str, *, quiet: bool) -> Iterator[ShowSweep]:
    """Yield a function that shows a sweep's progress. With `quiet` or without a terminal, the function does nothing."""
    if quiet or not is_terminal():
        yield lambda _progress: None
        return
    # Imported only for a terminal, because the import takes a tenth of a second.
    from notifier.cli.rich_output import progress_bar  # noqa: PLC0415

    with progress_bar(source) as update:
        yield lambda progress: update(
            progress["next_page"] - 1, progress["last_page"], format_count(progress["records"], "record")
        )
