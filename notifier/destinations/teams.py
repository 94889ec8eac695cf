"""The destination type `teams`: a Microsoft Teams channel or chat, behind a Workflows webhook.

The trigger is "When a Teams webhook request is received". The message is an Adaptive Card of version 1.4, the newest
that Power Automate posts (microsoft/AdaptiveCards, issue 8965). The workflow answers 202 Accepted before it posts: a
card that Teams then refuses is lost without an error. Therefore CARD_LIMIT_BYTES is well below the limit of Teams.
"""

import re
from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

from notifier.clock import Clock
from notifier.config.message_destinations import TeamsSettings
from notifier.destinations.chat import ChatWebhook
from notifier.destinations.outcome import AttemptResult, reason_of_status
from notifier.http.exchange import Answer
from notifier.messages.layout import Layout, Row
from notifier.messages.phrasing import MessageContext
from notifier.messages.rich_text import Span

CARD_LIMIT_BYTES = 14_000
"""The maximum number of bytes in a request. Teams accepts messages of up to 28 KB (Microsoft's documentation of
incoming webhooks). It measures them after wrapping and re-encoding, which can double the length
(MicrosoftDocs/msteams-docs, issue 11274).
"""

_WORKFLOW_ERRORS = frozenset({"DirectApiAuthorizationRequired", "WorkflowTriggerIsNotEnabled"})
"""Power Automate's error codes for "the URL alone gives no access" and "the workflow is switched off". Source: users'
reports (ericferon/glpi-webhook, issue 51; microsoft/coe-starter-kit, issue 8684).
"""

_TEAMS_ERROR = re.compile(rb"(?i)endpoint returned HTTP error ([1-9]\d\d)\b")
"""Matches the body of a connector's answer if Teams refused the message. The HTTP status of such an answer is 200
(Microsoft's documentation of incoming webhooks, "Rate limiting for connectors").
"""

_OPENING_BRACES = re.compile(r"\{(?=\{)")
_WORD_JOINER = "\u2060"
_EM_SPACE = "\u2003"


class TeamsDestination(ChatWebhook):
    """A Teams channel or chat, behind a workflow."""

    def __init__(
        self,
        name: str,
        settings: TeamsSettings,
        session: aiohttp.ClientSession,
        clock: Clock,
        context: Callable[[], MessageContext] = MessageContext,
    ) -> None:
        super().__init__(name, settings, session, clock, fits, context)

    def _body(self, layout: Layout) -> bytes:
        return request_body(layout)

    def _classify(self, answer: Answer) -> AttemptResult:
        return _classify(answer)


def request_body(layout: Layout) -> bytes:
    """Return the body of the request for a message.

    All text is in TextRuns. Teams shows their text literally, so names cannot turn into formatting, links or mentions.
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
    """Return whether a layout is within the limit of a card."""
    return len(request_body(layout)) <= CARD_LIMIT_BYTES


def _block(row: Row) -> dict[str, Any]:
    bullet = () if row.depth is None else (Span(f"{_EM_SPACE * row.depth}• "),)
    runs = [_run(span) for span in (*bullet, *row.line) if span.text]
    return {"type": "RichTextBlock", "spacing": "Small", "inlines": runs}


def _run(span: Span) -> dict[str, Any]:
    run: dict[str, Any] = {"type": "TextRun", "text": _break_macros(span.text)}
    if span.url is not None:
        run["selectAction"] = {"type": "Action.OpenUrl", "url": span.url}
    match span.style:
        case "bold":
            return run | {"weight": "Bolder"}
        case "code":
            return run | {"fontType": "Monospace"}
        case _:
            return run


def _break_macros(text: str) -> str:
    """Break up `{{DATE(...)}}` and `{{TIME(...)}}`, because some clients evaluate them even in a TextRun."""
    return _OPENING_BRACES.sub("{" + _WORD_JOINER, text)


def _classify(answer: Answer) -> AttemptResult:
    """Return the result of an attempt, from the answer of a workflow or of an older connector.

    The error code of a workflow's refusal shows whether the webhook is revoked. A connector answers 200 even to a
    refused message, and quotes the error of Teams in the body.
    """
    reason = reason_of_status(answer.status)
    if reason is AttemptResult.DELIVERED and (quoted := _TEAMS_ERROR.search(answer.body)):
        quoted_reason = reason_of_status(int(quoted[1]))
        return AttemptResult.ANSWER_UNEXPECTED if quoted_reason is AttemptResult.DELIVERED else quoted_reason
    return (
        AttemptResult.WEBHOOK_REVOKED
        if reason is AttemptResult.REFUSED and _error_code(answer.body) in _WORKFLOW_ERRORS
        else reason
    )


def _error_code(request_body: bytes) -> str | None:
    try:
        match orjson.loads(request_body):
            case {"error": {"code": str(code)}}:
                return code
    except orjson.JSONDecodeError:
        pass
    return None
