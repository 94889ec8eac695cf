"""Tries a source's token with as few requests as possible, without storing anything."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from msgspec import Struct, field
from msgspec.structs import replace

from notifier.alerts import daemon_rules
from notifier.cli.filter_matches import Directory
from notifier.cli.formatting import NOTHING, format_count
from notifier.clock import SystemClock
from notifier.config import SourceSettings
from notifier.facts import PersonFacts, PersonField
from notifier.http.exchange import new_session
from notifier.http.peer_clocks import PeerClocks
from notifier.http.proxy import Proxy
from notifier.kpa.client import Client, Page
from notifier.kpa.errors import ApiError, ApiErrorReason
from notifier.kpa.exchange import HttpExchange
from notifier.kpa.rate_limiter import Priority, RateLimiter
from notifier.watch.detection.balance import count_bounds

if TYPE_CHECKING:
    from notifier.kpa.versions import InvalidRecord

_ADVICE: Final = {
    "people": "; or set `names = false`",
    "trainings": "; or set `names = false`",
    "job titles": "; or leave `job_title` out of `person_fields`",
}
"""For the name of each list: the advice if the token has no permission to read this list."""

_REQUESTS_PER_MINUTE: Final = 60
"""The rate limit of a probe. It is high enough that the five requests to one source need not wait."""


class ProbeResult(Struct, frozen=True):
    """What a probe found out about one source."""

    source: str
    is_answering: bool = False
    records: int | None = None
    """The API's record count; None if unknown."""
    newest: str | None = None
    """The completion date of the newest record; None if no record was read."""
    unreadable: int = 0
    """The number of unreadable records on the newest page."""
    names: Mapping[str, int] = field(default_factory=dict)
    """The length of each list that was read, by its name, such as `people`."""
    problems: tuple[str, ...] = ()
    """Sentences for the operator."""
    proxy: Proxy | None = None
    """The proxy of the requests; None if they were sent directly."""
    directory: Directory = field(default_factory=Directory)
    """The lists of people and trainings."""

    def document(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return {
            "answers": self.is_answering,
            "records": self.records,
            "newest": self.newest,
            "unreadable": self.unreadable,
            "people": self.names.get("people"),
            "trainings": self.names.get("trainings"),
            "troubles": list(self.problems),
            "proxy": None if self.proxy is None else str(self.proxy),
        }

    def row(self) -> tuple[str, ...]:
        """Return the result as a row of a table."""
        return (
            self.source,
            "yes" if self.is_answering else "no",
            _format_number(self.records),
            self.newest or NOTHING,
            _format_number(self.names.get("people")),
            _format_number(self.names.get("trainings")),
            "direct" if self.proxy is None else f"proxy {self.proxy} (from {self.proxy.origin})",
        )


def _format_number(count: int | None) -> str:
    return NOTHING if count is None else f"{count:,}"


async def probe_all(sources: Mapping[str, SourceSettings]) -> list[ProbeResult]:
    """Probe all sources in parallel, and return the results in the order of the sources."""
    async with new_session() as session:
        return await asyncio.gather(*(probe(name, settings, session) for name, settings in sources.items()))


async def probe(name: str, settings: SourceSettings, session: aiohttp.ClientSession) -> ProbeResult:
    """Request a source's record count, its newest page and, if `settings.names` is true, its lists of names.

    Failures are reported in the `problems` of the result.
    """
    exchange = HttpExchange(session, settings)
    client = Client(exchange, settings, RateLimiter(_REQUESTS_PER_MINUTE, SystemClock()))
    try:
        first = page = await client.page(1, limit=1, priority=Priority.HEAD)
    except ApiError as failure:
        return ProbeResult(name, problems=(failure.message,), proxy=exchange.proxy)
    page_problems: tuple[str, ...] = ()
    if not first.is_last:
        try:
            page = await client.page(1, limit=settings.page_size, priority=Priority.HEAD)
        except ApiError as failure:
            page_problems = (f"the newest page: {failure.message}",)
    result = ProbeResult(
        name,
        is_answering=True,
        records=count_bounds(first).exact,
        newest=page.completions[0].completed_on if page.completions else None,
        unreadable=len(page.bad),
        problems=(*_clock_problems(page.served_at_ms), *_unreadable_problems(page), *page_problems),
        proxy=exchange.proxy,
    )
    return await _add_names(client, settings, result) if settings.names and not page_problems else result


def _unreadable_problems(page: Page) -> Iterator[str]:
    """For each field that makes records unreadable, yield a sentence: how many records, an example, the problem."""
    by_field: dict[str | None, list[InvalidRecord]] = {}
    for bad in page.bad:
        by_field.setdefault(bad.field_name, []).append(bad)
    for group in by_field.values():
        which = "" if group[0].key is None else f", such as {group[0].key}"
        yield (
            f"{len(group)} of the newest {format_count(page.size, 'record')} cannot be read{which}: {group[0].problem};"
            " they are left out until they can be read"
        )


def _clock_problems(served_at_ms: int | None) -> list[str]:
    """Return a sentence in a list if the clocks of this machine and the API differ too much; if not, an empty list."""
    peers = PeerClocks(SystemClock())
    peers.record("", served_at_ms)
    return [condition.summary for condition in daemon_rules.clock_conditions(peers, ())]


async def _add_names(client: Client, settings: SourceSettings, result: ProbeResult) -> ProbeResult:
    """Read the same lists of names as the daemon; return `result` with these lists and any failures added."""
    lists: dict[str, AsyncGenerator[dict[str, Any], None]] = {
        "people": client.people(),
        "trainings": client.trainings(),
    }
    if PersonField.JOB_TITLE in settings.person_fields:
        lists["job titles"] = client.job_titles()
    names_by_list: dict[str, dict[str, Any]] = {}
    for list_name, batches in lists.items():
        try:
            names_by_list[list_name] = await _collect(batches)
        except ApiError as failure:
            advice = _ADVICE[list_name] if failure.reason is ApiErrorReason.TOKEN_PERMISSION else ""
            result = replace(result, problems=(*result.problems, f"names of {list_name}: {failure.message}{advice}"))
            if failure.reason is ApiErrorReason.RATE_LIMIT_EXCEEDED:
                # The client would delay another request until the rate limit allows it, but this command must not wait.
                break
    directory = Directory(
        {id_: training.title for id_, training in names_by_list["trainings"].items()}
        if "trainings" in names_by_list
        else None,
        {
            id_: _with_job_title(person.facts, names_by_list.get("job titles"))
            for id_, person in names_by_list["people"].items()
        }
        if "people" in names_by_list
        else None,
    )
    return replace(
        result, names={list_name: len(names) for list_name, names in names_by_list.items()}, directory=directory
    )


async def _collect(batches: AsyncGenerator[dict[str, Any], None]) -> dict[str, Any]:
    collected: dict[str, Any] = {}
    async with aclosing(batches):
        async for batch in batches:
            collected |= batch
    return collected


def _with_job_title(facts: PersonFacts, jobs: Mapping[str, str] | None) -> PersonFacts:
    """Return a person's facts with the job title added. If the title is unknown, return the facts unchanged."""
    job = facts.get(PersonField.JOB_TITLE_ID)
    if jobs is None or (isinstance(job, str) and job not in jobs):
        return facts
    return {**facts, PersonField.JOB_TITLE.value: jobs[job] if isinstance(job, str) else None}
