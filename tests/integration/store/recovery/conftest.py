"""Damage that is read around without trying every number that a row may have."""

import pytest


@pytest.fixture(autouse=True)
def fewer_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a table up after fewer failed reads.

    A table whose first page is lost fails at every read, which takes most of such a test; the tables here have at most
    900 rows, each of which is still read on its own.
    """
    monkeypatch.setattr("notifier.store.recovery.salvage._MAX_FAILURES", 5_000)
