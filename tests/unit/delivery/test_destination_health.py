"""The health of one destination while its worker runs, and which changes of it are stored."""

import logging

import pytest
from msgspec.structs import replace

from notifier.config.webhooks import HttpSettings
from notifier.delivery.clocks import TryingClock
from notifier.delivery.destination_health import DestinationHealth
from notifier.delivery.health import shifted
from notifier.delivery.policy.batching import BatchSize
from notifier.delivery.policy.circuit_breaker import BreakerMode
from notifier.delivery.policy.decisions import Attempt, Bounds, RequestKind
from notifier.destinations.base import Grouping
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import Event
from notifier.store.tables.destinations import Health, HealthState, LastError, LearnedLimits, StartingState
from notifier.store.tables.outbox import Delivery
from tests.support.clocks import FakeClock

SETTINGS = HttpSettings.model_validate({"type": "http", "url": "http://127.0.0.1:9/"})
DELIVERED = Outcome(AttemptResult.DELIVERED, 200)
GONE = Outcome(AttemptResult.GONE, 410)
FAILED = Outcome(AttemptResult.SERVER_ERROR, 500, detail="busy")


class Served:
    """A destination that starts healthy, and the changes that it has passed on to the store."""

    def __init__(self, **settings: float) -> None:
        self.clock = FakeClock()
        self.trying = TryingClock(self.clock)
        self.stored: list[tuple[Health, LastError | None, LearnedLimits | None]] = []
        self.health = DestinationHealth(
            "hr",
            Bounds(SETTINGS.model_copy(update=settings), Grouping()),
            self.clock,
            lambda: 0.5,
            self.trying,
            lambda *change: self.stored.append(change),
        )
        self.health.restore(StartingState(Health(), LearnedLimits(), 0))

    def attempt(self, outcome: Outcome, sequence: int = 1) -> None:
        now = self.clock.monotonic()
        delivery = Delivery(Event(sequence, "evt_1", "completion.created", "acme", "1", 0, b"{}"), "hr")
        self.health.apply_outcome(
            Attempt((delivery,), now, RequestKind.NORMAL, None), outcome, trying_ms=self.trying.total_ms(), now=now
        )

    def fail(self) -> None:
        """Let enough attempts fail to make the destination wait."""
        for sequence in range(20):
            self.attempt(FAILED, sequence)


@pytest.fixture
def served() -> Served:
    return Served()


def test_destination_health_stores_nothing_while_deliveries_succeed(served: Served) -> None:
    served.attempt(DELIVERED)
    assert served.stored == []
    assert served.health.waits_until_ms() is None


def test_destination_health_waits_after_failures_and_stores_the_error(served: Served) -> None:
    served.fail()
    health, error, _ = served.stored[-1]
    assert health is served.health.current
    assert health.state is HealthState.RETRYING
    assert error is not None
    assert error.message == "HTTP 500: busy"
    assert served.health.waits_until_ms() == health.retry_at_ms
    assert served.health.is_enabled


def test_destination_health_is_disabled_by_gone_and_pauses_the_trying_clock(served: Served) -> None:
    served.clock.advance(7)
    served.attempt(GONE)
    served.clock.advance(100)
    assert not served.health.is_enabled
    assert served.stored[-1][0].state is HealthState.DISABLED
    assert served.trying.total_ms() == 7000


def test_apply_switch_to_enabled_stores_ok_and_resumes_the_trying_clock(served: Served) -> None:
    served.attempt(GONE)
    served.health.apply_switch(Health())
    served.clock.advance(3)
    assert served.stored[-1][0] == Health()
    assert served.trying.total_ms() == 3000


def test_apply_sample_ends_a_failure_only_if_the_sample_is_delivered(served: Served) -> None:
    assert not served.health.apply_sample(DELIVERED)
    served.fail()
    assert not served.health.apply_sample(FAILED)
    assert served.health.apply_sample(DELIVERED)
    assert served.stored[-1][0].state is HealthState.OK
    assert served.health.waits_until_ms() is None


def test_end_wait_twice_stores_the_end_once(served: Served) -> None:
    served.fail()
    before = len(served.stored)
    served.health.end_wait()
    served.health.end_wait()
    assert len(served.stored) == before + 1
    assert served.health.waits_until_ms() is None


