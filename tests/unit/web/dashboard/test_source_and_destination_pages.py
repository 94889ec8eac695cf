"""The pages of a source and of a destination, as any HTTP client gets them, and their charts."""

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.daemon.api.source_and_destination import HOURS, hourly_counts
from notifier.daemon.api.status import destination_status, source_status
from notifier.store.tables.activity import RequestCount, StateChange
from notifier.store.tables.destinations import DestinationMemory, Health, HealthState, LastError
from notifier.store.tables.holds import HeldExamples
from notifier.store.tables.sources import SourceError, SourceMemory
from notifier.watch.source_health import SourceState
from notifier.web.dashboard.activity_chart import CHART_HEIGHT, activity_chart

if TYPE_CHECKING:
    from tests.support.local_interface import Interface

COUNTS = st.builds(
    lambda requests, failed, spent: RequestCount(requests, min(failed, requests), spent if requests else 0, spent),
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(0, 10**6),
)


def source(state: SourceState = SourceState.OK, error: SourceError | None = None, **memory: Any) -> Any:
    return source_status(
        SourceMemory(error=error, **memory),
        state=state,
        next_poll_ms=None,
        usage=None,
        searching=False,
        sweep=None,
        waiting={},
        examples=HeldExamples(),
        request_failures={},
    )


def set_status_parts(interface: "Interface", **parts: Any) -> None:
    interface.daemon.parts = parts


async def fetch_page(interface: "Interface", path: str, status: int = 200) -> str:
    async with interface.over_tcp.get(interface.url + path) as response:
        assert (response.status, response.content_type) == (status, "text/html")
        return await response.text()


async def test_source_page_shows_errors_holds_requests_and_settings(interface: "Interface") -> None:
    error = SourceError("timeout", "the API <did> not answer", 1_795_280_300_000)
    set_status_parts(interface, sources={"acme": source(SourceState.FAILING, error, held=30)})
    interface.daemon.details.hours[-1] = RequestCount(4, 1, 400, 250)
    interface.daemon.details.states = [StateChange(1_795_280_300_000, "failing", "rate_limit_exceeded")]
    text = await fetch_page(interface, "/sources/acme")
    assert "The API &lt;did&gt; not answer." in text
    assert "30 removals are held back." in text
    assert "4 requests, <strong>1 failed</strong>" in text
    assert "100 ms on average, 250 ms at most" in text
    assert "rate limit exceeded" in text
    assert '<th scope="row"><code>token</code></th><td><bdi>(hidden)</bdi></td>' in text
    assert 'data-post="/v1/sources/acme/poll"' in text


async def test_destination_page_shows_filters_last_error_and_dead_deliveries(interface: "Interface") -> None:
    memory = DestinationMemory(
        Health(HealthState.DISABLED, "operator"), dead=3, last_error=LastError("refused", "no <badge>", 1)
    )
    set_status_parts(interface, destinations={"hr": destination_status(memory, None)})
    interface.daemon.details.filters = "new completions of the source `acme`"
    text = await fetch_page(interface, "/destinations/hr")
    assert "of the source <code>acme</code>" in text
    assert "no &lt;badge&gt;" in text
    assert 'data-post="/v1/destinations/hr/enable"' in text
    assert '<a href="/events?destination=hr&amp;state=dead">3</a>' in text
    assert "sample events are not" in text


async def test_source_and_destination_pages_say_how_far_events_were_searched(interface: "Interface") -> None:
    memory = destination_status(DestinationMemory(Health()), None)
    set_status_parts(interface, sources={"acme": source()}, destinations={"hr": memory})
    for path, address in (("/sources/acme", "/events?source=acme"), ("/destinations/hr", "/events?destination=hr")):
        interface.daemon.details.searched_ms = None
        assert "No event yet." in await fetch_page(interface, path)
        interface.daemon.details.searched_ms = 1_795_280_300_000
        text = await fetch_page(interface, path)
        assert "No event yet." not in text
        assert f'<a href="{address}">Search older events</a>' in text


async def test_destination_page_lists_the_current_state_first(interface: "Interface") -> None:
    set_status_parts(interface, destinations={"hr": destination_status(DestinationMemory(Health()), None)})
    interface.daemon.details.states = [StateChange(1_795_280_300_000, "ok")]
    history = (await fetch_page(interface, "/destinations/hr")).partition('id="states"')[2]
    assert 0 < history.index("untried") < history.index(">now<") < history.index("ok") < history.index("since")
    interface.daemon.details.states.insert(0, StateChange(1_795_280_300_000, "untried"))
    history = (await fetch_page(interface, "/destinations/hr")).partition('id="states"')[2]
    assert history.partition("</ol>")[0].count("untried") == 1


@pytest.mark.parametrize("path", ["/sources/other", "/destinations/other", "/sources/%3Cb%3E"])
async def test_source_and_destination_pages_of_unknown_names_return_404(interface: "Interface", path: str) -> None:
    text = await fetch_page(interface, path, 404)
    assert "there is " in text
    assert "<b>" not in text


async def test_source_and_destination_pages_of_names_not_served_yet_return_404(interface: "Interface") -> None:
    assert "There is no source" in await fetch_page(interface, "/sources/acme", 404)
    assert "There is no destination" in await fetch_page(interface, "/destinations/hr", 404)


@given(st.lists(COUNTS, min_size=1, max_size=24))
def test_activity_chart_bars_fit_and_are_visible_if_not_zero(hours: list[RequestCount]) -> None:
    chart = activity_chart(hours)
    assert chart.total.requests == sum(hour.requests for hour in hours)
    for bar, hour in zip(chart.bars, hours, strict=True):
        assert 0 <= bar.failed <= bar.requests <= CHART_HEIGHT
        assert 0 <= bar.mean <= CHART_HEIGHT
        assert bool(bar.requests) is bool(hour.requests)
        assert bool(bar.failed) is bool(hour.failed)


@given(st.dictionaries(st.integers(0, 200), COUNTS), st.integers(96, 200))
def test_hourly_counts_adds_each_quarter_hour_to_its_hour(counts: dict[int, RequestCount], last: int) -> None:
    hours = hourly_counts(counts, counts, last)
    assert len(hours) == HOURS
    within = [count for quarter, count in counts.items() if last - 4 * HOURS < quarter <= last]
    assert sum(hour.requests for hour in hours) == 2 * sum(count.requests for count in within)
    if last in counts:
        assert hours[-1].requests >= counts[last].requests
