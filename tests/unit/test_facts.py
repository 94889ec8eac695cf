"""Until when a completion is valid, the days that this is calculated from, and the facts to look up."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.facts import (
    UNKNOWN_VALIDITY,
    PersonField,
    TrainingFacts,
    Validity,
    day_of_ms,
    fields_to_look_up,
    months_later,
    validity,
)

YEARLY = TrainingFacts("rolling", 12, 30)
SPECIAL, RULE = "special_expiry", "renewal_rule"


@pytest.mark.parametrize(
    ("completed_on", "expires_on", "training", "until", "source"),
    [
        ("2020-02-27", "2021-01-01", YEARLY, "2021-01-01", SPECIAL),
        (None, "2021-01-01", None, "2021-01-01", SPECIAL),
        ("2020-02-27", None, YEARLY, "2021-02-27", RULE),
        ("2020-02-29", None, YEARLY, "2021-02-28", RULE),
        ("2020-01-31", None, TrainingFacts("rolling", 1), "2020-02-29", RULE),
        ("2020-02-27", None, TrainingFacts("rolling", 0), None, None),
        ("2020-02-27", None, TrainingFacts("rolling", None), None, None),
        ("2020-02-27", None, TrainingFacts("fixed", 12), None, None),
        ("2020-02-27", None, TrainingFacts(None, 12), None, None),
        ("2020-02-27", None, None, None, None),
        (None, None, YEARLY, None, None),
        ("9999-06-01", None, YEARLY, None, None),
        ("2020-02-27", None, TrainingFacts("rolling", 100_000), None, None),
    ],
)
def test_validity_is_returned_only_if_it_is_certain(
    completed_on: str | None, expires_on: str | None, training: TrainingFacts | None, until: str, source: str
) -> None:
    found = validity(completed_on, expires_on, training)
    assert (found.until, found.source) == (until, source)
    assert (found == UNKNOWN_VALIDITY) is (found == Validity()) is (until is None)


@given(st.dates(max_value=date(8000, 1, 1)), st.integers(1, 240))
def test_months_later_returns_the_same_day_or_the_last_of_the_month(day: date, months: int) -> None:
    found = date.fromisoformat(months_later(day.isoformat(), months) or "")
    assert found.year * 12 + found.month == day.year * 12 + day.month + months
    assert found.day <= day.day
    if found.day < day.day:
        # The next day would be in another month.
        assert date.fromordinal(found.toordinal() + 1).day == 1


@given(st.dates(max_value=date(8000, 1, 1)), st.integers(1, 240), st.integers(1, 240))
def test_months_later_with_more_months_is_never_earlier(day: date, fewer: int, more: int) -> None:
    ends = [months_later(day.isoformat(), months) or "" for months in sorted((fewer, fewer + more))]
    assert ends == sorted(ends)


@pytest.mark.parametrize("day", ["", "27.2.2020", "2020-13-01"])
def test_months_later_of_an_invalid_day_returns_none(day: str) -> None:
    assert months_later(day, 12) is None


def test_day_of_ms_beyond_the_calendar_returns_none() -> None:
    assert day_of_ms(1_582_830_441_803) == "2020-02-27"
    assert day_of_ms(10**20) is None


def test_fields_to_look_up_adds_the_id_of_the_job_title() -> None:
    assert fields_to_look_up([PersonField.JOB_TITLE]) == {PersonField.JOB_TITLE, PersonField.JOB_TITLE_ID}
    assert fields_to_look_up(()) == frozenset()