def test_reset_starts_with_the_given_health_and_limits(served: Served) -> None:
    served.fail()
    served.clock.advance(5)
    served.health.reset(StartingState(Health(), LearnedLimits(rate=0.5), 0, was_reset=True))
    assert served.health.current == Health()
    assert served.health.learned.rate == 0.5
    assert served.health.waits_until_ms() is None
    assert served.trying.seconds_running() == 0.0


def test_restore_continues_the_wait_the_limits_and_the_time_of_trying(served: Served) -> None:
    retry_at_ms = served.clock.now_ms() + 30_000
    failing = Health(HealthState.RETRYING, AttemptResult.SERVER_ERROR, 1, failures=2, retry_at_ms=retry_at_ms)
    served.health.restore(StartingState(failing, LearnedLimits(rate=0.5, batch_limit=7), 5000))
    served.clock.advance(2)
    assert served.health.current == failing
    assert served.health.learned == LearnedLimits(rate=0.5, batch_limit=7)
    assert served.health.waits_until_ms() == retry_at_ms
    assert served.trying.total_ms() == 7000
    assert served.stored == []


def test_restore_of_a_disabled_destination_pauses_the_trying_clock(served: Served) -> None:
    served.health.restore(StartingState(Health(HealthState.DISABLED), LearnedLimits(), 5000))
    served.clock.advance(2)
    assert served.trying.total_ms() == 5000


@pytest.mark.parametrize(("recalled", "begins_with"), [(None, 2.0), (0.5, 0.5), (8.0, 2.0)])
def test_restore_limits_the_learned_rate_to_the_configured_rate(recalled: float | None, begins_with: float) -> None:
    served = Served(rate=2.0)
    served.health.restore(StartingState(Health(), LearnedLimits(rate=recalled), 0))
    assert served.health.state.rate.per_second == begins_with


def test_note_request_start_delays_the_next_request_by_the_learned_rate(served: Served) -> None:
    served.health.restore(StartingState(Health(), LearnedLimits(rate=0.5), 0))
    served.health.note_request_start(served.clock.monotonic())
    assert served.health.state.rate.next_at == served.clock.monotonic() + 2.0


def test_new_learned_limits_are_stored_once(served: Served) -> None:
    served.health.state = replace(served.health.state, size=BatchSize(limit=3))
    served.health.follow_clock(0)
    served.health.follow_clock(0)
    assert [learned for _, _, learned in served.stored] == [LearnedLimits(batch_limit=3), None]


def test_follow_clock_shifts_the_stored_times(served: Served) -> None:
    served.fail()
    before = served.health.current
    served.health.follow_clock(5000)
    assert (before.retry_at_ms, before.since_ms) != (None, None)
    assert served.stored[-1][0] == shifted(before, 5000)


def test_outage_is_logged_when_it_begins_and_when_it_ends(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served.fail()
    served.health.apply_sample(DELIVERED)
    assert [it.getMessage() for it in caplog.records] == [
        "destination fails; its events wait and are tried again",
        "destination works again",
    ]


def test_apply_switch_logs_disabled_and_enabled(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    served.health.apply_switch(Health(HealthState.DISABLED))
    served.health.apply_switch(Health())
    assert [it.getMessage() for it in caplog.records] == ["destination disabled", "destination enabled"]


def test_outage_ends_when_a_sample_is_delivered_or_an_operator_enables(served: Served) -> None:
    served.fail()
    served.clock.advance(3)
    served.health.apply_sample(DELIVERED)
    assert served.stored[-1][0] == Health(since_ms=served.clock.now_ms())
    assert served.health.state.breaker.last_success == served.clock.monotonic()
    served.fail()
    served.health.apply_switch(Health())
    assert served.health.waits_until_ms() is None
    assert served.health.state.breaker.mode is BreakerMode.CLOSED


def test_requested_wait_is_kept_after_a_success(served: Served) -> None:
    retry_at_ms = served.clock.now_ms() + 30_000
    paced = Health(HealthState.RETRYING, AttemptResult.THROTTLED, 1, failures=1, retry_at_ms=retry_at_ms, asked=True)
    served.health.restore(StartingState(paced, LearnedLimits(), 0))
    served.attempt(DELIVERED)
    assert served.stored == []
    assert served.health.waits_until_ms() == retry_at_ms
