"""The events that `notifier test DESTINATION` sends or shows. They look like real ones, and are marked as a test."""

import base64
import hashlib
from dataclasses import replace
from enum import StrEnum

import orjson

from notifier.clock import iso_utc
from notifier.events import Change, Completion, DetectedBy, Event, EventType, Names, event_data

_KEY = "sample"
_PERSON = "sample-person"
_TRAINING = "sample-training"
_TITLE = "Sample Training (a test by Completion Notifier)"
_SESSION = "sample-session"
_ID_CHARACTERS = 26


class SampleKind(StrEnum):
    """The kinds of messages that can be shown."""

    CREATED = "created"
    UPDATED = "updated"
    REMOVED = "removed"
    SESSION = "session"
    DIGEST = "digest"
    ALERT = "alert"


def sample_events(kind: SampleKind, source: str, now_ms: int, count: int) -> list[Event]:
    """Return events for a message of this kind, about `count` different people."""
    if kind is SampleKind.ALERT:
        return [_alert(source, now_ms) for _ in range(count)]
    types = {SampleKind.UPDATED: EventType.UPDATED, SampleKind.REMOVED: EventType.REMOVED}
    session = _SESSION if kind is SampleKind.SESSION else None
    return [
        sample_event(source, now_ms, number, types.get(kind, EventType.CREATED), session)
        for number in range(1, count + 1)
    ]


def sample_event(
    source: str, now_ms: int, number: int = 1, kind: EventType = EventType.CREATED, session: str | None = None
) -> Event:
    """Return an event of a made-up record, detected at `now_ms` (Unix milliseconds).

    Its sequence is 0, which no real event has. Its id depends on `now_ms`, so that a receiver that drops known ids
    accepts a second test too. Each `number` is about a different person.
    """
    suffix = "" if number == 1 else f"-{number}"
    person = _PERSON + suffix
    names = Names({person: f"Sample Person{suffix.replace('-', ' ')}"}, {_TRAINING: _TITLE})
    today = iso_utc(now_ms)[:10]
    completion = Completion(
        key=_KEY + suffix,
        training_id=_TRAINING,
        user_id=person,
        completed_on=today,
        expires_on=None,
        recorded_at=now_ms,
        instructor_id=None,
        group_training_id=session,
        notes="No training was completed: this is a test.",
        has_attachments=False,
        raw=b'{"sample":true}',
    )
    previous = None
    if kind is EventType.UPDATED:
        previous, completion = completion, replace(completion, expires_on=today)
    change = Change(kind, completion, revision=1, net=DetectedBy.HEAD, reason="sample", previous=previous)
    digest = hashlib.sha256(f"{source} {now_ms}{suffix}".encode()).digest()
    marked = _KEY + base64.b32encode(digest).decode().lower()
    return Event(
        sequence=0,
        id="evt_" + marked[:_ID_CHARACTERS],
        type=change.type,
        source=source,
        subject=completion.key,
        time_ms=now_ms,
        data=event_data(change, names),
    )


def _alert(source: str, now_ms: int) -> Event:
    """Return a made-up operational notice."""
    subject = f"sources/{source}"
    data = {
        "condition": "source_failing",
        "state": "firing",
        "subject": subject,
        "subjects": [subject],
        "summary": f"{source}: no poll has succeeded since {iso_utc(now_ms)}. No source fails: this is a test",
        "since": iso_utc(now_ms),
        "cause": "sample",
        "net": "head",
        "remedy": f"`notifier poll {source}` tries at once",
        "ending": "",
    }
    identifier = f"evt_{_KEY}{hashlib.sha256(f'{source} {now_ms} alert'.encode()).hexdigest()}"
    return Event(0, identifier[:30], EventType.ALERT, "", subject, now_ms, orjson.dumps(data))
