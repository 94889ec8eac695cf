"""The daemon's operations that the local HTTP interface calls, and the errors that these raise."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from msgspec import Struct

from notifier.store.tables.requeue import DropSelection, RetrySelection
from notifier.watch.detection.holds import Direction
from notifier.web.queries import DeliveryPageRequest
from notifier.web.requests import Replay

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
        """Initialize with the kind (source or destination) and name from the request, and the configured names."""
        super().__init__(f"there is no {kind} `{name}`; there is {', '.join(known) or 'none'}")


class UnknownRecordError(Exception):
    """A request asks for a record that no source knows."""

    def __init__(self, key: str, problem_by_source: Mapping[str, str] = MappingProxyType({})) -> None:
        """Initialize with the key. `problem_by_source` says why a source skips the record although it has read it."""
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
    """A request to erase a person's data matches no person or several. The message does not contain the name."""


class UnknownEventError(Exception):
    """A request names an event that is not in the store."""

    def __init__(self, event_id: str, likely: str | None = None) -> None:
        """Initialize with the id from the request; `likely` is a similar id of a stored event, if there is one."""
        advice = "check the id (`notifier events --json` shows all stored events)"
        super().__init__(f"there is no event `{event_id}`: {f'did you mean `{likely}`?' if likely else advice}")


Body_co = TypeVar("Body_co", bound=Mapping[str, Any], covariant=True)


class ActionResult(Struct, Generic[Body_co], frozen=True):
    """The result of a requested action: whether it was done, and the JSON object to answer with."""

    ok: bool
    body: Body_co


class DeliveryControl(Protocol):
    """The operations on a running daemon's deliveries and destinations. All of them may raise StoreError."""

    async def page(self, selection: DeliveryPageRequest) -> "DeliveryPageDocument":
        """Return the object of `/v1/deliveries`. Raises UnknownNameError."""
        ...

    async def retry(self, selection: RetrySelection) -> "RetriedDocument":
        """Put deliveries back into the queue. Raises UnknownNameError, UnknownEventError."""
        ...

    async def drop(self, selection: DropSelection, *, dry_run: bool) -> "DroppedDocument":
        """Drop deliveries or, with `dry_run`, only count them. Raises UnknownNameError, UnknownEventError."""
        ...

    async def move(self, old: str, new: str) -> "ActionResult[MovedDocument]":
        """Move the waiting deliveries of `old`, which is not configured, to `new`. Raises UnknownNameError."""
        ...

    async def try_now(self, destination: str) -> "TriedDocument":
        """Try the waiting deliveries of a failing destination now. Raises UnknownNameError."""
        ...

    async def replay(self, selection: Replay) -> "ActionResult[ReplayPlanDocument | MessageDocument]":
        """Begin to send past events again or, in a dry run, only count them. Raises UnknownNameError."""
        ...

    async def replay_progress(self) -> "ReplayProgressDocument":
        """Return the object of `GET /v1/replay`."""
        ...

    async def stop_replay(self, number: int | None) -> "ReplayProgressDocument":
        """End the replay `number`, or all replays (None), for good; return how far they got."""
        ...

    async def set_enabled(self, destination: str, *, enabled: bool) -> "SwitchedDocument":
        """Enable or disable a destination. Raises UnknownNameError."""
        ...

    async def test(self, destination: str) -> "TestedDocument":
        """Send a sample event to a destination and return the result. Raises UnknownNameError."""
        ...

    async def destination(self, destination: str) -> "DestinationStandingDocument":
        """Return the object of `/v1/destinations/NAME`. Raises UnknownNameError."""
        ...


class DashboardFigures(Struct, frozen=True):
    """The figures that the dashboard shows in addition to the status, at `now_ms` (Unix ms).

    `latest` holds the latest events, the newest first. `dead` holds the latest given-up deliveries, grouped by
    destination.
    """

    now_ms: int
    counts: "DashboardCounts"
    latest: "Sequence[LatestEvent]"
    dead: "Sequence[DeadDelivery]"


class RequestPreview(Struct, frozen=True):
    """A request to show, without secrets, rebuilt from the stored events.

    `headers` are those that were sent, if the request is in the log; otherwise they are rebuilt too. `is_as_sent` says
    whether the body is byte for byte the one that was sent (None: not known). `sent_bytes` is the length of the body
    that was sent. `lines` is the text that people read, if there is any. `is_signed` means that the request has a
    symmetric signature. `hash_header` is the name of the header with a plain hash of the body; "" if there is none.
    """

    address: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    lines: tuple[str, ...] = ()
    is_over_http: bool = False
    is_signed: bool = False
    hash_header: str = ""
    secret_headers: tuple[str, ...] = ()
    sent_bytes: int | None = None
    is_as_sent: bool | None = None


class DeliveryDetail(Struct, frozen=True):
    """One delivery: its stored data, and its request (None if the request cannot be shown)."""

    stored: "StoredDelivery"
    request: RequestPreview | None
    is_configured: bool


