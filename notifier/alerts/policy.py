"""The life cycle of a condition, and the notices that it causes. Pure functions.

A condition begins when it has been seen for long enough, in one or more processes, and ends when it has not been seen
for long enough. It is resolved only if the problem was solved. Otherwise it is withdrawn, which does not mean that all
is well. A condition that comes back within an hour is the same condition, and then ends only after an hour without it.
Each condition causes at most MOST_A_DAY messages a day, and its last message always states its true state.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from msgspec.structs import replace

from notifier.alerts.conditions import ALERTS, Condition, ConditionKey, destination_subject
from notifier.alerts.texts import ended, texts_of
from notifier.store.tables.conditions import ConditionState, FiringCondition, Handover, Notice, Phase

REMIND_AFTER_MS: Final = 24 * 3600 * 1000
"""Milliseconds after which a condition that still fires is reported again."""

SAME_WITHIN_MS: Final = 3600 * 1000
"""Milliseconds after its end within which a condition that comes back counts as the same condition."""

SETTLED_AFTER_MS: Final = 3600 * 1000
"""Milliseconds for which a condition that has come back must not be seen before it is over."""

MOST_A_DAY: Final = 6
"""The most messages about one condition in one day."""

_DAY_MS: Final = 24 * 3600 * 1000


class NoticeReason(StrEnum):
    """Why a change of a condition is recorded.

    If there is a destination, a notice is sent too, except for the reasons marked "No notice".
    """

    SEEN = "seen"
    """The condition holds, but has not lasted long enough to be reported. No notice."""
    BEGAN = "began"
    RETURNED = "returned"
    """It came back within an hour after its end."""
    TOLD_LATE = "told_late"
    """It began earlier, when notices had no destination or another one."""
    REMINDER = "reminder"
    REWORDED = "reworded"
    """Its description or its recorded times have changed. No notice."""
    CLOCK_SET_BACK = "clock_set_back"
    """It was last reported at a time that is now in the future; the reminder is due a day from now. No notice."""
    HANDED_OVER = "handed_over"
    """Its former destination gets no more notices, and it was not reported to another one yet. No notice."""
    NOT_SEEN = "not_seen"
    """It was not seen this time, but may come back. No notice."""
    ENDED = "ended"
    """The problem was solved."""
    WITHDRAWN = "withdrawn"
    """It is no longer reported, although nothing shows that the problem was solved."""
    FORGOTTEN = "forgotten"
    """It ended long ago, or before it was reported. No notice."""


def decide(
    current: Collection[Condition],
    remembered: Collection[FiringCondition],
    alerts_to: str,
    now_ms: int,
    *,
    step_ms: int = 0,
    withdrawn: Mapping[ConditionKey, str] | None = None,
    reachable: Collection[str] = (),
) -> tuple[Notice, ...]:
    """Return the changes to record: compare the `current` conditions with the `remembered` ones.

    `step_ms` is the time since the last evaluation. `alerts_to` is the destination of notices, "" if there is none.
    A destination's own conditions are never reported to it. The end of a condition is reported only to the destination
    that its beginning was reported to. That may be another one than `alerts_to`, if it is still in `reachable`, the
    configured destinations. `withdrawn` maps conditions that are no longer seen to the reason why they do not count as
    resolved.
    """
    seen: dict[ConditionKey, Condition] = {(it.name.value, it.subject): it for it in current}
    lives: dict[ConditionKey, FiringCondition] = {it.key: it for it in remembered}
    notices = [
        _of_what_is_seen(condition, lives.get(key), alerts_to, now_ms, step_ms) for key, condition in seen.items()
    ]
    notices += [
        _handed_over(
            life,
            _of_what_is_not(
                life, _hears_end(life, alerts_to, reachable), now_ms, step_ms, (withdrawn or {}).get(key, "")
            ),
            alerts_to,
        )
        for key, life in lives.items()
        if key not in seen
    ]
    return tuple(notice for notice in notices if notice is not None)


def handed_over(
    remembered: Collection[FiringCondition], notices: Collection[Notice], alerts_to: str, reachable: Collection[str]
) -> tuple[Handover, ...]:
    """Return, for each destination other than `alerts_to`, the conditions that were reported to it and still fire.

    `notices` is the result of `decide` for `remembered`. Each of these destinations is sent one message that names the
    new destination of notices.
    """
    ended = {it.standing.key for it in notices if it.is_forgotten or it.standing.phase is Phase.OVER}
    stands: dict[str, list[FiringCondition]] = {}
    for life in remembered:
        is_told = life.phase is Phase.FIRING and life.told_ms is not None and life.key not in ended
        if is_told and life.told_to in reachable and life.told_to != alerts_to:
            stands.setdefault(life.told_to, []).append(life)
    return tuple(Handover(old, alerts_to, tuple(lives)) for old, lives in stands.items())


def _handed_over(before: FiringCondition, notice: Notice | None, alerts_to: str) -> Notice | None:
    """Return `notice`, unless the condition still fires and was reported elsewhere: then mark it as not yet reported.

    `handed_over` sends the other destination a last message, so nobody there waits for the end of the condition.
    """
    life = before if notice is None else notice.standing
    if life.phase is Phase.FIRING and life.told_ms is not None and life.told_to not in ("", alerts_to):
        return _noted(replace(life, told_ms=None, told_to=""), NoticeReason.HANDED_OVER)
    return notice


def _hears_end(life: FiringCondition, alerts_to: str, reachable: Collection[str]) -> str | None:
    """Return the destination that gets the notice of a condition's end; None if there is none.

    That is the destination that got the notice of its beginning, if it can still be reached.
    """
    if life.told_ms is not None and life.told_to not in ("", alerts_to):
        return life.told_to if life.told_to in reachable else None
    return _listener(alerts_to, life.subject) if life.told_ms is not None else None


def _listener(alerts_to: str, subject: str) -> str | None:
    return alerts_to if alerts_to and subject not in (destination_subject(alerts_to), ALERTS) else None


def _of_what_is_seen(
    condition: Condition, before: FiringCondition | None, alerts_to: str, now_ms: int, step_ms: int
) -> Notice | None:
    listener = _listener(alerts_to, condition.subject)
    known_ms = round(condition.lived * 1000)
    if before is None or before.phase is Phase.OVER:
        if before is not None and 0 <= now_ms - (before.ended_ms or 0) < SAME_WITHIN_MS:
            returned = replace(
                before,
                phase=Phase.FIRING,
                ended_ms=None,
                ending="",
                returns=before.returns + 1,
                told_ms=None,
                well_ms=0,
            )
            return _told(_described(returned, condition), NoticeReason.RETURNED, listener, now_ms)
        since_ms = now_ms - known_ms
        life = FiringCondition(condition.name, condition.subject, "", since_ms, phase=Phase.BEGUN, lived_ms=known_ms)
        if before is not None:
            life = replace(life, messages=before.messages, counted_from_ms=before.counted_from_ms)
    else:
        life = replace(before, lived_ms=max(before.lived_ms + step_ms, known_ms), well_ms=0)
    life = _described(life, condition)
    if life.phase is Phase.BEGUN:
        if life.lived_ms < condition.begins_after * 1000:
            return None if life == before else _noted(life, NoticeReason.SEEN)
        return _told(replace(life, phase=Phase.FIRING), NoticeReason.BEGAN, listener, now_ms)
    return _of_what_fires(life, before, alerts_to, now_ms)


def _of_what_fires(life: FiringCondition, before: FiringCondition | None, alerts_to: str, now_ms: int) -> Notice | None:
    listener = _listener(alerts_to, life.subject)
    told_elsewhere = life.told_to not in ("", alerts_to)
    match life.told_ms:
        case None if listener is not None:
            return _told(life, NoticeReason.TOLD_LATE, listener, now_ms)
        case int() if told_elsewhere and listener is None:
            return _noted(replace(life, told_ms=None, told_to=""), NoticeReason.HANDED_OVER)
        case int() if told_elsewhere:
            return _told(life, NoticeReason.TOLD_LATE, listener, now_ms)
        case int(told_ms) if told_ms > now_ms:
            return _noted(replace(life, told_ms=now_ms), NoticeReason.CLOCK_SET_BACK)
        case int(told_ms) if listener is not None and now_ms - told_ms >= REMIND_AFTER_MS:
            return _told(life, NoticeReason.REMINDER, listener, now_ms)
        case _ if life != before:
            return _noted(life, NoticeReason.REWORDED)
        case _:
            return None


def _of_what_is_not(
    before: FiringCondition, told: str | None, now_ms: int, step_ms: int, withdrawn: str
) -> Notice | None:
    if before.phase is Phase.OVER:
        is_recent = 0 <= now_ms - (before.ended_ms or 0) < _DAY_MS
        return None if is_recent else _forgotten(before)
    life = replace(before, well_ms=before.well_ms + step_ms)
    if before.phase is Phase.BEGUN:
        if withdrawn or life.well_ms >= life.ends_after_ms:
            return _forgotten(before)
        return None if life == before else _noted(life, NoticeReason.NOT_SEEN)
    if not withdrawn and (life.well_ms < ends_after_ms(life) or _is_talked_out(life, now_ms)):
        return None if life == before else _noted(life, NoticeReason.NOT_SEEN)
    reason, state = (
        (NoticeReason.WITHDRAWN, ConditionState.WITHDRAWN)
        if withdrawn
        else (NoticeReason.ENDED, ConditionState.RESOLVED)
    )
    over = replace(ended(life, withdrawn), phase=Phase.OVER, ended_ms=now_ms, ending=str(withdrawn or "resolved"))
    return Notice(state, over if told is None else _counted(over, now_ms), reason, told)


def ends_after_ms(life: FiringCondition) -> int:
    """Return how many milliseconds a condition must be absent before it is over."""
    return max(life.ends_after_ms, SETTLED_AFTER_MS) if life.returns and life.ends_after_ms else life.ends_after_ms


def _is_talked_out(life: FiringCondition, now_ms: int) -> bool:
    """Return whether at most one message is left today; a notice of the end would leave none for a return."""
    return life.messages >= MOST_A_DAY - 1 and 0 <= now_ms - life.counted_from_ms < _DAY_MS


def _described(life: FiringCondition, condition: Condition) -> FiringCondition:
    return replace(
        life,
        summary=str(condition.summary),
        net=condition.net,
        cause=condition.cause,
        remedy=str(condition.remedy),
        texts=texts_of(condition.summary, condition.remedy),
        ends_after_ms=round(condition.ends_after * 1000),
    )


def _counted(life: FiringCondition, now_ms: int) -> FiringCondition:
    if 0 <= now_ms - life.counted_from_ms < _DAY_MS:
        return replace(life, messages=life.messages + 1)
    return replace(life, messages=1, counted_from_ms=now_ms)


def _told(life: FiringCondition, reason: NoticeReason, listener: str | None, now_ms: int) -> Notice:
    if listener is None:
        return _noted(life, reason)
    told = _counted(replace(life, told_ms=now_ms, told_to=listener), now_ms)
    return Notice(ConditionState.FIRING, told, reason, listener)


def _noted(life: FiringCondition, reason: NoticeReason) -> Notice:
    return Notice(ConditionState.FIRING, life, reason, destination=None)


def _forgotten(life: FiringCondition) -> Notice:
    return Notice(ConditionState.RESOLVED, life, NoticeReason.FORGOTTEN, destination=None, is_forgotten=True)
