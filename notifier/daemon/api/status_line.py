"""The state of the daemon in one sentence, for `systemctl status`. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from notifier.alerts.conditions import ConditionKey
from notifier.store.tables.destinations import HealthState
from notifier.watch.source_health import SourceState

_MAX_NAMES = 3
"""Maximum number of sources or destinations that are listed by name for one state."""

_NamedState = tuple[str, str, str]
"""A state, the name of a source or destination in this state, and a remark to append to the name."""


def summary(
    sources: Mapping[str, SourceState],
    destinations: Mapping[str, HealthState],
    waiting: Mapping[str, int],
    conditions: Sequence[ConditionKey] = (),
) -> str:
    """Return a sentence with the conditions, then the number of sources and destinations in each state.

    Example: `2 things need attention (gap of acme, deliveries dead of hr); 3 sources ok, 1 destination retrying (hr: 12
    waiting)`. `waiting` maps a destination to its number of waiting events, which is shown only if the state is not ok.
    """
    source_states = [(state.value.replace("_", " "), name, "") for name, state in sources.items()]
    destination_states = [
        (state.value, name, "" if state is HealthState.OK else f": {waiting.get(name, 0):,} waiting")
        for name, state in destinations.items()
    ]
    sentence = ", ".join([*_count_states("source", source_states), *_count_states("destination", destination_states)])
    if not conditions:
        return sentence
    named = [f"{name.replace('_', ' ')} of {subject.rpartition('/')[2]}" for name, subject in conditions[:_MAX_NAMES]]
    more = ", ..." if len(conditions) > _MAX_NAMES else ""
    need = "1 thing needs" if len(conditions) == 1 else f"{len(conditions)} things need"
    return f"{need} attention ({', '.join(named)}{more}); {sentence}"


def _count_states(what: str, things: Iterable[_NamedState]) -> Iterator[str]:
    for state, group in groupby(sorted(things, key=_ok_first), key=lambda thing: thing[0]):
        same = list(group)
        named = "" if state == HealthState.OK else f" ({_list_names(same)})"
        yield f"{len(same)} {what}{'' if len(same) == 1 else 's'} {state}{named}"


def _ok_first(thing: _NamedState) -> tuple[bool, str, str]:
    state, name, _ = thing
    return state != HealthState.OK, state, name


def _list_names(things: list[_NamedState]) -> str:
    named = [f"{name}{more}" for _, name, more in things[:_MAX_NAMES]]
    return ", ".join([*named, *(["..."] if len(things) > _MAX_NAMES else [])])
