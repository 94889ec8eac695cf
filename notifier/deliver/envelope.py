"""The body of a request to an HTTP endpoint: CloudEvents 1.0 or the Standard Webhooks form, of one event or many.

An event's `data` goes in as the bytes it is kept in: nothing parses it again on the way out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import orjson

from notifier.clock import iso_utc
from notifier.completions import Event, EventType, batch_id
from notifier.config.destinations import HttpFormat

SEQUENCE_DIGITS = 20
"""A CloudEvents `sequence` is a string; zeros in front make it sort as the number it is."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request's body, its `content-type`, and the id under which every retry of it goes out."""

    message_id: str
    content_type: str
    body: bytes


def single(event: Event, form: HttpFormat) -> Envelope:
    """Write one event by itself."""
    match form:
        case HttpFormat.CLOUDEVENTS:
            return Envelope(event.id, "application/cloudevents+json", orjson.dumps(cloudevent(event)))
        case HttpFormat.STANDARD:
            return Envelope(event.id, "application/json", orjson.dumps(_standard(event)))
        case _:
            assert_never(form)


def batch(events: Sequence[Event], form: HttpFormat) -> Envelope:
    """Write events as an array, even one of them: receivers of batches need not tell two shapes apart."""
    message_id = batch_id(tuple(event.id for event in events))
    match form:
        case HttpFormat.CLOUDEVENTS:
            body = orjson.dumps([cloudevent(event) for event in events])
            return Envelope(message_id, "application/cloudevents-batch+json", body)
        case HttpFormat.STANDARD:
            body = orjson.dumps({"events": [_standard(event) for event in events]})
            return Envelope(message_id, "application/json", body)
        case _:
            assert_never(form)


def cloudevent(event: Event) -> dict[str, Any]:
    """Return an event in CloudEvents' structured mode, for `orjson.dumps` only: its `data` is an `orjson.Fragment`."""
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


def _source(event: Event) -> str:
    """Return the URI reference of what an event is about; operational notices come from the notifier itself."""
    return "/notifier" if event.type == EventType.ALERT else f"/sources/{event.source}"
