"""Generates realistic records, from made-up training sessions of single people and of groups."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct

from notifier.sandbox.records import IdPair, Record, date_number

_GROUP_SHARE = 0.08
_GROUP_SIZE = (4, 20)
_LATE_SHARE = 0.12
_LATE_DAYS_ON_AVERAGE = 40
_LATEST_DAYS = 540
_INSTRUCTOR_SHARE = 0.25
_PEOPLE_PER_INSTRUCTOR = 50
_EXPIRY_SHARE = 0.15
_EXPIRY_YEARS = (1, 2, 3)
_REMARK_SHARE = 0.05
_SIGNED_SHARE = 0.02
_ATTACHED_SHARE = 0.03

_REMARKS = (
    "Retake after near miss in bay 3.",
    "Practical part done on site.",
    "Spanish-language session.",
    "Certificate shown, copy to follow.",
    "Passed with 92 %.",
)
_SIGNATURE: Mapping[str, Any] = {"type": "drawn", "points": [[4, 18], [11, 3], [19, 17], [33, 9]]}
_CERTIFICATE: Mapping[str, Any] = {"name": "certificate.pdf", "type": "application/pdf", "size": 48213}
_SIGN_IN_SHEET: Mapping[str, Any] = {"name": "sign-in.jpg", "type": "image/jpeg", "size": 213370}
_ATTACHMENTS = ((_CERTIFICATE,), (_SIGN_IN_SHEET,), (_CERTIFICATE, _SIGN_IN_SHEET))


class Session(Struct, frozen=True):
    """A training session: the values that all of its records share, and the ids of its attendees (at least one).

    `group` is None for the session of a single person.
    """

    training: IdPair
    date_number: int
    expiry: int | None
    instructor: str | None
    group: IdPair | None
    attendees: Sequence[str]


class RecordGenerator:
    """Generates training sessions and their records.

    Most sessions are dated on the day of entry, the rest days or months earlier. `people` are ids of 24 hexadecimal
    digits. `next_id` returns a new id for a record or a group session. The same `seed` and the same calls
    give the same records. Raises ValueError if there are no people or no trainings.
    """

    def __init__(
        self, people: Sequence[str], trainings: Sequence[IdPair], *, seed: int, next_id: Callable[[], int]
    ) -> None:
        if not people or not trainings:
            raise ValueError("a record generator needs people and trainings")
        self._people = people
        self._trainings = trainings
        self._instructors = people[: 1 + len(people) // _PEOPLE_PER_INSTRUCTOR]
        self._rng = random.Random(seed)  # noqa: S311 - plausible, not secret
        self._next_id = next_id

    def generate_session(self, today: date) -> Session:
        """Return a made-up session that is entered on the day `today`. The session's date may be before `today`."""
        rng = self._rng
        day = today - timedelta(days=self._days_late()) if rng.random() < _LATE_SHARE else today
        group = IdPair.from_number(self._next_id()) if rng.random() < _GROUP_SHARE else None
        return Session(
            training=rng.choice(self._trainings),
            date_number=date_number(day),
            expiry=self._expiry(day) if rng.random() < _EXPIRY_SHARE else None,
            instructor=rng.choice(self._instructors) if group or rng.random() < _INSTRUCTOR_SHARE else None,
            group=group,
            attendees=self._choose_attendees() if group else [rng.choice(self._people)],
        )

    def generate_record(self, session: Session, user: str, created: int) -> Record:
        """Return the record of one attendee of a session; `created` is in Unix milliseconds."""
        rng = self._rng
        return Record(
            id=self._next_id(),
            user=user,
            training=session.training,
            created=created,
            date_number=session.date_number,
            expiry=session.expiry,
            instructor=session.instructor,
            group=session.group,
            notes=rng.choice(_REMARKS) if rng.random() < _REMARK_SHARE else "",
            signature=_SIGNATURE if rng.random() < _SIGNED_SHARE else None,
            files=rng.choice(_ATTACHMENTS) if rng.random() < _ATTACHED_SHARE else (),
        )

    def _days_late(self) -> int:
        return min(1 + int(self._rng.expovariate(1 / _LATE_DAYS_ON_AVERAGE)), _LATEST_DAYS)

    def _choose_attendees(self) -> Sequence[str]:
        return self._rng.sample(self._people, min(len(self._people), self._rng.randint(*_GROUP_SIZE)))

    def _expiry(self, day: date) -> int:
        leap_day = (day.month, day.day) == (2, 29)
        year = day.year + self._rng.choice(_EXPIRY_YEARS)
        return date_number(day.replace(year=year, day=28 if leap_day else day.day))
