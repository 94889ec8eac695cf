"""Decides when a condition begins and ends, and when an alert about it is sent. Pure functions.

- A condition begins when it has been seen for long enough, including the time before a restart.
- It is resolved when it has not been seen for long enough.
- It is withdrawn at once if it should no longer be reported, for example because its source was removed.
- If it comes back within an hour after its end, it is the same condition.
- A condition that has come back must be unseen for at least an hour before it ends again. But if its
  `ends_after_seconds` is 0, it ends at once.
- A condition causes at most MAX_ALERTS_A_DAY alerts a day. The last alert of a day gives the condition's true state.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

from msgspec.structs import replace

from notifier.alerts.conditions import ALERTS, Condition, ConditionKey, destination_subject
from notifier.alerts.texts import encode_sentences, with_end_summary
from notifier.store.tables.alert_events import Handover
from notifier.store.tables.conditions import ConditionChange, ConditionState, Phase, StoredCondition

REMIND_AFTER_MS: Final = 24 * 3600 * 1000
"""After this time, the alert about a condition that still fires is sent again."""

SAME_WITHIN_MS: Final = 3600 * 1000
"""A condition that comes back within this time after its end is the same condition."""

RETURNED_ENDS_AFTER_MS: Final = 3600 * 1000
"""How long a condition that has come back must be unseen before it ends. With `ends_after_ms` 0, it ends at once."""

MAX_ALERTS_A_DAY: Final = 6
"""The maximum number of alerts about one condition in one day."""

_DAY_MS: Final = 24 * 3600 * 1000


class ChangeReason(StrEnum):
    """The reason for a change of a stored condition.

    If alerts have a destination, each change sends an alert, unless the description of its reason says "No alert".
    """

    SEEN = "seen"
    """The condition holds, but has not lasted long enough to be reported. No alert."""
    BEGAN = "began"
    RETURNED = "returned"
    """The condition came back within an hour after its end."""
    REPORTED_LATE = "told_late"
    """The condition began earlier, when alerts had no destination or another destination."""
    REMINDER = "reminder"
    REWORDED = "reworded"
    """The texts or the stored times of the condition have changed. No alert."""
    CLOCK_SET_BACK = "clock_set_back"
    """The clock now shows an earlier time than that of the last alert. The reminder is due in a day. No alert."""
    HANDED_OVER = "handed_over"
    """The former destination of alerts gets no more alerts; the new one has not received any yet. No alert."""
    NOT_SEEN = "not_seen"
    """The condition was not seen this time, but has not ended. No alert."""
    ENDED = "ended"
    """The problem was solved."""
    WITHDRAWN = "withdrawn"
    """The condition is no longer reported, although nothing shows that the problem was solved."""
    FORGOTTEN = "forgotten"
    """The condition is deleted, because it ended more than a day ago or before it was reported. No alert."""


def find_changes(
    current: Collection[Condition],
    stored: Collection[StoredCondition],
    alerts_to: str,
    now_ms: int,
    *,
    step_ms: int = 0,
    withdrawn: Mapping[ConditionKey, str] | None = None,
    unknown: Collection[ConditionKey] = (),
    configured_destinations: Collection[str] = (),
) -> tuple[ConditionChange, ...]:
    """Compare the `current` conditions with the `stored` conditions, and return the changes to store.

    `step_ms` is the time since the last evaluation. `alerts_to` is the destination of alerts, "" for none. A condition
    of a destination is never reported to that destination. `_end_recipient` finds the destination that gets the alert
    about the end.

    A condition that is no longer seen is withdrawn if `withdrawn` has a reason for its key. Otherwise, it is resolved,
    unless its key is in `unknown`.
    """
    seen: dict[ConditionKey, Condition] = {(it.name.value, it.subject): it for it in current}
    known: dict[ConditionKey, StoredCondition] = {it.key: it for it in stored}
    changes = [_update_seen(condition, known.get(key), alerts_to, now_ms, step_ms) for key, condition in seen.items()]
    for key, before in known.items():
        if key not in seen:
            recipient = _end_recipient(before, alerts_to, configured_destinations)
            change = None
            if before.phase is Phase.OVER or key not in unknown:
                change = _update_unseen(before, recipient, now_ms, step_ms, (withdrawn or {}).get(key, ""))
            changes.append(_mark_handed_over(before, change, alerts_to))
    return tuple(change for change in changes if change is not None)


def find_handovers(
    stored: Collection[StoredCondition],
    changes: Collection[ConditionChange],
    alerts_to: str,
    configured_destinations: Collection[str],
) -> tuple[Handover, ...]:
    """Return a handover for each former destination of alerts that is still configured.

    A handover is one last alert, which names the new destination, `alerts_to`. It lists the conditions that were
    reported to the former destination and still fire. `changes` is the result of `find_changes` for `stored`.
    """
    over = {it.condition.key for it in changes if it.is_forgotten or it.condition.phase is Phase.OVER}
    found: dict[str, list[StoredCondition]] = {}
    for condition in stored:
        is_reported = condition.phase is Phase.FIRING and condition.alerted_ms is not None and condition.key not in over
        if is_reported and condition.alerted_to in configured_destinations and condition.alerted_to != alerts_to:
            found.setdefault(condition.alerted_to, []).append(condition)
    return tuple(Handover(old, alerts_to, tuple(conditions)) for old, conditions in found.items())


def _mark_handed_over(
    before: StoredCondition, change: ConditionChange | None, alerts_to: str
) -> ConditionChange | None:
    """Return a change for a firing condition that was reported to a former destination of alerts.

    The change marks the condition as unreported. The former destination gets no alert about the end of the condition.
    Instead, it gets the last alert that `find_handovers` makes. For any other condition, return `change`.
    """
    after = before if change is None else change.condition
    if after.phase is Phase.FIRING and _is_alerted_elsewhere(after, alerts_to):
        return _change_without_alert(replace(after, alerted_ms=None, alerted_to=""), ChangeReason.HANDED_OVER)
    return change


def _is_alerted_elsewhere(condition: StoredCondition, alerts_to: str) -> bool:
    return condition.alerted_ms is not None and condition.alerted_to not in ("", alerts_to)


def _end_recipient(condition: StoredCondition, alerts_to: str, configured_destinations: Collection[str]) -> str | None:
    """Return the destination to alert about the end of a condition; None if there is none.

    The result is the destination that got the alert about the beginning, if this destination is still configured.
    """
    if condition.alerted_ms is None:
        return None
    if _is_alerted_elsewhere(condition, alerts_to):
        return condition.alerted_to if condition.alerted_to in configured_destinations else None
    return _recipient(alerts_to, condition.subject)


def _recipient(alerts_to: str, subject: str) -> str | None:
    """Return `alerts_to` if an alert about the subject can be sent there; None otherwise.

    No alert can be sent if `alerts_to` is "", or if `subject` is the destination `alerts_to` itself or `ALERTS`.
    """
    return alerts_to if alerts_to and subject not in (destination_subject(alerts_to), ALERTS) else None


def _update_seen(
    condition: Condition, before: StoredCondition | None, alerts_to: str, now_ms: int, step_ms: int
) -> ConditionChange | None:
    """Return the change of a condition that was seen; None if nothing changes."""
    recipient = _recipient(alerts_to, condition.subject)
    seen_ms = round(condition.seen_seconds * 1000)
    if before is None or before.phase is Phase.OVER:
        if before is not None and 0 <= now_ms - (before.ended_ms or 0) < SAME_WITHIN_MS:
            returned = replace(
                before,
                phase=Phase.FIRING,
                ended_ms=None,
                ending="",
                returns=before.returns + 1,
                alerted_ms=None,
                unseen_ms=0,
            )
            return _change_with_alert(_with_description(returned, condition), ChangeReason.RETURNED, recipient, now_ms)
        after = StoredCondition(
            condition.name, condition.subject, "", now_ms - seen_ms, phase=Phase.BEGUN, seen_ms=seen_ms
        )
        if before is not None:
            after = replace(after, alerts=before.alerts, alerts_from_ms=before.alerts_from_ms)
    else:
        after = replace(before, seen_ms=max(before.seen_ms + step_ms, seen_ms), unseen_ms=0)
    after = _with_description(after, condition)
    if after.phase is Phase.BEGUN:
        if after.seen_ms < condition.begins_after_seconds * 1000:
            return None if after == before else _change_without_alert(after, ChangeReason.SEEN)
        return _change_with_alert(replace(after, phase=Phase.FIRING), ChangeReason.BEGAN, recipient, now_ms)
    return _update_firing(after, before, alerts_to, now_ms)


def _update_firing(
    after: StoredCondition, before: StoredCondition | None, alerts_to: str, now_ms: int
) -> ConditionChange | None:
    """Return the change of a condition that was seen again while it fires; None if nothing changes."""
    recipient = _recipient(alerts_to, after.subject)
    is_alerted_elsewhere = _is_alerted_elsewhere(after, alerts_to)
    match after.alerted_ms:
        case None if recipient is not None:
            return _change_with_alert(after, ChangeReason.REPORTED_LATE, recipient, now_ms)
        case int() if is_alerted_elsewhere and recipient is None:
            return _change_without_alert(replace(after, alerted_ms=None, alerted_to=""), ChangeReason.HANDED_OVER)
        case int() if is_alerted_elsewhere:
            return _change_with_alert(after, ChangeReason.REPORTED_LATE, recipient, now_ms)
        case int(alerted_ms) if alerted_ms > now_ms:
            return _change_without_alert(replace(after, alerted_ms=now_ms), ChangeReason.CLOCK_SET_BACK)
        case int(alerted_ms) if recipient is not None and now_ms - alerted_ms >= REMIND_AFTER_MS:
            return _change_with_alert(after, ChangeReason.REMINDER, recipient, now_ms)
        case _ if after != before:
            return _change_without_alert(after, ChangeReason.REWORDED)
        case _:
            return None


def _update_unseen(
    before: StoredCondition, recipient: str | None, now_ms: int, step_ms: int, withdrawn: str
) -> ConditionChange | None:
    """Return the change of a condition that was not seen; None if nothing changes.

    `recipient` is the destination for the alert about the end. `withdrawn` is the reason if the condition is withdrawn,
    "" if it is resolved.
    """
    if before.phase is Phase.OVER:
        is_recent = 0 <= now_ms - (before.ended_ms or 0) < _DAY_MS
        return None if is_recent else _change_to_forgotten(before)
    after = replace(before, unseen_ms=before.unseen_ms + step_ms)
    if before.phase is Phase.BEGUN:
        if withdrawn or after.unseen_ms >= after.ends_after_ms:
            return _change_to_forgotten(before)
        return None if after == before else _change_without_alert(after, ChangeReason.NOT_SEEN)
    if not withdrawn and (after.unseen_ms < ends_after_ms(after) or _must_wait_for_next_day(after, now_ms)):
        return None if after == before else _change_without_alert(after, ChangeReason.NOT_SEEN)
    reason, state = (
        (ChangeReason.WITHDRAWN, ConditionState.WITHDRAWN)
        if withdrawn
        else (ChangeReason.ENDED, ConditionState.RESOLVED)
    )
    over = replace(
        with_end_summary(after, withdrawn), phase=Phase.OVER, ended_ms=now_ms, ending=str(withdrawn or "resolved")
    )
    return ConditionChange(state, over if recipient is None else _with_counted_alert(over, now_ms), reason, recipient)


def ends_after_ms(condition: StoredCondition) -> int:
    """Return how many milliseconds a condition must be unseen before it ends."""
    if condition.returns and condition.ends_after_ms:
        return max(condition.ends_after_ms, RETURNED_ENDS_AFTER_MS)
    return condition.ends_after_ms


def _must_wait_for_next_day(condition: StoredCondition, now_ms: int) -> bool:
    """Return whether a condition must not end before the next day, because at most one alert is left today.

    This alert is reserved for the case that the condition comes back.
    """
    return condition.alerts >= MAX_ALERTS_A_DAY - 1 and 0 <= now_ms - condition.alerts_from_ms < _DAY_MS


def _with_description(stored: StoredCondition, condition: Condition) -> StoredCondition:
    return replace(
        stored,
        summary=str(condition.summary),
        category=condition.category,
        cause=condition.cause,
        remedy=str(condition.remedy),
        texts=encode_sentences(condition.summary, condition.remedy),
        ends_after_ms=round(condition.ends_after_seconds * 1000),
    )


def _with_counted_alert(condition: StoredCondition, now_ms: int) -> StoredCondition:
    """Return the condition with its number of alerts today increased by one."""
    if 0 <= now_ms - condition.alerts_from_ms < _DAY_MS:
        return replace(condition, alerts=condition.alerts + 1)
    return replace(condition, alerts=1, alerts_from_ms=now_ms)


def _change_with_alert(
    condition: StoredCondition, reason: ChangeReason, recipient: str | None, now_ms: int
) -> ConditionChange:
    if recipient is None:
        return _change_without_alert(condition, reason)
    alerted = _with_counted_alert(replace(condition, alerted_ms=now_ms, alerted_to=recipient), now_ms)
    return ConditionChange(ConditionState.FIRING, alerted, reason, recipient)


def _change_without_alert(condition: StoredCondition, reason: ChangeReason) -> ConditionChange:
    return ConditionChange(ConditionState.FIRING, condition, reason, destination=None)


def _change_to_forgotten(condition: StoredCondition) -> ConditionChange:
    return ConditionChange(
        ConditionState.RESOLVED, condition, ChangeReason.FORGOTTEN, destination=None, is_forgotten=True
    )
