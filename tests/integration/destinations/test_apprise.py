import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from msgspec.structs import replace

from notifier.config.message_destinations import AppriseSettings
from notifier.destinations import apprise
from notifier.destinations.apprise import AppriseDestination
from notifier.destinations.apprise_pool import MAX_PROCESSES, ApprisePool
from notifier.destinations.base import Grouping
from notifier.destinations.outcome import AttemptResult, FailureScope, Outcome
from notifier.messages.layout import MAX_LINES, lay_out
from notifier.messages.templates import Templates
from notifier.messages.variables import session_key
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.request_log import digest

if TYPE_CHECKING:
    from notifier.events import Event
    from tests.support.destinations import MakeEvent, Receiver

Deliveries = Callable[..., list[Delivery]]
PASSWORD, TOPIC = "pass-w0rd-of-many-words", "topic-that-is-a-secret"


def make(receiver: "Receiver", **keys: Any) -> AppriseDestination:
    _, _, address = receiver.url.partition("://")
    url = f"json://someone:{PASSWORD}@{address}/{TOPIC}"
    return AppriseDestination("phones", AppriseSettings.model_validate({"type": "apprise", "url": url, **keys}))


def message(events: "Sequence[Event]", *, digest: bool) -> tuple[str, str]:
    layout = lay_out(events, Templates(None, print), digest=digest, fits=apprise.fits)
    return apprise.title_and_body(layout)


