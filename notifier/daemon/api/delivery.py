"""Builds the JSON object of one delivery, for the HTTP interface and for commands."""

from typing import TYPE_CHECKING

from notifier.clock import iso_utc
from notifier.store.queries.history import PastDelivery

if TYPE_CHECKING:
    from notifier.web.response_models.deliveries import DeliveryDocument


def delivery_document(delivery: PastDelivery) -> "DeliveryDocument":
    """Return a delivery as a JSON object with times in RFC 3339.

    `next_attempt` is null if the next attempt is due now, or if there is none.
    """
    return {
        "sequence": delivery.sequence,
        "event": delivery.event,
        "type": delivery.type,
        "source": delivery.source,
        "record": delivery.record,
        "destination": delivery.destination,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "decision": delivery.decision,
        "reason": delivery.reason,
        "status": delivery.status,
        "detail": delivery.detail,
        "last_attempt": iso_utc(delivery.last_attempt_ms) if delivery.last_attempt_ms else None,
        "next_attempt": iso_utc(delivery.next_attempt_ms) if delivery.next_attempt_ms else None,
        "scheduled_for": iso_utc(delivery.scheduled_ms) if delivery.scheduled_ms else None,
    }
