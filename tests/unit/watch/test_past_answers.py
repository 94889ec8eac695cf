"""What earlier answers of a source contained, and how it affects the next answer."""

from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from notifier.config import SourceSettings
from notifier.events import Change, DetectedBy, EventType
from notifier.kpa.rate_limiter import RateLimiter
from notifier.kpa.versions import InvalidRecord
from notifier.store.file.store import FileStore
from notifier.store.tables import records
from notifier.store.tables.holds import HeldChange
from notifier.store.tables.records import Findings, SilentRecord
from notifier.store.tables.second_looks import LookKind, SecondLook
from notifier.store.tables.silent_updates import Adoption
from notifier.store.tables.sources import SourceMemory
from notifier.watch.detection.evidence import HoldState
from notifier.watch.detection.holds import HoldLimits
from notifier.watch.detection.news import NewsReason
from notifier.watch.limits import DETECTION_LIMITS
from notifier.watch.past_answers import PastAnswers
from notifier.watch.second_looks import SecondLooks
from notifier.watch.source_context import SourceContext
from notifier.watch.source_health import SourceHealth
from tests.support.clocks import FakeClock
from tests.support.completions import completion

SETTINGS = SourceSettings(token=SecretStr("sandbox"), hold_arrivals_above=200, hold_changes_above=0.05)
NEVER = float("-inf")


class Source:
    """One source whose answers are noted, and whose store can be read again as after a restart."""

    def __init__(self, store: FileStore, clock: FakeClock) -> None:
        limiter = RateLimiter(60, clock)
        self.health = SourceHealth(
            "acme", SETTINGS, limiter, store, clock, DETECTION_LIMITS, lambda _source, _reason: None
        )
        self._context = SourceContext("acme", SETTINGS, store, clock, self.health, DETECTION_LIMITS, lambda: 0.5)
        self.looks = SecondLooks("acme", store, clock, SETTINGS.confirm_after)
        self.past = self.past_after_restart()

    def past_after_restart(self) -> PastAnswers:
        return PastAnswers(self._context, self.looks)

    def note(self, requested_at: float = 100.0, net: DetectedBy = DetectedBy.HEAD, **findings: Any) -> None:
        self.past.note(Findings("acme", "acme", **findings), requested_at, net)

    def changed(self, requested_at: float, *keys: str) -> dict[str, float]:
        """Return which of these records were changed by answers requested after that moment, and when."""
        return dict(self.past.evidence(requested_at, keys, is_precise=False).changed_at)

    def hold_state(self, net: DetectedBy = DetectedBy.HEAD, **memory: Any) -> HoldState:
        return self.past.hold_state(SourceMemory(**memory), net)

    def counted(self, net: DetectedBy = DetectedBy.HEAD) -> tuple[int, dict[str, int]]:
        state = self.hold_state(net)
        return state.counted_arrivals, dict(state.counted_changes)


@pytest.fixture
def source(store: FileStore, clock: FakeClock) -> Source:
    return Source(store, clock)


def arrival(key: str, reason: NewsReason = NewsReason.APPEARED_AFTER_SWEEP) -> Change:
    return Change(EventType.CREATED, completion(key), 1, DetectedBy.HEAD, reason)


def update(key: str) -> Change:
    return Change(EventType.UPDATED, completion(key, notes="new"), 2, DetectedBy.HEAD, "changed", completion(key))


def removal(key: str) -> Change:
    return Change(EventType.REMOVED, completion(key), 2, DetectedBy.HEAD, "absent")


def silent(key: str) -> SilentRecord:
    return SilentRecord(completion(key), DetectedBy.SWEEP, "entered_before_first_meeting")


def look(key: str) -> SecondLook:
    return SecondLook(key, LookKind.REMOVAL, 1, 1, "count", 0, "u", "t")


@pytest.mark.parametrize(
    "findings",
    [
        {"changes": [update("1")]},
        {"learned": [silent("1")]},
        {"held": [silent("1")]},
        {"adopted": [Adoption("0", completion("1"))]},
        {"refreshed": [completion("1")]},
    ],
    ids=lambda findings: next(iter(findings)),
)
def test_evidence_lists_written_records_as_changed_for_earlier_requests(
    source: Source, findings: dict[str, Any]
) -> None:
    source.note(100.0, **findings)
    assert source.changed(99.9, "1", "2") == {"1": 100.0}
    assert source.changed(100.0, "1") == {}


def test_evidence_keeps_a_change_while_an_earlier_request_may_be_answered(source: Source) -> None:
    longest = 2 * SETTINGS.timeout + 60
    source.note(100.0, changes=[update("1")])
    source.note(100.0 + longest - 0.1, changes=[update("2")])
    assert source.changed(0.0, "1") == {"1": 100.0}
    source.note(100.0 + longest, changes=[update("3")])
    assert source.changed(0.0, "1", "2") == {"2": 100.0 + longest - 0.1}


