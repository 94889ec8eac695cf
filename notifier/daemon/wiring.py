"""How a source's parts are put together."""

from collections.abc import Callable, Sequence

import aiohttp

from notifier.clock import Clock
from notifier.completions import Event
from notifier.config import Settings
from notifier.deliver.dispatcher import subscription
from notifier.kpa.budget import RequestBudget, Urgency
from notifier.kpa.client import Client, Page
from notifier.kpa.records import API_VERSIONS
from notifier.ledger.ledger import Ledger
from notifier.watch.names import NameBook
from notifier.watch.page import PageTaker
from notifier.watch.watcher import LARGE_PAGE, Watcher


def make_watcher(
    settings: Settings,
    name: str,
    session: aiohttp.ClientSession,
    ledger: Ledger,
    clock: Clock,
    on_events: Callable[[Sequence[Event]], None],
) -> Watcher:
    """Make the watcher of one source; `on_events` hears of every event once it is in the ledger."""
    source = settings.sources[name]
    budget = RequestBudget(source.requests_per_minute, clock)
    client = Client(session, source, budget)
    names = NameBook(name, client, ledger, clock) if source.names else None
    subscriptions = tuple(subscription(other, theirs) for other, theirs in settings.destinations.items())
    version = API_VERSIONS[source.api]
    namespace = source.namespace(name)

    async def recount(user_id: str, training_id: str) -> Page:
        return await client.page(
            1, limit=LARGE_PAGE, urgency=Urgency.LOCATION, user_id=user_id, training_id=training_id
        )

    taker = PageTaker(name, namespace, version, ledger, names, recount, clock, subscriptions, on_events)
    return Watcher(name, source, client, budget, ledger, names, taker, clock)
