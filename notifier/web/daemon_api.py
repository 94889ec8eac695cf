"""The operations of the daemon that the local HTTP interface calls, and the errors that they raise."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Struct

from notifier.store.tables.requeue import DropSelection, RetrySelection
from notifier.watch.detection.holds import Direction
from notifier.web.query_parameters import DeliveryPageRequest
from notifier.web.requests import ReplaySelection

if TYPE_CHECKING:
    # Not imported at run time, so that modules that only the dashboard needs are not loaded for their types.
    from notifier.config.shown_settings import ShownSetting
    from notifier.store.queries.dashboard import DashboardCounts, DeadDelivery, LatestEvent
    from notifier.store.queries.delivery_detail import EventDeliveries, StoredDelivery
    from notifier.store.queries.event_log import EventLogFilter, EventLogPage, LoggedEvent
    from notifier.store.queries.search import FoundRecords
    from notifier.store.tables.activity import RequestCount, StateChange
    from notifier.web.response_models.deliveries import (
        DeliveryPageDocument,
        DestinationStandingDocument,
        DroppedDocument,
        MovedDocument,
        ReplayPlanDocument,
        ReplayProgressDocument,
        RetriedDocument,
        SwitchedDocument,
        TestedDocument,
        TriedDocument,
    )
    from notifier.web.response_models.records import (
        PersonForgottenDocument,
        PollDocument,
        RecordDocument,
        ReleasedDocument,
        SweepBegunDocument,
    )
    from notifier.web.response_models.shared import MessageDocument
    from notifier.web.response_models.status import ReloadDocument, ReloadFailedDocument, StatusDocument


class UnknownNameError(Exception):
    """A request names a source or destination that is not configured."""

    def __init__(self, kind: str, name: str, known: tuple[str, ...]) -> None:
        """Initialise with the requested name. `kind` is "source" or "destination". `known` has the configured names."""
        super().__init__(f"there is no {kind} `{name}`; there is {', '.join(known) or 'none'}")


class UnknownRecordError(Exception):
    """A request asks for a record that no source knows."""

    def __init__(self, key: str, problem_by_source: Mapping[str, str] = MappingProxyType({})) -> None:
        """Initialise with the key. For sources that list the record, `problem_by_source` says why it is unreadable."""
        if problem_by_source:
            seen = "; ".join(
                f"{source} has read it, but leaves it out: {problem}" for source, problem in problem_by_source.items()
            )
            super().__init__(f"no source knows a record `{key}`, because it cannot be read: {seen}")
            return
        super().__init__(
            f"no source knows a record `{key}`: check the key, and whether a sweep has read the whole list yet "
            "(`notifier status`)"
        )


class UnknownPersonError(Exception):
    """A request to erase a person's data matches nobody, or several people. The error message contains no names."""


class UnknownEventError(Exception):
    """A request names an event that is not in the store."""

    def __init__(self, event_id: str, likely: str | None = None) -> None:
        """Initialise with the requested id. `likely` is a similar id of a stored event, if there is one."""
        advice = "check the id (`notifier events --json` shows all stored events)"
        super().__init__(f"there is no event `{event_id}`: {f'did you mean `{likely}`?' if likely else advice}")


Body_co = TypeVar("Body_co", bound=Mapping[str, Any], covariant=True)


class ActionResult(Struct, Generic[Body_co], frozen=True):
    """The result of a requested action: whether it was carried out, and the JSON body of the answer."""

    ok: bool
    body: Body_co


