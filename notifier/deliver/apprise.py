"""The destination type `apprise`: any of the services that the library apprise knows, behind one of its URLs.

The library says no more than whether a service took a message: no status, no wait that was asked for. It reads
answers of any size, has no time limit for an attempt as a whole, and blocks while it works. So every attempt runs in
a process of its own, `apprise_call.py`, which has a limit of memory and is killed when its time is up.
"""

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson

from notifier import __version__
from notifier.config.destinations import AppriseSettings
from notifier.deliver.answers import shown
from notifier.deliver.destination import Grouping
from notifier.deliver.message.layout import Layout
from notifier.deliver.message.writer import Writer
from notifier.deliver.outcome import Outcome, Reason
from notifier.deliver.preview import Preview
from notifier.ledger.outbox import Delivery

TEXT_LIMIT = 1_900
"""Characters of a message; of the services that set a limit and are made for more than one line, Discord's is the
lowest: 2,000 (apprise's documentation of its services). What takes less gets pieces (`apprise_call.py`)."""

_CALL = Path(__file__).with_name("apprise_call.py")
_SEPARATORS = re.compile("[/:@?&=#,]+")
_WORD_JOINER = "\u2060"


class AppriseDestination:
    """A service behind an apprise URL, which is its secret."""

    def __init__(self, name: str, settings: AppriseSettings) -> None:
        self._name = name
        self._url = settings.url
        self._timeout = settings.timeout
        self._writer = Writer(name, settings, fits)

    @property
    def name(self) -> str:
        """The name that the configuration gives it."""
        return self._name

    @property
    def grouping(self) -> Grouping:
        """Up to ten events, or a group session, share a message; more than `digest_above` become one digest."""
        return self._writer.grouping

    async def prepare(self) -> None:
        """Read the templates."""
        await self._writer.prepare()

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Hand `deliveries` as one message to the library and say what it came to."""
        title, body = title_and_body(await self._writer.lay_out(deliveries))
        call = {
            "url": self._url.get_secret_value(),
            "timeout": self._timeout,
            "application": f"completion-notifier/{__version__}",
            "title": title,
            "body": body,
        }
        try:
            async with asyncio.timeout(self._timeout):
                answer = await _made(orjson.dumps(call))
        except TimeoutError:
            return Outcome(Reason.TIMEOUT, detail=f"no whole answer within {self._timeout:g} seconds")
        except OSError as error:
            return Outcome(Reason.SERVICE_FAILED, detail=f"no process could be started for apprise: {error.strerror}")
        return self._judge(answer)

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Show the message that `deliveries` would be; what the library makes of it depends on the service."""
        layout = await self._writer.lay_out(deliveries)
        title, body = title_and_body(layout)
        return Preview({}, orjson.dumps({"title": title, "body": body}), tuple(row.text for row in layout))

    def _judge(self, answer: bytes) -> Outcome:
        match _parsed(answer):
            case {"taken": True}:
                return Outcome(Reason.DELIVERED)
            case {"taken": False, "said": str(said)}:
                words = said or "apprise says no more than that"
                return Outcome(Reason.SERVICE_FAILED, detail=shown(words, _secrets(self._url.get_secret_value())))
            case _:
                return Outcome(Reason.SERVICE_FAILED, detail="apprise ended without saying whether it was delivered")


def title_and_body(layout: Layout) -> tuple[str, str]:
    """Write a layout as what the library takes: a title, empty for a single row, and a text."""
    heading, *rows = (_literal(row.text) for row in layout)
    return (heading, "\n".join(rows)) if rows else ("", heading)


def fits(layout: Layout) -> bool:
    """Tell whether a layout is short enough for the services there are."""
    return sum(map(len, title_and_body(layout))) <= TEXT_LIMIT


def _literal(text: str) -> str:
    """Keep names from calling people: services differ in their notations, but a mention begins with `@` in all."""
    return text.replace("@", "@" + _WORD_JOINER)


async def _made(call: bytes) -> bytes:
    """Make the call in a process of its own and return what it said. Raises OSError when there can be none."""
    # A session of its own: an interrupt typed at the terminal is for us, who let attempts under way finish.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", str(_CALL), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
    )
    try:
        answer, _ = await process.communicate(call)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return answer


def _secrets(url: str) -> tuple[str, ...]:
    """Return what of an apprise URL must not be shown: each of its parts may be a token, the host included."""
    scheme, _, rest = url.partition("://")
    parts = _SEPARATORS.split(rest)
    return (url, rest, *parts, *map(unquote, parts)) if rest else (scheme,)


def _parsed(answer: bytes) -> Any:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
