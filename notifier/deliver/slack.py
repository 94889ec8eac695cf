"""The destination type `slack`: a Slack incoming webhook.

Facts about its answers are from Slack's documentation of incoming webhooks ("Handling errors").
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from notifier import __version__
from notifier.clock import Clock
from notifier.config.destinations import SlackSettings
from notifier.deliver.destination import Grouping
from notifier.deliver.endpoint import Endpoint
from notifier.deliver.outcome import Outcome, Reason, reason_of_status
from notifier.deliver.preview import Preview
from notifier.deliver.slack_message import LINES, Layout, body, is_one_session, lay_out
from notifier.deliver.slack_words import session_of
from notifier.ledger.outbox import Delivery
from notifier.transport import Answer

if TYPE_CHECKING:
    from notifier.deliver.slack_templates import Report, Templates, Trouble

_log = logging.getLogger(__name__)

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
        self._grouping = Grouping(LINES, digest_above=settings.digest_above, together=session_of)
        self._digest_above = settings.digest_above
        self._folder = settings.templates
        self._templates: Templates | None = None
        self._reported: set[tuple[str, int | None]] = set()
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
        return self._grouping

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Post `deliveries` as one message and say what it came to."""
        layout = await self._lay_out(deliveries)
        return await self._endpoint.attempt(body(layout), self._headers, judge=_judge)

    async def preview(self, deliveries: Sequence[Delivery]) -> Preview:
        """Show the message that `deliveries` would be."""
        layout = await self._lay_out(deliveries)
        return Preview(self._headers, body(layout), tuple(row.text for row in layout))

    async def _lay_out(self, deliveries: Sequence[Delivery]) -> Layout:
        if self._templates is None:
            self._templates = await asyncio.to_thread(_read_templates, self._folder, self._report)
        events = [delivery.event for delivery in deliveries]
        # Only a group session may have more lines than usual: its people are one piece of news.
        digest = len(events) > self._digest_above or (len(events) > LINES and not is_one_session(events))
        return lay_out(events, self._templates, digest=digest)

    def _report(self, trouble: "Trouble") -> None:
        """Log what is wrong with a template, the first time."""
        place = (trouble.file, trouble.line)
        if place not in self._reported:
            self._reported.add(place)
            facts = {"destination": self._name, "detail": str(trouble)}
            _log.error("a template is wrong; the shipped one is used in its place", extra=facts)


def _read_templates(folder: Path | None, report: "Report") -> "Templates":
    # Whoever sends nothing to Slack does without the template engine: 25 ms, and half a megabyte.
    from notifier.deliver.slack_templates import Templates  # noqa: PLC0415

    return Templates(folder, report)


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
