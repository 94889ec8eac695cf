"""Decides when to announce that a completion runs out soon or has run out. Pure functions."""

from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

DEFAULT_WITHIN_DAYS: Final = 30
"""A completion counts as expiring this many days before its end, unless the settings or the training say otherwise."""

_SECONDS_OF_A_DAY: Final = 86_400


class ExpiryStage(StrEnum):
    """Whether a completion expires soon or has expired."""

    EXPIRING = "expiring"
    EXPIRED = "expired"


class LastAnnouncement(Struct, frozen=True):
    """The last announcement about a record's end date, `valid_until`."""

    key: str
    valid_until: str
    user_id: str
    training_id: str
    stage: ExpiryStage
    turn: int
    """The number of announcements about this end date so far, including this one."""
    is_renewed: bool
    """Whether the announcement was withdrawn. If the record later has this end date again, a new one is made."""


class Announcement(Struct, frozen=True):
    """An announcement to make: its stage, and its `turn`, which `LastAnnouncement` explains."""

    stage: ExpiryStage
    turn: int


def expiring_days_of(expiring_within_seconds: float | None, training_days: int | None) -> int:
    """Return how many days before its end a completion counts as expiring.

    Without a configured time, the result is the training's own number of days, `training_days`, or 30 if it has none.
    """
    if expiring_within_seconds is not None:
        return int(expiring_within_seconds // _SECONDS_OF_A_DAY)
    return DEFAULT_WITHIN_DAYS if training_days is None else training_days


def stage_of(valid_until: str, today: date, days: int, since: date) -> ExpiryStage | None:
    """Return the stage of a completion on the day `today`, None if it has no stage.

    `valid_until` is the last day on which the completion is valid. If this day is more than `days` away, there is no
    stage. If it is before `since`, the day on which expiry was switched on, the end is history and has no stage.
    """
    until = date.fromisoformat(valid_until)
    if until < since:
        return None
    if until < today:
        return ExpiryStage.EXPIRED
    return ExpiryStage.EXPIRING if until - today <= timedelta(days=days) else None


def next_announcement(before: LastAnnouncement | None, stage: ExpiryStage | None) -> Announcement | None:
    """Return the announcement for a record in this stage, or None if there is none to make.

    `before` is the last announcement for the same end date.
    """
    if stage is None:
        return None
    if before is None or before.is_renewed:
        return Announcement(stage, 1 if before is None else before.turn + 1)
    if before.stage is ExpiryStage.EXPIRING and stage is ExpiryStage.EXPIRED:
        return Announcement(stage, before.turn)
    return None


def has_left(terminated_on: object, today: date) -> bool:
    """Return whether a person has left by `today`; `terminated_on` is the date of leaving (`YYYY-MM-DD`) or None."""
    return isinstance(terminated_on, str) and terminated_on <= today.isoformat()
