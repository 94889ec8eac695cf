"""The system under test: the real watcher and store of one source.

This module contains all code of the simulation that depends on their interfaces, so that a change of an interface
affects only one place.
"""

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

import orjson

import notifier.daemon.sources
from notifier.alerts import source_rules
from notifier.alerts.conditions import Condition
from notifier.config import Settings
from notifier.config.source_settings import SourceSettings
from notifier.daemon.configuration import Differences, RunningConfiguration
from notifier.daemon.scheduler import Schedule
from notifier.daemon.sources import SourceRegistry
from notifier.daemon.watcher_factory import build_watcher
from notifier.events import Completion
from notifier.kpa.versions import API_VERSIONS
from notifier.store.file.connection import FileDatabase, open_database
from notifier.store.file.store import FileStore
from notifier.watch.detection.holds import Direction
from notifier.watch.limits import DetectionLimits
from notifier.watch.source_health import SourceState
from notifier.watch.watcher import Watcher
from tests.simulation.account import RecordState
from tests.simulation.exchange import SimulatedExchange
from tests.simulation.loop import START_SECONDS, SimulatedClock, in_creation_order
from tests.simulation.profiles import Profile

SOURCE: Final = "acme"

_V1_KEY_LENGTH: Final = len("v1-") + 16


@dataclass(frozen=True, slots=True)
class ReportedEvent:
    """An event that the program has written: `state` is the record in it, `previous` the old values of an update."""

    sequence: int
    kind: str
    key: str
    revision: int
    net: str
    state: RecordState
    previous: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as the store has it."""

    state: RecordState
    is_removed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """A change that waits for a second look: the record's key, since when (seconds since the start), and the reason."""

    key: str
    since: float
    reason: str


def entity_of(key: str) -> str:
    """Return the part of a key that is compared with the account: all of a v2 key, or the prefix of a v1 key."""
    return key[:_V1_KEY_LENGTH] if key.startswith("v1-") else key


class InMemoryStateFile:
    """A state file in memory. It outlives the stores that use it, as a real file outlives processes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "notifier.db"
        self._db = _UnclosedDatabase(_new_connection())

    @property
    def path(self) -> Path:
        return self._path

    def new_store(self) -> FileStore:
        """Return a store that uses this file, as a new process does."""
        return FileStore(self._path, lambda _path: self._db)

    def close(self) -> None:
        self._db.conn.close()

    def events_after(self, sequence: int) -> list[ReportedEvent]:
        """Return the events after a sequence number."""
        rows = self._rows(
            "SELECT sequence, type, subject, revision, net, data FROM events WHERE sequence > ? ORDER BY sequence",
            [sequence],
        )
        return [_reported_event(*row) for row in rows]

    def known_keys(self) -> list[str]:
        """Return the keys of the stored records that are neither removed nor excluded by the filters."""
        return [
            key for (key,) in self._rows("SELECT key FROM records WHERE removed_at IS NULL AND out_of_view = 0", [])
        ]

    def stored_record(self, key: str) -> StoredRecord | None:
        """Return the stored record with a key; None if it is not stored."""
        rows = self._rows("SELECT key, removed_at, reason, record FROM records WHERE key = ?", [key])
        return next((belief for _, belief in _stored_records(rows)), None)

    def stored_records(self) -> dict[str, StoredRecord]:
        """Return all stored records, by key."""
        return dict(_stored_records(self._rows("SELECT key, removed_at, reason, record FROM records", [])))

    def stored_days(self, base: str) -> tuple[str, ...]:
        """Return the sorted completion dates of the stored v1 records whose keys have this prefix."""
        rows = self._rows(
            "SELECT completed_on FROM records WHERE removed_at IS NULL AND key >= ? AND key < ? || '.'", [base, base]
        )
        return tuple(sorted(day for (day,) in rows))

    def is_scanned(self) -> bool:
        """Return whether a full scan has ever reached the end of the list."""
        return bool(self._rows("SELECT 1 FROM sources WHERE swept_at IS NOT NULL", []))

    def inconsistencies(self) -> list[str]:
        """Return a sentence for each contradiction within the stored data."""
        rows = self._rows(
            "SELECT s.records, (SELECT count(*) FROM records r WHERE r.source = s.name AND r.removed_at IS NULL"
            " AND r.out_of_view = 0)"
            " FROM sources s",
            [],
        )
        return [f"the source says {said} records and holds {held}" for said, held in rows if said != held]

    def accepted_count_offset(self) -> int:
        """Return the lasting difference between the API's count and the records that the program has accepted."""
        rows = self._rows("SELECT count_offset FROM sources WHERE held = 0", [])
        return int(rows[0][0]) if rows else 0

    def _rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._db.conn.execute(sql, values).fetchall()


