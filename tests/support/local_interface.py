"""A running local HTTP interface with a simulated daemon behind it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from notifier.config import HttpInterfaceSettings
from notifier.config.shown_settings import ShownSetting
from notifier.daemon.api.status import evaluation_status, file_status
from notifier.store.file.store import FileStore
from notifier.store.queries.dashboard import DashboardCounts, Day, EventLine
from notifier.store.queries.delivery_detail import AttemptDetail, EventDeliveries, StoredDelivery
from notifier.store.queries.event_log import EventLogFilter, EventLogPage
from notifier.store.queries.history import PastDelivery
from notifier.store.queries.search import FoundPerson, FoundRecords
from notifier.store.reader import StoreReader
from notifier.store.tables.activity import RequestCount, StateChange
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import DropSelection, RetrySelection
from notifier.watch.detection.holds import Direction
from notifier.web.daemon_api import (
    ActionResult,
    DashboardFigures,
    DeliveryDetail,
    DestinationDetail,
    EventExport,
    ExportFormat,
    RequestPreview,
    SourceDetail,
    UnknownEventError,
    UnknownNameError,
    UnknownPersonError,
    UnknownRecordError,
)
from notifier.web.feed.broadcast import StreamTiming
from notifier.web.feed.service import Feed
from notifier.web.listening.limits import ConnectionLimits
from notifier.web.query_parameters import DeliveryPageRequest
from notifier.web.requests import ReplaySelection
from notifier.web.server import LocalServer
from tests.support.new_state_file import new_state_file


@dataclass
class Deliveries:
    """Simulates the daemon's operations on deliveries and destinations, and records their calls."""

    asked: list[Any] = field(default_factory=list)
    replay_runs: bool = False

    async def page(self, selection: DeliveryPageRequest) -> Any:
        return self._record(selection, {"deliveries": [], "next": "0,"})

    async def retry(self, selection: RetrySelection) -> Any:
        if "evt_gone" in selection.event_ids:
            raise UnknownEventError("evt_gone")
        return self._record(selection, {"deliveries": 3})

    async def drop(self, selection: DropSelection, *, dry_run: bool) -> Any:
        return self._record((selection, dry_run), {"deliveries": 2})

    async def move(self, old: str, new: str) -> ActionResult[Any]:
        return ActionResult(ok=True, body=self._record(("move", old, new), {"deliveries": 2}))

    async def try_now(self, destination: str) -> Any:
        self._check_name(destination)
        return self._record(("try", destination), {"destination": destination})

    async def replay(self, selection: ReplaySelection) -> ActionResult[Any]:
        return ActionResult(ok=not self.replay_runs, body=self._record(selection, {"events": 7}))

    async def replay_progress(self) -> Any:
        return self._record("progress", {"state": "running"})

    async def stop_replay(self, number: int | None) -> Any:
        return self._record(("stop", number), {"state": "stopped"})

    async def set_enabled(self, destination: str, *, enabled: bool) -> Any:
        self._check_name(destination)
        return self._record((destination, enabled), {"destination": destination})

    async def test(self, destination: str) -> Any:
        self._check_name(destination)
        return self._record(("test", destination), {"destination": destination})

    async def destination(self, destination: str) -> Any:
        self._check_name(destination)
        return {"destination": destination}

    def _check_name(self, destination: str) -> None:
        if destination != "hr":
            raise UnknownNameError("destination", destination, ("hr",))

    def _record(self, what: Any, body: dict[str, Any]) -> Any:
        self.asked.append(what)
        return body


KNOWN_EVENT = EventLine(
    42, "evt_known", "completion.created", "acme", "1238", 1_795_280_400_123, "<b>Ball</b>", "Ladders", None, None
)


