"""The JSON object of a delivery."""

from msgspec.structs import replace

from notifier.daemon.api.delivery import delivery_document
from notifier.store.queries.history import PastDelivery
from notifier.store.tables.outbox import DeliveryState

NOW = 1_795_280_400_123
TRIED = PastDelivery(
    DeliveryState.PENDING,
    7,
    "hr",
    "evt_x",
    "completion.created",
    "acme",
    "1238",
    1,
    "retry_later",
    "server_error",
    503,
    "busy",
    last_attempt_ms=NOW,
    next_attempt_ms=NOW + 5_000,
)


def test_delivery_document_contains_the_state_and_the_last_attempt() -> None:
    assert delivery_document(TRIED) == {
        "sequence": 7,
        "event": "evt_x",
        "type": "completion.created",
        "source": "acme",
        "record": "1238",
        "destination": "hr",
        "state": "pending",
        "attempts": 1,
        "decision": "retry_later",
        "reason": "server_error",
        "status": 503,
        "detail": "busy",
        "last_attempt": "2026-11-21T17:00:00.123Z",
        "next_attempt": "2026-11-21T17:00:05.123Z",
        "scheduled_for": None,
    }


def test_delivery_document_due_at_once_or_never_has_no_next_attempt() -> None:
    for next_attempt_ms in (0, None):
        document = delivery_document(replace(TRIED, last_attempt_ms=None, next_attempt_ms=next_attempt_ms))
        assert (document["last_attempt"], document["next_attempt"]) == (None, None)