class DeliveryControl(Protocol):
    """The daemon's operations on deliveries and destinations. Each operation may raise StoreError."""

    async def page(self, selection: DeliveryPageRequest) -> "DeliveryPageDocument":
        """Return the JSON body of `GET /v1/deliveries`. Raises UnknownNameError."""
        ...

    async def retry(self, selection: RetrySelection) -> "RetriedDocument":
        """Put the selected deliveries back into the queue. Raises UnknownNameError, UnknownEventError."""
        ...

    async def drop(self, selection: DropSelection, *, dry_run: bool) -> "DroppedDocument":
        """Drop the selected deliveries; with `dry_run`, only count them. Raises UnknownNameError, UnknownEventError."""
        ...

    async def move(self, old: str, new: str) -> "ActionResult[MovedDocument]":
        """Move the pending deliveries of `old`, which is not configured, to the destination `new`.

        Raises UnknownNameError.
        """
        ...

    async def try_now(self, destination: str) -> "TriedDocument":
        """Retry a failing destination's pending deliveries now, before they are due. Raises UnknownNameError."""
        ...

    async def replay(self, selection: ReplaySelection) -> "ActionResult[ReplayPlanDocument | MessageDocument]":
        """Start to send the selected past events again. In a dry run, only count them. Raises UnknownNameError."""
        ...

    async def replay_progress(self) -> "ReplayProgressDocument":
        """Return the JSON body of `GET /v1/replay`."""
        ...

    async def stop_replay(self, number: int | None) -> "ReplayProgressDocument":
        """Stop a replay for good, and return the progress of replays. If `number` is None, stop all running replays."""
        ...

    async def set_enabled(self, destination: str, *, enabled: bool) -> "SwitchedDocument":
        """Enable or disable a destination. Raises UnknownNameError."""
        ...

    async def test(self, destination: str) -> "TestedDocument":
        """Send a sample event to a destination and return the result. Raises UnknownNameError."""
        ...

    async def destination(self, destination: str) -> "DestinationStandingDocument":
        """Return the JSON body of `GET /v1/destinations/NAME`. Raises UnknownNameError."""
        ...


class DashboardFigures(Struct, frozen=True):
    """The data that the front page of the dashboard shows in addition to the status."""

    now_ms: int
    """When the data was read (Unix ms)."""
    counts: "DashboardCounts"
    latest: "Sequence[LatestEvent]"
    """The latest events, newest first."""
    dead: "Sequence[DeadDelivery]"
    """The latest given-up deliveries of each destination."""


class RequestPreview(Struct, frozen=True):
    """A request to a destination, rebuilt from the stored events, without secrets. The dashboard shows it."""

    address: str
    headers: tuple[tuple[str, str], ...]
    """The headers from the log or, if the request was not logged, rebuilt ones."""
    body: bytes
    lines: tuple[str, ...] = ()
    """The lines of a message for people."""
    is_over_http: bool = False
    is_signed: bool = False
    """Whether the destination's requests are signed with a shared secret."""
    hash_header: str = ""
    """The name of the header with a plain hash of the body; "" if there is no such header."""
    secret_headers: tuple[str, ...] = ()
    sent_bytes: int | None = None
    """The length of the body according to the log; None if the request was not logged."""
    is_as_sent: bool | None = None
    """Whether `body` is the body that was sent; None if the request was not logged."""


class DeliveryDetail(Struct, frozen=True):
    """The stored data of a delivery, and the request that delivers it.

    `request` is None if it cannot be rebuilt. `is_configured` says whether the destination is still configured.
    """

    stored: "StoredDelivery"
    request: RequestPreview | None
    is_configured: bool


class DeliveryInspection(Protocol):
    """Reads the data for the page of a delivery. Each operation may raise StoreError."""

    async def deliveries(self, event_id: str) -> "EventDeliveries":
        """Return an event and its deliveries. Raises UnknownEventError."""
        ...

    async def detail(self, event_id: str, destination: str) -> DeliveryDetail:
        """Return the delivery of an event to a destination. Raises UnknownEventError, UnknownNameError."""
        ...


class SourceDetail(Struct, frozen=True):
    """The data that a source's page shows in addition to the status."""

    now_ms: int
    """When the data was read (Unix ms)."""
    settings: "Sequence[ShownSetting]"
    hours: "Sequence[RequestCount]"
    """The number of requests in each of the last 24 hours, oldest first."""
    states: "Sequence[StateChange]"
    """The latest state changes, newest first."""
    events: "Sequence[LoggedEvent]"
    """The latest events, newest first."""
    searched_ms: int | None
    """The detection time (Unix ms) of the oldest event that was examined to find `events`.

    None if enough events were found, or if no older events are left.
    """


