"""The pages as an HTTP client gets them: their headers, their errors, and the access to them."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from notifier.store.errors import StoreError, StoreReason
from notifier.store.queries.search import MAX_PEOPLE, FoundPerson

if TYPE_CHECKING:
    from tests.support.local_interface import Interface, Open

TOKEN = "correct-horse-battery-staple"
PAGES = (
    "/",
    "/events",
    "/events?person=ball&state=dead&since=2026-11-01",
    "/records",
    "/records?q=nobody",
    "/records/nothing",
)
BROWSER = {"Accept": "text/html,application/xhtml+xml"}


@pytest.mark.parametrize("path", PAGES)
async def test_pages_have_strict_security_headers_and_no_inline_code(interface: "Interface", path: str) -> None:
    async with interface.over_tcp.get(interface.url + path) as response:
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        text = await response.text()
        assert " style=" not in text
        assert "<script>" not in text
        assert " onclick" not in text


async def test_static_files_have_versioned_addresses_and_are_immutable(interface: "Interface") -> None:
    async with interface.over_tcp.get(f"{interface.url}/") as response:
        page = await response.text()
    for name, kind in (("style.css", "text/css"), ("script.js", "text/javascript")):
        address = page[page.index(f"/dashboard/{name}?") :].partition('"')[0]
        async with interface.over_tcp.get(interface.url + address) as response:
            assert (response.status, response.content_type) == (200, kind)
            assert "immutable" in response.headers["Cache-Control"]


async def test_records_search_for_a_key_redirects_to_the_record_page(interface: "Interface") -> None:
    interface.daemon.records = {"1238", "<b>", "a/b"}
    for key, place in (("1238", "/records/1238"), ("<b>", "/records/%3Cb%3E"), ("a/b", "/records/a%2Fb")):
        async with interface.over_tcp.get(
            f"{interface.url}/records", params={"q": key}, allow_redirects=False
        ) as response:
            assert (response.status, response.headers["Location"]) == (303, place)


async def test_records_page_says_that_it_may_not_show_everyone(interface: "Interface") -> None:
    for number, is_said in ((MAX_PEOPLE - 1, False), (MAX_PEOPLE, True)):
        interface.daemon.people = (FoundPerson("acme", "u1", "Ann Smith", None),) * number
        async with interface.over_tcp.get(f"{interface.url}/records?q=smith") as response:
            assert ("At most 20 people and 100 completions are shown." in await response.text()) is is_said


async def test_pages_explain_unknown_records_and_store_errors(interface: "Interface") -> None:
    async with interface.over_tcp.get(f"{interface.url}/records/%3Cscript%3E") as response:
        assert (response.status, response.content_type) == (404, "text/html")
        text = await response.text()
        assert "No source knows a record <code>&lt;script&gt;</code>" in text
    interface.daemon.trouble = StoreError(StoreReason.DISK_FULL, "the disk is <full>")
    async with interface.over_tcp.get(f"{interface.url}/") as response:
        assert (response.status, response.content_type) == (503, "text/html")
        assert "The disk is &lt;full&gt;." in await response.text()


MOMENT = "2026-11-21T17:00:00.123Z"


def with_nulls(known: dict[str, Any]) -> Mapping[str, Any]:
    """Return a JSON object with these values, in which every other key is null."""
    return defaultdict(lambda: None, {"detected_at": MOMENT, "seen_at": MOMENT} | known)


async def test_record_page_names_filters_that_could_not_be_judged(interface: "Interface") -> None:
    delivery = {"destination": "hr", "state": "delivered", "attempt_log": []}
    why = {"hr": "sent although its `trainings` could not be judged: <why>"}
    event = with_nulls(
        {
            "id": "evt_a",
            "type": "completion.created",
            "changes": {},
            "deliveries": [delivery],
            "not_told_why": {},
            "not_judged_why": why,
        }
    )

    async def record(key: str) -> dict[str, Any]:
        return {"key": key, "sources": {"acme": with_nulls({"key": key, "withheld": [], "events": [event]})}}

    interface.daemon.record = record  # type: ignore[method-assign]
    async with interface.over_tcp.get(f"{interface.url}/records/1238") as response:
        assert response.status == 200
        assert "It was sent although its `trainings` could not be judged: &lt;why&gt;." in await response.text()


async def test_front_page_without_a_destination_explains_how_to_add_one(interface: "Interface") -> None:
    async with interface.over_tcp.get(f"{interface.url}/") as response:
        text = await response.text()
    assert "there is no destination yet" in text
    assert "[destinations.safety-channel]" in text


async def test_pages_without_a_session_redirect_browsers_to_sign_in(listen: "Open") -> None:
    guarded = await listen("0.0.0.0:0", TOKEN)
    session, url = guarded.over_tcp, guarded.url
    async with session.get(f"{url}/records?q=a%20b", headers=BROWSER, allow_redirects=False) as response:
        assert response.status == 303
        assert response.headers["Location"] == "/sign-in?next=%2Frecords%3Fq%3Da%2520b"
    async with session.get(f"{url}/v1/status", headers=BROWSER, allow_redirects=False) as response:
        assert response.status == 401
    async with session.get(f"{url}/", headers={"Accept": "*/*"}, allow_redirects=False) as response:
        assert response.status == 401
    for path in ("/sign-in", "/dashboard/style.css", "/dashboard/script.js"):
        async with session.get(url + path, headers=BROWSER, allow_redirects=False) as response:
            assert response.status == 200


async def test_sign_in_with_the_token_opens_a_session_for_the_same_origin_only(listen: "Open") -> None:
    guarded = await listen("0.0.0.0:0", TOKEN)
    session, url = guarded.over_tcp, guarded.url
    form = {"token": TOKEN, "next": "/records"}
    # A TLS proxy is in front of it: the request arrives here without TLS.
    ours = {"Host": "notifier.example", "Origin": "https://notifier.example"}
    async with session.post(f"{url}/sign-in", data=form, headers=ours, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/records")
        (cookie,) = response.cookies.values()
        assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Strict", True)
        assert TOKEN not in cookie.value
    signed_in = {"Cookie": f"__Host-notifier_session={cookie.value}"}
    async with session.post(f"{url}/v1/sources/acme/poll", json={}, headers=ours | signed_in) as response:
        assert response.status == 200
    foreign = {"Host": "notifier.example", "Origin": "https://evil.example"}
    async with session.post(f"{url}/v1/sources/acme/poll", json={}, headers=foreign | signed_in) as response:
        assert response.status == 403
    async with session.post(f"{url}/sign-out", headers=ours | signed_in, allow_redirects=False) as response:
        assert response.status == 303
    async with session.get(f"{url}/v1/status", headers=ours | signed_in) as response:
        assert response.status == 401


@pytest.mark.parametrize("place", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", "", "x"])
async def test_sign_in_with_an_invalid_next_redirects_to_the_front_page(listen: "Open", place: str) -> None:
    guarded = await listen("127.0.0.1:0", TOKEN)
    form = {"token": TOKEN, "next": place}
    headers = {"Origin": guarded.url}
    async with guarded.over_tcp.post(
        f"{guarded.url}/sign-in", data=form, headers=headers, allow_redirects=False
    ) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        assert not response.cookies[f"notifier_session_{guarded.port}"]["secure"]


async def test_sign_in_from_another_origin_is_rejected(listen: "Open") -> None:
    guarded = await listen("127.0.0.1:0", TOKEN)
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {}):
        async with guarded.over_tcp.post(
            f"{guarded.url}/sign-in", data={"token": TOKEN}, headers=headers, allow_redirects=False
        ) as response:
            assert response.status == 403
            assert not response.cookies


async def test_sign_in_delays_repeated_wrong_tokens_and_returns_429(listen: "Open") -> None:
    guarded = await listen("127.0.0.1:0", TOKEN)
    headers = {"Origin": guarded.url}

    async def guess(token: str) -> tuple[int, str | None, str]:
        async with guarded.over_tcp.post(
            f"{guarded.url}/sign-in", data={"token": token}, headers=headers, allow_redirects=False
        ) as response:
            return response.status, response.headers.get("Retry-After"), await response.text()

    codes = [(await guess(token))[0] for token in ("", "\u00fc", "a", "b", "c")]
    assert codes == [403] * 5
    more = [asyncio.create_task(guess(token)) for token in ("d", "e", "f")]
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in more)
    # The right token is accepted although others behind the same proxy guess.
    assert (await guess(TOKEN))[0] == 303
    answers = [await task for task in more]
    code, wait, text = answers[-1]
    assert code == 429
    assert f"try again in {wait} s" in text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_sign_in_redirects_to_the_front_page_if_no_token_is_needed(interface: "Interface", method: str) -> None:
    headers = {"Origin": interface.url}
    async with interface.over_tcp.request(
        method, f"{interface.url}/sign-in", headers=headers, allow_redirects=False
    ) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        assert not response.cookies


@pytest.mark.parametrize(
    ("remedy", "shown"),
    [
        ("look: `ss -ltnp`", '<p dir="auto">What to do: look: <code>ss -ltnp</code></p>'),
        ("a condition", ""),
        (None, ""),
    ],
)
async def test_front_page_shows_the_remedy_of_a_condition_unless_the_summary_does(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch, remedy: str | None, shown: str
) -> None:
    condition = {"condition": "interface_down", "subject": "interface", "summary": "it is a condition"}
    document = await interface.daemon.status()
    document["conditions"] = [{**condition, "since": "2026-11-21T17:00:00.123Z", "remedy": remedy}]

    async def status() -> Any:
        return document

    monkeypatch.setattr(interface.daemon, "status", status)
    async with interface.over_tcp.get(f"{interface.url}/") as response:
        text = await response.text()
    assert f'<p dir="auto">it is a condition</p>{shown}</div></li>' in text