class SystemUnderTest:
    """The watcher of one source, polled at its interval, from the start of a process to its end."""

    def __init__(
        self,
        profile: Profile,
        loaded: Mapping[str, Any],
        state_file: InMemoryStateFile,
        exchange: SimulatedExchange,
        clock: SimulatedClock,
        chance: Callable[[], float],
        on_events: Callable[[], None],
    ) -> None:
        self._profile = profile
        self._loaded = dict(loaded)
        self._state_file = state_file
        self._exchange = exchange
        self._clock = clock
        self._chance = chance
        self._on_events = on_events
        self._store = state_file.new_store()
        self._watcher: Watcher | None = None
        self._poll = profile.poll

    async def run(self) -> None:
        """Open the store, and poll the source until cancelled."""
        await self._store.open()
        self._watcher = self._build_watcher(self._settings())
        await self._watcher.start()
        loop = asyncio.get_running_loop()
        due = loop.time() + 0.3 * min(self._profile.poll, 60)
        while True:
            await asyncio.sleep(due - loop.time())
            await self._poll_once()
            late = loop.time() - due
            due = due + self._poll if late < self._poll else loop.time() + self._poll

    def poll_less_often(self) -> None:
        """Poll less often from now on, because hours without a change would take most of the run's time."""
        self._poll = self._profile.poll_at_rest

    async def reload(self, changes: Mapping[str, Any]) -> None:
        """Apply other settings, as a reload does."""
        self._loaded.update(changes)
        watcher = self._watcher
        if watcher is not None:
            await watcher.stop()
        self._watcher = self._build_watcher(self._settings())
        await self._watcher.start()

    async def kill(self, surviving_tasks: set[asyncio.Task[Any]]) -> None:
        """End like a process after kill -9: cancel all tasks except `surviving_tasks`; stored data stays as it is."""
        for task in in_creation_order(asyncio.all_tasks() - surviving_tasks):
            task.cancel()
        self._store._db = None
        await asyncio.sleep(0.01)
        await self._store.close()

    @property
    def is_well(self) -> bool:
        """Whether the state of the source is OK."""
        return self._watcher is not None and self._watcher.state is SourceState.OK

    def conditions(self) -> dict[str, str]:
        """Return the conditions of the source: a sentence by the name of each condition."""
        found = self._conditions(self._watcher) if self._watcher else ()
        return {condition.name.value: condition.summary for condition in found}

    def _conditions(self, watcher: Watcher) -> Iterator[Condition]:
        return source_rules.conditions(watcher.name, watcher.report(), (), self._clock.now_ms())

    def withheld(self) -> list[Withheld]:
        """Return the changes that wait for a second look."""
        looks = [] if self._watcher is None else self._watcher.second_looks.by_key.values()
        now, now_ms = self._clock.monotonic(), self._clock.now_ms()
        return [
            Withheld(look.key, now - START_SECONDS - (now_ms - look.since_ms) / 1000, look.kind)
            for look in looks
            if look.since_ms is not None
        ]

    async def release(self, what: str) -> bool:
        """Release held `removals`, `arrivals` or `changes`, as an operator does; return False without a watcher."""
        if self._watcher is None:
            return False
        await self._watcher.release(Direction(what), silently=False)
        return True

    async def _poll_once(self) -> None:
        watcher, current = self._watcher, asyncio.current_task()
        try:
            if watcher is not None and (await watcher.poll()).is_done:
                await watcher.run_followups()
        except asyncio.CancelledError:
            # A reload ends the poll of the watcher that it stops. The next poll is that of the new watcher.
            if current is None or current.cancelling():
                raise

    def _build_watcher(self, settings: Settings) -> Watcher:
        return build_watcher(
            settings,
            SOURCE,
            _NO_SESSION,
            self._store,
            self._clock,
            lambda: (),
            lambda _events: self._on_events(),
            detection_limits=DetectionLimits(large_page=self._profile.large_page),
            chance=self._chance,
            exchange=self._exchange,
        )

    def _settings(self) -> Settings:
        profile = self._profile
        wanted: dict[str, Any] = {
            "token": "t" * 41,
            "api": profile.api,
            "base_url": "http://127.0.0.1:1/v1",
            "poll_interval": _milliseconds(profile.poll),
            "page_size": profile.page,
            "sweep_interval": _milliseconds(profile.scan),
            "requests_per_minute": profile.requests_per_minute,
            "confirm_after": _milliseconds(profile.confirm_after),
            "timeout": _milliseconds(self._exchange.timeout_seconds),
            "names": False,
            **profile.settings,
            **self._loaded,
        }
        # Settings that an older version of the program does not have are left out.
        table = {
            name: value for name, value in wanted.items() if name in SourceSettings.model_fields and value is not None
        }
        return Settings.model_validate({"sources": {SOURCE: table}, "store": {"path": str(self._state_file.path)}})


