"""Operators' requests about deliveries and destinations, such as retry, drop, replay and test."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from notifier.clock import Clock
from notifier.config import BrokerSettings, ConfigError, HttpSettings, Settings
from notifier.daemon.api.delivery import delivery_document
from notifier.daemon.api.replays import deleted_before_ms, plan_document, replay_range, replays_document
from notifier.daemon.configuration import RunningConfiguration, UnloadedChanges, unloaded_changes
from notifier.daemon.configuration_reader import ConfigurationReader, ConfigurationReadError
from notifier.delivery.dispatcher import Dispatcher
from notifier.delivery.replay import ReplayRunner, ReplayStoppedError
from notifier.destinations.sample import sample_event, sample_source
from notifier.store.database import Database
from notifier.store.queries import history
from notifier.store.queries.orphans import move_waiting, orphans, unfinished_destinations
from notifier.store.reader import StoreReader
from notifier.store.store import Store
from notifier.store.subscriptions import Subscription
from notifier.store.tables import requeue
from notifier.store.tables.destinations import Health, HealthState
from notifier.store.tables.replays import ReplayRunningError
from notifier.store.tables.requeue import DropSelection, RetryResult, RetrySelection
from notifier.web.daemon_api import ActionResult, UnknownEventError, UnknownNameError
from notifier.web.query_parameters import DeliveryPageRequest, format_cursor
from notifier.web.requests import ReplaySelection

if TYPE_CHECKING:
    from notifier.web.response_models.deliveries import (
        DeliveryPageDocument,
        DestinationStandingDocument,
        DroppedDocument,
        MovedDocument,
        ReplayPlanDocument,
        ReplayProgressDocument,
        RetriedDocument,
        StandingDocument,
        SwitchedDocument,
        TestedDocument,
        TriedDocument,
    )
    from notifier.web.response_models.shared import MessageDocument

_log = logging.getLogger(__name__)


class DeliveryOperations:
    """Carries out operators' requests about deliveries and destinations of a running daemon."""

    def __init__(
        self,
        store: Store,
        reader: StoreReader,
        dispatcher: Dispatcher,
        clock: Clock,
        configuration: RunningConfiguration,
    ) -> None:
        """Initialise with the parts of the daemon that the requests use."""
        self._reader = reader
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._configuration = configuration
        self._configuration_reader = ConfigurationReader(configuration.reload_hooks)
        self._replays = ReplayRunner(
            store, lambda: configuration.subscriptions, dispatcher.wake, clock, self._batch_wait
        )

    async def start(self) -> None:
        """Continue the replays that the last run of the daemon did not finish. Raises StoreError."""
        await self._replays.resume_unfinished()

    async def stop(self) -> None:
        """Interrupt running replays. The next run of the daemon continues them."""
        await self._replays.close()

    async def page(self, query: DeliveryPageRequest) -> "DeliveryPageDocument":
        """Return the JSON object of `/v1/deliveries`. Raises UnknownNameError, StoreError."""
        return await self._reader.run(delivery_page, query, tuple(self._settings.destinations))

    async def retry(self, request: RetrySelection) -> "RetriedDocument":
        """Put deliveries back into the queue. Raises UnknownNameError, UnknownEventError, StoreError."""
        names = self._destination_names(request.destination)
        retried = await self._store.run(retry_deliveries, request, names, self._clock.now_ms())
        return retry_document(retried, self._dispatcher.try_at_once(names))

    async def drop(self, request: DropSelection, *, dry_run: bool) -> "DroppedDocument":
        """Remove deliveries from the queue for good; with `dry_run`, only count them.

        Raises UnknownNameError, UnknownEventError, StoreError.
        """
        dropped = await self._store.run(
            drop_deliveries,
            request,
            tuple(self._settings.destinations),
            self._configuration.subscriptions,
            dry_run=dry_run,
        )
        if not dry_run:
            self._dispatcher.reload_queues(dropped["destinations"])
        return dropped

    async def move(self, old: str, new: str) -> "ActionResult[MovedDocument]":
        """Move the waiting deliveries of destination `old` to destination `new`. Refused if `old` is still configured.

        Raises UnknownNameError, StoreError.
        """
        self._destination_names(new)
        answer = await self._store.run(
            move_deliveries, old, new, tuple(self._settings.destinations), self._clock.now_ms()
        )
        self._dispatcher.wake()
        return answer

    async def replay(self, request: ReplaySelection) -> "ActionResult[ReplayPlanDocument | MessageDocument]":
        """Begin a replay, which sends past events again; in a dry run, only count the events.

        Raises UnknownNameError, StoreError.
        """
        self._destination_names(request.destination)
        if request.source is not None and request.source not in self._settings.sources:
            raise UnknownNameError("source", request.source, tuple(self._settings.sources))
        now_ms = self._clock.now_ms()
        past = await self._store.run(replay_range, request, now_ms)
        number = None
        try:
            if request.dry_run:
                plan = await self._replays.plan(past, request.destination)
            else:
                number, plan = await self._replays.start(past, request.destination)
        except ReplayRunningError as error:
            return ActionResult(ok=False, body={"message": str(error)})
        except ReplayStoppedError:
            return ActionResult(ok=False, body={"message": "the replay was stopped before it started"})
        size = plan_document(plan, deleted_before_ms(self._settings, past, now_ms))
        body: ReplayPlanDocument = {"id": number, **size, "message": ""}
        return ActionResult(ok=True, body=body)

    async def replay_progress(self) -> "ReplayProgressDocument":
        """Return the JSON object of `GET /v1/replay`. Raises StoreError."""
        return await self._reader.run(replays_document, self._clock.now_ms())

    async def stop_replay(self, number: int | None) -> "ReplayProgressDocument":
        """End one replay for good, or all if `number` is None. Return `replay_progress()`. Raises StoreError."""
        await self._replays.stop(number)
        return await self.replay_progress()

    async def set_enabled(self, destination: str, *, enabled: bool) -> "SwitchedDocument":
        """Enable or disable a destination. Raises UnknownNameError, StoreError."""
        self._destination_names(destination)
        try:
            health, waited = await self._dispatcher.set_enabled(destination, enabled=enabled)
        except KeyError:
            # A reload may have removed the destination in the meantime.
            self._destination_names(destination)
            raise
        return switched_document(destination, health, await self._unloaded_changes(destination), waited=waited)

    async def count_unmatched(self, names: Sequence[str]) -> dict[str, int]:
        """For each destination in `names`, count the waiting deliveries that the destination's filters now reject.

        Destinations without such deliveries are omitted. Raises StoreError.
        """
        counts: dict[str, int] = {}
        for name in names:
            request = DropSelection(destination=name, unmatched=True)
            found = await self._store.run(requeue.find_dropped, request, name, self._configuration.subscriptions)
            if found:
                counts[name] = len(found)
        return counts

    async def try_now(self, destination: str) -> "TriedDocument":
        """End the pause that follows failures, so that deliveries to a destination are attempted now.

        Raises UnknownNameError.
        """
        self._destination_names(destination)
        return {"destination": destination, "waited": bool(self._dispatcher.try_at_once((destination,)))}

    async def test(self, destination: str) -> "TestedDocument":
        """Send a sample event to a destination, without retries, and return the result. Raises UnknownNameError."""
        unloaded = await self._unloaded_changes(destination)
        settings = self._settings
        tested, health = settings.destinations.get(destination), self._dispatcher.health().get(destination)
        if tested is None or health is None:
            raise UnknownNameError("destination", destination, tuple(settings.destinations))
        event = sample_event(sample_source(settings, tested), self._clock.now_ms())
        started = self._clock.monotonic()
        outcome, waited = await self._dispatcher.send_sample(destination, event)
        return {
            "destination": destination,
            "event": event.id,
            "result": outcome.reason,
            "status": outcome.status,
            "answer": outcome.detail,
            "waited": waited,
            "milliseconds": round((self._clock.monotonic() - started) * 1000),
            **destination_document(destination, health, unloaded),
        }

    async def destination(self, destination: str) -> "DestinationStandingDocument":
        """Return the JSON object of `/v1/destinations/NAME`. Raises UnknownNameError."""
        unloaded = await self._unloaded_changes(destination)
        health = self._dispatcher.health().get(destination)
        if health is None and not unloaded.keys:
            raise UnknownNameError("destination", destination, tuple(self._settings.destinations))
        return {"destination": destination, **destination_document(destination, health, unloaded)}

    async def _unloaded_changes(self, destination: str) -> UnloadedChanges:
        """Return how a destination's settings in the configuration file differ from those in the running daemon.

        If the configuration file is invalid or cannot be read, the result contains only a message.
        """
        try:
            settings = await self._configuration_reader.read()
        except ConfigurationReadError as error:
            what = "is wrong now" if isinstance(error.__cause__, ConfigError) else "cannot be read now"
            return UnloadedChanges(
                message=f"the configuration {what} (`notifier check`), and the daemon still uses the previous one"
            )
        return unloaded_changes(
            destination,
            self._settings.destinations.get(destination),
            settings.destinations.get(destination),
        )

    def _destination_names(self, destination: str | None) -> tuple[str, ...]:
        """Return a tuple with only `destination`; if it is None, return the names of all destinations.

        Raises UnknownNameError.
        """
        known = tuple(self._settings.destinations)
        if destination is None:
            return known
        if destination not in self._dispatcher.health():
            raise UnknownNameError("destination", destination, known)
        return (destination,)

    def _batch_wait(self, destination: str) -> float:
        match self._settings.destinations.get(destination):
            case HttpSettings(batch_wait=seconds) | BrokerSettings(batch_wait=seconds):
                return seconds
            case _:
                return 0.0

    @property
    def _settings(self) -> Settings:
        return self._configuration.settings


