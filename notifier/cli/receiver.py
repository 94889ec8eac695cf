"""A webhook receiver for manual tests: it verifies and shows each request, and answers with given HTTP statuses."""

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web
from msgspec import Struct, field

from notifier.destinations.webhook.verification import Verdict, verify

LONGEST_BODY_BYTES: Final = 64 * 2**20
_MAX_REMEMBERED_IDS: Final = 100_000
_HOST: Final = "127.0.0.1"


class ReceivedEvent(Struct, frozen=True):
    """An event in a request. `is_repeated` is true if an event with the same id was accepted before."""

    id: str
    type: str
    text: str
    is_repeated: bool


class ReceivedRequest(Struct, frozen=True):
    """A request and the HTTP status of its answer. `verdict` is None if the signature was not verified."""

    verb: str
    path: str
    message_id: str
    verdict: Verdict | None
    status: int
    events: tuple[ReceivedEvent, ...]
    note: str = ""

    def document(self) -> dict[str, Any]:
        """Return the request as a JSON object."""
        return {
            "verb": self.verb,
            "path": self.path,
            "message_id": self.message_id,
            "genuine": None if self.verdict is None else self.verdict.is_genuine,
            "signature": "" if self.verdict is None else self.verdict.reason,
            "status": self.status,
            "events": [
                {"id": one.id, "type": one.type, "text": one.text, "repeated": one.is_repeated} for one in self.events
            ],
            "note": self.note,
        }


class WebhookReceiver(Struct):
    """Receives webhooks, and answers them with the given `statuses`.

    Each request that contains events gets the next status. When no status is left, the last one is repeated. Other
    requests get a fixed status: 401 if the signature is invalid, 400 if the body has an unknown format. `show` is
    called with each request.
    """

    secrets: Sequence[str]
    statuses: Sequence[int]
    show: Callable[[ReceivedRequest], None]
    _used_statuses: int = 0
    _confirmed_ids: dict[str, None] = field(default_factory=dict)

    @asynccontextmanager
    async def serve(self, port: int) -> AsyncIterator[str]:
        """Listen on this port of 127.0.0.1 (0: any free port), and yield the receiver's URL. Raises OSError."""
        app = web.Application(client_max_size=LONGEST_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, _HOST, port).start()
            yield f"http://{_HOST}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        if request.method == "OPTIONS" and (origin := request.headers.get("WebHook-Request-Origin")):
            self._report(request, HTTPStatus.OK, note=f"allowed the origin {origin}")
            return web.Response(headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})
        if request.method != "POST":
            self._report(request, HTTPStatus.METHOD_NOT_ALLOWED, note="only POST brings events")
            return web.Response(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "POST"})
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        verdict = verify(self.secrets, headers, body, time.time()) if self.secrets else None
        if verdict is not None and not verdict.is_genuine:
            self._report(request, HTTPStatus.UNAUTHORIZED, verdict)
            return web.Response(status=HTTPStatus.UNAUTHORIZED, text=verdict.reason)
        try:
            parsed = list(events_in(orjson.loads(body)))
        except ValueError as error:
            self._report(request, HTTPStatus.BAD_REQUEST, verdict, note=f"the body is no event: {error}")
            return web.Response(status=HTTPStatus.BAD_REQUEST, text="the body is no event")
        status = self._next_status()
        events = tuple(ReceivedEvent(*one, one[0] in self._confirmed_ids) for one in parsed)
        if status // 100 == 2:  # noqa: PLR2004 - a success
            self._remember_confirmed([one.id for one in events if one.id])
        self._report(request, status, verdict, events)
        # Slack, and services that imitate it, answer `ok`.
        return web.Response(status=status, text="ok" if status == HTTPStatus.OK else None)

    def _next_status(self) -> int:
        status = self.statuses[min(self._used_statuses, len(self.statuses) - 1)]
        self._used_statuses += 1
        return status

    def _remember_confirmed(self, ids: Sequence[str]) -> None:
        self._confirmed_ids.update(dict.fromkeys(ids))
        while len(self._confirmed_ids) > _MAX_REMEMBERED_IDS:
            del self._confirmed_ids[next(iter(self._confirmed_ids))]

    def _report(
        self,
        request: web.Request,
        status: int,
        verdict: Verdict | None = None,
        events: tuple[ReceivedEvent, ...] = (),
        note: str = "",
    ) -> None:
        message_id = request.headers.get("webhook-id", "")
        self.show(ReceivedRequest(request.method, request.path, message_id, verdict, int(status), events, note))


def events_in(document: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the id, type and text of each event or message in `document`, the parsed body of a request.

    Raises ValueError if `document` has none of the formats of the destination types `http`, `slack` and `teams`.
    """
    match document:
        case list(several):
            for one in several:
                yield from events_in(one)
        case {"events": list(several)}:
            yield from events_in(several)
        case {"type": "notifier.batch", "data": {"events": list(several)}}:
            yield from events_in(several)
        case {"id": str(identifier), "type": str(kind), "data": dict(data)}:
            yield identifier, kind, _summary(data)
        case {"text": str(text), "blocks": _}:
            yield "", "message", text
        case {"type": "message", "attachments": list()}:
            yield "", "message", "an Adaptive Card"
        case _:
            raise ValueError("it is neither a CloudEvent nor a Standard Webhooks message nor a batch of them")


def _summary(data: dict[str, Any]) -> str:
    completion = data.get("completion")
    if not isinstance(completion, dict):
        return str(data.get("summary") or "")
    who = completion.get("user_name") or completion.get("user_id") or ""
    what = completion.get("training_title") or completion.get("training_id") or ""
    return f"{who}, {what}"
