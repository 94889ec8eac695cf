"""Builds the body of a request to an HTTP endpoint: one or many events, as CloudEvents 1.0 or Standard Webhooks.

The stored bytes of an event's `data` are inserted unchanged.
"""

from collections.abc import Sequence
from typing import Any, assert_never

import orjson
from msgspec import Struct

from notifier.clock import iso_utc
from notifier.config.webhooks import BatchForm, HttpFormat
from notifier.events import Event, EventType, batch_id

BATCH_TYPE = "notifier.batch"
"""The `type` of a Standard Webhooks message that carries a batch."""

SEQUENCE_DIGITS = 20
"""The length of a CloudEvents `sequence`, a string; leading zeros make it sort like a number."""


class Envelope(Struct, frozen=True):
    """The body of a request, its `content-type`, and its message id. Retries of a request have the same message id."""

    message_id: str
    content_type: str
    body: bytes


def single(event: Event, form: HttpFormat) -> Envelope:
    """Return the envelope of a request with one event."""
    match form:
        case HttpFormat.CLOUDEVENTS:
            return Envelope(event.id, "application/cloudevents+json", orjson.dumps(cloudevent(event)))
        case HttpFormat.STANDARD:
            return Envelope(event.id, "application/json", orjson.dumps(_standard(event)))
        case _:
            assert_never(form)


def batch(events: Sequence[Event], form: HttpFormat, batch_form: BatchForm = BatchForm.EVENTS) -> Envelope:
    """Return the envelope of a request with an array of events, even if there is only one event.

    `batch_form` applies to Standard Webhooks only.
    """
    message_id = batch_id(tuple(event.id for event in events))
    match form:
        case HttpFormat.CLOUDEVENTS:
            body = orjson.dumps([cloudevent(event) for event in events])
            return Envelope(message_id, "application/cloudevents-batch+json", body)
        case HttpFormat.STANDARD:
            array = {"events": [_standard(event) for event in events]}
            document = array if batch_form is BatchForm.EVENTS else _message(message_id, events[-1].time_ms, array)
            return Envelope(message_id, "application/json", orjson.dumps(document))
        case _:
            assert_never(form)


def cloudevent(event: Event) -> dict[str, Any]:
    """Return an event in CloudEvents' structured mode. Only `orjson` can write it: `data` is an `orjson.Fragment`."""
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": _source(event),
        "type": event.type,
        "time": iso_utc(event.time_ms),
        "subject": event.subject,
        "sequence": str(event.sequence).zfill(SEQUENCE_DIGITS),
        "datacontenttype": "application/json",
        "data": orjson.Fragment(event.data),
    }


def _standard(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "timestamp": iso_utc(event.time_ms),
        "source": _source(event),
        "data": orjson.Fragment(event.data),
    }


def _message(message_id: str, time_ms: int, data: dict[str, Any]) -> dict[str, Any]:
    """Return a Standard Webhooks message that carries a batch; `time_ms` is the time of the batch's last event."""
    return {"id": message_id, "type": BATCH_TYPE, "timestamp": iso_utc(time_ms), "data": data}


def _source(event: Event) -> str:
    """Return the field `source` of an event: `/sources/NAME`, or `/notifier` for an alert."""
    return "/notifier" if event.type == EventType.ALERT else f"/sources/{event.source}"
