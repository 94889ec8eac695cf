"""The outcomes of a request as they are stored: which deliveries share one, and what counts as a latency."""

import asyncio
from typing import Any

import pytest

from notifier.delivery import outcome_writer
from notifier.delivery.outcome_writer import OutcomeWriter, settlements_of
from notifier.delivery.policy.retry import Decision, RetryDecision
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import Event
from notifier.store.tables.outbox import Delivery, DeliveryState
from notifier.store.tables.settlements import Settlement
from tests.support.waiting import until

DONE = RetryDecision(DeliveryState.DELIVERED, Decision.DELIVERED, 0.0, counts_against_event=False)
LATER = RetryDecision(DeliveryState.PENDING, Decision.RETRY_LATER, 60.0, counts_against_event=True)
NOW_MS = 10**12


def delivery(sequence: int, *, again: bool = False) -> Delivery:
    return Delivery(Event(sequence, f"evt_{sequence}", "t", "acme", "1", NOW_MS - sequence, b"{}"), "hr", again=again)


def settle(deliveries: list[Delivery], decided: list[RetryDecision]) -> list[Settlement]:
    outcome = Outcome(AttemptResult.DELIVERED, 200)
    return settlements_of(deliveries, decided, outcome, milliseconds=7, trying_ms=50, now_ms=NOW_MS)


def test_settlements_of_leaves_deliveries_sent_again_out_of_the_latency() -> None:
    (all_of_them,) = settle([delivery(1), delivery(2, again=True), delivery(3)], [DONE] * 3)
    assert all_of_them.sequences == (1, 2, 3)
    assert all_of_them.detected_ms == (NOW_MS - 1, NOW_MS - 3)
    assert (all_of_them.attempted_ms, all_of_them.milliseconds) == (NOW_MS - 7, 7)


def test_settlements_of_groups_deliveries_by_decision() -> None:
    done, later = settle([delivery(1), delivery(2), delivery(3, again=True)], [DONE, LATER, DONE])
    assert (done.sequences, done.state, done.detected_ms) == ((1, 3), DeliveryState.DELIVERED, (NOW_MS - 1,))
    assert (later.sequences, later.state, later.next_attempt_ms) == ((2,), DeliveryState.PENDING, NOW_MS + 60_000)


class HangingStore:
    """A store whose writes hang until `goes_on` is set."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()

    async def run(self, *_: Any) -> None:
        await self.goes_on.wait()


async def test_outcome_writer_is_blocked_while_an_outcome_stays_unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome_writer, "LONGEST_UNWRITTEN_SECONDS", 0.05)
    store: Any = HangingStore()
    written: list[int] = []
    writer = OutcomeWriter("hr", store, lambda batch: written.append(len(batch)))
    writer.start()
    assert not writer.is_blocked
    writer.add(settle([delivery(1)], [DONE]))
    assert not writer.is_blocked
    await until(lambda: writer.is_blocked)
    store.goes_on.set()
    await until(lambda: written == [1])
    assert not writer.is_blocked
    await writer.stop()
