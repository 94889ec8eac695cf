"""What must outlive even the loss of the whole state file, in a small file beside it.

A damaged page costs the rows on it, and most of a damaged file can be read (`salvage.py`). Of one that was cut off at
its beginning nothing can. This side file then keeps the promise: it knows since when each source's records are news, up
to where they have been read, what was not delivered yet, and what was told since, so that none of it is told again. It
is written now and then, as a whole, under another name that then takes its place: it is old by a minute or so, or
right, but never half of one. What has happened since is found again by the API, under the same ids.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from sqlite_utils import Database

_FORMAT: Final = 1

MOST_UNDELIVERED: Final = 5_000
"""Undelivered events that are kept, the oldest ones: some megabytes. Of more, what is lost is found by the API."""

MOST_TOLD: Final = 10_000
"""Ids of events that are kept, the newest ones: a third of a megabyte."""

MARGIN_MS: Final = 600_000
"""How far the server's clock may be from ours, and more."""

_DAY_MS: Final = 86_400_000
EVENT_COLUMNS: Final = "sequence, id, type, source, subject, revision, net, reason, detected_at, data"


@dataclass(frozen=True, slots=True)
class SourceEssentials:
    """Of one source: what was entered since `met_at_ms` is news, and what was before `read_ms` has been read.

    `met_at_ms` is by the server's clock; `read_ms` is so much before our own that it holds by either.
    """

    met_at_ms: int
    read_ms: int
    last_success_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Undelivered:
    """An event that is not delivered everywhere: `event` holds the columns EVENT_COLUMNS of its row.

    `deliveries` are its unfinished ones: destination, and whether it is pending or dead.
    """

    event: tuple[Any, ...]
    deliveries: tuple[tuple[str, str], ...]

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.event[1])


@dataclass(frozen=True, slots=True)
class Essentials:
    """The side file's content; moments in Unix milliseconds.

    `sequence` is the highest number that an event has had, `disabled` holds the destinations that are, with the reason
    and since when. `told` are the ids of events, of all those detected since `told_since_ms` at least (0: of all).
    """

    written_ms: int
    sequence: int
    sources: Mapping[str, SourceEssentials] = field(default_factory=dict)
    disabled: Mapping[str, tuple[str | None, int | None]] = field(default_factory=dict)
    undelivered: tuple[Undelivered, ...] = ()
    told: tuple[str, ...] = ()
    told_since_ms: int = 0


def essentials_file(state_file: Path) -> Path:
    """Return where the essentials of a state file are kept."""
    real = Path(os.path.realpath(state_file))
    return real.with_name(real.name + ".essentials")


def signature(db: Database) -> tuple[Any, ...]:
    """Return what changes with everything in the essentials but the moment of the last success; cheap to look at."""
    (newest,) = db.execute("SELECT max(sequence) FROM events").fetchone()
    unfinished = db.execute(
        "SELECT count(*), total(sequence), total(state = 'dead') FROM deliveries WHERE state <> 'delivered'"
    ).fetchone()
    sources = db.execute("SELECT name, met_at, swept_at FROM sources ORDER BY name").fetchall()
    disabled = db.execute("SELECT name, since FROM destinations WHERE state = 'disabled' ORDER BY name").fetchall()
    return (newest, *unfinished, *sources, *disabled)


def gather(db: Database, now_ms: int) -> Essentials:
    """Read the essentials out of the state file."""
    sources = dict(_sources(db))
    # The newest by number: clocks may have told other times than the server's, by which records are judged.
    told = db.execute("SELECT id, detected_at FROM events ORDER BY sequence DESC LIMIT ?", [MOST_TOLD]).fetchall()
    disabled = db.execute("SELECT name, reason, since FROM destinations WHERE state = 'disabled'")
    return Essentials(
        now_ms,
        highest_sequence(db),
        sources,
        {name: (reason, since) for name, reason, since in disabled},
        tuple(_undelivered(db)),
        tuple(id_ for id_, _ in told),
        told[-1][1] if len(told) == MOST_TOLD else 0,
    )


def highest_sequence(db: Database) -> int:
    """Return the highest number that an event of this file has ever had; 0 when there was none."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(row[0]) if row else 0


def read_until_ms(met_at_ms: int, swept_at_ms: int | None, sweep_began_ms: int | None, success_ms: int | None) -> int:
    """Tell before which moment of entry everything has been read, as far as it is proven. Pure.

    A finished sweep proves it for what was entered before it began, whose beginning may not be known any more. Before
    the first one nothing is proven: records found by the first poll only stand at the top of the list.
    """
    if swept_at_ms is None or success_ms is None:
        return met_at_ms
    began_ms = swept_at_ms - _DAY_MS if sweep_began_ms is None else sweep_began_ms
    return max(met_at_ms, min(began_ms, success_ms) - MARGIN_MS)


def write(path: Path, essentials: Essentials) -> None:
    """Write the side file, all of it or nothing (this blocks). Raises OSError."""
    content = orjson.dumps(
        {
            "format": _FORMAT,
            "written_at": essentials.written_ms,
            "sequence": essentials.sequence,
            "sources": {
                name: [source.met_at_ms, source.read_ms, source.last_success_ms]
                for name, source in essentials.sources.items()
            },
            "disabled": essentials.disabled,
            "undelivered": [[it.event, it.deliveries] for it in essentials.undelivered],
            "told": essentials.told,
            "told_since": essentials.told_since_ms,
        }
    )
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)


def read(path: Path) -> Essentials | None:
    """Read the side file (this blocks); None when there is none, or none that this version can read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = orjson.loads(path.read_bytes())
        if content["format"] == _FORMAT:
            return Essentials(
                content["written_at"],
                content["sequence"],
                {name: SourceEssentials(*moments) for name, moments in content["sources"].items()},
                {name: (reason, since) for name, (reason, since) in content["disabled"].items()},
                tuple(_undelivered_of(*written) for written in content["undelivered"]),
                tuple(content["told"]),
                content["told_since"],
            )
    return None


def _sources(db: Database) -> "list[tuple[str, SourceEssentials]]":
    began = "SELECT max(started_at) FROM sweeps WHERE source = sources.name AND finished_at IS NOT NULL"
    rows = db.execute(
        f"SELECT name, met_at, swept_at, ({began}), last_success FROM sources WHERE met_at IS NOT NULL"
    ).fetchall()
    return [
        (name, SourceEssentials(met, read_until_ms(met, swept, sweep_began, success), success))
        for name, met, swept, sweep_began, success in rows
    ]


def _undelivered(db: Database) -> "list[Undelivered]":
    rows = db.execute(
        f"SELECT {EVENT_COLUMNS}, (SELECT json_group_array(json_array(destination, state)) FROM deliveries"
        " WHERE deliveries.sequence = events.sequence AND state <> 'delivered') FROM events WHERE sequence IN"
        " (SELECT DISTINCT sequence FROM deliveries WHERE state <> 'delivered' ORDER BY sequence LIMIT ?)"
        " ORDER BY sequence",
        [MOST_UNDELIVERED],
    ).fetchall()
    return [_undelivered_of(row[:-1], orjson.loads(row[-1])) for row in rows]


def _undelivered_of(event: Sequence[Any], deliveries: Sequence[Sequence[str]]) -> Undelivered:
    return Undelivered(tuple(event), tuple((destination, state) for destination, state in deliveries))
