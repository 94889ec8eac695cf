"""The destination type `slack`: a Slack incoming webhook.

Facts about its answers are from Slack's documentation of incoming webhooks ("Handling errors").
"""

from collections.abc import Sequence

import aiohttp

from notifier import __version__
from notifier.clock import Clock
from notifier.config.destinations import SlackSettings
from notifier.deliver.destination import Grouping
from notifier.deliver.endpoint import Endpoint
from notifier.deliver.outcome import Outcome, Reason, reason_of_status
from notifier.deliver.slack_message import LINES, message
from notifier.ledger.outbox import Delivery
from notifier.transport import Answer

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
        self._grouping = Grouping(size=LINES, digest_above=settings.digest_above)
        self._most_lines = min(LINES, settings.digest_above)
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
        """Up to ten events share a message; more than `digest_above` become one digest."""
        return self._grouping

    async def send(self, deliveries: Sequence[Delivery]) -> Outcome:
        """Post `deliveries` as one message and say what it came to."""
        events = [delivery.event for delivery in deliveries]
        body = message(events, digest=len(events) > self._most_lines)
        return await self._endpoint.attempt(body, self._headers, judge=_judge)


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
