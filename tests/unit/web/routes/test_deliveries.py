"""The routes of deliveries and destinations."""

from typing import TYPE_CHECKING, Any

import pytest

from notifier.store.queries.history import DeliveryCursor, DeliveryFilter
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import RetrySelection
from notifier.web.query_parameters import DeliveryPageRequest
from notifier.web.requests import ReplaySelection

if TYPE_CHECKING:
    from tests.support.local_interface import Interface

EVERYTHING = DeliveryFilter()


async def ask(interface: "Interface", method: str, path: str, **more: Any) -> tuple[int, Any]:
    if "data" in more:
        more["headers"] = {"Content-Type": "application/json", **more.get("headers", {})}
    async with interface.over_tcp.request(method, interface.url + path, **more) as response:
        return response.status, await response.json()


@pytest.mark.parametrize(
    ("query", "wish"),
    [
        ("", DeliveryPageRequest(EVERYTHING, DeliveryCursor(), 100)),
        ("?state=&destination=&after=&limit=", DeliveryPageRequest(EVERYTHING, DeliveryCursor(), 100)),
        (
            "?state=dead&destination=hr",
            DeliveryPageRequest(DeliveryFilter(DeliveryState.DEAD, "hr"), DeliveryCursor(), 100),
        ),
        ("?after=42,hr&limit=1000", DeliveryPageRequest(EVERYTHING, DeliveryCursor(42, "hr"), 1000)),
        ("?after=42", DeliveryPageRequest(EVERYTHING, DeliveryCursor(43), 100)),
        ("?after=42,", DeliveryPageRequest(EVERYTHING, DeliveryCursor(42), 100)),
    ],
)
async def test_deliveries_route_reads_the_requested_page(
    interface: "Interface", query: str, wish: DeliveryPageRequest
) -> None:
    assert await ask(interface, "GET", f"/v1/deliveries{query}") == (200, {"deliveries": [], "next": "0,"})
    assert interface.daemon.deliveries.asked == [wish]


@pytest.mark.parametrize(
    ("body", "wish"),
    [
        ("", RetrySelection()),
        ("{}", RetrySelection()),
        ('{"event_ids": null, "state": null, "destination": ""}', RetrySelection()),
        ('{"event_ids": ["a", "b", "a"], "state": "pending"}', RetrySelection(DeliveryState.PENDING, ("a", "b"))),
        ('{"destination": "hr", "state": "dead"}', RetrySelection(DeliveryState.DEAD, (), "hr")),
    ],
)
async def test_retry_requeues_the_selected_deliveries(interface: "Interface", body: str, wish: RetrySelection) -> None:
    assert await ask(interface, "POST", "/v1/deliveries/retry", data=body) == (200, {"deliveries": 3})
    assert interface.daemon.deliveries.asked == [wish]


async def test_retry_route_returns_404_for_an_event_that_is_not_stored(interface: "Interface") -> None:
    status, body = await ask(interface, "POST", "/v1/deliveries/retry", json={"event_ids": ["evt_gone"]})
    assert (status, body["error"]["reason"]) == (404, "unknown_event")
    assert "evt_gone" in body["error"]["message"]


async def test_replay_route_starts_a_replay_of_the_selected_events(interface: "Interface") -> None:
    body = {"since": "2026-11-21", "until": "2026-11-21", "destination": "hr"}
    assert await ask(interface, "POST", "/v1/replay", json=body) == (200, {"events": 7})
    whole = {"since": "2026-11-21T17:00:00.5+01:00", "source": "acme", "type": "completion.removed", "dry_run": True}
    assert (await ask(interface, "POST", "/v1/replay", json=whole))[0] == 200
    midnight = 1_795_219_200_000
    assert interface.daemon.deliveries.asked == [
        ReplaySelection(midnight, midnight + 86_400_000, "hr"),
        ReplaySelection(midnight + 16 * 3_600_000 + 500, None, None, "acme", "completion.removed", dry_run=True),
    ]


async def test_replay_route_second_replay_conflicts_and_the_first_can_be_stopped(interface: "Interface") -> None:
    interface.daemon.deliveries.replay_runs = True
    assert (await ask(interface, "POST", "/v1/replay", json={"since": "2026-11-21"}))[0] == 409
    assert await ask(interface, "GET", "/v1/replay") == (200, {"state": "running"})
    for body in ("", '{"id": null}', '{"id": 7}'):
        assert await ask(interface, "POST", "/v1/replay/stop", data=body) == (200, {"state": "stopped"})
    assert interface.daemon.deliveries.asked[-3:] == [("stop", None), ("stop", None), ("stop", 7)]


