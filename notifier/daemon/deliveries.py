"""What an operator may ask of a running daemon's deliveries and destinations."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlite_utils import Database

from notifier.clock import Clock
from notifier.config import Destination, Settings
from notifier.daemon.replays import forgotten_before_ms, plan_document, replays_document
from notifier.deliver.dispatcher import Dispatcher
from notifier.deliver.filters import subscriptions
from notifier.deliver.replaying import Replaying, ReplayStoppedError
from notifier.deliver.sample import sample_event
from notifier.ledger import again, history
from notifier.ledger.again import Retry
from notifier.ledger.ledger import Ledger
from notifier.ledger.replays import ReplayRunningError
from notifier.ledger.subscriptions import Subscription
from notifier.web.asked import DeliveryPage, Replay, written_cursor
from notifier.web.control import Answer, UnknownEventError, UnknownNameError


class Deliveries:
    """Does what is asked, to the destinations of the configuration as it stands at that moment."""

    def __init__(self, ledger: Ledger, dispatcher: Dispatcher, clock: Clock, settings: Callable[[], Settings]) -> None:
        """Take who delivers, and where the configuration that is followed now is to be had."""
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._clock = clock
        self._settings = settings
        self._replaying = Replaying(ledger, self._subscriptions, dispatcher.wake, clock)

    async def start(self) -> None:
        """Go on with a replay that the last run has not finished. Raises LedgerError."""
        await self._replaying.take_up()

    async def stop(self) -> None:
        """Leave a replay where it is: the next run goes on with it."""
        await self._replaying.close()

    async def page(self, wish: DeliveryPage) -> dict[str, Any]:
        """Return the object of `/v1/deliveries`. Raises UnknownNameError, LedgerError."""
        return await self._ledger.run(delivery_page, wish, tuple(self._settings().destinations))

    async def retry(self, wish: Retry) -> dict[str, Any]:
        """Put deliveries back into the queue. Raises UnknownNameError, UnknownEventError, LedgerError."""
        names = self._named(wish.destination)
        counts = await self._ledger.run(retry_known, wish, names)
        self._dispatcher.try_at_once(counts)
        return {"deliveries": sum(counts.values()), "destinations": counts}

    async def replay(self, wish: Replay) -> Answer:
        """Begin to send past events again, or say how many there are. Raises UnknownNameError, LedgerError."""
        self._named(wish.destination)
        if wish.source is not None and wish.source not in self._settings().sources:
            raise UnknownNameError("source", wish.source, tuple(self._settings().sources))
        now_ms = self._clock.now_ms()
        newest = [await self._ledger.run(number) for number in (again.newest, again.newest_attempt)]
        past = wish.past(now_ms, *newest)
        number = None
        try:
            if wish.dry_run:
                plan = await self._replaying.plan(past, wish.destination)
            else:
                number, plan = await self._replaying.begin(past, wish.destination)
        except ReplayRunningError as error:
            return Answer(ok=False, body={"message": str(error)})
        except ReplayStoppedError:
            return Answer(ok=False, body={"message": "the replay was stopped before it had begun"})
        body = plan_document(plan, forgotten_before_ms(self._settings(), past, now_ms))
        return Answer(ok=True, body={"id": number, **body, "message": ""})

    async def replay_progress(self) -> dict[str, Any]:
        """Return the object of `GET /v1/replay`. Raises LedgerError."""
        return await self._ledger.run(replays_document)

    async def stop_replay(self, number: int | None) -> dict[str, Any]:
        """End a replay for good, and say how far it has come. Raises LedgerError."""
        await self._replaying.stop(number)
        return await self.replay_progress()

    async def set_enabled(self, destination: str, *, enabled: bool) -> dict[str, Any]:
        """Resume or park a destination. Raises UnknownNameError, LedgerError."""
        self._named(destination)
        health = await self._dispatcher.set_enabled(destination, enabled=enabled)
        return {"destination": destination, "state": health.state, "reason": health.reason}

    async def test(self, destination: str) -> dict[str, Any]:
        """Send a sample event there, once, and say what came of it. Raises UnknownNameError."""
        self._named(destination)
        settings = self._settings()
        event = sample_event(_a_source(settings, settings.destinations[destination]), self._clock.now_ms())
        started = self._clock.monotonic()
        outcome = await self._dispatcher.send_sample(destination, event)
        return {
            "destination": destination,
            "event": event.id,
            "result": outcome.reason,
            "status": outcome.status,
            "answer": outcome.detail,
            "milliseconds": round((self._clock.monotonic() - started) * 1000),
        }

    def _named(self, destination: str | None) -> tuple[str, ...]:
        """Return the destinations that are meant: the one named, or all. Raises UnknownNameError."""
        known = tuple(self._settings().destinations)
        if destination is None:
            return known
        if destination not in self._dispatcher.health():
            raise UnknownNameError("destination", destination, known)
        return (destination,)

    def _subscriptions(self) -> Sequence[Subscription]:
        return subscriptions(self._settings().destinations)


def retry_known(db: Database, wish: Retry, destinations: Sequence[str]) -> dict[str, int]:
    """Put deliveries back into the queue, none if one of the events named is not kept. Raises UnknownEventError."""
    if unknown := again.unknown_events(db, wish.event_ids):
        raise UnknownEventError(unknown[0])
    return again.retry(db, wish, destinations)


def delivery_page(db: Database, wish: DeliveryPage, configured: Sequence[str]) -> dict[str, Any]:
    """Return the object of `/v1/deliveries`. Raises UnknownNameError for a destination that never was one."""
    name = wish.chosen.destination
    if name is not None and name not in {*configured, *history.destinations_told(db)}:
        raise UnknownNameError("destination", name, tuple(configured))
    page = history.deliveries_after(db, wish.after, wish.chosen, wish.limit)
    return {
        "deliveries": [delivery.document() for delivery in page],
        "next": written_cursor(page[-1].cursor if page else wish.after),
    }


def _a_source(settings: Settings, destination: Destination) -> str:
    """Return a source whose events go there."""
    return next(iter(destination.sources or settings.sources))
