"""Views, or what a source requests: when two have the same list, and how another view affects what is known."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from notifier.config import SourceSettings
from notifier.store.database import Database
from notifier.store.tables import sources, sweeps
from notifier.watch.detection.news import EarlierView
from notifier.watch.detection.view import View, apply_view
from tests.support.tables_in_memory import tables_in_memory

ids = st.none() | st.sampled_from(["1", "2"])
views = st.builds(
    View,
    st.sampled_from(["v1", "v2"]),
    st.sampled_from(["https://a", "https://b"]),
    ids,
    ids,
    st.none() | st.booleans(),
)


@given(views, views, st.booleans())
def test_requests_same_list_ignores_renumbers(one: View, other: View, renumbers: bool) -> None:
    assert one.requests_same_list(replace(one, renumbers=renumbers))
    assert one.requests_same_list(other) is (one == other) is other.requests_same_list(one)


@given(views)
def test_view_round_trips_through_text(view: View) -> None:
    assert View.from_text(view.to_text()) == view


def test_view_from_settings_omits_unset_filters() -> None:
    settings = SourceSettings.model_validate({"token": "t", "base_url": "https://a/", "training_id": "7"})
    bare = SourceSettings.model_validate({"token": "t", "base_url": "https://a"})
    assert View.from_settings(settings) == View("v2", "https://a", "7")
    assert View.from_settings(bare).filters == (None, None, None)


@pytest.fixture
def db() -> Iterator[Database]:
    with closing(tables_in_memory()) as database:
        sources.read_or_create(database, "acme")
        yield database


WIDE = View("v2", "https://a")
NOW_MS = 10


def test_apply_view_first_view_changes_nothing_else(db: Database) -> None:
    before = sources.update(db, "acme", first_contact_ms=1, swept_at_ms=2, unexplained=3)
    assert apply_view(db, "acme", WIDE, NOW_MS) == replace(before, view=WIDE.to_text())
    assert apply_view(db, "acme", WIDE, NOW_MS) == replace(before, view=WIDE.to_text())


def test_apply_view_another_filter_resets_the_balance_and_starts_a_first_sweep(db: Database) -> None:
    apply_view(db, "acme", WIDE, NOW_MS)
    sweeps.finish(db, sweeps.resume_or_start(db, "acme", 3), 4)
    sources.write(
        db, "acme", first_contact_ms=1, swept_at_ms=4, unexplained=3, count_offset=4, held=5, last_success_ms=9
    )
    sources.write(db, "acme", release_removals="tell", release_changes="learn")
    sweeps.resume_or_start(db, "acme", 5)
    narrow = replace(WIDE, training_id="7")
    memory = apply_view(db, "acme", narrow, NOW_MS)
    assert View.from_text(memory.view or "") == replace(narrow, earlier=EarlierView(None, None, None, 3 - 600_000))
    assert (memory.first_contact_ms, memory.view_since_ms, memory.swept_at_ms) == (1, 9, None)
    assert (memory.unexplained, memory.count_offset, memory.held) == (0, 0, 0)
    assert (memory.release_removals, memory.release_changes) == (None, None)
    due = sweeps.latest(db, "acme")
    assert due is not None
    assert (due.started_ms, due.finished_ms, due.next_page, due.marks) == (NOW_MS, None, 1, False)


def test_apply_view_another_api_version_expects_other_keys_until_the_next_sweep(db: Database) -> None:
    apply_view(db, "acme", WIDE, NOW_MS)
    sources.write(db, "acme", first_contact_ms=1, swept_at_ms=2)
    assert View.from_text(apply_view(db, "acme", replace(WIDE, api="v1"), NOW_MS).view or "").renumbers
    assert View.from_text(apply_view(db, "acme", replace(WIDE, api="v1", user_id="u"), NOW_MS).view or "").renumbers
    sources.write(db, "acme", swept_at_ms=3)
    assert not View.from_text(apply_view(db, "acme", replace(WIDE, api="v1"), NOW_MS).view or "").renumbers


def test_apply_view_another_view_before_the_first_sweep_keeps_view_since(db: Database) -> None:
    apply_view(db, "acme", WIDE, NOW_MS)
    sources.write(db, "acme", first_contact_ms=1, last_success_ms=9)
    memory = apply_view(db, "acme", replace(WIDE, training_id="7"), NOW_MS)
    assert memory.view_since_ms is None
    sources.write(db, "acme", swept_at_ms=9)
    changed = apply_view(db, "acme", replace(WIDE, training_id="8"), NOW_MS)
    sources.write(db, "acme", last_success_ms=12)
    again = apply_view(db, "acme", replace(WIDE, training_id="9"), NOW_MS)
    assert again.view_since_ms == changed.view_since_ms == 9
    assert View.from_text(again.view or "").earlier == View.from_text(changed.view or "").earlier


@pytest.mark.parametrize("other", [{"base_url": "https://b"}, {"api": "v1"}])
def test_follow_view_another_list_before_a_sweep_forgets_the_earlier_filters(
    db: Database, other: dict[str, str]
) -> None:
    apply_view(db, "acme", WIDE, NOW_MS)
    sources.write(db, "acme", first_contact_ms=1, swept_at_ms=2, last_success_ms=9)
    narrow = replace(WIDE, training_id="7")
    assert View.from_text(apply_view(db, "acme", narrow, NOW_MS).view or "").earlier is not None
    memory = apply_view(db, "acme", replace(narrow, **other), NOW_MS)
    assert View.from_text(memory.view or "").earlier is None
    assert memory.view_since_ms == 9


@pytest.mark.parametrize("other", [{"base_url": "https://b"}, {"api": "v1"}])
def test_apply_view_another_list_stores_no_earlier_view(db: Database, other: dict[str, str]) -> None:
    apply_view(db, "acme", WIDE, NOW_MS)
    sources.write(db, "acme", first_contact_ms=1, swept_at_ms=2, last_success_ms=9)
    memory = apply_view(db, "acme", replace(WIDE, **other), NOW_MS)
    assert View.from_text(memory.view or "").earlier is None
    assert memory.view_since_ms == 9
