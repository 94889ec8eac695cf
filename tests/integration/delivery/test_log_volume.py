"""The log of a long outage: it has the beginning, the end and the final decisions, but not every attempt."""

import asyncio
import logging
import math

import pytest

from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.log import RepeatFilter
from tests.simulation.delivery import DAY, PlannedEvent, http_settings, make_events, simulate
from tests.simulation.receiver import BROKEN, UNAVAILABLE, Outage, SimulatedReceiver

REFUSED = Outcome(AttemptResult.REFUSED, 400, detail="no such employee")


def log_lines(caplog: pytest.LogCaptureFixture, at_least: int = logging.INFO) -> list[tuple[str, str]]:
    return [(record.levelname.lower(), record.getMessage()) for record in caplog.records if record.levelno >= at_least]


def down(seconds: float, outcome: Outcome = UNAVAILABLE) -> SimulatedReceiver:
    return SimulatedReceiver(outages=[Outage(0.0, seconds, outcome)])


def test_log_of_a_long_outage_has_one_line_for_its_start_and_one_for_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "notifier")
    settings = http_settings(give_up_after="60d", retry_max="1h", concurrency=8)
    receiver = simulate(down(3 * DAY), settings, make_events(10))
    assert len(receiver.requests) > 500
    assert log_lines(caplog) == [
        ("warning", "destination fails; its events wait and are tried again"),
        ("warning", "destination works again"),
    ]


def test_log_at_debug_level_has_a_line_for_every_failed_attempt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "notifier")
    settings = http_settings(give_up_after="60d", retry_max="6h")
    receiver = simulate(down(math.inf), settings, make_events(10), until=DAY)
    failed = [line for line in log_lines(caplog, logging.DEBUG) if line == ("debug", "attempt failed")]
    assert len(failed) == len(receiver.requests) > 100


def test_log_has_an_error_for_each_delivery_that_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "notifier")
    settings = http_settings(give_up_after="1d", retry_max="1h")
    simulate(down(math.inf, BROKEN), settings, make_events(10), until=5 * DAY)
    given_up = [record for record in caplog.records if record.getMessage() == "delivery given up"]
    assert len({vars(record)["event"] for record in given_up}) == 10
    assert {record.levelname for record in given_up} == {"ERROR"}
    assert len(log_lines(caplog)) == 11


def test_log_has_the_first_refusal_and_the_giving_up_of_a_refused_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "notifier")
    choosy = SimulatedReceiver(poisonous=lambda it: it.event.subject == "3", poison=REFUSED)
    receiver = simulate(choosy, http_settings(give_up_after="3d", retry_max="1h"), make_events(10), until=5 * DAY)
    assert len([request for request in receiver.requests if "3" in request.subjects]) > 50
    assert log_lines(caplog) == [("info", "attempt failed"), ("error", "delivery given up")]
    assert {vars(record)["decision"] for record in caplog.records} == {"retry_later", "give_up"}


def test_log_of_a_flapping_endpoint_is_limited_and_counts_left_out_lines(
    caplog: pytest.LogCaptureFixture, bounded: logging.Filter
) -> None:
    caplog.set_level(logging.INFO, "notifier")
    caplog.handler.addFilter(bounded)
    minutes = 60 * 6
    outages = [Outage(60.0 * minute, 60.0 * (minute + 1), UNAVAILABLE) for minute in range(1, minutes, 2)]
    news = [PlannedEvent(str(minute), at=60.0 * minute) for minute in range(minutes)]
    try:
        simulate(SimulatedReceiver(outages=outages), http_settings(retry_first="2s", retry_max="10s"), news)
    finally:
        caplog.handler.removeFilter(bounded)
    assert len(caplog.records) <= 2 * (20 + 6) < minutes / 6
    assert any(vars(record).get("left_out", 0) > 10 for record in caplog.records)


@pytest.fixture
def bounded() -> logging.Filter:
    """Return the filter that limits the program's log, with the simulated time."""

    class InVirtualTime(RepeatFilter):
        def filter(self, record: logging.LogRecord) -> bool:
            record.created = asyncio.get_running_loop().time()
            return super().filter(record)

    return InVirtualTime()