class DeliveryInspection(Protocol):
    """The data for the page of a delivery. All operations may raise StoreError."""

    async def deliveries(self, event_id: str) -> "EventDeliveries":
        """Return an event and its deliveries. Raises UnknownEventError."""
        ...

    async def detail(self, event_id: str, destination: str) -> DeliveryDetail:
        """Return the delivery of an event to a destination. Raises UnknownEventError, UnknownNameError."""
        ...


class SourceDetail(Struct, frozen=True):
    """The data for a source's page, in addition to its status, at `now_ms` (Unix ms).

    `hours` counts the requests of each of the last 24 hours, the oldest first. `states` holds the latest changes of
    state, and `events` the latest events, both with the newest first.
    """

    now_ms: int
    settings: "Sequence[ShownSetting]"
    hours: "Sequence[RequestCount]"
    states: "Sequence[StateChange]"
    events: "Sequence[LoggedEvent]"


class DestinationDetail(SourceDetail, frozen=True):
    """The data for a destination's page: in addition to the fields for a source, the type, and the filters in words."""

    type: str
    filters: str


class SourceAndDestinationDetails(Protocol):
    """The data for the pages about one source or destination. All operations may raise StoreError."""

    async def source(self, name: str) -> SourceDetail:
        """Return the data for a source's page. Raises UnknownNameError."""
        ...

    async def destination(self, name: str) -> DestinationDetail:
        """Return the data for a destination's page. Raises UnknownNameError."""
        ...


class ExportFormat(StrEnum):
    """The formats in which events can be downloaded; each value is also the suffix of the file's name."""

    CSV = "csv"
    JSON_LINES = "jsonl"


class EventExport(Struct, frozen=True):
    """A part of an export: its bytes, and the event number before which the next part begins (None: no next part)."""

    content: bytes
    next: int | None


class EventLogControl(Protocol):
    """The data for the page of events. All operations may raise StoreError."""

    async def page(self, event_filter: "EventLogFilter", before: int | None, limit: int) -> "EventLogPage":
        """Return up to `limit` matching events before the number `before` (None: the newest ones)."""
        ...

    async def export(self, event_filter: "EventLogFilter", before: int | None, form: ExportFormat) -> EventExport:
        """Return matching events before the number `before`, newest first, as a part of a file in this format."""
        ...


class DaemonApi(Protocol):
    """The daemon's operations that the local HTTP interface uses."""

    @property
    def deliveries(self) -> DeliveryControl:
        """The operations on deliveries and destinations."""
        ...

    @property
    def details(self) -> SourceAndDestinationDetails:
        """The details of sources and destinations, for the dashboard."""
        ...

    @property
    def delivery_inspection(self) -> DeliveryInspection:
        """The details of deliveries, for the dashboard."""
        ...

    @property
    def event_log(self) -> EventLogControl:
        """The log of events, for the dashboard."""
        ...

    async def status(self) -> "StatusDocument":
        """Return the object of `/v1/status`."""
        ...

    async def metrics(self) -> bytes:
        """Return the page of `/metrics`. Raises StoreError."""
        ...

    def hanging_parts(self) -> tuple[str, ...]:
        """Return the names of the daemon's parts that hang; the tuple is empty if everything makes progress."""
        ...

    def unready(self) -> dict[str, str]:
        """Return the sources that are not ready, each with the reason."""
        ...

    async def poll(self, source: str) -> "ActionResult[PollDocument]":
        """Run a source's round now. Raises UnknownNameError."""
        ...

    async def sweep(self, source: str) -> "ActionResult[SweepBegunDocument]":
        """Start or continue a sweep of a source. Raises UnknownNameError."""
        ...

    async def release(
        self, source: str, what: Direction, *, silently: bool, by: str
    ) -> "ActionResult[ReleasedDocument]":
        """Report changes that a source holds back, or accept them silently; the log names the requester (`by`).

        Raises UnknownNameError.
        """
        ...

    async def forget(self, person: str, *, dry_run: bool, by: str) -> "PersonForgottenDocument":
        """Erase a person's data; with `dry_run`, only return the people that `person` identifies.

        The log names the requester (`by`). Raises UnknownPersonError.
        """
        ...

    async def reload(self) -> "ActionResult[ReloadDocument | ReloadFailedDocument]":
        """Read the configuration again and apply it; an invalid configuration changes nothing."""
        ...

    async def record(self, key: str) -> "RecordDocument":
        """Return the object of `/v1/records/KEY`. Raises UnknownRecordError."""
        ...

    async def figures(self) -> DashboardFigures:
        """Return the figures that the dashboard shows in addition to the status. Raises StoreError."""
        ...

    async def find_records(self, text: str) -> "FoundRecords":
        """Return records found by a key, a person's name or an employee number. Raises StoreError."""
        ...
