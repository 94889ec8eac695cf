"""The state file, opened to be read only: beside a running daemon or without one."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from notifier.cli.failures import Failure
from notifier.ledger.errors import LedgerError, LedgerReason, as_ledger_error
from notifier.ledger.ledger import open_for_reading


@contextmanager
def reading(path: Path) -> Iterator[Database]:
    """Open the state file for as long as it is read. Raises Failure when it is not there or cannot be read."""
    try:
        with closing(open_for_reading(path)) as db:
            yield db
    except LedgerError as error:
        raise _failure(error) from error
    except sqlite3.Error as error:
        named = as_ledger_error(error, path)
        if named is None:
            raise
        raise _failure(named) from error


def _failure(error: LedgerError) -> Failure:
    if error.reason in {LedgerReason.NOT_WRITABLE, LedgerReason.READ_ONLY}:
        return Failure(f"{error.message}, or run this as the user whom the daemon runs as")
    return Failure(error.message)
