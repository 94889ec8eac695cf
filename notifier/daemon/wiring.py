"""How a source's parts are put together."""

import random
from collections.abc import Callable, Sequence

import aiohttp

from notifier.clock import Clock
from notifier.completions import Event
from notifier.config import Settings
from notifier.kpa.budget import RequestBudget, Urgency
from notifier.kpa.client import Client, Page
from notifier.kpa.records import API_VERSIONS
from notifier.ledger.ledger import Ledger
from notifier.ledger.subscriptions import Subscription
from notifier.watch.health import SourceHealth
from notifier.watch.locating import Location
from notifier.watch.names import NameBook
from notifier.watch.page import PageTaker
from notifier.watch.reader import LARGE_PAGE, Reader
from notifier.watch.removals import Removals
from notifier.watch.spots import Chance, SpotCheck
from notifier.watch.sweeping import Sweeping
from notifier.watch.watcher import Watcher


def make_watcher(
    settings: Settings,
    name: str,
    session: aiohttp.ClientSession,
    ledger: Ledger,
    clock: Clock,
    subscriptions: Callable[[], Sequence[Subscription]],
    on_events: Callable[[Sequence[Event]], None],
    large_page: int = LARGE_PAGE,
    chance: Chance = random.random,
    on_failure: Callable[[str, str], None] = lambda _source, _reason: None,
) -> Watcher:
    """Make the watcher of one source; `on_events` hears of every event once it is in the ledger.

    `subscriptions` tells who wants events at the moment when one is written. `large_page` is the size of the pages of
    sweeps and locations, `chance` chooses the places of spot checks. `on_failure` hears of each failure: the source's
    name, and the reason.
    """
    source = settings.sources[name]
    budget = RequestBudget(source.requests_per_minute, clock)
    client = Client(session, source, budget)
    names = NameBook(name, client, ledger, clock, on_failure) if source.names else None

    async def recount(user_id: str, training_id: str) -> Page:
        return await client.page(
            1, limit=LARGE_PAGE, urgency=Urgency.LOCATION, user_id=user_id, training_id=training_id
        )

    taker = PageTaker(
        name, source.namespace(name), API_VERSIONS[source.api], ledger, names, recount, clock, subscriptions, on_events
    )
    health = SourceHealth(name, source, budget, ledger, clock, on_failure)
    reader = Reader(source, client, taker, health, large_page)
    removals = Removals(name, source.hold_removals_above, reader, ledger, health)
    location = Location(name, reader, removals, ledger, health)
    sweeping = Sweeping(name, reader, removals, ledger, health, clock)
    return Watcher(
        name,
        source,
        settings.store.retention,
        budget,
        health,
        reader,
        location,
        SpotCheck(name, reader, ledger, chance),
        sweeping,
        names,
        clock,
    )
