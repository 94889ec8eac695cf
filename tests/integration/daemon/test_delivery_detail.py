"""What a running daemon shows of one delivery: its requests and answers, and the request made again from the event."""

import asyncio
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest

from notifier.config.webhooks import HttpSettings
from notifier.daemon.api import people
from notifier.daemon.api.delivery_detail import possible_slots, request_preview
from notifier.daemon.daemon import Daemon
from notifier.destinations.base import Preview
from notifier.store.database import Database
from notifier.store.queries.dashboard import EventLine
from notifier.store.queries.delivery_detail import AttemptDetail, StoredDelivery
from notifier.store.queries.history import PastDelivery
from notifier.store.queries.record_history import PastAttempt
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.request_log import LoggedRequest, SentRequest
from notifier.store.tables.requeue import RetrySelection
from notifier.web.daemon_api import DeliveryDetail, UnknownEventError, UnknownNameError
from tests.support.daemon import status_when

if TYPE_CHECKING:
    from tests.support.clocks import SettableClock
    from tests.support.daemon import World

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "a-token-of-the-receiver"


async def wait_for_attempt(
    world: "World", daemon: Daemon, attempts: int = 1, key: str | None = None
) -> tuple[str, DeliveryDetail]:
    """Wait for the delivery of a completion (by default, a new one) to be attempted; return the event and detail."""
    key = key or world.complete()
    async with asyncio.timeout(20):
        while True:
            page = await daemon._reader.run(_delivery_of, key)
            if page is not None and page[1] >= attempts:
                return page[0], await daemon.operations.delivery_inspection.detail(page[0], "hr")
            await asyncio.sleep(0.02)


def _delivery_of(db: Database, key: str) -> Any:
    return db.execute(
        "SELECT e.id, d.attempts FROM events e JOIN deliveries d ON d.sequence = e.sequence WHERE e.subject = ?", [key]
    ).fetchone()


async def wait_for_sweep(daemon: Daemon) -> None:
    async with asyncio.timeout(20):
        while b"notifier_source_last_sweep_timestamp_seconds{" not in await daemon.operations.metrics():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("batch_size", [1, 10])
async def test_request_is_rebuilt_as_sent_without_storing_secrets(world: "World", run: Any, batch_size: int) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    world.receiver_says = {"X-Request": "r-17", "Set-Cookie": f"session={TOKEN}", "X-Echo": f"Bearer {TOKEN}"}
    settings = world.settings(secret=SECRET, headers=headers, batch_size=batch_size, batch_wait="10ms")
    daemon = await run(settings)
    await wait_for_sweep(daemon)
    event_id, detail = await wait_for_attempt(world, daemon)
    (attempt,) = detail.stored.attempts
    assert attempt.logged is not None
    sent = attempt.logged.request
    assert detail.request is not None
    assert detail.request.is_as_sent
    assert (detail.request.is_signed, detail.request.is_over_http) == (True, True)
    assert event_id.encode() in detail.request.body
    assert sent.answer_headers is not None
    answered = {name.lower(): value for name, value in sent.answer_headers}
    assert (answered["x-request"], answered["set-cookie"]) == ("r-17", "[hidden]")
    asked = dict(sent.headers)
    assert asked["authorization"] == "[hidden]"
    assert asked["webhook-signature"].startswith("v1,")
    assert asked["content-length"] == str(len(detail.request.body))
    stored = await daemon._store.run(lambda db: "\n".join(db.conn.iterdump()))
    assert TOKEN not in stored
    assert SECRET.removeprefix("whsec_") not in stored
    # A retry sends the same request, as another attempt.
    await daemon.deliveries.retry(RetrySelection(DeliveryState.DELIVERED, (event_id,)))
    async with asyncio.timeout(20):
        while len(detail.stored.attempts) < 2:
            detail = await daemon.operations.delivery_inspection.detail(event_id, "hr")
            await asyncio.sleep(0.02)
    assert detail.request is not None
    assert detail.request.is_as_sent


async def test_rebuilt_request_of_a_changed_event_is_not_shown_as_sent(world: "World", run: Any) -> None:
    daemon = await run()
    await wait_for_sweep(daemon)
    event_id, _ = await wait_for_attempt(world, daemon)
    await daemon._store.run(
        lambda db: db.execute("UPDATE events SET data = replace(data, 'user_name', 'was_name')").rowcount
    )
    changed = await daemon.operations.delivery_inspection.detail(event_id, "hr")
    assert changed.request is not None
    assert changed.request.is_as_sent is False
    await daemon._store.run(lambda db: db.execute("DELETE FROM request_log").rowcount)
    unknown = await daemon.operations.delivery_inspection.detail(event_id, "hr")
    assert unknown.request is not None
    assert unknown.request.is_as_sent is None
    assert [it.logged for it in unknown.stored.attempts] == [None]


