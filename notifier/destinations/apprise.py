"""The destination type `apprise`: any service that the library apprise supports, configured by an apprise URL.

The library only reports whether a service accepted a message, without a status or a requested wait. The library blocks,
has no time limit for an attempt, and reads answers of any size. Therefore, attempts run in a process that has a memory
limit and is killed at the time limit (`apprise_pool.py`).
"""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson
from msgspec.structs import replace

from notifier import __version__
from notifier.config.message_destinations import AppriseSettings
from notifier.destinations.apprise_pool import ApprisePool
from notifier.destinations.chat import ChatDestination
from notifier.destinations.outcome import AttemptResult, Outcome
from notifier.events import Event, EventType
from notifier.http.answer_text import safe_beginning, safe_line
from notifier.http.proxy import PROXY_KEY, Proxy, proxy_environment
from notifier.messages.layout import Layout
from notifier.messages.phrasing import MessageContext
from notifier.store.tables.outbox import Delivery
from notifier.store.tables.request_log import Headers, SentRequest, digest

TEXT_LIMIT = 1_900
"""The maximum number of characters in a message: a little less than the 2,000 that Discord allows. According to
apprise's documentation, every service with a lower limit takes only single lines; for these, `apprise_subprocess.py`
splits the message.
"""

_SEPARATORS = re.compile("[/:@?&=#,]+")
_WORD_JOINER = "\u2060"
_MAIL_SCHEMES = ("mailto:", "mailtos:")
_LONGEST_SUBJECT = 120


class AppriseDestination(ChatDestination):
    """A messaging service that the library apprise supports. The service's URL is secret."""

    def __init__(
        self,
        name: str,
        settings: AppriseSettings,
        pool: ApprisePool | None = None,
        context: Callable[[], MessageContext] = MessageContext,
    ) -> None:
        super().__init__(name, settings, fits, context)
        self._url = settings.url
        self._address = settings.address()
        self._timeout = settings.timeout
        self._proxy = settings.proxy.get_secret_value()
        self._pool = pool or ApprisePool(keep_seconds=0.0)
        self._last_attempt_failed = False

    def _request(self, layout: Layout) -> tuple[dict[str, str], bytes]:
        # The library builds the real request, which depends on the service. This is the library's input.
        title, body = title_and_body(layout)
        return {}, orjson.dumps({"title": title, "body": body})

    async def _post(self, layout: Layout, deliveries: Sequence[Delivery]) -> Outcome:
        title, body = title_and_body(layout)
        level = _notification_type([it.event for it in deliveries])
        had_it_before = frozenset.intersection(*(it.taken_by for it in deliveries))
        taken_by = set(had_it_before)
        call = {
            "url": self._url.get_secret_value(),
            "timeout": self._timeout,
            "application": f"completion-notifier/{__version__}",
            "title": title or mail_subject(self._url.get_secret_value(), body),
            "body": body,
            "level": level,
            "skip": sorted(had_it_before),
            "proxies": proxy_environment(self._proxy, os.environ),
        }
        answer = b""
        try:
            answer = await self._pool.call(
                orjson.dumps(call), self._timeout, taken_by.add, slow=self._last_attempt_failed
            )
        except TimeoutError:
            outcome = Outcome(AttemptResult.TIMEOUT, detail=f"no whole answer within {self._timeout:g} seconds")
        except OSError as error:
            outcome = Outcome(
                AttemptResult.SERVICE_FAILED, detail=f"no process could be started for apprise: {error.strerror}"
            )
        else:
            outcome = self._outcome_of_answer(answer)
        # If no further recipient has accepted the message, the attempt is a plain failure of the service.
        if taken_by > had_it_before and outcome.reason is not AttemptResult.DELIVERED:
            outcome = replace(outcome, reason=AttemptResult.PARTLY_TAKEN, taken_by=frozenset(taken_by))
        self._last_attempt_failed = outcome.reason is not AttemptResult.DELIVERED
        sent = (("service", self._address), ("type", level))
        return replace(outcome, request=partial(self._log_entry, sent, self._request(layout)[1], answer))

    def _log_entry(self, sent: Headers, body: bytes, answer: bytes) -> SentRequest:
        """Return the entry for the log of requests: what the library was given and its answer, without secrets."""
        match _parse_answer(answer):
            case {"delivered": bool(all_delivered), "targets": list(targets), "log": str(log)}:
                delivered = "yes" if all_delivered else "in part" if targets else "no"
                return SentRequest(
                    sent, len(body), digest(body), (("delivered", delivered),), safe_beginning(log, self._secrets())
                )
            case _:
                return SentRequest(sent, len(body), digest(body), None, "")

    def _outcome_of_answer(self, answer: bytes) -> Outcome:
        match _parse_answer(answer):
            case {"delivered": True}:
                return Outcome(AttemptResult.DELIVERED)
            case {"delivered": False, "log": str(log)}:
                words = safe_line(log or "apprise gives no reason", self._secrets())
                return Outcome(AttemptResult.SERVICE_FAILED, detail=words)
            case _:
                return Outcome(
                    AttemptResult.SERVICE_FAILED, detail="apprise ended without saying whether it was delivered"
                )

    def _secrets(self) -> tuple[str, ...]:
        return (
            *_url_secrets(self._url.get_secret_value()),
            *(Proxy(self._proxy, PROXY_KEY).secrets() if self._proxy else ()),
        )


def title_and_body(layout: Layout) -> tuple[str, str]:
    """Return a message's title and body for the library. The title of a message with a single row is empty."""
    heading, *rows = (_disable_mentions(row.text_with_urls) for row in layout)
    return (heading, "\n".join(rows)) if rows else ("", heading)


def mail_subject(url: str, body: str) -> str:
    """Return a mail's subject: the first line of `body`, shortened. Return "" if `url` is not for mail."""
    first = body.partition("\n")[0]
    if not url.lower().startswith(_MAIL_SCHEMES):
        return ""
    return first if len(first) <= _LONGEST_SUBJECT else f"{first[: _LONGEST_SUBJECT - 1]}…"


def _notification_type(events: Sequence[Event]) -> str:
    """Return apprise's message type: "info" without alerts, "success" if all alerts are resolved, else "warning"."""
    states = {orjson.loads(event.data).get("state") for event in events if event.type == EventType.ALERT}
    if not states:
        return "info"
    return "success" if states == {"resolved"} else "warning"


def fits(layout: Layout) -> bool:
    """Return whether a layout is within `TEXT_LIMIT`."""
    return sum(map(len, title_and_body(layout))) <= TEXT_LIMIT


def _disable_mentions(text: str) -> str:
    """Return `text` with an invisible character after each `@`, so that no service turns a name into a mention."""
    return text.replace("@", "@" + _WORD_JOINER)


def _url_secrets(url: str) -> tuple[str, ...]:
    """Return the parts of an apprise URL that must not be shown. Any part may be a token, even the host."""
    scheme, _, rest = url.partition("://")
    parts = _SEPARATORS.split(rest)
    return (url, rest, *parts, *map(unquote, parts)) if rest else (scheme,)


def _parse_answer(answer: bytes) -> Any:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
