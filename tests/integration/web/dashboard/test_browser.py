"""The dashboard of a real daemon in a real browser."""

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import pytest
from axe_playwright_python.async_playwright import Axe
from multidict import MultiDict
from playwright.async_api import expect

from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.sandbox import Account, build_account
from notifier.web.query_parameters import parse_delivery_page
from tests.support.dashboard_server import DashboardServer, Receiver

if TYPE_CHECKING:
    from playwright.async_api import Page, Response

    from tests.integration.web.dashboard.conftest import Go, StartServer, Visit

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEIGHT = 100_000
TOKEN = "correct-horse-battery-staple"
MARKUP = '<img src=x onerror="globalThis.broken=1"><script>globalThis.broken=1</script>'
RIGHT_TO_LEFT = "\u202eمحمد عبد الله\u2066"
ENDLESS = "Anneliese" * 1_200


def make_receivers() -> dict[str, Receiver]:
    return {"hr-system": Receiver(), "badge-gate": Receiver(422, "unknown <b>employee</b>")}


GIVING_UP = {"badge-gate": {"give_up_after": "1ms"}}


async def with_dead_deliveries(start_server: "StartServer", count: int = 3, **around: object) -> DashboardServer:
    server = await start_server(receivers=make_receivers(), options=GIVING_UP, **around)
    for _ in range(count):
        server.complete()
    assert server.daemon is not None
    async with asyncio.timeout(20):
        while (await server.daemon.operations.status())["destinations"]["badge-gate"]["dead"] < count:
            await asyncio.sleep(0.02)
    return server


async def test_new_completion_appears_within_a_second(start_server: "StartServer", visit: "Go") -> None:
    server = await start_server()
    person, training = server.account.users[0], server.account.trainings[0]
    seen = await visit(server)
    await seen.see()
    await seen.live()
    await expect(seen.page.get_by_text("No event yet")).to_be_visible()
    await seen.page.evaluate("globalThis.loadedOnce = true")
    took = []
    for number in range(1, 4):
        key = server.complete()
        entered = asyncio.get_running_loop().time()
        await seen.page.wait_for_selector(f'a[href="/records/{key}"]', timeout=20_000)
        took.append(asyncio.get_running_loop().time() - entered)
        tile = seen.page.locator(".tiles > div").filter(has_text="New completions").locator("dd")
        await expect(tile).to_have_text(str(number))
        await expect(seen.page.locator("#news")).to_contain_text(
            f"{person['firstname']} {person['lastname']} completed {training.title}"
        )
    # On a busy machine, some of the three may take longer.
    assert min(took) < 1.0, took
    assert await seen.page.evaluate("globalThis.loadedOnce")
    await expect(seen.page.locator("#destination-hr-system [data-label='Delivered today']")).to_have_text("3")


async def test_dashboard_loads_less_than_100_kilobytes(start_server: "StartServer", visit: "Go") -> None:
    server = await with_dead_deliveries(start_server, 12)
    seen = await visit(server)
    sizes: list[Response] = []
    seen.page.on("response", lambda response: sizes.append(response))  # noqa: PLW0108 - a list's method has no marks
    await seen.see()
    await seen.live()
    weights = {one.url: len(await one.body()) for one in sizes if "/v1/events/stream" not in one.url}
    assert len(weights) >= 3
    assert sum(weights.values()) < WEIGHT, weights
    assert all("content-security-policy" in one.headers for one in sizes if one.url == server.url + "/")


async def test_retry_buttons_put_dead_deliveries_back_into_the_queue(start_server: "StartServer", visit: "Go") -> None:
    server = await with_dead_deliveries(start_server, 3)
    seen = await visit(server)
    await seen.see()
    await seen.live()
    dead = seen.page.locator("[id^=dead-]")
    await expect(dead).to_have_count(3)
    await expect(dead.first).to_contain_text("refused 422: unknown <b>employee</b>")
    server.receivers["badge-gate"].status = 200
    await dead.first.get_by_role("button").click()
    await expect(seen.page.get_by_role("status")).to_contain_text("1 delivery put back into the queue")
    await expect(dead).to_have_count(2)
    await seen.page.get_by_role("button", name="Retry all dead deliveries to badge-gate").click()
    await expect(seen.page.get_by_role("status")).to_contain_text("2 deliveries put back into the queue")
    await expect(seen.page.get_by_role("heading", name="Given up")).to_have_count(0)
    await expect(seen.page.locator("#destination-badge-gate [data-label='Delivered today']")).to_have_text("3")


