"""What the front page shows for a status."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.store.queries.dashboard import Day
from notifier.web.dashboard.view_model import (
    MAX_FOLDED,
    MAX_ROWS,
    HealthLevel,
    day_bars,
    health_summary,
    percentage,
    split_rows,
)


def make_source(state: str = "ok", **more: Any) -> dict[str, Any]:
    return {"state": state, "last_error": None, "last_sweep": "2026-11-21T17:00:00Z", "sweep": None, **more}


def make_unswept_source(next_page: int, last_page: int | None = None, finished_at: str | None = None) -> dict[str, Any]:
    sweep = {"next_page": next_page, "last_page": last_page, "finished_at": finished_at}
    return make_source(last_sweep=None, sweep=sweep)


def make_rejected_source(reason: str) -> dict[str, Any]:
    message = "the API does not know the token; enter a valid one as the source's `token`"
    return {"state": "failing", "last_error": {"reason": reason, "message": message, "at": "2026-11-21T17:00:00Z"}}


def make_destination(state: str = "ok", pending: int = 0, dead: int = 0) -> dict[str, Any]:
    return {"state": state, "pending": pending, "dead": dead}


def make_status(
    conditions: int = 0, destinations: dict[str, Any] | None = None, age: float = 1.0, **sources: Any
) -> dict[str, Any]:
    return {
        "sources": sources or {"acme": make_source()},
        "destinations": {"hr": make_destination()} if destinations is None else destinations,
        "conditions": [{"subject": f"store/{number}"} for number in range(conditions)],
        "evaluation": {"at": "2026-11-21T17:00:00.123Z", "age_seconds": age, "well": not conditions},
    }


@pytest.mark.parametrize(
    ("now", "level", "sentence"),
    [
        (make_status(), HealthLevel.WELL, "All is well: 1 source watched, 1 destination notified, nothing waits."),
        (
            make_status(
                destinations={"hr": make_destination(pending=1200), "slack": make_destination()},
                a=make_source(),
                b=make_source(),
            ),
            HealthLevel.WELL,
            "All is well: 2 sources watched, 2 destinations notified, 1,200 deliveries in progress.",
        ),
        (make_status(1), HealthLevel.ATTENTION, "1 thing needs your attention."),
        (make_status(3), HealthLevel.ATTENTION, "3 things need your attention."),
        (
            make_status(acme=make_rejected_source("token_invalid")),
            HealthLevel.ATTENTION,
            "acme cannot be read: the API does not know the token; enter a valid one as the source's `token`.",
        ),
        (
            make_status(2, acme=make_rejected_source("token_invalid")),
            HealthLevel.ATTENTION,
            "3 things need your attention.",
        ),
        (
            make_status(acme=make_rejected_source("timeout")),
            HealthLevel.UNSETTLED,
            "Nothing is lost, but acme cannot be read at the moment.",
        ),
        (
            make_status(age=300.0),
            HealthLevel.ATTENTION,
            "Unknown: the notifier has not evaluated its state for 300 seconds.",
        ),
        (
            make_status(
                acme={"state": "failing", "last_error": {"reason": "disk_full", "message": "the disk is full"}}
            ),
            HealthLevel.UNSETTLED,
            "Nothing is lost, but the state file cannot be written (the disk is full).",
        ),
        (
            make_status(destinations={}),
            HealthLevel.ATTENTION,
            "Completions are found, but no one is notified: there is no destination yet.",
        ),
        (
            make_status(acme=make_unswept_source(3, 1030)),
            HealthLevel.STARTING,
            "Starting: the first sweep of acme is at page 3 of 1,030; new completions are reported meanwhile.",
        ),
        (
            make_status(acme=make_unswept_source(1), b=make_source()),
            HealthLevel.STARTING,
            "Starting: the first sweep of acme is at page 1; new completions are reported meanwhile.",
        ),
        (
            make_status(acme=make_unswept_source(4, 3, "2026-11-21T17:00:00Z")),
            HealthLevel.STARTING,
            "Starting: the list of acme has not been read completely yet; new completions are reported meanwhile.",
        ),
        (
            make_status(a=make_unswept_source(1), b=make_source(last_sweep=None)),
            HealthLevel.STARTING,
            (
                "Starting: the lists of 2 sources have not been read completely yet; new completions are reported"
                " meanwhile."
            ),
        ),
        (
            make_status(acme=make_source("starting")),
            HealthLevel.STARTING,
            "Starting: waiting for the first answer of acme.",
        ),
        (
            make_status(acme=make_source("failing")),
            HealthLevel.UNSETTLED,
            "Nothing is lost, but acme cannot be read at the moment.",
        ),
        (
            make_status(
                a=make_source("rate_limited"),
                destinations={"b": make_destination("retrying"), "c": make_destination(dead=1)},
            ),
            HealthLevel.UNSETTLED,
            (
                "Nothing is lost, but a is pausing because of the API's rate limit; b is being retried; 1 delivery to c"
                " was given up."
            ),
        ),
        (
            make_status(destinations={f"d-{number}": make_destination("disabled") for number in range(5)}),
            HealthLevel.UNSETTLED,
            "Nothing is lost, but d-0 is disabled; d-1 is disabled; d-2 is disabled, and 2 more problems.",
        ),
    ],
)
def test_health_summary_returns_level_and_sentence(now: dict[str, Any], level: HealthLevel, sentence: str) -> None:
    said = health_summary(now)
    assert (said.level, said.sentence) == (level, sentence)


def test_split_rows_of_many_shows_those_in_trouble_and_folds_the_rest() -> None:
    rows = {f"s-{number}": make_source() for number in range(1000)} | {"last": make_source("failing")}
    shown = split_rows(rows)
    assert shown.rows == [("last", make_source("failing"))]
    assert (shown.folded[0][0], shown.well) == ("s-0", True)
    assert (len(shown.folded), shown.left_out) == (MAX_FOLDED, 1000 - MAX_FOLDED)
    failing = split_rows({f"s-{number}": make_source("failing") for number in range(30)} | {"well": make_source()})
    assert (len(failing.rows), failing.well) == (MAX_ROWS, False)
    assert [name for name, _ in failing.folded] == [*(f"s-{number}" for number in range(MAX_ROWS, 30)), "well"]
    assert split_rows({"b": make_source(), "a": make_source("failing")}).rows == (
        ("b", make_source()),
        ("a", make_source("failing")),
    )
    given_up = {f"d-{number}": make_destination(dead=number // 14) for number in range(15)}
    assert [name for name, _ in split_rows(given_up).rows] == ["d-14"]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_day_bars_are_visible_if_not_zero_and_the_largest_has_full_height(created: list[int]) -> None:
    days = [Day(date(2026, 1, 1) + timedelta(number), one) for number, one in enumerate(created)]
    drawn = day_bars(days)
    assert [bar.day for bar in drawn] == days
    for bar in drawn:
        assert (bar.height > 0) == (bar.day.created > 0)
        assert 0 <= bar.top <= 100
        assert bar.day.created < max(created) or not bar.day.created or bar.height == 100


@given(st.integers(0, 10**6), st.none() | st.integers(0, 10**6))
def test_percentage_is_between_0_and_100(done: int, of: int | None) -> None:
    assert 0 <= percentage(done, of) <= 100
