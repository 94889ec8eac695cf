"""The destination type `slack`: a Slack incoming webhook.

A message is one `rich_text` block of Block Kit. Slack shows its text literally, so names cannot turn into formatting,
links or mentions. Answers are handled as in Slack's documentation of incoming webhooks ("Handling errors").
"""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate, groupby
from typing import Any, Final

import aiohttp
import orjson
from msgspec.structs import replace

from notifier.clock import Clock
from notifier.config.message_destinations import SlackSettings
from notifier.destinations.chat import ChatWebhook
from notifier.destinations.outcome import AttemptResult, reason_of_status
from notifier.http.exchange import Answer
from notifier.messages.layout import Layout, Row
from notifier.messages.phrasing import MessageContext
from notifier.messages.rich_text import Line, Span
from notifier.messages.variables import training_title
from notifier.store.tables.outbox import Delivery

BLOCKS_LIMIT_BYTES: Final = 12_900
"""The maximum size of all blocks together, as JSON. Slack documents no limit, but refuses about 13,200 characters."""

TEXT_LIMIT: Final = 3_000
"""The maximum number of characters in one text element (from Slack's documentation of Block Kit)."""

FALLBACK_LIMIT: Final = 4_000
"""The maximum number of characters in the fallback text, before escaping (Slack's advice for `text`)."""

MENTION: Final = "mention"
"""The style of a span that mentions a person or a group. Its text is Slack markup from the configuration."""

_MESSAGE_ERRORS = frozenset(
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
_WEBHOOK_ERRORS = frozenset(
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


class SlackDestination(ChatWebhook):
    """A Slack channel, behind an incoming webhook."""

    needs_body = True

    def __init__(
        self,
        name: str,
        settings: SlackSettings,
        session: aiohttp.ClientSession,
        clock: Clock,
        context: Callable[[], MessageContext] = MessageContext,
    ) -> None:
        all_mentions = _mention_rows(settings.mention.values())
        super().__init__(name, settings, session, clock, lambda layout: fits((*layout, *all_mentions)), context)
        self._mentions = settings.mention

    async def _lay_out(self, deliveries: Sequence[Delivery]) -> Layout:
        layout = await super()._lay_out(deliveries)
        if not self._mentions:
            return layout
        titles = {title.casefold() for it in deliveries if (title := training_title(it.event))}
        mentions = [
            markup
            for pattern, markup in self._mentions.items()
            if any(fnmatchcase(title, pattern.casefold()) for title in titles)
        ]
        return (*layout, *_mention_rows(mentions))

    def _body(self, layout: Layout) -> bytes:
        return request_body(layout)

    def _classify(self, answer: Answer) -> AttemptResult:
        return _classify(answer)


def request_body(layout: Layout) -> bytes:
    """Return the body of the request for a message."""
    # `mrkdwn: false` makes the fallback text literal too, except for the three characters that `_escape` handles.
    return orjson.dumps({"text": _escape(_fallback_text(layout)), "mrkdwn": False, "blocks": _blocks(layout)})


def fits(layout: Layout) -> bool:
    """Return whether a layout is within Slack's limits."""
    return len(orjson.dumps(_blocks(layout))) <= BLOCKS_LIMIT_BYTES


def _blocks(layout: Layout) -> list[dict[str, Any]]:
    elements = []
    for depth, rows in groupby(layout, key=lambda row: row.depth):
        lines = [row.line for row in rows]
        if depth is None:
            elements.append(_section(_join_lines(lines)))
        else:
            items = [_section(line) for line in lines]
            elements.append({"type": "rich_text_list", "style": "bullet", "indent": depth, "elements": items})
    return [{"type": "rich_text", "elements": elements}]


def _join_lines(lines: Sequence[Line]) -> Line:
    """Join lines into one, with a line break between them."""
    first, *others = lines
    return (*first, *(span for line in others for span in (Span("\n"), *line)))


def _section(line: Line) -> dict[str, Any]:
    pieces = (
        replace(span, text=span.text[begin : begin + TEXT_LIMIT])
        for span in line
        for begin in range(0, len(span.text), TEXT_LIMIT)
    )
    return {"type": "rich_text_section", "elements": [_element(piece) for piece in pieces]}


def _mention_rows(mentions: Iterable[str]) -> Layout:
    """Return one row that mentions each of these people and groups once, or no row if there are none."""
    line = tuple(span for markup in dict.fromkeys(mentions) for span in (Span(markup, MENTION), Span(" ")))
    return (Row(line[:-1]),) if line else ()


def _element(span: Span) -> dict[str, Any]:
    if span.style == MENTION:
        return _mention_element(span.text)
    element: dict[str, Any] = {"type": "text", "text": span.text}
    if span.url is not None:
        element = {"type": "link", "url": span.url, "text": span.text}
    return element if span.style is None else element | {"style": {span.style: True}}


def _mention_element(markup: str) -> dict[str, Any]:
    """Return the Block Kit element for a mention. The markup is from the configuration, never from an event."""
    match markup[1:-1].partition("^"):
        case "!subteam", _, group:
            return {"type": "usergroup", "usergroup_id": group}
        case word, _, _ if word.startswith("@"):
            return {"type": "user", "user_id": word[1:]}
        case word, _, _:
            return {"type": "broadcast", "range": word[1:]}


def _fallback_text(layout: Layout) -> str:
    """Return the message as plain text for notifications and screen readers, cut to about FALLBACK_LIMIT characters."""
    text_rows = [row for row in layout if row.line[0].style != MENTION]
    lines = [text_rows[0].text[:FALLBACK_LIMIT], *(row.text for row in text_rows[1:])]
    lengths = accumulate(map(len, lines))
    return "\n".join(text for text, length in zip(lines, lengths, strict=True) if length <= FALLBACK_LIMIT)


def _escape(text: str) -> str:
    """Escape `&`, `<` and `>`, so that text such as `<!channel>` or `<@U...>` is not a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _classify(answer: Answer) -> AttemptResult:
    """Return the result of an attempt, from Slack's answer.

    A success has status 200 and the body `ok`. Other services with Slack's format answer a success with JSON that has
    `"ok": true` or `"success": true`. The body of a refusal is an error code.
    """
    reason = reason_of_status(answer.status)
    text = answer.body.strip()
    match reason:
        case AttemptResult.DELIVERED if answer.status != 200 or not (text == b"ok" or _confirms_success(text)):  # noqa: PLR2004
            return AttemptResult.ANSWER_UNEXPECTED
        case AttemptResult.REFUSED | AttemptResult.GONE:
            return _reason_of_error_code(text.decode(errors="replace"), otherwise=reason)
        case _:
            return reason


def _confirms_success(text: bytes) -> bool:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and True in (document.get("ok"), document.get("success"))


def _reason_of_error_code(error_code: str, *, otherwise: AttemptResult) -> AttemptResult:
    if error_code in _MESSAGE_ERRORS:
        return AttemptResult.PAYLOAD_REFUSED
    if error_code in _WEBHOOK_ERRORS:
        return AttemptResult.WEBHOOK_REVOKED
    return otherwise
