"""Deliveries and destinations as the command itself changes them, when no daemon runs."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from notifier.cli.failures import UnknownName, told
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.deliveries import retry_known
from notifier.daemon.once import lone_ledger
from notifier.daemon.replays import forgotten_before_ms, plan_document, replays_document
from notifier.deliver.filters import subscriptions
from notifier.deliver.health import switch_unserved
from notifier.ledger import again, replays
from notifier.ledger.again import Plan, Retry
from notifier.ledger.destinations import Health
from notifier.ledger.errors import LedgerError
from notifier.ledger.ledger import Ledger
from notifier.ledger.replays import ReplayRunningError
from notifier.ledger.subscriptions import Subscription
from notifier.web.asked import Replay
from notifier.web.control import UnknownEventError


def switch_alone(settings: Settings, destination: str, *, enabled: bool) -> Health:
    """Enable or disable a destination and return its health. Raises Failure."""

    async def switch() -> Health:
        async with lone_ledger(settings) as ledger:
            return await ledger.run(switch_unserved, destination, enabled=enabled, now_ms=SystemClock().now_ms())

    with told(LedgerError):
        return asyncio.run(switch())


def retry_alone(settings: Settings, wish: Retry) -> Mapping[str, int]:
    """Put deliveries back into the queue; return how many, by destination. Raises Failure, UnknownName."""
    names = tuple(settings.destinations) if wish.destination is None else (wish.destination,)

    async def put_back() -> Mapping[str, int]:
        async with lone_ledger(settings) as ledger:
            return await ledger.run(retry_known, wish, names)

    try:
        with told(LedgerError):
            return asyncio.run(put_back())
    except UnknownEventError as error:
        raise UnknownName(str(error)) from error


def replay_alone(settings: Settings, wish: Replay, show: Callable[[int, int], None]) -> dict[str, Any]:
    """Put past events back into the queue, all that are meant, unless they are only to be counted.

    Nobody delivers meanwhile who could be kept from something newer. What is interrupted ends for good; what is
    killed, the next daemon goes on with. `show` is told how many deliveries are put back, of how many. Returns what
    the daemon would say of the plan. Raises Failure.
    """

    async def put_back() -> dict[str, Any]:
        async with lone_ledger(settings) as ledger:
            now_ms = SystemClock().now_ms()
            newest = [await ledger.run(number) for number in (again.newest, again.newest_attempt)]
            past = wish.past(now_ms, *newest)
            wanted = [it for it in subscriptions(settings.destinations) if wish.destination in (None, it.destination)]
            plan = Plan(deliveries={it.destination: 0 for it in wanted})
            while plan.sequence < past.last:
                plan = await ledger.run(again.plan, past, wanted, plan)
            document = plan_document(plan, forgotten_before_ms(settings, past, now_ms))
            if not wish.dry_run:
                number = await ledger.run(replays.begin, past, plan, now_ms)
                try:
                    await _advance_all(ledger, number, wanted, lambda queued: show(queued, document["deliveries"]))
                except asyncio.CancelledError:
                    await ledger.run(replays.stop, SystemClock().now_ms(), number)
                    raise
            return document

    with told(LedgerError, ReplayRunningError):
        return asyncio.run(put_back())


def stop_replay_alone(settings: Settings) -> dict[str, Any]:
    """End the replay that the last daemon has left under way; return the object of `GET /v1/replay`. Raises Failure."""

    async def stop() -> dict[str, Any]:
        async with lone_ledger(settings) as ledger:
            await ledger.run(replays.stop, SystemClock().now_ms())
            return await ledger.run(replays_document)

    with told(LedgerError):
        return asyncio.run(stop())


async def _advance_all(
    ledger: Ledger, number: int, wanted: Sequence[Subscription], show: Callable[[int], None]
) -> None:
    queued = 0
    for subscription in wanted:
        over = False
        while not over:
            step = await ledger.run(replays.advance, number, subscription, SystemClock().now_ms())
            over, queued = step.over, queued + step.queued
            show(queued)
