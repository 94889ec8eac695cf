"""When expiry is announced: once for each last day, and again only if the announcement was withdrawn in between."""

from dataclasses import dataclass
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.watch.detection.expiry import (
    ExpiryStage,
    LastAnnouncement,
    expiring_days_of,
    has_left,
    next_announcement,
    stage_of,
)

SINCE = date(2026, 1, 10)
EXPIRING, EXPIRED = ExpiryStage.EXPIRING, ExpiryStage.EXPIRED


@pytest.mark.parametrize(
    ("until", "today", "stage"),
    [
        ("2026-03-31", date(2026, 3, 1), EXPIRING),
        ("2026-04-01", date(2026, 3, 1), None),
        ("2026-03-01", date(2026, 3, 1), EXPIRING),
        ("2026-02-28", date(2026, 3, 1), EXPIRED),
        ("2026-01-10", date(2026, 3, 1), EXPIRED),
        ("2026-01-09", date(2026, 3, 1), None),
    ],
)
def test_stage_of_counts_the_last_day_as_valid_and_ignores_expiries_before_since(
    until: str, today: date, stage: ExpiryStage | None
) -> None:
    assert stage_of(until, today, 30, SINCE) == stage


@pytest.mark.parametrize(
    ("seconds", "training", "days"),
    [(None, None, 30), (None, 14, 14), (None, 0, 0), (7 * 86_400.0, 14, 7), (3600.0, 14, 0)],
)
def test_expiring_days_of_prefers_setting_to_training(seconds: float | None, training: int | None, days: int) -> None:
    assert expiring_days_of(seconds, training) == days


@pytest.mark.parametrize(
    ("day", "left"), [(None, False), ("2026-01-10", True), ("2026-01-11", False), ("2020-01-01", True), (5, False)]
)
def test_has_left_is_true_only_for_a_date_that_is_not_in_the_future(day: object, left: bool) -> None:
    assert has_left(day, SINCE) is left


@dataclass
class AnnouncedRecord:
    """What was announced about one record, day by day."""

    rows: dict[str, LastAnnouncement]
    events: list[tuple[str, str, int]]

    def run_round(self, today: date, until: str | None) -> None:
        """Do what an expiry round does on one day, for a record with this last day."""
        for row in [*self.rows.values()]:
            if row.valid_until != until and not row.is_renewed:
                self.rows[row.valid_until] = LastAnnouncement("1", row.valid_until, "u", "t", row.stage, row.turn, True)
                self.events.append(("renewed", row.valid_until, row.turn))
        if until is None:
            return
        told = next_announcement(self.rows.get(until), stage_of(until, today, 30, SINCE))
        if told is not None:
            self.rows[until] = LastAnnouncement("1", until, "u", "t", told.stage, told.turn, False)
            self.events.append((told.stage, until, told.turn))


days = st.integers(0, 400).map(lambda number: (SINCE + timedelta(days=number)).isoformat())


@given(st.lists(st.tuples(st.integers(1, 40), st.none() | days), max_size=25))
def test_next_announcement_repeats_a_stage_only_after_a_renewal(
    steps: list[tuple[int, str | None]],
) -> None:
    told, today = AnnouncedRecord({}, []), SINCE
    for ahead, until in steps:
        today += timedelta(days=ahead)
        # A round that is repeated on the same day, as after a kill, announces nothing more.
        told.run_round(today, until)
        before = list(told.events)
        told.run_round(today, until)
        assert told.events == before
    assert len(set(told.events)) == len(told.events)
    for until in {day for _, day, _ in told.events}:
        stages = [(stage, turn) for stage, day, turn in told.events if day == until]
        for turn in {turn for _, turn in stages}:
            of_turn = [stage for stage, number in stages if number == turn]
            assert of_turn in (
                ["expiring"],
                ["expired"],
                ["expiring", "expired"],
                ["expiring", "renewed"],
                ["expired", "renewed"],
                ["expiring", "expired", "renewed"],
            )
        assert [turn for _, turn in stages] == sorted(turn for _, turn in stages)


@given(days, st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_next_announcement_reports_expired_once_for_an_unchanged_completion(until: str, pauses: list[int]) -> None:
    told, today = AnnouncedRecord({}, []), SINCE
    for pause in (*pauses, 500):
        today += timedelta(days=pause)
        told.run_round(today, until)
    assert [stage for stage, _, _ in told.events][-1] == "expired"
    assert len(told.events) <= 2
