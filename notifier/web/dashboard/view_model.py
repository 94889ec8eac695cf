"""Turns the status and the figures into the data that the pages show. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from notifier.alerts.conditions import source_subject
from notifier.alerts.evaluation import STALE_AFTER_SECONDS
from notifier.kpa.errors import ApiErrorReason, Remedy
from notifier.store.errors import StoreReason
from notifier.store.queries.dashboard import Day, DeadDelivery
from notifier.web.dashboard.filters import counted, in_words

Status = Mapping[str, Any]
"""The object of `/v1/status`."""

FEW_ROWS: Final = 12
"""Up to this number of sources, or of destinations, a table has a row for each of them."""

MAX_ROWS: Final = 20
"""Maximum number of rows if there are more than FEW_ROWS sources or destinations. A folded list names the others."""

MAX_FOLDED: Final = 500
"""Maximum number of names in the folded list."""

MAX_GIVEN_UP: Final = 4
"""Maximum number of destinations whose given-up deliveries are listed. A folded list names the others."""

_WELL: Final = frozenset({"ok", "untried", "idle"})
_NEEDS_NO_ATTENTION: Final = _WELL | {"starting", "draining"}
"""The states in which a source or destination does not need the operator's attention."""

_MAX_NAMED: Final = 3
_STORE_REASONS: Final = frozenset(StoreReason)

_NEEDS_OPERATOR: Final = frozenset(reason for reason in ApiErrorReason if reason.remedy is not Remedy.WAIT)


class HealthLevel(StrEnum):
    """The overall health of the notifier, in one word."""

    WELL = "well"
    STARTING = "starting"
    UNSETTLED = "unsettled"
    ATTENTION = "attention"


class HealthSummary(Struct, frozen=True):
    """The overall health: a level and a sentence."""

    level: HealthLevel
    sentence: str


Row = tuple[str, Mapping[str, Any]]
"""The name of a source or destination, and its description in the status."""


class ListedRows(Struct, frozen=True):
    """The sources or destinations on a page."""

    rows: Sequence[Row]
    """The rows of a table."""
    folded: Sequence[Row] = ()
    """The rows of a list that opens on a click."""
    well: bool = True
    """Whether everything that is not in the table is well."""
    left_out: int = 0
    """The number of sources or destinations in neither the table nor the list."""


class UnreportedChanges(Struct, frozen=True):
    """Changes that a source does not report yet, because they are held back, unreadable, or not confirmed yet."""

    source: str
    what: str
    sentence: str
    is_held: bool
    example: str | None = None


class Bar(Struct, frozen=True):
    """The bar of one day in a chart. The chart is 100 units high."""

    day: Day
    height: float

    @property
    def top(self) -> float:
        """The distance of the bar's upper edge from the top of the chart."""
        return 100 - self.height


def health_summary(status: Status) -> HealthSummary:
    """Return the overall health that follows from the status."""
    sources, destinations = status["sources"], status["destinations"]
    age = status["evaluation"]["age_seconds"]
    if age is not None and age > STALE_AFTER_SECONDS:
        return HealthSummary(
            HealthLevel.ATTENTION, f"Unknown: the notifier has not evaluated its state for {age:.0f} seconds."
        )
    conditions = status["conditions"]
    reported_subjects = {condition["subject"] for condition in conditions}
    # Errors that only an operator can fix are shown at once, before a condition fires after a quarter of an hour.
    operator_errors = {
        name: it for name, it in _operator_errors(sources).items() if source_subject(name) not in reported_subjects
    }
    if len(operator_errors) == 1 and not conditions:
        ((name, message),) = operator_errors.items()
        return HealthSummary(HealthLevel.ATTENTION, f"{name} cannot be read: {message}.")
    if things := len(conditions) + len(operator_errors):
        verb = "needs" if things == 1 else "need"
        return HealthSummary(HealthLevel.ATTENTION, f"{counted(things, 'thing')} {verb} your attention.")
    if not destinations:
        return HealthSummary(
            HealthLevel.ATTENTION, "Completions are found, but no one is notified: there is no destination yet."
        )
    if problems := [*_source_problems(sources), *_destination_problems(destinations)]:
        named, more = problems[:_MAX_NAMED], len(problems) - _MAX_NAMED
        rest = f", and {counted(more, 'more problem')}" if more > 0 else ""
        return HealthSummary(HealthLevel.UNSETTLED, f"Nothing is lost, but {'; '.join(named)}{rest}.")
    if starting := [name for name, source in sources.items() if source["state"] == "starting"]:
        whose = starting[0] if len(starting) == 1 else counted(len(starting), "source")
        return HealthSummary(HealthLevel.STARTING, f"Starting: waiting for the first answer of {whose}.")
    if unread := [(name, source) for name, source in sources.items() if source["last_sweep"] is None]:
        return HealthSummary(
            HealthLevel.STARTING, f"Starting: {_first_sweep(unread)}; new completions are reported meanwhile."
        )
    if status["evaluation"]["at"] is None:
        return HealthSummary(HealthLevel.STARTING, "Starting: the notifier has not evaluated its state yet.")
    if not status["evaluation"]["well"]:
        return HealthSummary(HealthLevel.ATTENTION, "Something needs your attention: see the log.")
    return HealthSummary(
        HealthLevel.WELL, f"All is well: {counted(len(sources), 'source')} watched, {_notified_text(destinations)}."
    )