async def test_destination_routes_enable_disable_and_test_a_known_destination(interface: "Interface") -> None:
    for what in ("enable", "disable", "test"):
        assert await ask(interface, "POST", f"/v1/destinations/hr/{what}") == (200, {"destination": "hr"})
        status, body = await ask(interface, "POST", f"/v1/destinations/nobody/{what}")
        assert (status, body["error"]["reason"]) == (404, "unknown_name")
        assert (await ask(interface, "GET", f"/v1/destinations/hr/{what}"))[0] == 405
    assert interface.daemon.deliveries.asked == [("hr", True), ("hr", False), ("test", "hr")]


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("POST", "deliveries/retry", "{", "the body is no JSON"),
        ("POST", "deliveries/retry", "[]", "the body must be a JSON object"),
        (
            "POST",
            "deliveries/retry",
            '{"event_id": "x"}',
            "there is no field `event_id`; there is destination, event_ids",
        ),
        ("POST", "deliveries/retry", '{"event_ids": "x"}', "`event_ids` must be a list"),
        ("POST", "deliveries/retry", '{"event_ids": [1]}', "`event_ids` must be a list"),
        ("POST", "deliveries/retry", '{"event_ids": false}', "`event_ids` must be a list"),
        ("POST", "deliveries/retry", '{"event_ids": []}', "`event_ids` must be a list of event ids, with at least one"),
        ("POST", "deliveries/drop", '{"event_ids": [], "destination": "hr"}', "`event_ids` must be a list"),
        ("POST", "deliveries/retry", '{"destination": false}', "`destination` must be a text"),
        ("POST", "deliveries/retry", '{"state": "delivered"}', "name the events to send again"),
        ("POST", "deliveries/retry", '{"destination": 5}', "`destination` must be a text"),
        ("POST", "deliveries/retry", '{"destination": "\\ud800"}', "the body is no JSON"),
        ("POST", "replay", "", "`since` is required"),
        ("POST", "replay", '{"since": "yesterday"}', "`since` must be a date, 2026-11-21, or a moment"),
        ("POST", "replay", '{"since": "2026-02-30"}', "`since` must be a date"),
        ("POST", "replay", '{"since": "2026-11-21T17:00:00"}', "`since` must be a date"),
        ("POST", "replay", '{"since": "9999-12-31", "until": "0001-01-01"}', "`until` must be later than `since`"),
        ("POST", "replay", '{"since": "2026-11-21", "until": "2026-11-20"}', "`until` must be later than `since`"),
        ("POST", "replay", '{"since": "2026-11-21", "type": "notifier.alert"}', "`type` must be one of completion."),
        ("POST", "replay", '{"since": "2026-11-21", "dry_run": "yes"}', "`dry_run` must be true or false"),
        ("POST", "replay/stop", '{"id": "7"}', "`id` must be the number of a replay"),
        ("POST", "replay/stop", '{"id": true}', "`id` must be the number of a replay"),
        ("POST", "replay/stop", '{"number": 7}', "there is no field `number`; there is id"),
        ("POST", "replay", '{"since": "2026-11-21", "dry_run": 0}', "`dry_run` must be true or false"),
        ("GET", "deliveries?state=lost", "", "`state` must be one of pending, delivered, dead"),
        ("GET", "deliveries?limit=0", "", "`limit` must be 1 to 1000"),
        ("GET", "deliveries?limit=1001", "", "`limit` must be 1 to 1000"),
        ("GET", "deliveries?limit=-5", "", "`limit` must be 1 to 1000"),
        ("GET", "deliveries?after=x", "", "`after` must be the `next`"),
        ("GET", "deliveries?after=1,%FF", "", "`after` must be the `next`"),
        ("GET", "deliveries?after=9223372036854775808", "", "`after` must be the `next`"),
    ],
)
async def test_delivery_routes_reject_an_invalid_request_and_do_nothing(
    interface: "Interface", method: str, path: str, body: str, said: str
) -> None:
    status, answer = await ask(interface, method, f"/v1/{path}", data=body)
    assert (status, answer["error"]["reason"]) == (400, "bad_request")
    assert answer["error"]["message"].startswith(said)
    assert interface.daemon.deliveries.asked == []


async def test_delivery_routes_reject_requests_from_another_origin(interface: "Interface") -> None:
    for path in ("deliveries/retry", "replay", "replay/stop", "destinations/hr/disable"):
        headers = {"Origin": "https://elsewhere.example"}
        assert (await ask(interface, "POST", f"/v1/{path}", headers=headers))[0] == 403
    assert interface.daemon.deliveries.asked == []
