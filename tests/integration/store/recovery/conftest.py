"""Limits the failed reads of a damaged table, so that the tests are quick."""

import pytest


@pytest.fixture(autouse=True)
def fewer_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the number of failed reads after which the rest of a table is given up.

    If the first page of a table is lost, every read fails, which takes most of a test's time. The tables here have at
    most 900 rows, which are still read one by one.
    """
    monkeypatch.setattr("notifier.store.recovery.salvage._MAX_FAILURES", 5_000)