@dataclass
class Inspection:
    """Simulates the reader of delivery details: it knows one event, and its deliveries to these destinations."""

    destinations: tuple[str, ...] = ("hr",)
    attempts: tuple[AttemptDetail, ...] = ()
    request: RequestPreview | None = None
    state: DeliveryState = DeliveryState.DELIVERED
    event: EventLine = KNOWN_EVENT

    async def deliveries(self, event_id: str) -> EventDeliveries:
        if event_id != self.event.id:
            raise UnknownEventError(event_id)
        return EventDeliveries(self.event, tuple(map(self._delivery, self.destinations)))

    async def detail(self, event_id: str, destination: str) -> DeliveryDetail:
        found = {it.destination: it for it in (await self.deliveries(event_id)).deliveries}
        if destination not in found:
            raise UnknownNameError("delivery of this event to", destination, self.destinations)
        stored = StoredDelivery(found[destination], self.event, self.attempts, (), 0)
        return DeliveryDetail(stored, self.request, is_configured=self.request is not None)

    def _delivery(self, destination: str) -> PastDelivery:
        of = (42, destination, "evt_known", "completion.created", "acme", "1238")
        return PastDelivery(self.state, *of, len(self.attempts), None, None, None, None, None, None)


@dataclass
class Details:
    """Simulates the reader of details: it knows the source `acme` and the destination `hr`."""

    hours: list[RequestCount] = field(default_factory=lambda: [RequestCount()] * 24)
    states: list[StateChange] = field(default_factory=list)
    filters: str = "new completions"
    searched_ms: int | None = None

    async def source(self, name: str) -> SourceDetail:
        if name != "acme":
            raise UnknownNameError("source", name, ("acme",))
        settings = [ShownSetting("token", "(hidden)", is_default=False), ShownSetting("api", "v2", is_default=True)]
        return SourceDetail(1_795_280_400_123, settings, self.hours, self.states, (), self.searched_ms)

    async def destination(self, name: str) -> DestinationDetail:
        if name != "hr":
            raise UnknownNameError("destination", name, ("hr",))
        return DestinationDetail(
            1_795_280_400_123, (), self.hours, self.states, (), self.searched_ms, "http", self.filters
        )


@dataclass
class EventLog:
    """Simulates the reader of the list of events: it records the requests, and returns an export in two parts."""

    asked: list[EventLogFilter] = field(default_factory=list)
    places: list[tuple[int | None, int]] = field(default_factory=list)
    failure: Exception | None = None
    bug: Exception | None = None

    async def page(self, chosen: EventLogFilter, before: int | None, limit: int) -> EventLogPage:
        if self.bug is not None:
            raise self.bug
        self.asked.append(chosen)
        self.places.append((before, limit))
        return EventLogPage((), None)

    async def export(self, chosen: EventLogFilter, before: int | None, form: ExportFormat) -> EventExport:
        if self.bug is not None:
            raise self.bug
        self.asked.append(chosen)
        if before is not None and self.failure is not None:
            raise self.failure
        return EventExport(f"{form} from {before}\n".encode(), 7 if before is None else None)


@dataclass
class Daemon:
    """Simulates the daemon behind the interface, and records its calls."""

    not_ready: dict[str, str] = field(default_factory=dict)
    hangs: tuple[str, ...] = ()
    refuses: bool = False
    trouble: Exception | None = None
    done: list[tuple[str, str]] = field(default_factory=list)
    records: set[str] = field(default_factory=set)
    released: list[tuple[Direction, bool, str]] = field(default_factory=list)
    forgotten: list[tuple[str, str]] = field(default_factory=list)
    deliveries: Deliveries = field(default_factory=Deliveries)
    details: Details = field(default_factory=Details)
    parts: dict[str, Any] = field(default_factory=dict)
    people: tuple[FoundPerson, ...] = ()
    delivery_inspection: Inspection = field(default_factory=Inspection)
    event_log: EventLog = field(default_factory=EventLog)

    async def status(self) -> Any:
        if self.trouble is not None:
            raise self.trouble
        return {
            "version": "1",
            "started_at": None,
            "sources": {},
            "destinations": {},
            "conditions": [],
            "evaluation": evaluation_status(None, 0.0),
            "store": file_status(),
            **self.parts,
        }

    async def metrics(self) -> bytes:
        return b"notifier_up 1\n"

    def hanging_parts(self) -> tuple[str, ...]:
        return self.hangs

    def unready(self) -> dict[str, str]:
        return self.not_ready

    async def poll(self, source: str) -> ActionResult[Any]:
        return self._do("poll", source)

    async def sweep(self, source: str) -> ActionResult[Any]:
        return self._do("sweep", source)

    async def release(self, source: str, what: Direction, *, silently: bool, by: str) -> ActionResult[Any]:
        self.released.append((what, silently, by))
        return self._do("release", source)

    async def forget(self, person: str, *, dry_run: bool, by: str) -> Any:
        if person == "nobody":
            raise UnknownPersonError("no person has this id")
        if not dry_run:
            self.forgotten.append((person, by))
        counts = dict.fromkeys(("events", "deliveries", "records", "names", "living"), 0)
        return {"people": [], "dry_run": dry_run, **counts, "unreached": []}

    async def reload(self) -> ActionResult[Any]:
        return self._do("reload", "")

    async def record(self, key: str) -> Any:
        if key not in self.records:
            raise UnknownRecordError(key)
        return {"key": key, "sources": {"acme": {"key": key}}}

    async def figures(self) -> DashboardFigures:
        days = tuple(Day(date(2026, 11, 1 + ago)) for ago in range(30))
        return DashboardFigures(1_795_280_400_123, DashboardCounts(days, {}, None, {}), (), ())

    async def find_records(self, text: str) -> FoundRecords:
        return FoundRecords(is_key=text in self.records, people=self.people)

    def _do(self, what: str, source: str) -> ActionResult[Any]:
        if source != "acme":
            raise UnknownNameError("source", source, ("acme",))
        self.done.append((what, source))
        return ActionResult(ok=not self.refuses, body={"source": source, "what": what})