def switched_document(
    destination: str, health: Health, unloaded: UnloadedChanges, *, waited: bool
) -> "SwitchedDocument":
    """Return the JSON object with the state of a destination that was just enabled or disabled.

    `waited` says whether enabling or disabling the destination ended a pause after failures.
    """
    return {
        "destination": destination,
        "state": health.state,
        "reason": health.reason,
        "waited": waited,
        "unfollowed": unloaded.keys,
        "message": unloaded.message,
    }


def destination_document(destination: str, health: Health | None, unloaded: UnloadedChanges) -> "StandingDocument":
    """Return the state of a destination as a JSON object, with the changed settings that the daemon has not loaded.

    `health` is None if the running daemon does not have the destination.
    """
    sentences = [unloaded.message] if unloaded.message else []
    if health is not None and health.state is HealthState.DISABLED:
        sentences.insert(0, disabled_sentence(destination, health))
    return {
        "state": None if health is None else health.state,
        "reason": None if health is None else health.reason,
        "unfollowed": unloaded.keys,
        "message": "; ".join(sentences),
    }


def disabled_sentence(destination: str, health: Health) -> str:
    """Return a sentence that says why a destination is disabled, and what happens to its events."""
    return (
        f"{destination} is disabled (reason: {health.reason}): only tests are sent to it, and its events are kept"
        f" until `notifier enable {destination}`"
    )