async def test_delivery_page_shows_the_attempt_and_sends_again(start_server: "StartServer", visit: "Go") -> None:
    server = await with_dead_deliveries(start_server, 1)
    seen = await visit(server, permissions=["clipboard-read", "clipboard-write"])
    await seen.see("/events?state=dead")
    await seen.page.get_by_role("link", name="1 of 2, 1 given up").click()
    await seen.page.get_by_role("link", name="badge-gate").click()
    main = seen.page.get_by_role("main")
    await expect(main).to_contain_text("given up")
    await expect(main.locator("article pre").first).to_have_text("unknown <b>employee</b>")
    await expect(main).to_contain_text("is byte for byte the one that was sent")
    await seen.page.get_by_role("button", name="Copy as curl").click()
    await expect(seen.page.get_by_role("status")).to_contain_text("Copied.")
    copied = await seen.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("# The values of `url`")
    attempts = await main.get_by_role("article").count()
    server.receivers["badge-gate"].status = 200
    await seen.page.get_by_role("button", name="Send again").press("Enter")
    await expect(seen.page.get_by_role("status")).to_contain_text("1 delivery put back into the queue")
    # The answer appears without loading the page again.
    await expect(main.locator(".state").first).to_have_text("delivered")
    await expect(main.get_by_role("article")).to_have_count(attempts + 1)


async def test_dashboard_tests_disables_and_enables_a_destination(start_server: "StartServer", visit: "Go") -> None:
    server = await start_server()
    seen = await visit(server)
    await seen.see()
    status = seen.page.get_by_role("status")
    await seen.page.get_by_role("button", name="Send a sample event to hr-system").click()
    await expect(status).to_contain_text("hr-system: sample event delivered, answered 200 ok")
    assert server.receivers["hr-system"].received == 1
    await seen.page.get_by_role("button", name="Disable hr-system").press("Enter")
    await expect(status).to_contain_text("disabled, its events are kept")
    await expect(seen.page.get_by_role("heading", level=1)).to_contain_text("hr-system is disabled")
    # The keyboard focus stays when the page is updated.
    await expect(seen.page.get_by_role("button", name="Enable hr-system")).to_be_focused()
    await seen.page.keyboard.press("Enter")
    await expect(seen.page.get_by_role("heading", level=1)).to_contain_text("All is well")
    await seen.page.get_by_role("button", name="Poll acme now").click()
    await expect(status).to_contain_text("acme: polled, 0 new events")
    await status.get_by_role("button").click()
    await expect(status.locator("p")).to_be_hidden()


async def test_destination_and_source_pages_show_the_answer_to_a_button(
    start_server: "StartServer", visit: "Go"
) -> None:
    server = await start_server()
    server.complete()
    seen = await visit(server)
    await seen.see()
    await seen.page.get_by_role("link", name="hr-system").first.click()
    main = seen.page.get_by_role("main")
    await main.get_by_role("button", name="Send a sample event").press("Enter")
    answer = seen.page.locator("#answer")
    await expect(answer).to_have_text(re.compile("sample event delivered, answered 200 ok"))
    await main.get_by_role("button", name="Disable").click()
    await expect(answer).to_contain_text("disabled, its events are kept")
    await expect(main.get_by_role("heading", name="disabled")).to_be_visible()
    # The answer stays when the page is updated.
    await main.get_by_role("button", name="Enable").click()
    await expect(main.get_by_role("button", name="Disable")).to_be_visible()
    await expect(answer).to_contain_text("enabled")
    await expect(main).to_contain_text(
        "Gets new completions, changed completions and removed completions of all people"
    )
    await seen.see("/sources/acme")
    await expect(main.get_by_role("img", name=re.compile("requests to the API in 24 hours, 0 failed"))).to_be_visible()
    await main.get_by_role("button", name="Poll now").click()
    await expect(answer).to_contain_text("acme: polled")
    await expect(main.get_by_role("row", name=re.compile("token .hidden."))).to_be_visible()


