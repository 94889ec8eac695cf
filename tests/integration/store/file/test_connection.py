"""Connections to a state file."""

from contextlib import closing
from pathlib import Path

import pytest

from notifier.store.file.connection import open_database
from notifier.store.migrations import steps


def test_open_database_does_not_load_sqlite_utils_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr("sqlite_utils.db.ensure_plugins_loaded", lambda: looked.append("looked"))
    with closing(open_database(tmp_path / "notifier.db")) as db:
        assert db.execute("SELECT count(*) FROM sources").fetchone() == (0,)
    assert steps()
    assert looked == []