def _operator_errors(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the messages of errors that only the operator can fix, such as a wrong token, by source."""
    return {
        name: source["last_error"]["message"]
        for name, source in sources.items()
        if source["state"] == "failing" and source["last_error"] and source["last_error"]["reason"] in _NEEDS_OPERATOR
    }


def _first_sweep(unread: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return a phrase about the sources with `unread` lists. For a single one, it says how far the first sweep is."""
    if len(unread) > 1:
        return f"the lists of {counted(len(unread), 'source')} have not been read completely yet"
    ((name, source),) = unread
    sweep = source["sweep"]
    if not sweep or sweep["finished_at"]:
        return f"the list of {name} has not been read completely yet"
    of = f" of {sweep['last_page']:,}" if sweep["last_page"] else ""
    return f"the first sweep of {name} is at page {sweep['next_page']:,}{of}"


def _notified_text(destinations: Mapping[str, Mapping[str, Any]]) -> str:
    text = f"{counted(len(destinations), 'destination')} notified"
    pending = sum(one["pending"] for one in destinations.values())
    return f"{text}, {counted(pending, 'delivery', 'deliveries')} in progress" if pending else f"{text}, nothing waits"


def _source_problems(sources: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, source in sources.items():
        match source["state"]:
            case "failing" if (source.get("last_error") or {}).get("reason") in _STORE_REASONS:
                yield f"the state file cannot be written ({source['last_error']['message']})"
            case "failing":
                yield f"{name} cannot be read at the moment"
            case "rate_limited":
                yield f"{name} is pausing because of the API's rate limit"


def _destination_problems(destinations: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, destination in destinations.items():
        match destination["state"]:
            case "retrying":
                yield f"{name} is being retried"
            case "disabled":
                yield f"{name} is disabled"
        if dead := destination["dead"]:
            yield f"{counted(dead, 'delivery', 'deliveries')} to {name} {'was' if dead == 1 else 'were'} given up"


def unreported_changes(sources: Mapping[str, Mapping[str, Any]]) -> list[UnreportedChanges]:
    """Return the changes that sources do not report yet. The changes that are held back come first."""
    held = [one for name, source in sources.items() for one in _held(name, source)]
    unreadable = [one for name, source in sources.items() for one in _unreadable(name, source)]
    waiting = [one for name, source in sources.items() for one in _waiting(name, source)]
    return [*held, *unreadable, *waiting][:MAX_FOLDED]


def _held(name: str, source: Mapping[str, Any]) -> Iterator[UnreportedChanges]:
    for what, held in source["held"].items():
        if held["records"]:
            field = f" of the field `{held['field']}`" if held.get("field") else ""
            noun = counted(held["records"], what.removesuffix("s"))
            verb = "is" if held["records"] == 1 else "are"
            yield UnreportedChanges(
                name, what, f"{noun}{field} {verb} held back.", is_held=True, example=held.get("example")
            )


def _unreadable(name: str, source: Mapping[str, Any]) -> Iterator[UnreportedChanges]:
    if example := source["unreadable_example"]:
        sentence = f"{counted(source['unreadable'], 'record')} cannot be read: {example['problem']}."
        yield UnreportedChanges(name, "unreadable", sentence, is_held=False, example=example["record"])


def _waiting(name: str, source: Mapping[str, Any]) -> Iterator[UnreportedChanges]:
    kinds = [counted(number, in_words(kind)) for kind, number in source["waiting"].items() if number]
    if kinds:
        several = len(kinds) > 1 or sum(source["waiting"].values()) > 1
        sentence = f"{', '.join(kinds)} {'wait' if several else 'waits'} for a second look."
        yield UnreportedChanges(name, "second-looks", sentence, is_held=False)


def split_rows(rows: Mapping[str, Mapping[str, Any]]) -> ListedRows:
    """Divide sources or destinations between the table and the folded list.

    If there are at most FEW_ROWS rows, all go to the table. Otherwise, the rows that need attention go to the table (at
    most MAX_ROWS), and the others go to the list (at most MAX_FOLDED).
    """
    if len(rows) <= FEW_ROWS:
        return ListedRows(tuple(rows.items()))
    need_attention = [row for row in rows.items() if not is_quiet(row[1])]
    quiet = sorted(name for name, row in rows.items() if is_quiet(row))
    folded = [*need_attention[MAX_ROWS:], *((name, rows[name]) for name in quiet)]
    well = all(row["state"] in _WELL and is_quiet(row) for _, row in folded)
    return ListedRows(need_attention[:MAX_ROWS], folded[:MAX_FOLDED], well, max(0, len(folded) - MAX_FOLDED))


def is_quiet(row: Mapping[str, Any]) -> bool:
    """Return whether a source or destination does not need the operator's attention."""
    return row["state"] in _NEEDS_NO_ATTENTION and not row.get("dead")


def group_by_destination(dead: Sequence[DeadDelivery]) -> list[tuple[str, list[DeadDelivery]]]:
    """Group given-up deliveries by destination, in the order in which the destinations first occur."""
    found: dict[str, list[DeadDelivery]] = {}
    for line in dead:
        found.setdefault(line.delivery.destination, []).append(line)
    return list(found.items())


def day_bars(days: Sequence[Day]) -> list[Bar]:
    """Return a bar for each day. The highest bar has the full height, and a day with any event has a visible bar."""
    highest = max((day.created for day in days), default=0)
    return [Bar(day, round(max(3, 100 * day.created / highest), 1) if day.created else 0) for day in days]


def percentage(done: int, of: float | None) -> int:
    """Return the percentage that is done; 0 if the total is unknown."""
    return min(100, round(100 * done / of)) if of else 0


def sweep_percentage(sweep: Mapping[str, Any]) -> int:
    """Return the percentage of pages that a sweep has read."""
    return percentage(sweep["next_page"] - 1, sweep["last_page"])
