"""Builds the watcher of a source with all its parts."""

import random
from collections.abc import Callable, Sequence

import aiohttp

from notifier.clock import Clock
from notifier.config import Settings
from notifier.events import Event
from notifier.kpa.client import Client
from notifier.kpa.exchange import Exchange, HttpExchange
from notifier.kpa.measured_exchange import MeasuredExchange, OnRequest
from notifier.kpa.rate_limiter import RateLimiter
from notifier.kpa.versions import API_VERSIONS
from notifier.store.store import Store
from notifier.store.subscriptions import Subscription
from notifier.watch.count_check import CountCheck
from notifier.watch.detection.absences import Absences
from notifier.watch.detection.head_poll import HeadPoll
from notifier.watch.detection.search import DiscrepancySearch
from notifier.watch.detection.sweep import SweepRunner
from notifier.watch.detection.sweep_pages import SweepPageLimiter
from notifier.watch.detection.v1_records import V1Records
from notifier.watch.ingest import OnDeliveries, PageIngester, ignore_deliveries
from notifier.watch.limits import DETECTION_LIMITS, DetectionLimits
from notifier.watch.name_cache import NameCache
from notifier.watch.second_looks import SecondLooks
from notifier.watch.source_context import RandomSource, SourceContext
from notifier.watch.source_health import SourceHealth
from notifier.watch.source_reader import SourceReader
from notifier.watch.watcher import Watcher


def build_watcher(
    settings: Settings,
    name: str,
    session: aiohttp.ClientSession,
    store: Store,
    clock: Clock,
    subscriptions: Callable[[], Sequence[Subscription]],
    on_events: Callable[[Sequence[Event]], None],
    on_failure: Callable[[str, str], None] = lambda _source, _reason: None,
    *,
    detection_limits: DetectionLimits = DETECTION_LIMITS,
    chance: RandomSource | None = None,
    exchange: Exchange | None = None,
    on_served: Callable[[int | None], None] = lambda _served_at_ms: None,
    on_request: OnRequest | None = None,
    sweep_pages: SweepPageLimiter | None = None,
    on_deliveries: OnDeliveries = ignore_deliveries,
) -> Watcher:
    """Return the watcher of the source `name`.

    The watcher calls `on_events` with new events after storing them.

    - `subscriptions` returns the filters of all destinations.
    - `on_failure` gets the source's name and the reason of each failure.
    - `on_served` gets the server's time (Unix ms) of each response.
    - `on_request` is called after each request.
    - `on_deliveries` is described in `PageIngester`.
    - `chance` returns random numbers, which choose the positions of probes.
    - `exchange` sends the requests; by default, over HTTP through `session`.
    - `sweep_pages` must be the same object for all watchers of a process.
    """
    source = settings.sources[name]
    rate_limiter = RateLimiter(source.requests_per_minute, clock)
    direct_exchange = exchange or HttpExchange(session, source, clock)
    client = Client(
        direct_exchange if on_request is None else MeasuredExchange(direct_exchange, on_request),
        source,
        rate_limiter,
        on_served,
    )
    health = SourceHealth(name, source, rate_limiter, store, clock, detection_limits, on_failure)
    if chance is None:
        chance = random.Random().random  # noqa: S311 - spreads probes, protects nothing
    context = SourceContext(name, source, store, clock, health, detection_limits, chance)
    names = NameCache(name, source, client, store, clock, on_failure, health.note_names) if source.names else None
    reader = SourceReader(context, client)
    v1_records = V1Records(name, store, reader) if API_VERSIONS[source.api].record_id is None else None
    second_looks = SecondLooks(name, store, clock, source.confirm_after)
    ingester = PageIngester(context, names, v1_records, second_looks, subscriptions, on_events, on_deliveries)
    counts = CountCheck(context, reader, ingester, second_looks)
    absences = Absences(context, reader, ingester, counts, second_looks)
    search = DiscrepancySearch(context, reader, ingester, counts, absences, v1_records)
    sweep_runner = SweepRunner(context, reader, ingester, counts, absences, sweep_pages or SweepPageLimiter())
    return Watcher(
        context,
        settings.store.retention,
        rate_limiter,
        HeadPoll(context, reader, ingester),
        ingester,
        counts,
        absences,
        search,
        sweep_runner,
        second_looks,
        names,
        client,
    )
