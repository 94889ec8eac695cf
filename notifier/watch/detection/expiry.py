"""Decides when to announce that a completion runs out soon or has run out. Pure functions."""

from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

DEFAULT_WITHIN_DAYS: Final = 30
"""How many days before its end a completion counts as expiring, if neither the operator nor the training sets it."""

_SECONDS_OF_A_DAY: Final = 86_400


class ExpiryStage(StrEnum):
    """What was announced about the end of a completion."""

    EXPIRING = "expiring"
    EXPIRED = "expired"


class Announced(Struct, frozen=True):
    """What was announced about one record and the day on which it ends (`valid_until`).

    `is_renewed` means that the announcement was taken back. If the record ends on that day again later, it is announced
    again with the next `turn`; the first turn is 1.
    """

    key: str
    valid_until: str
    user_id: str
    training_id: str
    stage: ExpiryStage
    turn: int
    is_renewed: bool


class Announcement(Struct, frozen=True):
    """An announcement to make: a stage, and the turn that it belongs to."""

    stage: ExpiryStage
    turn: int


def within_days(expiring_within_seconds: float | None, training_days: int | None) -> int:
    """Return how many days before its end a completion counts as expiring; the operator's setting comes first."""
    if expiring_within_seconds is not None:
        return int(expiring_within_seconds // _SECONDS_OF_A_DAY)
    return DEFAULT_WITHIN_DAYS if training_days is None else training_days


def stage_of(valid_until: str, today: date, days: int, since: date) -> ExpiryStage | None:
    """Return the stage of a completion on the day `today`; None if its end is far away, or was before `since`.

    A completion is valid on its last day, and has expired on the day after. `since` is the day on which expiry was
    switched on; what had expired before is history.
    """
    until = date.fromisoformat(valid_until)
    if until < since:
        return None
    if until < today:
        return ExpiryStage.EXPIRED
    return ExpiryStage.EXPIRING if until - today <= timedelta(days=days) else None


def next_announcement(before: Announced | None, stage: ExpiryStage | None) -> Announcement | None:
    """Return what to announce about a record that is in this stage; `before` is what was announced for the same day."""
    if stage is None:
        return None
    if before is None or before.is_renewed:
        return Announcement(stage, 1 if before is None else before.turn + 1)
    if before.stage is ExpiryStage.EXPIRING and stage is ExpiryStage.EXPIRED:
        return Announcement(stage, before.turn)
    return None


def has_left(terminated_on: object, today: date) -> bool:
    """Return whether a person with this fact `terminated_on` (`YYYY-MM-DD` or None) has left by `today`."""
    return isinstance(terminated_on, str) and terminated_on <= today.isoformat()
