"""The page of events and its downloads, as any HTTP client gets them."""

import time
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING

import aiohttp
import pytest

from notifier.clock import iso_utc
from notifier.store.errors import StoreError, StoreReason
from notifier.store.queries.event_log import EventLogFilter
from notifier.store.tables.outbox import DeliveryState
from notifier.web.dashboard.event_pages import EVENTS_PER_PAGE
from notifier.web.event_rows import BYTE_ORDER_MARK, header_line

if TYPE_CHECKING:
    from tests.support.local_interface import Interface


async def test_events_page_filters_by_the_query_parameters(interface: "Interface") -> None:
    query = (
        "person=+David+&training=crane&type=completion.created&source=acme&destination=hr&state=dead"
        "&since=2026-11-01&until=2026-11-02&before=17&more=x"
    )
    async with interface.over_tcp.get(f"{interface.url}/events?{query}") as response:
        assert response.status == 200
        text = await response.text()
    begin, end = (round(datetime(2026, 11, day).astimezone().timestamp() * 1000) for day in (1, 3))
    types = frozenset({"completion.created"})
    chosen = EventLogFilter("David", "crane", types, "acme", "hr", DeliveryState.DEAD, begin, end)
    assert interface.daemon.event_log.asked == [chosen]
    assert interface.daemon.event_log.places == [(17, EVENTS_PER_PAGE)]
    assert 'name="person" type="search" value="David"' in text
    # A name that is not configured now may still have events.
    assert "<option selected>hr</option>" in text


async def test_events_page_ignores_empty_form_fields(interface: "Interface") -> None:
    async with interface.over_tcp.get(f"{interface.url}/events?person=&type=&since=") as response:
        text = await response.text()
    assert interface.daemon.event_log.asked == [EventLogFilter()]
    assert "<strong>No event yet.</strong>" in text


async def test_events_page_without_a_match_suggests_the_next_step(interface: "Interface") -> None:
    async with interface.over_tcp.get(f"{interface.url}/events?person=%3Cb%3E") as response:
        text = await response.text()
    assert "<strong>No stored event matches.</strong>" in text
    assert "kept for the time in <code>[store] retention</code> after they were detected" in text
    assert '<a href="/records?q=%3Cb%3E">' in text
    assert "<b>" not in text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("since=yesterday", "<code>since</code> must be a date such as 2026-11-21"),
        ("until=2026-02-30", "<code>until</code> must be a date such as 2026-11-21"),
        ("state=lost", "<code>state</code> must be one of pending, delivered, dead"),
        ("type=created", "<code>type</code> must be one of completion.created"),
        ("before=x", "<code>before</code> must be an event"),
        ("before=99999999999999999999", "<code>before</code> must be an event"),
    ],
)
@pytest.mark.parametrize("path", ["/events", "/events.csv"])
async def test_invalid_filter_is_explained(interface: "Interface", path: str, query: str, said: str) -> None:
    async with interface.over_tcp.get(f"{interface.url}{path}?{query}") as response:
        assert (response.status, response.content_type) == (400, "text/html")
        assert said in await response.text()


@pytest.mark.parametrize(("form", "kind"), [("csv", "text/csv"), ("jsonl", "application/jsonl")])
async def test_events_download_is_sent_in_parts(interface: "Interface", form: str, kind: str) -> None:
    async with interface.over_tcp.get(f"{interface.url}/events.{form}?source=acme") as response:
        assert (response.status, response.content_type) == (200, kind)
        assert response.headers["Content-Disposition"] == f'attachment; filename="events.{form}"'
        body = await response.read()
    parts = f"{form} from None\n{form} from 7\n".encode()
    assert body == (BYTE_ORDER_MARK + header_line() + parts if form == "csv" else parts)
    assert interface.daemon.event_log.asked == [EventLogFilter(source="acme")] * 2


async def test_events_download_is_aborted_on_a_store_error(interface: "Interface") -> None:
    interface.daemon.event_log.failure = StoreError(StoreReason.DISK_FULL, "the disk is full")
    async with interface.over_tcp.get(f"{interface.url}/events.jsonl") as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


EXTREMES = ("0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31", "9999-12-31T23:59:59.999-14:00")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Chicago"])
async def test_events_page_accepts_the_first_and_last_day_of_the_calendar(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for since, until in product(EXTREMES, EXTREMES):
            query = {"since": since, "until": until}
            async with interface.over_tcp.get(f"{interface.url}/events", params=query) as response:
                assert response.status == 200, await response.text()
    finally:
        monkeypatch.undo()
        time.tzset()
    for asked in interface.daemon.event_log.asked:
        assert asked.since_ms is not None
        assert asked.until_ms is not None
        # Both can be formatted as a time.
        assert (iso_utc(asked.since_ms)[:4], iso_utc(asked.until_ms)[:4]) <= ("9999", "9999")


@pytest.mark.parametrize("path", ["/events", "/events.csv"])
async def test_events_page_and_download_show_internal_error_without_details(interface: "Interface", path: str) -> None:
    interface.daemon.event_log.bug = RuntimeError("it broke")
    async with interface.over_tcp.get(f"{interface.url}{path}") as response:
        assert (response.status, response.content_type) == (500, "text/html")
        text = await response.text()
    assert "An internal error" in text
    assert "it broke" not in text


async def test_events_download_is_aborted_on_an_internal_error(interface: "Interface") -> None:
    interface.daemon.event_log.failure = RuntimeError("it broke")
    async with interface.over_tcp.get(f"{interface.url}/events.jsonl") as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()
