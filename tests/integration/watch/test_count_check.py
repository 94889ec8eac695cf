"""Probes: the request for the count detects changes that leave the count unchanged."""

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alerts.conditions import ConditionName
from notifier.sandbox import Dialect
from notifier.store.tables.records_by_date import DayBoundary
from notifier.watch.count_check import Probe, probe_at

if TYPE_CHECKING:
    from tests.support.watched_source import Station

DAY = 86_400
MANY_POLLS = 60


@given(
    days=st.lists(st.sampled_from(["2026-11-21", "2025-01-31", "2019-07-04"]), min_size=2, max_size=30), data=st.data()
)
def test_probe_at_returns_one_of_the_two_records_beside_the_start_of_a_day(
    days: list[str], data: st.DataObject
) -> None:
    listed = sorted(days, reverse=True)
    begins = [place for place in range(1, len(listed)) if listed[place] != listed[place - 1]]
    for above in begins:
        landmark = DayBoundary(listed[above], above, listed[above - 1])
        spot = probe_at(landmark, data.draw(st.floats(0, 1, exclude_max=True)))
        assert spot.place in (above, above + 1)
        assert spot.day == int(listed[spot.place - 1].replace("-", ""))


def test_probe_at_selects_the_record_by_chance() -> None:
    landmark = DayBoundary("2019-07-04", 7, "2025-01-31")
    assert probe_at(landmark, 0.0) == Probe(8, 20190704)
    assert probe_at(landmark, 0.999) == Probe(7, 20250131)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(("entered", "deleted"), [(20190704, 2024), (20251231, 2020)], ids=["below", "above"])
async def test_polls_find_an_entry_and_a_deletion_that_leave_the_count_unchanged(
    either: "Station", entered: int, deleted: int
) -> None:
    either.chance = random.Random(5).random
    await either.open(1_000, page_size=20)
    await either.round()
    either.clock.advance(60)
    gone = next(record for record in either.account.records() if record.date_number // 10_000 == deleted)
    either.account.remove(gone.id)
    [new] = either.enter(date_number=entered)
    either.upstream.asked.clear()
    for _ in range(MANY_POLLS):
        either.clock.advance(60)
        await either.round()
        if len(either.events) == 2:
            break
    rows = await either.query("SELECT subject, type, net FROM events")
    assert sorted(rows) == sorted(
        [(either.key(new), "completion.created", "count"), (either.key(gone), "completion.removed", "count")]
    )
    assert len(await either.query("SELECT id FROM sweeps")) == 1
    await either.check_consistency()


@pytest.mark.usefixtures("small_pages")
async def test_probes_of_an_unchanged_list_start_no_search_with_ties_in_any_order(either: "Station") -> None:
    await either.open(400, page_size=20)
    await either.round()
    either.upstream.asked.clear()
    for seed in range(MANY_POLLS):
        either.account.reshuffle_ties(seed)
        either.clock.advance(60)
        await either.round()
    assert either.upstream.pages() == [(1, 20)] * MANY_POLLS
    places = {page for page, limit in either.upstream.requests() if limit == 1}
    assert len(places) > MANY_POLLS / 2


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("dialect", [Dialect(), Dialect(missing_is_error=True)])
async def test_probe_beyond_the_end_of_a_shorter_list_does_not_prevent_removals(
    station: "Station", dialect: Dialect
) -> None:
    station.chance = lambda: 0.0
    await station.open(200, page_size=20, hold_removals_above=1.0)
    station.account.dialect = dialect
    await station.round()
    station.clock.advance(60)
    standing = list(station.account.records())
    for record in standing[100:]:
        station.account.remove(record.id)
    for _ in range(2):
        await station.round()
    for _ in range(10):
        station.clock.advance(61)
        await station.round()
    assert station.told_types() == {"completion.removed": 100}
    assert (await station.memory()).records == 100


@pytest.mark.usefixtures("small_pages")
async def test_unsorted_list_raises_list_unsearchable_and_is_not_searched_at_every_poll(station: "Station") -> None:
    await station.open(300, page_size=20, hold_changes_above=1000)
    await station.round()
    for record in list(station.account.records())[::3]:
        station.account.edit(record.id, overrides={"date_number": 20120101})
    station.clock.advance(DAY)
    await station.round()
    assert station.told_types() == {"completion.updated": 100}
    for _ in range(5):
        station.clock.advance(60)
        await station.round()
    station.upstream.asked.clear()
    for _ in range(20):
        station.clock.advance(60)
        await station.round()
    # Only sweeps read pages, at most one in twelve seconds.
    assert [condition.name for condition in station.conditions()] == [ConditionName.LIST_UNSEARCHABLE]
    assert len(station.upstream.pages()) - 20 <= 20 * 60 / 12
