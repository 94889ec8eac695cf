"""The health of one destination while it is served, and what of it is passed on to be stored."""

import pytest

from notifier.config.webhooks import HttpSettings
from notifier.delivery.clocks import TryingClock
from notifier.delivery.destination_health import DestinationHealth
from notifier.delivery.policy.decisions import Attempt, Bounds, Role
from notifier.destinations.base import Grouping
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import Event
from notifier.store.tables.destinations import Health, HealthState, LastError, Learned, Recalled
from notifier.store.tables.outbox import Delivery
from tests.support.clocks import FakeClock

SETTINGS = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/"})
DELIVERED = Outcome(AttemptResult.DELIVERED, 200)
GONE = Outcome(AttemptResult.GONE, 410)
FAILED = Outcome(AttemptResult.SERVER_ERROR, 500, detail="busy")


class Served:
    """A destination that began healthy, and everything that was passed on to be stored."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.trying = TryingClock(self.clock)
        self.stored: list[tuple[Health, LastError | None, Learned | None]] = []
        self.health = DestinationHealth(
            "hr",
            Bounds(SETTINGS, Grouping()),
            self.clock,
            lambda: 0.5,
            self.trying,
            lambda *change: self.stored.append(change),
        )
        self.health.begin(Recalled(Health(), Learned(), 0))

    def attempt(self, outcome: Outcome, sequence: int = 1) -> None:
        now = self.clock.monotonic()
        delivery = Delivery(Event(sequence, "evt_1", "completion.created", "acme", "1", 0, b"{}"), "hr")
        self.health.judge(Attempt((delivery,), now, Role.NORMAL, None), outcome, trying_ms=self.trying.ms(), now=now)


@pytest.fixture
def served() -> Served:
    return Served()


def test_of_a_destination_that_is_well_nothing_is_stored(served: Served) -> None:
    served.attempt(DELIVERED)
    assert served.stored == []
    assert served.health.waits_until_ms() is None


def test_failures_make_it_wait_and_are_stored_with_their_error(served: Served) -> None:
    for sequence in range(20):
        served.attempt(FAILED, sequence)
    health, error, _ = served.stored[-1]
    assert health is served.health.current
    assert health.state is HealthState.RETRYING
    assert error is not None
    assert error.message == "HTTP 500: busy"
    assert served.health.waits_until_ms() == health.retry_at_ms
    assert served.health.is_enabled


def test_disabled_by_its_answer_it_is_no_longer_tried_and_the_time_stands(served: Served) -> None:
    served.clock.advance(7)
    served.attempt(GONE)
    served.clock.advance(100)
    assert not served.health.is_enabled
    assert served.stored[-1][0].state is HealthState.DISABLED
    assert served.trying.ms() == 7000


def test_enabled_by_an_operator_it_begins_healthy_and_the_time_runs(served: Served) -> None:
    served.attempt(GONE)
    served.health.switch(Health())
    served.clock.advance(3)
    assert served.stored[-1][0] == Health()
    assert served.trying.ms() == 3000


def test_a_sample_that_was_taken_ends_a_failure_and_nothing_else(served: Served) -> None:
    assert not served.health.after_sample(DELIVERED)
    for sequence in range(20):
        served.attempt(FAILED, sequence)
    assert not served.health.after_sample(FAILED)
    assert served.health.after_sample(DELIVERED)
    assert served.stored[-1][0].state is HealthState.OK
    assert served.health.waits_until_ms() is None


def test_an_ended_wait_is_stored_once(served: Served) -> None:
    for sequence in range(20):
        served.attempt(FAILED, sequence)
    before = len(served.stored)
    served.health.end_wait()
    served.health.end_wait()
    assert len(served.stored) == before + 1
    assert served.health.waits_until_ms() is None


def test_a_changed_address_begins_with_what_is_recalled(served: Served) -> None:
    for sequence in range(20):
        served.attempt(FAILED, sequence)
    served.clock.advance(5)
    served.health.begin_again(Recalled(Health(), Learned(rate=0.5), 0, begun_anew=True))
    assert served.health.current == Health()
    assert served.health.learned.rate == 0.5
    assert served.health.waits_until_ms() is None
    assert served.trying.seconds_running() == 0.0
