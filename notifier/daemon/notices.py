"""What people are told of conditions: one message when one begins, a reminder a day, one all-clear. Pure decisions.

Whatever goes on, a day passes between two messages that one condition fires, from its beginning to its end. What comes
back after its all-clear begins anew and is told at once, since silence then would say that all is well: whoever
reports a condition sees to it that it does not flicker.
"""

from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum

from notifier.conditions import Condition, destination_subject
from notifier.ledger.conditions import ConditionState, Notice, Standing

REMIND_AFTER_MS = 24 * 3600 * 1000
"""The time after which people are told again of what still fires."""


class NoticeReason(StrEnum):
    """Why something is noted of a condition. It is also told, where there is somebody to tell, unless it says not."""

    BEGAN = "began"
    TOLD_LATE = "told_late"
    """It fires since earlier, when there was nobody to be told."""
    REMINDER = "reminder"
    REWORDED = "reworded"
    """What it means has changed; not told."""
    CLOCK_SET_BACK = "clock_set_back"
    """It was told in what is now the future: the day until the reminder begins anew; not told."""
    ENDED = "ended"


def decide(
    current: Collection[Condition], remembered: Collection[Standing], alerts_to: str, now_ms: int
) -> tuple[Notice, ...]:
    """Compare what is wrong now with what the ledger remembers to fire, and return what is to be noted and told.

    `alerts_to` is the destination of notices, "" when there is none. Nobody is told of a destination's own trouble
    through that same destination; what nobody was told of beginning, nobody is told of ending.
    """
    firing = {(condition.name.value, condition.subject): condition for condition in current}
    standing = {(before.name, before.subject): before for before in remembered}
    notices = [
        _of_what_fires(condition, standing.get(key), _listener(alerts_to, condition.subject), now_ms)
        for key, condition in firing.items()
    ]
    notices += [
        _of_what_ended(before, _listener(alerts_to, before.subject))
        for key, before in standing.items()
        if key not in firing
    ]
    return tuple(notice for notice in notices if notice is not None)


def _listener(alerts_to: str, subject: str) -> str | None:
    return alerts_to if alerts_to and subject != destination_subject(alerts_to) else None


def _of_what_fires(condition: Condition, before: Standing | None, listener: str | None, now_ms: int) -> Notice | None:
    if before is None:
        begun = Standing(condition.name, condition.subject, condition.summary, since_ms=now_ms)
        return _told(begun, NoticeReason.BEGAN, listener, now_ms)
    standing = replace(before, summary=condition.summary)
    match before.told_ms:
        case None if listener is not None:
            return _told(standing, NoticeReason.TOLD_LATE, listener, now_ms)
        case int(told_ms) if told_ms > now_ms:
            return _noted(replace(standing, told_ms=now_ms), NoticeReason.CLOCK_SET_BACK)
        case int(told_ms) if listener is not None and now_ms - told_ms >= REMIND_AFTER_MS:
            return _told(standing, NoticeReason.REMINDER, listener, now_ms)
        case _ if standing != before:
            return _noted(standing, NoticeReason.REWORDED)
        case _:
            return None


def _told(standing: Standing, reason: NoticeReason, listener: str | None, now_ms: int) -> Notice:
    if listener is None:
        return _noted(standing, reason)
    return Notice(ConditionState.FIRING, replace(standing, told_ms=now_ms), reason, listener)


def _noted(standing: Standing, reason: NoticeReason) -> Notice:
    return Notice(ConditionState.FIRING, standing, reason, destination=None)


def _of_what_ended(before: Standing, listener: str | None) -> Notice:
    over = replace(before, summary=f"No longer so: {before.summary}")
    return Notice(ConditionState.RESOLVED, over, NoticeReason.ENDED, None if before.told_ms is None else listener)