class ScheduledSystemUnderTest(SystemUnderTest):
    """The watcher of one source, polled by the daemon's own `SourceRegistry` and schedule (APScheduler)."""

    _sources: SourceRegistry | None = None

    def poll_less_often(self) -> None:
        """Do nothing, because the schedule decides how often to poll."""

    async def run(self) -> None:
        await self._store.open()
        schedule = Schedule(self._clock)
        self._sources = SourceRegistry(
            schedule,
            self._store,
            self._clock,
            RunningConfiguration(self._settings()),
            lambda _events: self._on_events(),
            lambda _poll_once, _seconds: None,
            lambda _source, _reason: None,
        )
        await self._apply_settings(Differences(added=(SOURCE,)))
        schedule.start(_do_nothing)
        await asyncio.Event().wait()

    async def reload(self, changes: Mapping[str, Any]) -> None:
        self._loaded.update(changes)
        await self._apply_settings(Differences(changed=(SOURCE,)))

    async def _apply_settings(self, differences: Differences) -> None:
        if self._sources is None:
            return
        detection_limits = DetectionLimits(large_page=self._profile.large_page)
        make = partial(build_watcher, detection_limits=detection_limits, chance=self._chance, exchange=self._exchange)
        with mock.patch.object(notifier.daemon.sources, "build_watcher", make):
            await self._sources.apply_settings(self._settings(), _NO_SESSION, differences)
        self._watcher = self._sources.watcher(SOURCE)


def system_class(profile: Profile) -> type[SystemUnderTest]:
    """Return the class of the system under test for a profile."""
    return ScheduledSystemUnderTest if profile.scheduled else SystemUnderTest


def count_entities(keys: Sequence[str]) -> Counter[str]:
    """Return the number of keys of each entity."""
    return Counter(map(entity_of, keys))


_NO_SESSION: Final[Any] = None
"""Passed in place of an HTTP session, which is not used if an exchange is given."""


def _milliseconds(seconds: float) -> str:
    """Return a duration in the notation of the configuration."""
    return f"{round(seconds * 1000)}ms"


async def _do_nothing() -> None:
    pass


class _UnclosedDatabase(FileDatabase):
    def close(self) -> None:
        """Leave the connection open for the next process."""


def _new_connection() -> sqlite3.Connection:
    """Open a new state file in memory, from an image, as creating the schema would take too long."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.deserialize(_image())
    for pragma in ("foreign_keys = ON", "temp_store = MEMORY", "synchronous = OFF", "journal_mode = MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


@cache
def _image() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        db = open_database(Path(folder) / "image.db")
        db.conn.execute("PRAGMA journal_mode = DELETE").fetchall()
        image: bytes = db.conn.serialize()
        db.close()
    return image


def _reported_event(sequence: int, kind: str, key: str, revision: int, net: str, data: str) -> ReportedEvent:
    document = orjson.loads(data)
    completion = document["completion"]
    form = RecordState(*(completion[name] for name in RecordState._fields))
    return ReportedEvent(sequence, kind.rpartition(".")[2], key, revision, net, form, document["previous"])


def _stored_records(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, StoredRecord]]:
    for key, removed_at, reason, record in rows:
        version = API_VERSIONS["v1" if key.startswith("v1-") else "v2"]
        completions, _ = version.parse([orjson.loads(record)])
        if completions:
            yield key, StoredRecord(_state(completions[0]), removed_at is not None, reason)


def _state(completion: Completion) -> RecordState:
    content = completion.content()
    return RecordState(*(content[name] for name in RecordState._fields))
