"""One attempt at an HTTP endpoint: the exchange, and what it came to. Shared by the destination types."""

import ssl
from collections.abc import Callable, Iterable, Mapping

import aiohttp
from pydantic import SecretStr

from notifier.clock import Clock
from notifier.deliver.answers import LONGEST_DETAIL, retry_after, shown, url_secrets
from notifier.deliver.outcome import Outcome, Reason, reason_of_status, reason_of_transport
from notifier.transport import Answer, TransportError, post

ANSWER_LIMIT = 4096
"""Bytes of an answer's body that are read, after decompression; the rest is never waited for."""


def judge_by_status(answer: Answer) -> Reason:
    """Read an answer of which only the status counts."""
    return reason_of_status(answer.status)


class Endpoint:
    """Where a destination's requests go."""

    def __init__(
        self,
        url: SecretStr,
        timeout: float,
        session: aiohttp.ClientSession,
        clock: Clock,
        secrets: Iterable[SecretStr] = (),
    ) -> None:
        """Take the URL, how long one attempt may take (seconds), and what else no answer may show."""
        self._url = url
        self._timeout = timeout
        self._session = session
        self._clock = clock
        self._latest_yes = (b"", "")
        self._hidden = (*map(SecretStr, url_secrets(url.get_secret_value())), *secrets)

    async def attempt(
        self,
        body: bytes,
        headers: Mapping[str, str],
        *,
        judge: Callable[[Answer], Reason] = judge_by_status,
        ssl_context: ssl.SSLContext | bool = True,
    ) -> Outcome:
        """POST once and say what it came to; never raises for what a peer or the network does."""
        try:
            answer = await post(
                self._session,
                self._url.get_secret_value(),
                body,
                headers=headers,
                timeout=self._timeout,
                limit=ANSWER_LIMIT,
                truncate=True,
                ssl_context=ssl_context,
            )
        except TransportError as error:
            return Outcome(reason_of_transport(error.reason), detail=self.shown(error.message))
        reason = judge(answer)
        if reason is Reason.DELIVERED:
            return Outcome(reason, answer.status, detail=self._shown_yes(answer.body))
        wait = retry_after(answer.headers.get("Retry-After"), self._clock.now_ms())
        return Outcome(reason, answer.status, wait, self.shown(_words(answer)))

    def _shown_yes(self, body: bytes) -> str:
        """Make a success's words fit to be shown; peers say yes in the same words thousands of times."""
        if body != self._latest_yes[0]:
            # What a long page says after a yes is not worth the time that looking for secrets in it takes.
            said = body.decode(errors="replace") if len(body) <= LONGEST_DETAIL else ""
            self._latest_yes = (body, self.shown(said))
        return self._latest_yes[1]

    def shown(self, text: str) -> str:
        """Make words about this endpoint fit to be shown."""
        return shown(text, tuple(secret.get_secret_value() for secret in self._hidden)) if text else ""


def _words(answer: Answer) -> str:
    """Return what the peer said; of a redirect first where it points, which says more than its body."""
    said = answer.body.decode(errors="replace")
    target = answer.headers.get("Location")
    return said if target is None else f"Location: {target} {said}"