async def test_attempt_without_an_answer_is_in_the_log_of_requests(world: "World", run: Any) -> None:
    settings = world.settings(url="http://127.0.0.1:9/")
    daemon = await run(settings)
    await wait_for_sweep(daemon)
    _, detail = await wait_for_attempt(world, daemon)
    logged = detail.stored.latest_logged
    assert logged is not None
    assert (logged.request.answer_headers, logged.request.answer_body) == (None, "")


async def test_erasing_a_person_deletes_their_entries_in_the_log_of_requests(world: "World", run: Any) -> None:
    daemon = await run()
    await wait_for_sweep(daemon)
    event_id, _ = await wait_for_attempt(world, daemon)
    assert await daemon._reader.run(_logged) == 1
    user = str(world.account.users[0]["id"])
    await people.erase(daemon._store, user, daemon._clock.now_ms(), dry_run=False, by="test")
    assert await daemon._reader.run(_logged) == 0
    with pytest.raises(UnknownEventError):
        await daemon.operations.delivery_inspection.detail(event_id, "hr")


def _logged(db: Database) -> int:
    (found,) = db.execute("SELECT count(*) FROM request_log").fetchone()
    return int(found)


async def test_delivery_detail_raises_for_unknown_destinations_and_events(world: "World", run: Any) -> None:
    daemon = await run()
    await wait_for_sweep(daemon)
    event_id, _ = await wait_for_attempt(world, daemon)
    with pytest.raises(UnknownNameError, match="there is hr"):
        await daemon.operations.delivery_inspection.detail(event_id, "gate")
    with pytest.raises(UnknownEventError):
        await daemon.operations.delivery_inspection.detail("evt_\udcff", "hr")


async def test_digest_is_rebuilt_as_sent_and_its_retry_as_a_single_message(
    world: "World", run: Any, clock: "SettableClock"
) -> None:
    settings = world.settings(type="teams", schedule="weekly mon 08:00", timezone="UTC", events=["completion.created"])
    daemon = await run(settings, clock)
    await wait_for_sweep(daemon)
    keys = [world.complete(), world.complete()]
    await status_when(daemon, "hr", "scheduled", 2)
    event_id, _ = await wait_for_attempt(world, daemon, attempts=0, key=keys[0])
    clock.sleep(7 * 86_400)
    await status_when(daemon, "hr", "delivered", 2)
    sent = (await daemon.operations.delivery_inspection.detail(event_id, "hr")).request
    assert sent is not None
    assert sent.is_as_sent
    assert len(sent.lines) > 1
    # A retry sends the event alone, as an ordinary message.
    await daemon.deliveries.retry(RetrySelection(DeliveryState.DELIVERED, (event_id,)))
    await wait_for_attempt(world, daemon, key=keys[0])
    again = (await daemon.operations.delivery_inspection.detail(event_id, "hr")).request
    assert again is not None
    assert again.is_as_sent
    assert again.body != sent.body


@pytest.mark.parametrize(
    ("slot_ms", "scheduled_ms", "was_logged", "slots"),
    [
        (None, None, False, [None]),
        (5, None, False, [5]),
        (None, 7, False, [7]),
        (5, None, True, [5, None]),
        (None, None, True, [None, 9]),
    ],
)
def test_possible_slots_returns_each_slot_that_the_request_may_have_had(
    slot_ms: int | None, scheduled_ms: int | None, slots: list[int | None], *, was_logged: bool
) -> None:
    delivery = PastDelivery(
        DeliveryState.PENDING, 1, "hr", "e", "t", "s", "r", 0, None, None, None, None, None, None, scheduled_ms
    )
    event = EventLine(1, "e", "t", "s", "r", 0, None, None, None, None)
    logged = LoggedRequest(9, (1,), SentRequest((), 0, "", None, "")) if was_logged else None
    attempt = AttemptDetail(PastAttempt(9, 1, "delivered", "delivered", 200, None), logged)
    assert possible_slots(StoredDelivery(delivery, event, (attempt,), (), 0, slot_ms)) == slots


@pytest.mark.parametrize("kinds", ["s", "ps", "sp", "p", ""])
def test_request_preview_is_signed_only_with_a_shared_secret(kinds: str) -> None:
    private = f"whsk_{b64encode(bytes(32)).decode()}"
    secrets = [{"s": SECRET, "p": private}[kind] for kind in kinds]
    settings = HttpSettings.model_validate({"type": "http", "url": "https://hr.example.com/", "secret": secrets})
    delivery = PastDelivery(DeliveryState.PENDING, 1, "hr", "e", "t", "s", "r", 0, *[None] * 6)
    event = EventLine(1, "e", "t", "s", "r", 0, None, None, None, None)
    made = request_preview(StoredDelivery(delivery, event, (), (), 0), settings, Preview({}, b"{}"))
    assert made.is_signed is ("s" in kinds)