async def test_request_log_has_the_answer_of_the_library_without_secrets(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    destination = make(receiver)
    events = [make_event(1), make_event(2)]
    taken = await destination.send(deliveries(*events))
    receiver.answers(403, f"{PASSWORD} {TOPIC}".encode())
    refused = await destination.send(deliveries(*events))
    assert taken.request is not None
    assert refused.request is not None
    logged, failed = taken.request(), refused.request()
    assert dict(logged.headers)["type"] == "info"
    assert dict(logged.headers)["service"].startswith("json://")
    assert logged.body_digest == digest((await destination.preview(deliveries(*events))).body)
    assert (logged.answer_headers, failed.answer_headers) == ((("delivered", "yes"),), (("delivered", "no"),))
    assert "403" in failed.answer_body
    assert not any(secret in f"{logged} {failed}" for secret in (PASSWORD, TOPIC))


async def test_service_gets_title_and_lines_and_no_secret_is_logged_or_printed(
    receiver: "Receiver",
    make_event: "MakeEvent",
    deliveries: Deliveries,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    destination = make(receiver)
    assert destination.grouping == Grouping(size=MAX_LINES, digest_above=50, group_key=session_key)
    events = [make_event(1), make_event(2)]
    assert await destination.send(deliveries(*events)) == Outcome(AttemptResult.DELIVERED)
    receiver.answers(403, f"{PASSWORD} {TOPIC}".encode())
    refused = await destination.send(deliveries(*events))
    assert refused.reason is AttemptResult.SERVICE_FAILED
    assert refused.scope is FailureScope.UNKNOWN
    assert "403" in refused.detail
    sent = orjson.loads(receiver.received[0].body)
    assert sent["title"] == "2 trainings completed"
    assert sent["message"].splitlines() == [
        "• David Ball completed Ladder Safety on 27 Feb 2020 · #1197",
        "• David Ball completed Ladder Safety on 27 Feb 2020 · #1198",
    ]
    logged = [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]
    said = f"{refused.detail}{logged}{capfd.readouterr()}"
    assert not any(secret in said for secret in (PASSWORD, TOPIC))


@pytest.mark.parametrize(("state", "level"), [("firing", "warning"), ("resolved", "success"), (None, "info")])
async def test_message_type_follows_the_state_of_the_alert(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries, state: str | None, level: str
) -> None:
    event = make_event(1)
    if state is not None:
        data = {"condition": "gap", "state": state, "subject": "sources/acme", "summary": "so", "since": "2026-11-21"}
        event = replace(event, type="notifier.alert", data=orjson.dumps(data))
    assert (await make(receiver).send(deliveries(event))).reason is AttemptResult.DELIVERED
    assert orjson.loads(receiver.received[0].body)["type"] == level


@pytest.mark.parametrize(
    ("scheme", "subject"), [("mailtos", "David Ball completed"), ("MAILTO", "David"), ("json", "")]
)
def test_mail_subject_is_the_first_line_for_mail_urls_only(scheme: str, subject: str) -> None:
    found = apprise.mail_subject(f"{scheme}://user:pass@example.com", "David Ball completed Ladder Safety\nmore")
    assert found.startswith(subject)
    assert bool(found) == bool(subject)
    assert "\n" not in found
    assert len(apprise.mail_subject("mailto://example.com", "x" * 5000)) <= 120


async def test_message_too_long_for_the_service_is_sent_in_parts_without_loss(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    _, _, address = receiver.url.partition("://")
    # Messages of this service have at most 1,200 characters, and no title.
    url = f"smseagle://{PASSWORD}@{address}/15551234567"
    destination = AppriseDestination("phones", AppriseSettings.model_validate({"type": "apprise", "url": url}))
    receiver.answers(200, b'{"result": [{"message_id": 1, "status": "ok"}]}')
    events = [make_event(number, user_name=f"{number} " + "Wolkenstein " * 8) for number in range(1, 11)]
    assert await destination.send(deliveries(*events)) == Outcome(AttemptResult.DELIVERED)
    pieces = [orjson.loads(received.body)["params"]["message"] for received in receiver.received]
    assert len(pieces) == 2
    assert max(map(len, pieces)) <= 1200
    lines = "\n".join(pieces).splitlines()
    assert all(any(line.endswith(f"#{event.subject}") for line in lines) for event in events)


async def test_title_too_long_for_the_service_moves_into_the_body_whatever_the_locale(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    _, _, address = receiver.url.partition("://")
    destination = AppriseDestination(
        "phones", AppriseSettings.model_validate({"type": "apprise", "url": f"ntfy://{address}/{TOPIC}"})
    )
    receiver.answers(200, b"{}")
    training = "😀 Work at Height and Rescue from Height, Refresher for Supervisors and Deputies " * 2
    events = [make_event(number, group_training_id="9", training_title=training) for number in (1, 2)]
    assert await destination.send(deliveries(*events)) == Outcome(AttemptResult.DELIVERED)
    sent = orjson.loads(receiver.received[0].body)
    assert "title" not in sent
    title = sent["message"].splitlines()[0]
    assert title.startswith("😀 Work")
    assert title.endswith("group session on 27 Feb 2020 · 2 people")


async def test_cancelled_attempt_ends_its_process_without_blocking_the_event_loop(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    receiver.script = hang
    attempt = asyncio.create_task(make(receiver).send(deliveries(make_event())))
    # This is less than the time after which the attempt would end by itself.
    async with asyncio.timeout(10):
        await begun.wait()
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await ended.wait()


async def test_outcome_detail_redacts_the_parts_of_the_url(make_event: "MakeEvent", deliveries: Deliveries) -> None:
    settings = AppriseSettings.model_validate({"type": "apprise", "url": f"json://{TOPIC}.invalid/{PASSWORD}"})
    outcome = await AppriseDestination("phones", settings).send(deliveries(make_event()))
    assert outcome.detail == "A Connection error occurred sending JSON notification to [secret]."


async def test_send_returns_service_failed_if_the_process_cannot_be_started(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert await make(receiver).send(deliveries(make_event())) == Outcome(
        AttemptResult.SERVICE_FAILED, detail="no process could be started for apprise: No such file or directory"
    )


async def test_send_returns_service_failed_if_the_process_ends_without_an_answer(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/true")
    assert await make(receiver).send(deliveries(make_event())) == Outcome(
        AttemptResult.SERVICE_FAILED, detail="apprise ended without saying whether it was delivered"
    )


async def test_send_to_several_targets_delivers_to_each_once_across_retries(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    _, _, address = receiver.url.partition("://")
    refuses = True

    async def script(request: web.Request) -> web.Response:
        topic = (await request.json())["topic"]
        return web.Response(status=403 if topic == "bad" and refuses else 200, body=b"{}")

    receiver.script = script
    url = f"ntfy://{address}/good/bad/better"
    destination = AppriseDestination("phones", AppriseSettings.model_validate({"type": "apprise", "url": url}))
    waiting = deliveries(make_event())
    first = await destination.send(waiting)
    assert (first.reason, first.scope, len(first.taken_by)) == (AttemptResult.PARTLY_TAKEN, FailureScope.EVENT, 2)
    assert "403" in first.detail
    waiting = [replace(it, taken_by=first.taken_by) for it in waiting]
    again = await destination.send(waiting)
    # No further target has it, so this attempt is no sign that the service works.
    assert again == Outcome(AttemptResult.SERVICE_FAILED, detail=again.detail)
    refuses = False
    assert await destination.send(waiting) == Outcome(AttemptResult.DELIVERED)
    topics = [orjson.loads(received.body)["topic"] for received in receiver.received]
    assert sorted(topics) == ["bad", "bad", "bad", "better", "good"]


async def test_send_to_several_targets_repeats_to_none_that_has_it_when_another_hangs(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    _, _, address = receiver.url.partition("://")
    hangs = True

    async def script(request: web.Request) -> web.Response:
        if hangs and (await request.json())["topic"] == "slow":
            await asyncio.Event().wait()
        return web.Response(body=b"{}")

    receiver.script = script
    settings = {"type": "apprise", "url": f"ntfy://{address}/better/good/slow", "timeout": "3s"}
    destination = AppriseDestination("phones", AppriseSettings.model_validate(settings))
    waiting = deliveries(make_event())
    first = await destination.send(waiting)
    assert (first.reason, len(first.taken_by)) == (AttemptResult.PARTLY_TAKEN, 2)
    assert first.detail == "no whole answer within 3 seconds"
    waiting = [replace(it, taken_by=first.taken_by) for it in waiting]
    assert (await destination.send(waiting)).reason is AttemptResult.TIMEOUT
    hangs = False
    assert await destination.send(waiting) == Outcome(AttemptResult.DELIVERED)
    topics = [orjson.loads(received.body)["topic"] for received in receiver.received]
    assert topics == ["better", "good", "slow", "slow", "slow"]


async def test_apprise_pool_serves_many_destinations_with_a_few_processes(
    receiver: "Receiver", make_event: "MakeEvent", deliveries: Deliveries
) -> None:
    active: list[int] = []
    now = 0

    async def script(_: web.Request) -> web.Response:
        nonlocal now
        now += 1
        active.append(now)
        await asyncio.sleep(0.05)
        now -= 1
        return web.Response()

    receiver.script = script
    pool = ApprisePool()
    _, _, address = receiver.url.partition("://")
    settings = AppriseSettings.model_validate({"type": "apprise", "url": f"json://{address}/{TOPIC}"})
    many = [AppriseDestination(f"phones-{number}", settings, pool) for number in range(8)]
    try:
        outcomes = await asyncio.gather(*(one.send(deliveries(make_event())) for one in many))
        assert len(pool._idle) <= MAX_PROCESSES
    finally:
        await pool.close()
    assert {outcome.reason for outcome in outcomes} == {AttemptResult.DELIVERED}
    assert max(active) <= MAX_PROCESSES


async def test_apprise_process_gets_no_secrets_and_ignores_pythonpath(
    receiver: "Receiver",
    make_event: "MakeEvent",
    deliveries: Deliveries,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("NOTIFIER_SOURCES__ACME__TOKEN", "the-token-of-acme")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.exit('taken over')")
    pool = ApprisePool()
    _, _, address = receiver.url.partition("://")
    settings = AppriseSettings.model_validate({"type": "apprise", "url": f"json://{address}/{TOPIC}"})
    try:
        outcome = await AppriseDestination("phones", settings, pool).send(deliveries(make_event()))
        (process,) = pool._idle
        environ = Path(f"/proc/{process.pid}/environ").read_bytes()
    finally:
        await pool.close()
    assert outcome.reason is AttemptResult.DELIVERED
    assert b"PATH=" in environ
    assert not any(word in environ for word in (b"NOTIFIER", b"the-token-of-acme", bytes(tmp_path)))


def test_single_completion_has_no_title_and_triggers_no_mention(make_event: "MakeEvent") -> None:
    title, text = message([make_event(user_name="@everyone")], digest=False)
    assert title == ""
    assert text == "@\u2060everyone completed Ladder Safety on 27 Feb 2020 · #1238"


def test_digest_counts_completions_by_training(make_event: "MakeEvent") -> None:
    title, text = message([make_event(number) for number in range(100, 160)], digest=True)
    assert title == "60 trainings completed"
    assert text.splitlines() == ["• Ladder Safety: 60", "David Ball"]
