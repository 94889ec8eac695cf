"""How the daemon is doing, in a sentence for people, as `systemctl status` shows it. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from notifier.ledger.destinations import HealthState
from notifier.watch.health import SourceState

_MOST_NAMES = 3
"""Of things in the same trouble, the most that are named."""

_Told = tuple[str, str, str]
"""A state, a name, and what else is to be said of it."""


def summary(
    sources: Mapping[str, SourceState], destinations: Mapping[str, HealthState], waiting: Mapping[str, int]
) -> str:
    """Say how many of them are in which state: `3 sources ok, 1 destination retrying (hr-system: 12 waiting)`.

    `waiting` counts the events that wait, by destination; those of destinations that are well do not matter.
    """
    told_sources = [(state.value.replace("_", " "), name, "") for name, state in sources.items()]
    told_destinations = [
        (state.value, name, "" if state is HealthState.OK else f": {waiting.get(name, 0):,} waiting")
        for name, state in destinations.items()
    ]
    return ", ".join([*_counted("source", told_sources), *_counted("destination", told_destinations)])


def _counted(what: str, things: Iterable[_Told]) -> Iterator[str]:
    for state, group in groupby(sorted(things, key=_well_first), key=lambda thing: thing[0]):
        same = list(group)
        named = "" if state == HealthState.OK else f" ({_names(same)})"
        yield f"{len(same)} {what}{'' if len(same) == 1 else 's'} {state}{named}"


def _well_first(thing: _Told) -> tuple[bool, str, str]:
    state, name, _ = thing
    return state != HealthState.OK, state, name


def _names(things: list[_Told]) -> str:
    named = [f"{name}{more}" for _, name, more in things[:_MOST_NAMES]]
    return ", ".join([*named, *(["..."] if len(things) > _MOST_NAMES else [])])