@dataclass
class Interface:
    """A running interface with its addresses, and the daemon behind it."""

    daemon: Daemon
    store: FileStore
    feed: Feed
    server: LocalServer
    socket: Path
    port: int
    over_tcp: aiohttp.ClientSession
    over_socket: aiohttp.ClientSession
    stop: Callable[[], Awaitable[None]]

    @property
    def app(self) -> web.Application:
        return self.server.app

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def raw(self, request: bytes) -> bytes:
        """Send raw bytes, and return what the server sends until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


TIMING = StreamTiming(
    batch_seconds=0.02, slow_reader_seconds=0.5, keep_alive_seconds=0.3, disconnect_check_seconds=0.05
)
MAX_READERS = 8

Open = Callable[..., Awaitable[Interface]]


@pytest.fixture
async def store(resources: AsyncExitStack, tmp_path: Path) -> FileStore:
    opened = FileStore(new_state_file(tmp_path / "state" / "notifier.db"))
    await opened.open()
    resources.push_async_callback(opened.close)
    return opened


@pytest.fixture
def reader(resources: AsyncExitStack, store: FileStore) -> StoreReader:
    opened = StoreReader(store)
    resources.push_async_callback(opened.close)
    return opened


@pytest.fixture
def listen(resources: AsyncExitStack, store: FileStore, reader: StoreReader, tmp_path: Path) -> Open:
    """Return a function that starts an interface. Without a token, it is anonymous and listens on loopback only."""

    async def start(
        address: str = "127.0.0.1:0",
        token: str = "",
        path: Path | None = None,
        *,
        anonymous: bool | None = None,
        limits: ConnectionLimits | None = None,
        handed_over: Sequence[socket.socket] = (),
    ) -> Interface:
        daemon = Daemon()
        is_open = not token if anonymous is None else anonymous
        settings = HttpInterfaceSettings.model_validate({"listen": address, "token": token, "anonymous": is_open})
        path = path or tmp_path / "notifier.db.sock"
        feed = Feed(reader, lambda: ["acme", "other"], timing=TIMING, max_readers=MAX_READERS)
        server = LocalServer(daemon, feed, settings, path, handed_over, limits)
        resources.push_async_callback(server.stop)
        await server.start()
        resources.push_async_callback(feed.stop)
        over_tcp = await resources.enter_async_context(aiohttp.ClientSession())
        connector = aiohttp.UnixConnector(str(path))
        over_socket = await resources.enter_async_context(aiohttp.ClientSession(connector=connector))
        return Interface(
            daemon,
            store,
            feed,
            server,
            path,
            server.addresses[0][1] if server.addresses else 0,
            over_tcp,
            over_socket,
            server.stop,
        )

    return start


@pytest.fixture
async def interface(listen: Open) -> Interface:
    return await listen()
