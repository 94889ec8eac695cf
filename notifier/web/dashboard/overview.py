"""What the front page says, decided from the status and the figures: values to values, nothing is fetched. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from notifier.ledger.figures import Day
from notifier.web.control import Figures
from notifier.web.dashboard.words import counted

Status = Mapping[str, Any]
"""The object of `/v1/status`."""

MOST_ROWS: Final = 40
"""So many sources, or destinations, are listed: those in trouble first."""

_MOST_NAMED: Final = 3


class Mood(StrEnum):
    """How things are in one word."""

    WELL = "well"
    STARTING = "starting"
    UNSETTLED = "unsettled"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all is well, in one sentence."""

    mood: Mood
    sentence: str


@dataclass(frozen=True, slots=True)
class Listed:
    """Sources or destinations, by name, in the order in which they are to be seen; `left_out` more are all right."""

    rows: Sequence[tuple[str, Mapping[str, Any]]]
    left_out: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart, in a picture 100 high."""

    day: Day
    height: float

    @property
    def top(self) -> float:
        """Where it begins, from above."""
        return 100 - self.height


def verdict(status: Status) -> Verdict:
    """Say whether all is well, and if not, how bad it is."""
    sources, destinations = status["sources"], status["destinations"]
    if conditions := status["conditions"]:
        verb = "needs" if len(conditions) == 1 else "need"
        return Verdict(Mood.ATTENTION, f"{counted(len(conditions), 'thing')} {verb} your attention.")
    if not destinations:
        return Verdict(Mood.ATTENTION, "Completions are found, but nobody is told: there is no destination yet.")
    if troubles := [*_source_troubles(sources), *_destination_troubles(destinations)]:
        named, more = troubles[:_MOST_NAMED], len(troubles) - _MOST_NAMED
        rest = f", and {counted(more, 'more trouble')}" if more > 0 else ""
        return Verdict(Mood.UNSETTLED, f"Nothing is lost, but {'; '.join(named)}{rest}.")
    if starting := [name for name, source in sources.items() if source["state"] == "starting"]:
        whose = starting[0] if len(starting) == 1 else counted(len(starting), "source")
        return Verdict(Mood.STARTING, f"Starting: waiting for the first answer of {whose}.")
    return Verdict(Mood.WELL, f"All is well: {counted(len(sources), 'source')} watched, {_told(destinations)}.")


def _told(destinations: Mapping[str, Mapping[str, Any]]) -> str:
    told = f"{counted(len(destinations), 'destination')} told"
    pending = sum(one["pending"] for one in destinations.values())
    return f"{told}, {counted(pending, 'delivery', 'deliveries')} on the way" if pending else f"{told}, nothing waits"


def _source_troubles(sources: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, source in sources.items():
        match source["state"]:
            case "failing":
                yield f"{name} cannot be read at present"
            case "rate_limited":
                yield f"{name} has to be left alone for a while"


def _destination_troubles(destinations: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, destination in destinations.items():
        match destination["state"]:
            case "retrying":
                yield f"{name} is being retried"
            case "disabled":
                yield f"{name} is disabled"
        if dead := destination["dead"]:
            yield f"{counted(dead, 'delivery', 'deliveries')} to {name} {'was' if dead == 1 else 'were'} given up"


def listed(rows: Mapping[str, Mapping[str, Any]]) -> Listed:
    """Choose what is listed: everything in its order, or, of very many, those in trouble and then the first others."""
    if len(rows) <= MOST_ROWS:
        return Listed(tuple(rows.items()), 0)
    ordered = sorted(rows.items(), key=lambda row: row[1]["state"] == "ok" and not row[1].get("dead"))
    return Listed(ordered[:MOST_ROWS], len(rows) - MOST_ROWS)


def bars(days: Sequence[Day]) -> list[Bar]:
    """Draw the days: the highest reaches the top, and what is not nothing can be seen."""
    highest = max((day.created for day in days), default=0)
    return [Bar(day, round(max(3, 100 * day.created / highest), 1) if day.created else 0) for day in days]


def part(done: int, of: float | None) -> int:
    """Return how much is done, in percent, as far as the whole is known."""
    return min(100, round(100 * done / of)) if of else 0


def sweep_part(sweep: Mapping[str, Any]) -> int:
    """Return how far a sweep has come, in percent of the pages."""
    return part(sweep["next_page"] - 1, sweep["last_page"])


def zone_of(figures: Figures) -> str:
    """Name the time zone whose days are counted, as `UTC+01:00`."""
    offset = f"{datetime.fromtimestamp(figures.now_ms / 1000).astimezone():%z}"
    return "UTC" if offset == "+0000" else f"UTC{offset[:3]}:{offset[3:]}"
