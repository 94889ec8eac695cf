"""Creates settlements for tests of the store."""

from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.settlements import Settlement

NOW = 1_000_000


def settlement(
    sequence: int,
    state: DeliveryState = DeliveryState.DELIVERED,
    *,
    next_attempt_ms: int = 0,
    attempted_ms: int = NOW,
    destination: str = "hr",
    trying_ms: int = 0,
) -> Settlement:
    return Settlement(
        (sequence,),
        destination,
        state,
        "wait_and_retry",
        "http_status",
        503,
        "said so",
        attempted_ms,
        20,
        next_attempt_ms,
        trying_ms=trying_ms,
    )
