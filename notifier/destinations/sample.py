"""Sample events for `notifier test DESTINATION`. They look like real events, but say that they are a test."""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

import orjson
from msgspec.structs import replace

from notifier.clock import iso_utc
from notifier.config import Destination, Settings
from notifier.events import Change, Completion, DetectedBy, Event, EventType, Names, event_data
from notifier.facts import Occasion, TrainingFacts
from notifier.wording.sentences import Sentence

_KEY = "sample"
_PERSON = "sample-person"
_TRAINING = "sample-training"
_TITLE = "Sample Training (a test by Completion Notifier)"
_SESSION = "sample-session"
_ID_CHARACTERS = 26
_TRAINING_FACTS = TrainingFacts("rolling", renewal_months=12, expiring_days=30)

_DAYS_AGO: Final[Mapping[EventType, int]] = {EventType.EXPIRING: 340, EventType.EXPIRED: 367}
"""How many days ago the sample training was completed, by event type; 0 for other types."""


class SampleKind(StrEnum):
    """The kinds of sample messages."""

    CREATED = "created"
    UPDATED = "updated"
    REMOVED = "removed"
    SESSION = "session"
    DIGEST = "digest"
    ALERT = "alert"
    EXPIRING = "expiring"
    EXPIRED = "expired"
    RENEWED = "renewed"


_TYPES: Final[Mapping[SampleKind, EventType]] = {
    SampleKind.UPDATED: EventType.UPDATED,
    SampleKind.REMOVED: EventType.REMOVED,
    SampleKind.EXPIRING: EventType.EXPIRING,
    SampleKind.EXPIRED: EventType.EXPIRED,
    SampleKind.RENEWED: EventType.RENEWED,
}
"""The event type of each kind of sample; kinds that are not listed have `completion.created`."""


def sample_source(settings: Settings, destination: Destination) -> str:
    """Return the source to name in a sample event for this destination: one whose events the destination gets."""
    return next(iter(destination.sources or settings.sources))


def sample_events(kind: SampleKind, source: str, now_ms: int, count: int) -> list[Event]:
    """Return `count` events for a message of this kind. Each completion event is about a different person."""
    if kind is SampleKind.ALERT:
        return [_alert(source, now_ms) for _ in range(count)]
    session = _SESSION if kind is SampleKind.SESSION else None
    return [
        sample_event(source, now_ms, number, _TYPES.get(kind, EventType.CREATED), session)
        for number in range(1, count + 1)
    ]


_OCCASIONS: Final = (Occasion.RENEWAL, Occasion.FIRST)


def sample_event(
    source: str, now_ms: int, number: int = 1, kind: EventType = EventType.CREATED, session: str | None = None
) -> Event:
    """Return an event about a made-up completion, detected at `now_ms` (Unix milliseconds).

    Its sequence is 0, which no real event has. Its id depends on `now_ms`, so that a second test is no duplicate.
    Events with different `number`s are about different people.
    """
    suffix = "" if number == 1 else f"-{number}"
    person = _PERSON + suffix
    names = Names(
        {person: f"Sample Person{suffix.replace('-', ' ')}"},
        {_TRAINING: _TITLE},
        training_facts={_TRAINING: _TRAINING_FACTS},
    )
    today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    completion = Completion(
        key=_KEY + suffix,
        training_id=_TRAINING,
        user_id=person,
        completed_on=_day(today, -_DAYS_AGO.get(kind, 0)),
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
        previous, completion = completion, replace(completion, expires_on=_day(today, 180))
    change = Change(kind, completion, revision=1, detected_by=DetectedBy.HEAD, reason="sample", previous=previous)
    data = orjson.loads(event_data(change, names, _OCCASIONS[number % 2]))
    if kind is EventType.RENEWED:
        data["previous"] = {"key": f"{completion.key}-before", "valid_until": _day(today, 14)}
    return Event(
        sequence=0,
        id=_sample_id(f"{source} {now_ms}{suffix}"),
        type=change.type,
        source=source,
        subject=completion.key,
        time_ms=now_ms,
        data=orjson.dumps(data),
    )


def _sample_id(content: str) -> str:
    """Return an event id that begins with `evt_sample`; equal contents give equal ids."""
    digest = base64.b32encode(hashlib.sha256(content.encode()).digest()).decode().lower()
    return "evt_" + (_KEY + digest)[:_ID_CHARACTERS]


def _day(today: date, days: int) -> str:
    return (today + timedelta(days)).isoformat()


def _alert(source: str, now_ms: int) -> Event:
    """Return a made-up alert."""
    subject = f"sources/{source}"
    summary = Sentence("general.named", name=source, text=Sentence("source_failing.test", since=iso_utc(now_ms)))
    remedy = Sentence("source_failing.poll", source=source)
    data = {
        "condition": "source_failing",
        "state": "firing",
        "subject": subject,
        "subjects": [subject],
        "summary": summary,
        "since": iso_utc(now_ms),
        "cause": "sample",
        "net": "head",
        "remedy": remedy,
        "ending": "",
        "texts": {"summary": summary.document(), "remedy": remedy.document()},
    }
    return Event(0, _sample_id(f"{source} {now_ms} alert"), EventType.ALERT, "", subject, now_ms, orjson.dumps(data))
