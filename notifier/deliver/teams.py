"""The destination type `teams`: a Microsoft Teams channel or chat, behind a Workflows webhook.

The trigger is "When a Teams webhook request is received"; the message is an Adaptive Card, of version 1.4, since
Power Automate posts nothing later (microsoft/AdaptiveCards, issue 8965). The workflow answers 202 Accepted before it
posts: a card that Teams would not take is lost without a word, so the limits are kept with room to spare.
"""

import re
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson

from notifier import __version__
from notifier.clock import Clock
from notifier.config.destinations import TeamsSettings
from notifier.deliver.destination import Grouping
from notifier.deliver.endpoint import Endpoint
from notifier.deliver.message.layout import Layout, Row
from notifier.deliver.message.text import Span
from notifier.deliver.message.writer import Writer
from notifier.deliver.outcome import Outcome, Reason, reason_of_status
from notifier.deliver.preview import Preview
from notifier.ledger.outbox import Delivery
from notifier.transport import Answer

CARD_LIMIT = 14_000
"""Bytes of a request. Teams takes messages of 28 KB (Microsoft's documentation of incoming webhooks), but counts them
after it has wrapped and encoded them anew, up to twice as long (MicrosoftDocs/msteams-docs, issue 11274)."""

_ABOUT_THE_WORKFLOW = frozenset({"DirectApiAuthorizationRequired", "WorkflowTriggerIsNotEnabled"})
"""Error codes of Power Automate that say: closed to whoever has only the URL, or switched off (as users report them:
ericferon/glpi-webhook, issue 51; microsoft/coe-starter-kit, issue 8684)."""

_OPENING_BRACES = re.compile(r"\{(?=\{)")
_WORD_JOINER = "\u2060"
_EM_SPACE = "\u2003"


class TeamsDestination:
    """A Teams channel or chat, behind a workflow whose URL is its secret."""

    def __init__(self, name: str, settings: TeamsSettings, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._name = name
        self._endpoint = Endpoint(settings.url, settings.timeout, session, clock)
        self._writer = Writer(name, settings, fits)
        self._headers = {
            # Without the charset, the older webhooks took every character for two bytes.
            "content-type": "application/json; charset=utf-8",
            "user-agent": f"completion-notifier/{__version__}",
            "accept-encoding": "identity",
        }

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
        """Post `deliveries` as one message and say what it came to."""
        layout = await self._writer.lay_out(deliveries)
        return await self._endpoint.attempt(body(layout), self._headers, judge=_judge)

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Show the message that `deliveries` would be."""
        layout = await self._writer.lay_out(deliveries)
        return Preview(self._headers, body(layout), tuple(row.text for row in layout))


def body(layout: Layout) -> bytes:
    """Write the body of one request.

    All text stands in TextRuns, which Teams takes literally: names cannot turn into formatting, links or mentions.
    """
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [_block(row) for row in layout],
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return orjson.dumps({"type": "message", "attachments": [attachment]})


def fits(layout: Layout) -> bool:
    """Tell whether a layout is within the limit of a card."""
    return len(body(layout)) <= CARD_LIMIT


def _block(row: Row) -> dict[str, Any]:
    bullet = () if row.depth is None else (Span(f"{_EM_SPACE * row.depth}• "),)
    runs = [_run(span) for span in (*bullet, *row.line) if span.text]
    return {"type": "RichTextBlock", "spacing": "Small", "inlines": runs}


def _run(span: Span) -> dict[str, Any]:
    run = {"type": "TextRun", "text": _literal(span.text)}
    match span.style:
        case "bold":
            return run | {"weight": "Bolder"}
        case "code":
            return run | {"fontType": "Monospace"}
        case _:
            return run


def _literal(text: str) -> str:
    """Disarm what some clients replace even in a TextRun: `{{DATE(...)}}` and `{{TIME(...)}}`."""
    return _OPENING_BRACES.sub("{" + _WORD_JOINER, text)


def _judge(answer: Answer) -> Reason:
    """Read a workflow's answer: of a refusal the code in the body says whether anything else would be taken."""
    reason = reason_of_status(answer.status)
    return Reason.WEBHOOK_REVOKED if reason is Reason.REFUSED and _code(answer.body) in _ABOUT_THE_WORKFLOW else reason


def _code(body: bytes) -> str | None:
    try:
        match orjson.loads(body):
            case {"error": {"code": str(code)}}:
                return code
    except orjson.JSONDecodeError:
        pass
    return None
