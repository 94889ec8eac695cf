"""Changes deliveries and destinations directly in the store, for commands when no daemon is running.

Every function raises CommandError, and NameNotFoundError for a name or event that is not known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from notifier.cli.errors import NameNotFoundError, as_command_error
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.api import people
from notifier.daemon.api.deliveries import drop_deliveries, move_deliveries, retry_deliveries, retry_document
from notifier.daemon.api.replays import deleted_before_ms, plan_document, replay_range, replays_document
from notifier.daemon.offline import exclusive_store, write_essentials
from notifier.delivery.health import end_wait_without_worker, set_enabled_without_worker
from notifier.delivery.subscriptions import subscriptions_of
from notifier.store.errors import StoreError
from notifier.store.store import Store
from notifier.store.subscriptions import Subscription
from notifier.store.tables import replays, requeue
from notifier.store.tables.destinations import Health
from notifier.store.tables.replays import ReplayRunningError
from notifier.store.tables.requeue import DropSelection, ReplayPlan, RetrySelection
from notifier.web.daemon_api import ActionResult, UnknownEventError, UnknownNameError, UnknownPersonError
from notifier.web.requests import ReplaySelection

if TYPE_CHECKING:
    from notifier.web.response_models.deliveries import (
        DroppedDocument,
        MovedDocument,
        PlanDocument,
        ReplayProgressDocument,
        RetriedDocument,
    )
    from notifier.web.response_models.records import PersonForgottenDocument

T = TypeVar("T")


def set_enabled_offline(settings: Settings, destination: str, *, enabled: bool) -> tuple[Health, bool]:
    """Enable or disable a destination; return its health, and whether a pause after failures ended."""
    return _run(
        settings,
        lambda store: store.run(
            set_enabled_without_worker, destination, enabled=enabled, now_ms=SystemClock().now_ms()
        ),
    )


def end_pause_offline(settings: Settings, destination: str) -> bool:
    """End a destination's pause after failures; return whether it was paused."""
    return _run(settings, lambda store: store.run(end_wait_without_worker, destination, now_ms=SystemClock().now_ms()))


def retry_offline(settings: Settings, request: RetrySelection) -> "RetriedDocument":
    """Put deliveries back into the queue; return the same object as the daemon would."""
    names = tuple(settings.destinations) if request.destination is None else (request.destination,)
    retried = _run(settings, lambda store: store.run(retry_deliveries, request, names, SystemClock().now_ms()))
    return retry_document(retried, retried.waited)


def forget_offline(settings: Settings, person: str, *, dry_run: bool) -> "PersonForgottenDocument":
    """Erase a person's data or, with `dry_run`, only look the person up; return the same object as the daemon would."""

    async def forget(store: Store) -> "PersonForgottenDocument":
        done = await people.erase(store, person, SystemClock().now_ms(), dry_run=dry_run, by="the command line")
        if not dry_run:
            # Closing the store writes the essentials once more, so that their older generation loses the data too.
            try:
                await write_essentials(store)
            except OSError:
                # Closing the store logs the reason.
                done["unreached"].insert(0, people.IN_THE_ESSENTIALS)
        return done

    return _run(settings, forget)


def drop_offline(settings: Settings, request: DropSelection, *, dry_run: bool) -> "DroppedDocument":
    """Drop deliveries or, with `dry_run`, only count them; return the same object as the daemon would."""
    configured, subscribed = tuple(settings.destinations), subscriptions_of(settings.destinations)
    return _run(settings, lambda store: store.run(drop_deliveries, request, configured, subscribed, dry_run=dry_run))


def move_offline(settings: Settings, old: str, new: str) -> "ActionResult[MovedDocument]":
    """Move the waiting deliveries of the destination `old` to `new`; return the same result as the daemon would."""
    configured = tuple(settings.destinations)
    return _run(settings, lambda store: store.run(move_deliveries, old, new, configured, SystemClock().now_ms()))


def replay_offline(
    settings: Settings, request: ReplaySelection, show_progress: Callable[[int, int], None]
) -> "PlanDocument":
    """Put past events back into the queue; return the same plan of the replay as the daemon would.

    With `request.dry_run`, this only counts the events. Ctrl-C ends the replay for good. If this process is killed, the
    next daemon continues the replay. `show_progress` gets the number of deliveries put back so far, and the total.
    There are no pauses, because no new events are waiting.
    """

    async def replay(store: Store) -> "PlanDocument":
        now_ms = SystemClock().now_ms()
        past = await store.run(replay_range, request, now_ms)
        subscribed = [
            it for it in subscriptions_of(settings.destinations) if request.destination in (None, it.destination)
        ]
        plan = ReplayPlan(deliveries={it.destination: 0 for it in subscribed})
        while plan.sequence < past.last:
            plan = await store.run(requeue.extend_plan, past, subscribed, plan)
        document = plan_document(plan, deleted_before_ms(settings, past, now_ms))
        if not request.dry_run:
            number = await store.run(replays.start, past, plan, now_ms)
            try:
                await _requeue_all(
                    store, number, subscribed, lambda queued: show_progress(queued, document["deliveries"])
                )
            except asyncio.CancelledError:
                await store.run(replays.stop, SystemClock().now_ms(), number)
                raise
        return document

    with as_command_error(ReplayRunningError):
        return _run(settings, replay)


def stop_replay_offline(settings: Settings) -> "ReplayProgressDocument":
    """Stop the replays that the previous daemon did not finish; return the object of `GET /v1/replay`."""

    async def stop(store: Store) -> "ReplayProgressDocument":
        await store.run(replays.stop, SystemClock().now_ms())
        return await store.run(replays_document, SystemClock().now_ms())

    return _run(settings, stop)


def _run(settings: Settings, work: Callable[[Store], Awaitable[T]]) -> T:
    """Await `work` with the store, opened exclusively. Raises CommandError, NameNotFoundError."""

    async def run() -> T:
        async with exclusive_store(settings) as store:
            return await work(store)

    try:
        with as_command_error(StoreError):
            return asyncio.run(run())
    except (UnknownEventError, UnknownNameError, UnknownPersonError) as error:
        raise NameNotFoundError(str(error)) from error


async def _requeue_all(
    store: Store, number: int, subscribed: Sequence[Subscription], show_progress: Callable[[int], None]
) -> None:
    queued = 0
    for subscription in subscribed:
        is_done = False
        while not is_done:
            step = await store.run(replays.advance, number, subscription, SystemClock().now_ms())
            is_done, queued = step.is_over, queued + step.queued
            show_progress(queued)
