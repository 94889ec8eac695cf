"""The destination type `slack`: a Slack incoming webhook.

A message is one `rich_text` block of Block Kit, whose text Slack takes literally: names cannot turn into formatting,
links or mentions. Facts about its answers are from Slack's documentation of incoming webhooks ("Handling errors").
"""

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any, Final

import aiohttp
import orjson

from notifier import __version__
from notifier.clock import Clock
from notifier.config.destinations import SlackSettings
from notifier.deliver.destination import Grouping
from notifier.deliver.endpoint import Endpoint
from notifier.deliver.message.layout import Layout
from notifier.deliver.message.text import Line, Span
from notifier.deliver.message.writer import Writer
from notifier.deliver.outcome import Outcome, Reason, reason_of_status
from notifier.deliver.preview import Preview
from notifier.ledger.outbox import Delivery
from notifier.transport import Answer

BLOCKS_LIMIT: Final = 12_900
"""Bytes of all blocks' JSON. Slack documents no limit; in the field it refused about 13,200 characters."""

TEXT_LIMIT: Final = 3_000
"""Characters of one piece of text (Slack's documentation of Block Kit)."""

FALLBACK_LIMIT: Final = 4_000
"""Characters of the fallback text, before escapes (Slack's advice for `text`)."""

_ABOUT_THE_MESSAGE = frozenset(
    {
        "invalid_attachments",
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_payload",
        "missing_text_or_fallback_or_attachments",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "too_many_attachments",
    }
)
_ABOUT_THE_WEBHOOK = frozenset(
    {
        "action_prohibited",
        "channel_is_archived",
        "channel_not_found",
        "invalid_token",
        "no_active_hooks",
        "no_service",
        "no_service_id",
        "no_team",
        "posting_to_general_channel_denied",
        "team_disabled",
        "user_not_found",
    }
)


class SlackDestination:
    """A Slack channel, behind an incoming webhook whose URL is its secret."""

    def __init__(self, name: str, settings: SlackSettings, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._name = name
        self._endpoint = Endpoint(settings.url, settings.timeout, session, clock)
        self._writer = Writer(name, settings, fits)
        self._headers = {
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
    """Write the body of one request to Slack."""
    # `mrkdwn: false` makes the fallback text literal too, but for the three characters that `_escape` disarms.
    return orjson.dumps({"text": _escape(_fallback(layout)), "mrkdwn": False, "blocks": _blocks(layout)})


def fits(layout: Layout) -> bool:
    """Tell whether a layout is within Slack's limits."""
    longest = max(len(span.text) for row in layout for span in row.line)
    return longest <= TEXT_LIMIT and len(orjson.dumps(_blocks(layout))) <= BLOCKS_LIMIT


def _blocks(layout: Layout) -> list[dict[str, Any]]:
    elements = []
    for depth, rows in groupby(layout, key=lambda row: row.depth):
        lines = [row.line for row in rows]
        if depth is None:
            elements.append(_section(_joined(lines)))
        else:
            items = [_section(line) for line in lines]
            elements.append({"type": "rich_text_list", "style": "bullet", "indent": depth, "elements": items})
    return [{"type": "rich_text", "elements": elements}]


def _joined(lines: Sequence[Line]) -> Line:
    """Put lines under each other in one piece of text."""
    first, *others = lines
    return (*first, *(span for line in others for span in (Span("\n"), *line)))


def _section(line: Line) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": [_element(span) for span in line]}


def _element(span: Span) -> dict[str, Any]:
    element: dict[str, Any] = {"type": "text", "text": span.text}
    return element if span.style is None else element | {"style": {span.style: True}}


def _fallback(layout: Layout) -> str:
    """Write the message as plain text, for notifications and screen readers; no more lines than anyone listens to."""
    lines = [layout[0].text[:FALLBACK_LIMIT], *(row.text for row in layout[1:])]
    lengths = accumulate(map(len, lines))
    return "\n".join(text for text, length in zip(lines, lengths, strict=True) if length <= FALLBACK_LIMIT)


def _escape(text: str) -> str:
    """Disarm Slack's three control characters; that also takes the power from `<!channel>` and `<@U...>`."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _judge(answer: Answer) -> Reason:
    """Read Slack's answer: success is 200 with the body `ok`; of a refusal the word in the body says whose fault."""
    reason = reason_of_status(answer.status)
    said = answer.body.strip()
    match reason:
        case Reason.DELIVERED if answer.status != 200 or said != b"ok":  # noqa: PLR2004
            return Reason.ANSWER_UNEXPECTED
        case Reason.REFUSED | Reason.GONE:
            return _reason_of_word(said.decode(errors="replace"), otherwise=reason)
        case _:
            return reason


def _reason_of_word(word: str, *, otherwise: Reason) -> Reason:
    if word in _ABOUT_THE_MESSAGE:
        return Reason.PAYLOAD_REFUSED
    if word in _ABOUT_THE_WEBHOOK:
        return Reason.WEBHOOK_REVOKED
    return otherwise
