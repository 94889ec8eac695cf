"""Deliveries and destinations as the command itself changes them, when no daemon runs."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from notifier.cli.failures import UnknownName, told
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.deliveries import forgotten_before_ms, plan_document, retry_known
from notifier.daemon.once import lone_ledger
from notifier.deliver.filters import subscriptions
from notifier.deliver.health import switch_unserved
from notifier.ledger import again
from notifier.ledger.again import Plan, Retry
from notifier.ledger.destinations import Health
from notifier.ledger.errors import LedgerError
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

    Nobody delivers meanwhile who could be kept from something newer. `show` is told how many deliveries are put back,
    of how many. Returns what the daemon would say of the plan. Raises Failure.
    """

    async def put_back() -> dict[str, Any]:
        async with lone_ledger(settings) as ledger:
            now_ms = SystemClock().now_ms()
            past = wish.past(now_ms, await ledger.run(again.newest))
            wanted = [it for it in subscriptions(settings.destinations) if wish.destination in (None, it.destination)]
            plan = Plan(deliveries={it.destination: 0 for it in wanted})
            while plan.sequence < past.last:
                plan = await ledger.run(again.plan, past, wanted, plan)
            document = plan_document(plan, forgotten_before_ms(settings, past, now_ms))
            queued = 0
            for subscription in wanted if not wish.dry_run else ():
                reached = plan.start
                while reached < past.last:
                    step = await ledger.run(again.replay, past, subscription, reached)
                    reached, queued = step.sequence, queued + step.queued
                    show(queued, document["deliveries"])
            return document

    with told(LedgerError):
        return asyncio.run(put_back())
