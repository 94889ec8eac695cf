"""The event that `notifier test DESTINATION` sends. It looks like a real one, and is marked as a test."""

import base64
import hashlib

from notifier.clock import iso_utc
from notifier.events import Change, Completion, DetectedBy, Event, EventType, Names, event_data

_KEY = "sample"
_PERSON = "sample-person"
_TRAINING = "sample-training"
_TITLE = "Sample Training (a test by Completion Notifier)"
_ID_CHARACTERS = 26


def sample_event(source: str, now_ms: int, number: int = 1) -> Event:
    """Return a `completion.created` event of a made-up record, detected at `now_ms` (Unix milliseconds).

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
        group_training_id=None,
        notes="No training was completed: this is a test.",
        has_attachments=False,
        raw=b'{"sample":true}',
    )
    change = Change(EventType.CREATED, completion, revision=1, net=DetectedBy.HEAD, reason="sample")
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
