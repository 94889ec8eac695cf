"""Finds the conditions that are withdrawn: no longer reported, although the problem may still exist. Pure functions."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from notifier.alerts.conditions import Condition, ConditionKey, ConditionName, destination_subject
from notifier.store.tables.destinations import BY_OPERATOR, Health, HealthState
from notifier.wording.sentences import Sentence

_DELIVERY_CONDITIONS: Final = (ConditionName.DESTINATION_FAILING, ConditionName.DESTINATION_BEHIND)
_REPLACING_CONDITIONS: Final = (
    ConditionName.DESTINATION_DISABLED,
    ConditionName.DESTINATION_FAILING,
    ConditionName.DESTINATION_BEHIND,
    ConditionName.DELIVERIES_DEAD,
)


def withdrawal_reasons(
    keys: Iterable[ConditionKey],
    current: Collection[Condition],
    sources: Collection[str],
    destinations: Mapping[str, Health],
    waiting: Mapping[str, int],
) -> dict[ConditionKey, Sentence]:
    """Return the reason for each withdrawn condition, by the condition's key.

    `keys` are the conditions that fired until now. `current` are the conditions that hold now. A condition of `keys`
    that is neither in `current` nor in the result is resolved. `sources` are the configured sources. `destinations` has
    the health of each configured destination. `waiting` has the number of events that wait for each destination.
    """
    seen: set[ConditionKey] = {(condition.name.value, condition.subject) for condition in current}
    found: dict[ConditionKey, Sentence] = {}
    for name, subject in keys:
        if (name, subject) not in seen:
            kind, _, owner = subject.partition("/")
            why: Sentence | None = None
            if kind == "sources" and owner not in sources:
                why = Sentence("ending.removed", name=owner)
            elif kind == "destinations":
                why = _reason_for_destination(name, owner, destinations.get(owner), waiting.get(owner, 0), seen)
            if why is not None:
                found[name, subject] = why
    return found


def _reason_for_destination(
    name: str, owner: str, health: Health | None, waiting: int, seen: Collection[ConditionKey]
) -> Sentence | None:
    if name == ConditionName.DELIVERIES_ORPHANED:
        # The destination is not configured. The condition is resolved once no events wait for the destination.
        return None
    if health is None:
        if waiting:
            return Sentence("ending.removed_waiting", name=owner, waiting=waiting)
        return Sentence("ending.removed", name=owner)
    if name not in _DELIVERY_CONDITIONS:
        return None
    if health.state is HealthState.DISABLED and health.reason == BY_OPERATOR:
        return Sentence("ending.disabled", name=owner, waiting=waiting)
    subject = destination_subject(owner)
    if later := next((it for it in _REPLACING_CONDITIONS if it != name and (it.value, subject) in seen), None):
        return Sentence("ending.replaced", name=owner, condition=Sentence(f"{later}.title"))
    if health.state is HealthState.RETRYING and not waiting:
        return Sentence("ending.idle", name=owner)
    return None
