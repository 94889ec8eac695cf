"""Connections to a state file."""

from contextlib import closing
from pathlib import Path

import pytest

from notifier.store.file.connection import open_database
from notifier.store.migrations import steps


def test_plugins_of_other_programs_are_not_even_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr("sqlite_utils.db.ensure_plugins_loaded", lambda: looked.append("looked"))
    with closing(open_database(tmp_path / "notifier.db")) as db:
        assert db.execute("SELECT count(*) FROM sources").fetchone() == (0,)
    assert steps()
    assert looked == []
