"""The page of one delivery, as any HTTP client gets it."""

from typing import TYPE_CHECKING

import pytest

from notifier.store.queries.delivery_detail import AttemptDetail
from notifier.store.queries.record_history import PastAttempt
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.request_log import LoggedRequest, SentRequest
from notifier.web.daemon_api import RequestPreview
from notifier.web.dashboard.delivery_pages import MAX_SHOWN_BYTES

if TYPE_CHECKING:
    from tests.support.local_interface import Interface

PAGE = "/deliveries/evt_known/hr"
REQUEST = RequestPreview(
    "https://hr.example/...", (("webhook-id", "evt_known"),), b'{"a":"<script>"}', is_over_http=True, is_as_sent=True
)


async def fetch_page(interface: "Interface", path: str = PAGE, status: int = 200) -> str:
    async with interface.over_tcp.get(interface.url + path) as response:
        assert (response.status, response.content_type) == (status, "text/html")
        return await response.text()


def make_attempt(at_ms: int, *answered: tuple[str, str], body: str = "", logged: bool = True) -> AttemptDetail:
    made = PastAttempt(at_ms, 34, "retry_later", "refused", 422, "no badge")
    sent = SentRequest((("user-agent", "us"),), 9, "d", answered or None, body)
    return AttemptDetail(made, LoggedRequest(at_ms, (42, 43), sent) if logged else None)


async def test_delivery_page_shows_each_attempt_with_its_answer(interface: "Interface") -> None:
    inspection = interface.daemon.delivery_inspection
    inspection.attempts = (
        make_attempt(1_795_280_400_123, ("Retry-After", "120"), body="<p>no</p>\nbadge"),
        make_attempt(1_795_280_300_000),
        make_attempt(1_795_280_200_000, logged=False),
    )
    inspection.request, inspection.state = REQUEST, DeliveryState.DEAD
    text = await fetch_page(interface)
    assert "&lt;b&gt;Ball&lt;/b&gt;" in text
    assert "&lt;p&gt;no&lt;/p&gt;\nbadge</pre>" in text
    assert '<th scope="row">Retry-After</th><td><bdi>120</bdi></td>' in text
    assert "No answer arrived." in text
    assert "Only this line was stored." in text
    assert "It shared the request with 1 other event." in text
    assert "<script>" not in text.replace('<script type="module"', "")
    assert "&#34;a&#34;: &#34;&lt;script&gt;&#34;" in text
    # Retrying needs the state that the delivery is in.
    assert "&#34;state&#34;:&#34;dead&#34;" in text
    assert ">Send again</button>" in text


async def test_delivery_page_of_a_broker_shows_the_message_and_its_answers(interface: "Interface") -> None:
    inspection = interface.daemon.delivery_inspection
    inspection.attempts = (
        make_attempt(1_795_280_400_123, ("evt_known", "partition 0, offset 17")),
        make_attempt(1_795_280_300_000),
    )
    inspection.request = RequestPreview(
        "kafka.example:9093 training", (("topic", "training"), ("key", "acme/7")), b"{}"
    )
    text = await fetch_page(interface)
    assert '<th scope="row">evt_known</th><td><bdi>partition 0, offset 17</bdi></td>' in text
    assert '<th scope="row">key</th><td><bdi>acme/7</bdi></td>' in text
    assert "No message was answered." in text
    assert "Headers of" not in text
    assert "POST" not in text


@pytest.mark.parametrize(
    ("is_as_sent", "said"),
    [
        (True, "is byte for byte the one that was sent"),
        (False, "It differs from the one that was sent"),
        (None, "What was sent is not in the log."),
    ],
)
async def test_page_states_if_request_is_as_sent(interface: "Interface", is_as_sent: bool | None, said: str) -> None:
    preview = RequestPreview("a", (), b"{}", is_over_http=True, sent_bytes=2, is_as_sent=is_as_sent)
    interface.daemon.delivery_inspection.request = preview
    assert said in await fetch_page(interface)


async def test_delivery_page_is_shown_if_the_request_cannot_be_made_again(interface: "Interface") -> None:
    text = await fetch_page(interface)
    assert "because its destination is no longer configured" in text
    assert "data-post" not in text


async def test_delivery_page_truncates_a_long_body_which_can_be_downloaded(interface: "Interface") -> None:
    body = b'"%b"' % (b"x" * MAX_SHOWN_BYTES)
    interface.daemon.delivery_inspection.request = RequestPreview("a", (), body)
    text = await fetch_page(interface)
    assert len(text) < MAX_SHOWN_BYTES + 10_000
    assert "Copy as curl" not in text
    async with interface.over_tcp.get(f"{interface.url}{PAGE}/body") as response:
        assert response.headers["Content-Disposition"] == 'attachment; filename="body.json"'
        assert await response.read() == body


async def test_deliveries_of_an_event_page_redirects_to_the_only_one_or_lists_them(interface: "Interface") -> None:
    async with interface.over_tcp.get(f"{interface.url}/deliveries/evt_known", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, PAGE)
    interface.daemon.delivery_inspection.destinations = ("gate", "hr")
    assert '<a href="/deliveries/evt_known/gate">gate</a>' in await fetch_page(interface, "/deliveries/evt_known")
    interface.daemon.delivery_inspection.destinations = ()
    assert "<strong>It has no delivery</strong>" in await fetch_page(interface, "/deliveries/evt_known")


@pytest.mark.parametrize("path", ["/deliveries/evt_other", "/deliveries/evt_other/hr", "/deliveries/%3Cb%3E/hr/body"])
async def test_delivery_pages_of_an_unknown_event_return_404_and_explain(interface: "Interface", path: str) -> None:
    text = await fetch_page(interface, path, 404)
    assert "There is no event" in text
    assert "<b>" not in text


async def test_delivery_page_of_a_destination_without_the_delivery_returns_404(interface: "Interface") -> None:
    assert "There is no delivery of this event to <code>gate</code>; there is hr." in await fetch_page(
        interface, "/deliveries/evt_known/gate", 404
    )