def retry_deliveries(db: Database, request: RetrySelection, destinations: Sequence[str], now_ms: int) -> RetryResult:
    """Put deliveries back into the queue. If a requested event is not stored, change nothing.

    Raises UnknownEventError.
    """
    _require_events(db, request.event_ids)
    return requeue.retry(db, request, destinations, now_ms)


def retry_document(retried: RetryResult, waited: Sequence[str]) -> "RetriedDocument":
    """Return a retry as a JSON object. For the destinations in `waited`, the retry ended a pause after failures."""
    return {
        "deliveries": sum(retried.counts.values()),
        "destinations": dict(retried.counts),
        "waited": list(waited),
        "message": retried.why_none,
    }


def drop_deliveries(
    db: Database,
    request: DropSelection,
    configured: Sequence[str],
    subscriptions: Sequence[Subscription],
    *,
    dry_run: bool,
) -> "DroppedDocument":
    """Remove deliveries from the queue for good; with `dry_run`, only count them.

    Deliveries for destinations that are no longer configured are removed, too. Return a JSON object with the number of
    removed deliveries for each destination; destinations with no removed deliveries are omitted.

    Raises UnknownNameError, UnknownEventError.
    """
    known = (*configured, *(name for name in unfinished_destinations(db) if name not in configured))
    if request.destination is not None and request.destination not in known:
        raise UnknownNameError("destination", request.destination, known)
    _require_events(db, request.event_ids)
    names = known if request.destination is None else (request.destination,)
    if dry_run:
        found = {name: len(requeue.find_dropped(db, request, name, subscriptions)) for name in names}
        counts = {name: count for name, count in found.items() if count}
    else:
        counts = requeue.drop(db, request, names, subscriptions)
        for name, count in counts.items():
            _log.warning("deliveries dropped by an operator", extra={"destination": name, "deliveries": count})
    return {"deliveries": sum(counts.values()), "destinations": counts, "dry_run": dry_run}


def move_deliveries(
    db: Database, old: str, new: str, configured: Sequence[str], now_ms: int
) -> "ActionResult[MovedDocument]":
    """Move the waiting deliveries of destination `old` to destination `new`; refuse this if `old` is configured.

    Raises UnknownNameError.
    """
    if new not in configured:
        raise UnknownNameError("destination", new, tuple(configured))
    if old in configured:
        message = f"`{old}` is configured: only the events of a destination that is no longer configured can be moved"
        return ActionResult(ok=False, body={"deliveries": 0, "message": message})
    known = [orphan.destination for orphan in orphans(db, configured)]
    if old not in known:
        raise UnknownNameError("destination that is not configured and has waiting events", old, tuple(known))
    moved = move_waiting(db, old, new, now_ms)
    _log.warning("deliveries moved by an operator", extra={"destination": new, "deliveries": moved})
    return ActionResult(ok=True, body={"deliveries": moved, "message": ""})


def _require_events(db: Database, event_ids: Sequence[str]) -> None:
    if unknown := requeue.unknown_event_ids(db, event_ids):
        raise UnknownEventError(unknown[0], requeue.nearest_event_id(db, unknown[0]))


def delivery_page(db: Database, query: DeliveryPageRequest, configured: Sequence[str]) -> "DeliveryPageDocument":
    """Return the JSON object of `/v1/deliveries`.

    Raises UnknownNameError if the query names a destination that was never configured.
    """
    name = query.delivery_filter.destination
    if name is not None and name not in {*configured, *history.known_destination_names(db)}:
        raise UnknownNameError("destination", name, tuple(configured))
    page = history.deliveries_after(db, query.after, query.delivery_filter, query.limit)
    return {
        "deliveries": [delivery_document(delivery) for delivery in page],
        "next": format_cursor(page[-1].cursor if page else query.after),
    }