async def test_dashboard_collapses_healthy_destinations_and_finds_them_by_name(
    start_server: "StartServer", visit: "Go"
) -> None:
    many = {f"gate-{number:02}": Receiver() for number in range(30)}
    server = await start_server(receivers=many)
    assert server.daemon is not None
    await server.daemon.deliveries.set_enabled("gate-17", enabled=False)
    seen = await visit(server, width=375)
    await seen.see()
    await seen.live()
    await expect(seen.page.locator("[id^=destination-]")).to_have_count(1)
    names = seen.page.locator("#names-destinations li")
    await expect(names.first).to_be_hidden()
    await seen.page.get_by_text("The other 29 destinations, all well").press("Enter")
    await expect(names.first).to_be_visible()
    await seen.page.get_by_label("Find a destination by name").fill("GATE-2")
    await expect(names.filter(visible=True)).to_have_count(10)
    await expect(seen.page.get_by_role("status").filter(has_text="10 of 29")).to_be_visible()
    # The search result stays when the page is updated.
    server.complete()
    await expect(seen.page.locator(".tiles > div").filter(has_text="New completions").locator("dd")).to_have_text("1")
    await expect(names.filter(visible=True)).to_have_count(10)
    await server.daemon.deliveries.set_enabled("gate-05", enabled=False)
    await expect(seen.page.get_by_role("status").filter(has_text="10 of 28")).to_be_visible()
    await expect(names.filter(visible=True)).to_have_count(10)
    assert await seen.overflow() == 0
    assert await serious(seen.page) == []
    await seen.page.get_by_role("link", name="gate-21").click()
    await expect(seen.page.get_by_role("heading", level=1)).to_have_text("Destination gate-21")