@pytest.mark.parametrize(
    ("findings", "changes_the_number"),
    [
        ({"changes": [arrival("1")]}, True),
        ({"changes": [update("2"), removal("1")]}, True),
        ({"learned": [silent("1")]}, True),
        ({"held": [silent("1")]}, True),
        ({"in_view": ["1"]}, True),
        ({"dropped": ["1"]}, True),
        ({"changes": [update("1")]}, False),
        ({"refreshed": [completion("1")]}, False),
        ({"looks": [look("1")]}, False),
        ({}, False),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_existing_changed_at_is_set_only_if_the_number_of_known_records_changes(
    source: Source, findings: dict[str, Any], changes_the_number: bool
) -> None:
    source.note(100.0, **findings)
    assert source.past.existing_changed_at == (100.0 if changes_the_number else NEVER)


def test_existing_changed_at_is_the_time_of_the_latest_request(source: Source) -> None:
    source.note(100.0, changes=[arrival("1")])
    source.note(90.0, changes=[arrival("2")])
    assert source.past.existing_changed_at == 100.0


def test_hold_state_counts_arrivals_and_changed_fields_but_not_ordinary_news(source: Source) -> None:
    undated, entered = NewsReason.UNDATED_AFTER_SWEEP, NewsReason.ENTERED_SINCE
    source.note(changes=[arrival("1"), arrival("2", undated), arrival("3", entered), update("4")], held=[silent("5")])
    source.note(changes=[update("6"), removal("7")])
    assert source.counted() == (3, {"notes": 2})
    assert source.counted(DetectedBy.COUNT) == (3, {"notes": 2})


def test_hold_state_counts_a_sweep_separately_until_the_next_sweep_begins(source: Source, clock: FakeClock) -> None:
    source.note(changes=[arrival("1")])
    source.note(net=DetectedBy.SWEEP, changes=[arrival("2"), arrival("3")])
    clock.advance(DETECTION_LIMITS.hold_window_seconds + 1)
    assert source.counted(DetectedBy.SWEEP) == (2, {})
    source.past.begin_sweep()
    assert source.counted(DetectedBy.SWEEP) == (0, {})


def test_hold_state_counts_outside_sweeps_end_with_their_time_window(source: Source, clock: FakeClock) -> None:
    source.note(changes=[arrival("1")])
    clock.advance(DETECTION_LIMITS.hold_window_seconds)
    assert source.counted() == (1, {})
    clock.advance(0.001)
    assert source.counted() == (0, {})


def test_hold_state_limits_follow_settings_and_number_of_known_records(source: Source) -> None:
    assert source.hold_state(records=1000).limits == HoldLimits(200, 50)
    assert source.hold_state(records=100).limits == HoldLimits(200, DETECTION_LIMITS.few_records)


def test_hold_state_takes_held_arrivals_and_changes_from_the_stored_state(source: Source) -> None:
    few = DETECTION_LIMITS.few_records
    nothing = source.hold_state(held_changes=few, held_field="notes")
    assert (nothing.arrivals_held, nothing.held_field, nothing.release_changes) == (False, None, None)
    held = source.hold_state(held_arrivals=1, held_changes=few + 1, held_field="notes", release_changes="announce")
    assert (held.arrivals_held, held.held_field, held.release_changes) == (True, "notes", "announce")


def test_evidence_second_looks_are_due_only_for_precise_answers(source: Source, clock: FakeClock) -> None:
    source.note(looks=[look("1"), look("2")])
    clock.advance(SETTINGS.confirm_after)
    source.note(ended_looks=["2"])
    assert source.past.evidence(1.0, ["1"], is_precise=True).due == {"1"}
    assert source.past.evidence(1.0, ["1"], is_precise=False).due == frozenset()
    assert set(source.past.evidence(1.0, ["1"], is_precise=False).looks) == {"1"}


async def test_evidence_keeps_held_changes_until_they_end_and_after_a_restart(source: Source, store: FileStore) -> None:
    held = Findings("acme", "acme", held_changes=[HeldChange("1", "notes"), HeldChange("2", "notes")])
    source.past.note(held, 100.0, DetectedBy.HEAD)
    source.note(ended_changes=["1"])
    assert source.past.evidence(1.0, [], is_precise=False).held_changes == {"2"}

    await store.run(records.write, held, [], 1)
    again = source.past_after_restart()
    await again.recall()
    assert again.evidence(1.0, [], is_precise=False).held_changes == {"1", "2"}


async def test_recall_reads_the_store_only_once(source: Source, store: FileStore) -> None:
    held = Findings("acme", "acme", held_changes=[HeldChange("1", "notes")])
    await store.run(records.write, held, [], 1)
    await source.past.recall()
    source.note(ended_changes=["1"])
    await source.past.recall()
    assert source.past.evidence(1.0, [], is_precise=False).held_changes == set()


async def test_evidence_contains_unreadable_records_of_the_first_sweep_after_a_restart(source: Source) -> None:
    bad = [
        InvalidRecord("1", "no date"),
        InvalidRecord(None, "no id"),
        InvalidRecord("2", "an id that stood there before", is_repeated=True),
    ]
    await source.past.note_unreadable(bad)
    assert source.past.evidence(1.0, [], is_precise=False).unreadable == {"1"}
    again = source.past_after_restart()
    await again.recall()
    assert again.evidence(1.0, [], is_precise=False).unreadable == {"1"}


async def test_evidence_omits_records_that_become_unreadable_after_the_first_sweep(source: Source) -> None:
    source.health.remember(replace(source.health.memory, swept_at_ms=1))
    await source.past.note_unreadable([InvalidRecord("1", "no date")])
    again = source.past_after_restart()
    await again.recall()
    for past in (source.past, again):
        assert past.evidence(1.0, [], is_precise=False).unreadable == set()
