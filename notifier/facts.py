"""Facts about people and trainings other than their names, and how long a completion is valid. Pure.

A person's facts are a mapping. If a key is missing, the fact is unknown. If its value is None or an empty list, the
account has no value.
"""

import calendar
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

ROLLING: Final = "rolling"
"""The type of renewal schedule that ends a number of months after the completion. The API explains no other type."""

_HIGHEST_MONTHS: Final = 12_000
_MS_PER_SECOND: Final = 1000


class PersonField(StrEnum):
    """The facts about a person that an operator can choose, as `person_fields` names them."""

    EMPLOYEE_NUMBER = "employee_number"
    FIELD_OFFICE_IDS = "field_office_ids"
    LINE_OF_BUSINESS_IDS = "line_of_business_ids"
    JOB_TITLE_ID = "job_title_id"
    JOB_TITLE = "job_title"
    TERMINATED_ON = "terminated_on"


FactValue = str | list[str] | None
PersonFacts = Mapping[str, FactValue]
"""The known facts about one person, by `PersonField`."""


def fields_to_look_up(chosen: Collection[PersonField]) -> frozenset[PersonField]:
    """Return the fields to read: the chosen ones and, if the job title is chosen, the id by which it is looked up."""
    more = {PersonField.JOB_TITLE_ID} if PersonField.JOB_TITLE in chosen else set()
    return frozenset(chosen) | more


class TrainingFacts(Struct, frozen=True):
    """How long completions of a training are valid; a value that the account does not state is None.

    `renewal_months` is 0 if the training is never renewed. A completion counts as expiring in the last `expiring_days`
    days of its validity.
    """

    schedule_type: str | None = None
    renewal_months: int | None = None
    expiring_days: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the facts as a JSON object."""
        return {
            "schedule_type": self.schedule_type,
            "renewal_months": self.renewal_months,
            "expiring_days": self.expiring_days,
        }


class ValiditySource(StrEnum):
    """Where the last valid day of a completion comes from."""

    SPECIAL_EXPIRY = "special_expiry"
    RENEWAL_RULE = "renewal_rule"
    EMPLOYEE_STATUS = "employee_status"


class Validity(Struct, frozen=True):
    """The last day on which a completion is valid (`YYYY-MM-DD`), and the source of this day; both None if unknown."""

    until: str | None = None
    source: ValiditySource | None = None


class Occasion(StrEnum):
    """Whether a completion is the person's first completion of the training, or a renewal."""

    FIRST = "first"
    RENEWAL = "renewal"


def occasion_of(completed_on: str | None, other_days: Iterable[str | None], *, knows_all: bool) -> Occasion | None:
    """Return whether a completion is the person's first one of the training or a renewal.

    Returns None if that is not certain. `other_days` are the days of the person's other completions of the training; an
    unknown day is None. `knows_all`: `other_days` is complete. Another completion on the same day is ignored, because
    it may be the same completion, entered twice.
    """
    if completed_on is None:
        return None
    days = [*other_days]
    if any(day is not None and day < completed_on for day in days):
        return Occasion.RENEWAL
    return None if None in days or not knows_all else Occasion.FIRST


UNKNOWN_VALIDITY: Final = Validity()


class ListedEnd(Struct, frozen=True):
    """A person's last completion of a training according to the account's employee status list.

    `completed_on` is its day, and `until` its last valid day (both `YYYY-MM-DD`).
    """

    completed_on: str
    until: str


def validity(completed_on: str | None, expires_on: str | None, training: TrainingFacts | None) -> Validity:
    """Return until when a completion is valid: its own expiry date or, if it has none, the renewal date.

    The renewal date is computed for a rolling schedule only. The API's documentation does not explain other schedules:
    the result is `UNKNOWN_VALIDITY`.
    """
    if expires_on is not None:
        return Validity(expires_on, ValiditySource.SPECIAL_EXPIRY)
    if completed_on is None or training is None or training.schedule_type != ROLLING or not training.renewal_months:
        return UNKNOWN_VALIDITY
    until = months_later(completed_on, training.renewal_months)
    return UNKNOWN_VALIDITY if until is None else Validity(until, ValiditySource.RENEWAL_RULE)


def listed_validity(completed_on: str | None, listed: ListedEnd | None) -> Validity | None:
    """Return until when a completion of the day `completed_on` is valid, according to the employee status list.

    Returns None if `listed` is None, or is about a completion of another day. KPA Flex computes the list only every 15
    minutes. So the list may still show an earlier completion.
    """
    if listed is None or listed.completed_on != completed_on:
        return None
    return Validity(listed.until, ValiditySource.EMPLOYEE_STATUS)


def months_later(day: str, months: int) -> str | None:
    """Return the day that is `months` months after `day` (both days are `YYYY-MM-DD`).

    In a shorter month, the last day is returned (31 January plus one month). The result is None for an invalid
    argument, or beyond the year 9999.
    """
    if not 0 < months <= _HIGHEST_MONTHS:
        return None
    try:
        begin = date.fromisoformat(day)
        years, month = divmod(begin.month - 1 + months, 12)
        year = begin.year + years
        last = calendar.monthrange(year, month + 1)[1]
        return date(year, month + 1, min(begin.day, last)).isoformat()
    except ValueError:
        return None


def day_of_ms(ms: int) -> str | None:
    """Return the UTC day (`YYYY-MM-DD`) of a time in Unix milliseconds; None if it is out of range."""
    try:
        return datetime.fromtimestamp(ms / _MS_PER_SECOND, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return None