async def serious(page: "Page") -> list[str]:
    results = await Axe().run(page)
    return [
        f"{one['id']}: {node['html'][:200]} {node['any'][:1]}"
        for one in results.response["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(("colours", "width"), [("light", 1280), ("dark", 375)])
async def test_pages_are_accessible(start_server: "StartServer", visit: "Go", colours: str, width: int) -> None:
    server = await with_dead_deliveries(start_server, 2)
    assert server.daemon is not None
    await server.daemon._evaluate_conditions()
    key = next(iter(server.account.records())).id
    seen = await visit(server, width=width, color_scheme=colours)
    page = parse_delivery_page(MultiDict(state="dead"))
    dead = (await server.daemon.deliveries.page(page))["deliveries"][0]["event"]
    shown = ("/sources/acme", "/destinations/badge-gate", f"/deliveries/{dead}", f"/deliveries/{dead}/badge-gate")
    for path in (
        "/",
        "/events",
        "/sources/acme",
        "/destinations/badge-gate",
        *shown,
        f"/records/{key}",
        "/records?q=ball",
        "/records?q=nobody",
        "/records",
    ):
        await seen.see(path)
        assert await serious(seen.page) == [], path
        assert await seen.overflow() == 0, path
        assert await seen.page.get_by_role("heading", level=1).count() == 1
        assert await seen.page.get_by_role("main").count() == 1
    background = await seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in background.removeprefix("rgb(").removesuffix(")").split(",")) / 3
    assert (brightness > 128) == (colours == "light")


async def test_keyboard_reaches_all_controls_with_visible_focus(start_server: "StartServer", visit: "Go") -> None:
    server = await with_dead_deliveries(start_server, 1)
    seen = await visit(server)
    await seen.see()
    await seen.page.keyboard.press("Tab")
    skip = seen.page.get_by_role("link", name="Skip to the content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await seen.page.keyboard.press("Enter")
    await expect(seen.page.get_by_role("main")).to_be_focused()
    await seen.see()
    reached = set()
    wanted = await seen.page.locator("a[href], main button, summary, input").count()
    for _ in range(wanted + 5):
        await seen.page.keyboard.press("Tab")
        where = await seen.page.evaluate(
            """() => { const it = document.activeElement; const style = getComputedStyle(it);
            return it === document.body ? null
              : [it.outerHTML.slice(0, 300), style.outlineStyle, parseFloat(style.outlineWidth)]; }"""
        )
        if where is None:
            break
        assert where[1] == "solid"
        assert where[2] >= 2, where
        reached.add(where[0])
    for name in ("Poll acme now", "Disable hr-system", "Retry the event", "The figures as a table"):
        assert any(name in one for one in reached), name


async def test_names_with_markup_are_shown_as_plain_text(start_server: "StartServer", visit: "Go") -> None:
    known = build_account(20)
    names = (MARKUP, RIGHT_TO_LEFT, ENDLESS)
    strangers = [
        {**user, "firstname": name, "lastname": "Ball"} for user, name in zip(known.users, names, strict=False)
    ]
    account = Account(users=strangers, trainings=known.trainings)
    server = await start_server(account=account)
    training = account.trainings[0].ids
    keys = [str(account.add(user=user["id"], training=training, notes=MARKUP).id) for user in account.users[:3]]
    seen = await visit(server, width=375)
    await seen.see()
    await seen.live()
    for key in keys:
        await expect(seen.page.locator(f'a[href="/records/{key}"]').first).to_be_visible()
    for path in ("/", *(f"/records/{key}" for key in keys), "/records?q=Ball", f"/records?q={MARKUP}"):
        await seen.see(path)
        await asyncio.sleep(0.1)
        assert await seen.page.locator("main img, main script").count() == 0
        assert await seen.page.evaluate("globalThis.broken") is None
        assert await seen.overflow() == 0, path
    await seen.see()
    link = seen.page.locator(f'a[href="/records/{keys[0]}"]').first
    assert (await link.inner_text()).startswith("<img src=x")
    for place in await seen.page.locator("main bdi").all():
        assert len(await place.inner_text()) <= 120


async def test_dashboard_works_without_javascript(start_server: "StartServer", visit: "Go") -> None:
    server = await start_server()
    key = server.complete()
    seen = await visit(server, java_script_enabled=False)
    async with asyncio.timeout(20):
        await seen.see()
        while await seen.page.locator(f'a[href="/records/{key}"]').count() == 0:
            await seen.see()
    # Playwright blocks scripts, but the browser regards them as enabled, so it does not show `noscript` elements.
    assert "Without JavaScript, this page is not updated" in await seen.page.content()
    await expect(seen.page.get_by_role("button", name="Disable hr-system")).to_be_hidden()
    await seen.page.get_by_role("searchbox").fill(key)
    await seen.page.get_by_role("button", name="Explain").click()
    await expect(seen.page).to_have_url(f"{server.url}/records/{key}")
    await expect(
        seen.page.get_by_text("it was entered after the notifier first read the account").first
    ).to_be_visible()
    await expect(seen.page.get_by_role("heading", name="hr-system")).to_be_visible()


async def test_dashboard_reports_a_lost_connection_and_recovers(start_server: "StartServer", visit: "Go") -> None:
    server = await start_server()
    seen = await visit(server, may_complain=True)
    await seen.see()
    await seen.live()
    heading = seen.page.get_by_role("heading", level=1)
    await expect(heading).to_contain_text("All is well")
    await seen.page.context.set_offline(True)
    await expect(heading).to_have_text("The notifier does not answer.")
    await expect(seen.page.locator("#connection")).to_have_text("this page is out of date")
    await expect(seen.page).to_have_title("The notifier does not answer. · Completion Notifier")
    key = server.complete()
    await seen.page.context.set_offline(False)
    await expect(heading).to_contain_text("All is well")
    await expect(seen.page.locator(f'a[href="/records/{key}"]')).to_be_visible()
    await seen.live()


async def test_source_page_reports_a_lost_connection_and_recovers(start_server: "StartServer", visit: "Go") -> None:
    server = await start_server()
    seen = await visit(server, may_complain=True)
    await seen.see("/sources/acme")
    lost = seen.page.locator("#lost")
    await seen.page.get_by_text("Defaults", exact=True).click()
    await seen.page.context.set_offline(True)
    await expect(lost).to_have_text("The notifier does not answer. This page is out of date.")
    await expect(seen.page).to_have_title("The notifier does not answer. · Completion Notifier")
    await seen.page.context.set_offline(False)
    await expect(lost).to_have_count(0)
    await expect(seen.page).to_have_title("Source acme · Completion Notifier")
    await expect(seen.page.locator("details", has_text="Defaults")).to_have_attribute("open", "")


async def test_sample_event_is_marked_by_its_outcome_and_not_by_http_status(
    start_server: "StartServer", visit: "Go", monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_server()
    assert server.daemon is not None
    seen = await visit(server)
    await seen.see("/destinations/hr-system")
    for outcome, is_wrong in (
        # A broker has no HTTP status; Slack may refuse with 200.
        (Outcome(AttemptResult.DELIVERED, detail="partition 0, offset 7"), False),
        (Outcome(AttemptResult.ANSWER_UNEXPECTED, 200, detail="invalid_payload"), True),
    ):
        monkeypatch.setattr(server.daemon._dispatcher, "send_sample", AsyncMock(return_value=(outcome, False)))
        await seen.page.get_by_role("button", name="Send a sample event").click()
        answer = seen.page.locator("#answer", has_text=outcome.detail)
        await expect(answer).to_be_visible()
        assert ("wrong" in str(await answer.get_attribute("class"))) is is_wrong


async def test_expiring_event_is_announced_in_words(start_server: "StartServer", visit: "Go") -> None:
    server = await start_server()
    seen = await visit(server)
    completion = {"user_name": "David Ball", "training_title": "Ladder Safety", "valid_until": "2027-01-31"}
    event = json.dumps({"type": "completion.expiring", "data": {"completion": completion}})
    await seen.page.route(
        "**/v1/events/stream?*",
        lambda route: route.fulfill(content_type="text/event-stream", body=f"id: 1\ndata: {event}\n\n"),
    )
    await seen.see()
    await expect(seen.page.locator("#news")).to_have_text("Ladder Safety of David Ball expires on 2027-01-31")


async def test_browser_signs_in_with_a_token_and_out_again(start_server: "StartServer", visit: "Go") -> None:
    server = await start_server(token=TOKEN)
    seen = await visit(server, may_complain=True)
    await seen.see("/records?q=ball")
    assert "/sign-in" in seen.page.url
    assert await serious(seen.page) == []
    await sign_in(seen, "guessed")
    await expect(seen.page.get_by_role("alert")).to_contain_text("That is not the token")
    assert await seen.page.context.cookies() == []
    await sign_in(seen, TOKEN)
    await expect(seen.page).to_have_url(f"{server.url}/records?q=ball")
    (cookie,) = await seen.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], TOKEN in cookie["value"]) == (True, "Strict", False)
    await seen.see()
    await seen.live()
    await seen.page.get_by_role("button", name="Poll acme now").click()
    await expect(seen.page.get_by_role("status")).to_contain_text("acme: polled")
    other = await seen.page.context.new_page()
    await other.goto(server.url)
    await other.get_by_role("button", name="Sign out").click()
    await expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(seen.page.get_by_role("status")).to_contain_text("You are signed out")


@pytest.mark.parametrize(("label", "file_name"), [("CSV", "events.csv"), ("JSON Lines", "events.jsonl")])
async def test_download_without_a_session_leads_to_the_sign_in_page(
    start_server: "StartServer", visit: "Go", label: str, file_name: str
) -> None:
    server = await start_server(token=TOKEN)
    server.complete()
    seen = await visit(server, may_complain=True)
    await seen.see("/events")
    await sign_in(seen, TOKEN)
    await expect(seen.page).to_have_url(f"{server.url}/events")
    link = seen.page.get_by_role("link", name=label)
    while not await link.is_visible():
        await seen.see("/events")
    # The session ends while the page stays open.
    await seen.page.context.clear_cookies()
    await link.click()
    await expect(seen.page.get_by_role("heading", name="Sign in")).to_be_visible()
    async with seen.page.expect_download() as download:
        await sign_in(seen, TOKEN)
    assert (await download.value).suggested_filename == file_name


async def test_sign_in_link_works_once_even_from_a_page_of_another_origin(
    start_server: "StartServer", visit: "Go", tmp_path: Path
) -> None:
    server = await start_server(anonymous=False)
    assert server.daemon is not None
    seen = await visit(server, may_complain=True)
    await seen.see()
    await expect(seen.page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(seen.page.get_by_label("Token", exact=True)).to_have_count(0)
    assert await serious(seen.page) == []
    # As the command does on a desktop: a page of another origin redirects to the link.
    link = server.daemon.sign_in_link()
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={link}">')
    await seen.page.goto(page.as_uri())
    await expect(seen.page).to_have_url(f"{server.url}/")
    await expect(seen.page.get_by_role("heading", level=1)).to_contain_text("All is well")
    await seen.live()
    (cookie,) = await seen.page.context.cookies()
    assert cookie["name"] == f"notifier_session_{server.url.rpartition(':')[2]}"
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    # A link from elsewhere finds the browser signed in.
    page.write_text(f'<!doctype html><a href="{server.url}/records?q=ball">there</a>')
    tab = await seen.page.context.new_page()
    await tab.goto(page.as_uri())
    await tab.get_by_role("link", name="there").click()
    await expect(tab).to_have_url(f"{server.url}/records?q=ball")
    await tab.close()
    # The link works once, in any browser.
    other = await visit(server, may_complain=True)
    await other.page.goto(str(link))
    await expect(other.page.get_by_role("alert")).to_contain_text("This link was already used")
    # The stream of events ends with the session.
    tab = await seen.page.context.new_page()
    await tab.goto(server.url)
    await tab.get_by_role("button", name="Sign out").click()
    await expect(tab.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(seen.page.get_by_role("status")).to_contain_text("You are signed out")


async def sign_in(seen: "Visit", token: str) -> None:
    await seen.page.get_by_label("Token", exact=True).fill(token)
    await seen.page.get_by_role("button", name="Sign in").click()