class DestinationDetail(SourceDetail, frozen=True):
    """The data for a destination's page: the fields of SourceDetail, the type, and a description of the filters."""

    type: str
    filters: str


class SourceAndDestinationDetails(Protocol):
    """Reads the data for the page of a source or a destination. Each operation may raise StoreError."""

    async def source(self, name: str) -> SourceDetail:
        """Return the data for a source's page. Raises UnknownNameError."""
        ...

    async def destination(self, name: str) -> DestinationDetail:
        """Return the data for a destination's page. Raises UnknownNameError."""
        ...


class ExportFormat(StrEnum):
    """The formats in which events can be downloaded. Each value is also the file name extension."""

    CSV = "csv"
    JSON_LINES = "jsonl"


class EventExport(Struct, frozen=True):
    """One part of an export. The next part has the events with numbers below `next` (None: no more parts)."""

    content: bytes
    next: int | None


class EventLogInspection(Protocol):
    """Reads the data for the page of events. Each operation may raise StoreError."""

    async def page(self, event_filter: "EventLogFilter", before: int | None, limit: int) -> "EventLogPage":
        """Return up to `limit` matching events with a number below `before` (None: any number), newest first."""
        ...

    async def export(
        self, event_filter: "EventLogFilter", before: int | None, export_format: ExportFormat
    ) -> EventExport:
        """Return the part of an export that has the newest matching events with a number below `before` (None: any)."""
        ...


class DaemonApi(Protocol):
    """The daemon's operations that the local HTTP interface uses."""

    @property
    def deliveries(self) -> DeliveryControl:
        """The operations on deliveries and destinations."""
        ...

    @property
    def details(self) -> SourceAndDestinationDetails:
        """The object that reads the details of sources and destinations for the dashboard."""
        ...

    @property
    def delivery_inspection(self) -> DeliveryInspection:
        """The object that reads the details of deliveries for the dashboard."""
        ...

    @property
    def event_log(self) -> EventLogInspection:
        """The object that reads the list of events for the dashboard."""
        ...

    async def status(self) -> "StatusDocument":
        """Return the JSON body of `GET /v1/status`."""
        ...

    async def metrics(self) -> bytes:
        """Return the page of `/metrics`. Raises StoreError."""
        ...

    def hanging_parts(self) -> tuple[str, ...]:
        """Return the names of the daemon's parts that make no progress."""
        ...

    def unready(self) -> dict[str, str]:
        """Return the reasons why the daemon is not ready. Each key is a source's name, `alerts` or `evaluation`."""
        ...

    async def poll(self, source: str) -> "ActionResult[PollDocument]":
        """Poll a source now, outside its schedule. Raises UnknownNameError."""
        ...

    async def sweep(self, source: str) -> "ActionResult[SweepBegunDocument]":
        """Start a sweep of a source, or continue an unfinished sweep. Raises UnknownNameError."""
        ...

    async def release(
        self, source: str, what: Direction, *, silently: bool, by: str
    ) -> "ActionResult[ReleasedDocument]":
        """Report the held changes of the kind `what`. With `silently`, accept them without reporting them.

        The log names `by` as the requester. Raises UnknownNameError.
        """
        ...

    async def forget(self, person: str, *, dry_run: bool, by: str) -> "PersonForgottenDocument":
        """Erase the data of `person` (an id, employee number or name); with `dry_run`, only return the people found.

        The log names `by` as the requester. Raises UnknownPersonError.
        """
        ...

    async def reload(self) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        """Read the configuration again and apply it; an invalid configuration changes nothing."""
        ...

    async def record(self, key: str) -> "RecordDocument":
        """Return the JSON body of `GET /v1/records/KEY`. Raises UnknownRecordError."""
        ...

    async def figures(self) -> DashboardFigures:
        """Return the data that the front page shows in addition to the status. Raises StoreError."""
        ...

    async def find_records(self, text: str) -> "FoundRecords":
        """Find the record whose key is `text`, or the records of the people whom `text` matches. Raises StoreError."""
        ...
