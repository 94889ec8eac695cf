"""A second daemon for the same sources would send every event twice: a warning is logged before it starts."""

from contextlib import closing
from pathlib import Path

import pytest

from notifier.config import Settings
from notifier.daemon.other_daemons import warn_of_other_daemons
from notifier.store.file.connection import open_database
from notifier.store.recovery import essentials, snapshot
from notifier.store.tables import sources


@pytest.mark.parametrize(
    ("source", "exists", "warned"), [("acme", False, True), ("globex", False, False), ("acme", True, False)]
)
def test_new_state_file_is_warned_of_if_another_one_has_the_same_sources(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    source: str,
    exists: bool,
    warned: bool,
) -> None:
    monkeypatch.setattr("notifier.config.paths.STATE_ROOT", tmp_path / "lib")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    other = tmp_path / "lib" / "notifier" / "notifier.db"
    other.parent.mkdir(parents=True)
    with closing(open_database(other)) as db:
        sources.read_or_create(db, "acme")
        sources.write(db, "acme", first_contact_ms=1)
        essentials.write(other, snapshot.take_snapshot(db, 2))
    own = tmp_path / "own.db"
    if exists:
        own.touch()
    settings = Settings.model_validate({"store": {"path": str(own)}, "sources": {source: {"token": "t"}}})
    warn_of_other_daemons(settings)
    assert [str(other) in str(record.__dict__.get("path")) for record in caplog.records] == [True] * warned


def test_warn_of_other_daemons_ignores_a_path_that_cannot_be_examined(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    path = str(loop / "notifier.db")
    warn_of_other_daemons(Settings.model_validate({"store": {"path": path}, "sources": {"acme": {"token": "t"}}}))
