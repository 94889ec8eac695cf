"""What lasting trouble leaves in the log: its beginning, its end and what was decided for good, not every attempt."""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

import pytest

from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.log import RepeatFilter
from tests.support.simulated_delivery import DAY, HOUR, SimulatedDelivery, now, simulate

DOWN = Outcome(AttemptResult.SERVER_ERROR, 503, detail="busy")
BROKEN = Outcome(AttemptResult.SERVER_ERROR, 500, detail="oops")
REFUSED = Outcome(AttemptResult.REFUSED, 400, detail="no such employee")
OK = Outcome(AttemptResult.DELIVERED, 200)


def log_lines(caplog: pytest.LogCaptureFixture, at_least: int = logging.INFO) -> list[tuple[str, str]]:
    return [(record.levelname.lower(), record.getMessage()) for record in caplog.records if record.levelno >= at_least]


async def enter_ten_events(delivery: SimulatedDelivery, days: float) -> None:
    await delivery.enter(*map(str, range(10)))
    await asyncio.sleep(days * DAY)


def test_a_receiver_that_is_down_for_hundreds_of_attempts_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "notifier")

    def answer(_subjects: Sequence[str]) -> Outcome:
        return DOWN if now() < 3 * DAY else OK

    endpoint = simulate(answer, partial(enter_ten_events, days=4), give_up_after="60d", retry_max="1h", concurrency=8)
    assert len(endpoint.requests) > 500
    assert log_lines(caplog) == [
        ("warning", "destination fails; its events wait and are tried again"),
        ("warning", "destination works again"),
    ]


def test_at_debug_level_every_attempt_is_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "notifier")
    endpoint = simulate(lambda _subjects: DOWN, partial(enter_ten_events, days=1), give_up_after="60d", retry_max="6h")
    failed = [line for line in log_lines(caplog, logging.DEBUG) if line == ("debug", "attempt failed")]
    assert len(failed) == len(endpoint.requests) > 100


def test_each_delivery_that_is_given_up_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "notifier")
    simulate(lambda _subjects: BROKEN, partial(enter_ten_events, days=5), give_up_after="1d", retry_max="1h")
    given_up = [record for record in caplog.records if record.getMessage() == "delivery given up"]
    assert len({vars(record)["event"] for record in given_up}) == 10
    assert {record.levelname for record in given_up} == {"ERROR"}
    assert len(log_lines(caplog)) == 11


def test_an_event_that_is_refused_is_told_of_when_it_first_is_and_when_it_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "notifier")

    def answer(subjects: Sequence[str]) -> Outcome:
        return REFUSED if "3" in subjects else OK

    endpoint = simulate(answer, partial(enter_ten_events, days=5), give_up_after="3d", retry_max="1h")
    assert len(endpoint.attempts_at("3")) > 50
    assert log_lines(caplog) == [("info", "attempt failed"), ("error", "delivery given up")]
    assert {vars(record)["decision"] for record in caplog.records} == {"retry_later", "give_up"}


def test_an_endpoint_that_comes_and_goes_is_told_of_now_and_then(
    caplog: pytest.LogCaptureFixture, bounded: logging.Filter
) -> None:
    caplog.set_level(logging.INFO, "notifier")
    caplog.handler.addFilter(bounded)

    def answer(_subjects: Sequence[str]) -> Outcome:
        return DOWN if now() // 60 % 2 else OK

    async def an_event_every_minute(delivery: SimulatedDelivery) -> None:
        for number in range(60 * 6):
            await delivery.enter(str(number))
            await asyncio.sleep(HOUR / 60)

    try:
        simulate(answer, an_event_every_minute, retry_first="2s", retry_max="10s")
    finally:
        caplog.handler.removeFilter(bounded)
    changes = 60 * 6
    assert len(caplog.records) <= 2 * (20 + 6) < changes / 6
    assert any(vars(record).get("left_out", 0) > 10 for record in caplog.records)


@pytest.fixture
def bounded() -> logging.Filter:
    """What bounds the log of the program, by the simulated time."""

    class InVirtualTime(RepeatFilter):
        def filter(self, record: logging.LogRecord) -> bool:
            record.created = now()
            return super().filter(record)

    return InVirtualTime()
