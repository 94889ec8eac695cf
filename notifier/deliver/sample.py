"""The event that `notifier test DESTINATION` sends: shaped like a real one, and saying that it is none."""

import base64
import hashlib

from notifier.clock import iso_utc
from notifier.completions import Change, Completion, Event, EventType, Names, Net, event_data

_KEY = "sample"
_PERSON = "sample-person"
_TRAINING = "sample-training"
_TITLE = "Sample Training (a test by Completion Notifier)"
_ID_CHARACTERS = 26


def sample_event(source: str, now_ms: int, number: int = 1) -> Event:
    """Make a `completion.created` event of a made-up record, detected at `now_ms` (Unix milliseconds).

    Its sequence is 0, which no real event has. Its id is another one at each moment, so that a receiver that
    remembers ids takes a second test for a new one too. Each `number` is about another person.
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
        notes="Nobody completed anything: this is a test.",
        has_attachments=False,
        raw=b'{"sample":true}',
    )
    change = Change(EventType.CREATED, completion, revision=1, net=Net.HEAD, reason="sample")
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
