"""The outcomes of a request as they are stored: which deliveries share one, and what counts as a latency."""

from notifier.delivery.outcome_writer import settlements_of
from notifier.delivery.policy.retry import Decision, RetryDecision
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import Event
from notifier.store.tables.outbox import Delivery, DeliveryState, Settlement

DONE = RetryDecision(DeliveryState.DELIVERED, Decision.DELIVERED, 0.0, counts=False)
LATER = RetryDecision(DeliveryState.PENDING, Decision.RETRY_LATER, 60.0, counts=True)
NOW_MS = 10**12


def delivery(sequence: int, *, again: bool = False) -> Delivery:
    return Delivery(Event(sequence, f"evt_{sequence}", "t", "acme", "1", NOW_MS - sequence, b"{}"), "hr", again=again)


def settled(deliveries: list[Delivery], decided: list[RetryDecision]) -> list[Settlement]:
    outcome = Outcome(AttemptResult.DELIVERED, 200)
    return settlements_of(deliveries, decided, outcome, milliseconds=7, trying_ms=50, now_ms=NOW_MS)


def test_what_was_sent_again_on_request_does_not_count_for_the_latency() -> None:
    (all_of_them,) = settled([delivery(1), delivery(2, again=True), delivery(3)], [DONE] * 3)
    assert all_of_them.sequences == (1, 2, 3)
    assert all_of_them.detected_ms == (NOW_MS - 1, NOW_MS - 3)
    assert (all_of_them.attempted_ms, all_of_them.milliseconds) == (NOW_MS - 7, 7)


def test_each_fate_has_its_own_deliveries() -> None:
    done, later = settled([delivery(1), delivery(2), delivery(3, again=True)], [DONE, LATER, DONE])
    assert (done.sequences, done.state, done.detected_ms) == ((1, 3), DeliveryState.DELIVERED, (NOW_MS - 1,))
    assert (later.sequences, later.state, later.next_attempt_ms) == ((2,), DeliveryState.PENDING, NOW_MS + 60_000)
