"""The feed, page by page."""

from typing import TYPE_CHECKING, Any

import pytest

from notifier.alerts.conditions import ConditionName
from notifier.store.queries import feed
from notifier.store.tables import alert_events
from notifier.store.tables.conditions import ConditionChange, ConditionState, StoredCondition
from tests.support.event_stream import detect

if TYPE_CHECKING:
    from tests.support.local_interface import Interface


async def ask(interface: "Interface", query: str = "") -> tuple[int, Any]:
    async with interface.over_tcp.get(f"{interface.url}/v1/events{query}") as response:
        return response.status, await response.json()


async def fetch_page(interface: "Interface", query: str = "") -> tuple[list[int], int]:
    status, body = await ask(interface, query)
    assert status == 200, body
    assert set(body) == {"events", "next"}
    return [int(event["sequence"]) for event in body["events"]], body["next"]


async def test_feed_is_empty_at_first(interface: "Interface") -> None:
    assert await ask(interface) == (200, {"events": [], "next": 0})


async def test_feed_returns_an_event_as_a_cloudevent(interface: "Interface") -> None:
    await detect(interface, [1238])
    _, body = await ask(interface)
    (event,) = body["events"]
    assert event.pop("data")["completion"]["key"] == "1238"
    assert event.pop("id").startswith("evt_")
    assert event == {
        "specversion": "1.0",
        "source": "/sources/acme",
        "type": "completion.created",
        "time": "2026-11-21T17:00:00.123Z",
        "subject": "1238",
        "sequence": "00000000000000000001",
        "datacontenttype": "application/json",
    }


async def test_feed_returns_a_long_history_page_by_page(interface: "Interface") -> None:
    everything = await detect(interface, range(250))
    read: list[int] = []
    after = 0
    while True:
        found, after = await fetch_page(interface, f"?after={after}&limit=60")
        if not found:
            break
        read += found
    assert (read, after) == (everything, 250)
    assert len((await fetch_page(interface))[0]) == 100


async def test_feed_filters_by_source_and_type(interface: "Interface") -> None:
    acme = await detect(interface, range(5))
    other = await detect(interface, range(5), source="other")
    await store_alert(interface)
    assert await fetch_page(interface, "?source=acme") == (acme, 11)
    assert await fetch_page(interface, "?source=acme,other") == (acme + other, 11)
    assert await fetch_page(interface, "?source=acme&source=other&type=") == (acme + other, 11)
    assert await fetch_page(interface, "?source=other&limit=2") == (other[:2], other[1])
    assert await fetch_page(interface, "?type=notifier.alert") == ([11], 11)
    assert await fetch_page(interface, "?type=completion.removed,completion.updated") == ([], 11)
    assert await fetch_page(interface, "?source=acme&type=notifier.alert") == ([], 11)


async def test_feed_skips_any_number_of_events_that_do_not_match(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "EXAMINED_AT_ONCE", 10)
    await detect(interface, range(95))
    wanted = await detect(interface, range(3), source="other")
    assert await fetch_page(interface, "?source=other") == (wanted, 98)
    assert await fetch_page(interface, "?source=other&after=98") == ([], 98)


async def test_feed_page_ends_at_the_size_limit(interface: "Interface", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.web.feed.service._MAX_PAGE_BYTES", 1)
    await detect(interface, range(3))
    assert await fetch_page(interface) == ([1], 1)
    assert await fetch_page(interface, "?after=2") == ([3], 3)


async def test_feed_after_a_number_beyond_the_newest_starts_from_the_beginning(interface: "Interface") -> None:
    everything = await detect(interface, range(3))
    assert await fetch_page(interface, "?after=3") == ([], 3)
    assert await fetch_page(interface, "?after=4") == (everything, 3)
    assert await fetch_page(interface, f"?after={2**63 - 1}") == (everything, 3)


async def test_feed_after_the_number_of_a_deleted_event_returns_newer_events(interface: "Interface") -> None:
    await detect(interface, range(3))
    await interface.store.run(lambda db: db.execute("DELETE FROM events").rowcount)
    assert await fetch_page(interface, "?after=3") == ([], 3)
    assert await detect(interface, range(3, 4)) == [4]
    assert await fetch_page(interface, "?after=3") == ([4], 4)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?after=x", "`after` must be an event's sequence"),
        ("?after=-1", "`after` must be an event's sequence"),
        ("?after=1,hr", "`after` must be an event's sequence"),
        ("?after=9223372036854775808", "`after` must be an event's sequence"),
        ("?after=%D9%A1", "`after` must be an event's sequence"),
        ("?limit=0", "`limit` must be 1 to 1000"),
        ("?limit=1001", "`limit` must be 1 to 1000"),
        ("?type=completion", "`type` must be among completion.created, completion.updated, "),
        ("?source=Acme", "`source` must be names of sources"),
        ("?source=%FF", "`source` must be names of sources"),
    ],
)
async def test_feed_and_stream_reject_an_invalid_query(interface: "Interface", query: str, said: str) -> None:
    paths = ["", "/stream"] if "limit" not in query else [""]
    for path in paths:
        status, body = await ask(interface, f"{path}{query}")
        assert (status, body["error"]["reason"]) == (400, "bad_request")
        assert body["error"]["message"].startswith(said)


async def test_feed_and_stream_return_404_for_a_source_that_never_existed(interface: "Interface") -> None:
    await detect(interface, range(1), source="dropped")
    assert (await fetch_page(interface, "?source=dropped"))[0] == [1]
    for path in ("", "/stream"):
        status, body = await ask(interface, f"{path}?source=acne")
        assert (status, body["error"]["reason"]) == (404, "unknown_name")
        assert body["error"]["message"] == "there is no source `acne`; there is acme, other"


async def store_alert(interface: "Interface") -> None:
    standing = StoredCondition(ConditionName.GAP, "sources/acme", "acme: not everything was seen", 1_795_280_400_123)
    notice = ConditionChange(ConditionState.FIRING, standing, "began", "hr")
    await interface.store.run(alert_events.write, [notice], 1_795_280_400_123)
