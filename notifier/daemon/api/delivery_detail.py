"""The details of one delivery: its stored data, and its request, which is rebuilt from the stored events."""

from collections.abc import Sequence

from msgspec.structs import replace

from notifier.config.destinations import DestinationSettings
from notifier.config.message_destinations import AppriseSettings, MessageSettings
from notifier.config.webhooks import HttpSettings
from notifier.daemon.configuration import RunningConfiguration
from notifier.delivery.dispatcher import Dispatcher
from notifier.destinations.base import Preview
from notifier.destinations.webhook.signature import SYMMETRIC_PREFIX
from notifier.store.database import Database
from notifier.store.queries import delivery_detail
from notifier.store.queries.delivery_detail import EventDeliveries, StoredDelivery
from notifier.store.reader import StoreReader
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.request_log import digest
from notifier.web.daemon_api import DeliveryDetail, RequestPreview, UnknownEventError, UnknownNameError


class DeliveryInspector:
    """Reads the details of deliveries for the dashboard."""

    def __init__(self, reader: StoreReader, dispatcher: Dispatcher, configuration: RunningConfiguration) -> None:
        self._reader = reader
        self._dispatcher = dispatcher
        self._configuration = configuration

    async def deliveries(self, event_id: str) -> EventDeliveries:
        """Return an event and its deliveries. Raises UnknownEventError, StoreError."""
        found = await self._reader.run(delivery_detail.deliveries_of, event_id)
        if found is None:
            raise UnknownEventError(event_id)
        return found

    async def detail(self, event_id: str, destination: str) -> DeliveryDetail:
        """Return one delivery. Raises UnknownEventError, UnknownNameError, StoreError."""
        stored = await self._reader.run(_find_delivery, event_id, destination)
        settings = self._configuration.settings.destinations.get(destination)
        request = None if settings is None else await self._rebuilt_request(stored, settings)
        return DeliveryDetail(stored, request, is_configured=settings is not None)

    async def _rebuilt_request(self, stored: StoredDelivery, settings: DestinationSettings) -> RequestPreview | None:
        name = stored.delivery.destination
        first = None
        for slot_ms in possible_slots(stored) if stored.together else ():
            deliveries = [Delivery(it, name, slot_ms=slot_ms) for it in stored.together]
            preview = await self._dispatcher.preview(name, deliveries)
            if preview is None:
                return None
            request = request_preview(stored, settings, preview)
            if request.is_as_sent is not False:
                return request
            first = first or request
        return first


def possible_slots(stored: StoredDelivery) -> Sequence[int | None]:
    """Return the possible slots of a delivery's request, the most likely slot first. Pure.

    A slot is the scheduled time of a digest (Unix ms). The slot None stands for a request that is not a digest. The
    stored slot of the delivery is not certain: a delivery that is put back into the queue loses its slot, and a
    destination without a schedule ignores slots.
    """
    likeliest = stored.slot_ms or stored.delivery.scheduled_ms
    logged = stored.latest_logged
    if logged is None:
        return [likeliest]
    return [None, logged.attempted_ms] if likeliest is None else [likeliest, None]


def request_preview(stored: StoredDelivery, settings: DestinationSettings, preview: Preview) -> RequestPreview:
    """Return the rebuilt request of a delivery. Pure.

    If the request was logged, the result has the headers and the size from the log.
    """
    logged = stored.latest_logged
    rebuilt = RequestPreview(
        settings.address(),
        tuple(preview.headers.items()),
        preview.body,
        preview.lines,
        is_over_http=isinstance(settings, HttpSettings | MessageSettings) and not isinstance(settings, AppriseSettings),
        is_signed=isinstance(settings, HttpSettings) and _has_shared_secret(settings),
        hash_header=settings.signature_header.lower() if isinstance(settings, HttpSettings) else "",
        secret_headers=tuple(map(str.lower, settings.headers)) if isinstance(settings, HttpSettings) else (),
    )
    if logged is None:
        return rebuilt
    return replace(
        rebuilt,
        headers=logged.request.headers,
        sent_bytes=logged.request.body_bytes,
        is_as_sent=not stored.missing and digest(preview.body) == logged.request.body_digest,
    )


def _has_shared_secret(settings: HttpSettings) -> bool:
    """Return whether requests are signed with a shared secret. A shell command can then make the same signature."""
    return any(secret.get_secret_value().startswith(SYMMETRIC_PREFIX) for secret in settings.secret)


def _find_delivery(db: Database, event_id: str, destination: str) -> StoredDelivery:
    found = delivery_detail.find_delivery(db, event_id, destination)
    if found is not None:
        return found
    event = delivery_detail.deliveries_of(db, event_id)
    if event is None:
        raise UnknownEventError(event_id)
    raise UnknownNameError("delivery of this event to", destination, tuple(it.destination for it in event.deliveries))
