"""Real damage to a state file: it is set aside and rebuilt, no event is sent twice, no undelivered one is lost."""

import os
import random
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.store.recovery import compare
from notifier.store.tables import sources
from tests.support.used_state_file import (
    HISTORY,
    HOUR,
    MET,
    NEWS,
    NOW,
    PAGE,
    Place,
    check_guarantees,
    empty,
    read_all_records,
    scribble_schema,
    zero_header,
    zero_root_page,
)


def nothing(_: Place) -> None:
    pass


def zero_first_page(place: Place) -> None:
    place.overwrite(0, bytes(PAGE))


def cut_in_half(place: Place) -> None:
    os.truncate(place.path, place.pages // 2 * PAGE)


def cut_within_a_page(place: Place) -> None:
    os.truncate(place.path, place.pages // 3 * PAGE + 1000)


def remove(place: Place) -> None:
    place.path.unlink()


def scribble_all_but_the_first(place: Place) -> None:
    place.overwrite(PAGE, b"\xab" * (place.pages - 1) * PAGE)


def scribble_every_third(place: Place) -> None:
    for number in range(2, place.pages, 3):
        place.overwrite(number * PAGE, random.Random(number).randbytes(PAGE))


TABLES = ("records", "events", "deliveries", "attempt_runs", "sources", "destinations", "_sqlite_migrations")
INDEXES = ("deliveries_unfinished", "records_by_key", "events_by_time", "sqlite_autoindex_events_1")
DAMAGES = {
    "the header": zero_header,
    "the first page": zero_first_page,
    "the schema": scribble_schema,
    "empty": empty,
    "half": cut_in_half,
    "cut within a page": cut_within_a_page,
    "gone": remove,
    "all but the first page": scribble_all_but_the_first,
    "every third page": scribble_every_third,
} | {f"the root of {name}": zero_root_page(name) for name in TABLES + INDEXES}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_set_aside_and_rebuilt_with_all_guarantees(
    place: Place, damage: Callable[[Place], None], caplog: pytest.LogCaptureFixture
) -> None:
    damage(place)
    left = place.path.read_bytes() if place.path.exists() else None
    with closing(place.open()) as db:
        rebuild = compare.latest_comparison(db)
        assert rebuild is not None
        assert (rebuild.at_ms, rebuild.problem != "") == (NOW + HOUR, True)
        check_guarantees(db)
    if left is None:
        assert (place.set_aside(), rebuild.set_aside) == ([], None)
    else:
        assert place.set_aside() == [place.path.with_name("notifier.db.damaged-20261121T180000Z")]
        assert rebuild.set_aside == str(place.set_aside()[0])
        assert place.set_aside()[0].read_bytes() == left
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "WARNING"]
    beside = {path.name.removeprefix("notifier.db") for path in place.path.parent.iterdir()}
    assert {name for name in beside if not name.startswith(".damaged-")} == {"", ".essentials"}


def number_at(content: bytes, offset: int, size: int = 2) -> int:
    return int.from_bytes(content[offset : offset + size], "big")


def zero_middle_leaf(place: Place, table: str) -> int:
    """Zero a page in the middle of a table whose root page points to its leaves; return how many rows were on it."""
    with closing(sqlite3.connect(place.path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
    content, root = place.path.read_bytes(), (page - 1) * PAGE
    middle = number_at(content, root + 3) // 2
    leaf = (number_at(content, root + number_at(content, root + 12 + 2 * middle), 4) - 1) * PAGE
    assert (content[root], content[leaf]) == (5, 13)
    place.overwrite(leaf, bytes(PAGE))
    return number_at(content, leaf + 3)


@pytest.mark.parametrize(("table", "rows"), [("records", len(HISTORY) + len(NEWS)), ("events", len(NEWS))])
def test_rebuild_loses_only_the_rows_of_a_damaged_page(place: Place, table: str, rows: int) -> None:
    lost = zero_middle_leaf(place, table)
    assert 1 < lost < 40
    with closing(place.open()) as db:
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows - lost,)
        check_guarantees(db)


@settings(max_examples=12)
@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(1, 12), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6
    )
)
def test_rebuild_keeps_the_guarantees_after_any_pages_are_overwritten(
    lived: Path, tmp_path_factory: pytest.TempPathFactory, scribbles: list[tuple[int, int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("scribbled")
    shutil.copytree(lived, folder, dirs_exist_ok=True)
    place = Place(folder / "notifier.db")
    for where, pages, content in scribbles:
        first = where % place.pages
        size = min(pages, place.pages - first) * PAGE
        place.overwrite(first * PAGE, (content * size)[:size])
    with closing(place.open()) as db:
        check_guarantees(db)
    shutil.rmtree(folder)


@settings(max_examples=12)
@given(st.lists(st.tuples(st.integers(0, 10**7), st.binary(min_size=1, max_size=300)), min_size=1, max_size=8))
def test_open_returns_a_sound_file_after_any_bytes_are_overwritten(
    lived: Path, tmp_path_factory: pytest.TempPathFactory, scribbles: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("scribbled")
    shutil.copytree(lived, folder, dirs_exist_ok=True)
    place = Place(folder / "notifier.db")
    size = place.path.stat().st_size
    for where, content in scribbles:
        place.overwrite(where % (size - 300), content)
    with closing(place.open()) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert sources.read_or_create(db, "acme").first_contact_ms == MET
        read_all_records(db)
    shutil.rmtree(folder)


@pytest.mark.parametrize("damage", ["name of a table", "steps of the schema"])
def test_rebuild_reads_a_file_with_a_garbled_schema(place: Place, damage: str) -> None:
    content = place.path.read_bytes()
    old, new = {
        "name of a table": (b"CREATE TABLE deliveries", b"CREATE TABLE de\xffiveries"),
        "steps of the schema": (b"three_nets", b"three_pets"),
    }[damage]
    place.path.write_bytes(content.replace(old, new, 1))
    if damage == "steps of the schema":
        zero_root_page("attempt_runs")(place)
    with closing(place.open()) as db:
        assert compare.latest_comparison(db) is not None
        check_guarantees(db)
