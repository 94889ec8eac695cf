"""Sends requests to an HTTP endpoint, and turns each answer or error into an outcome."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from msgspec.structs import replace
from pydantic import SecretStr

from notifier.clock import Clock
from notifier.destinations.outcome import (
    LONGEST_WAIT_SECONDS,
    AttemptResult,
    Outcome,
    reason_of_status,
    reason_of_transport,
)
from notifier.http.answer_text import LONGEST_DETAIL, safe_beginning, safe_line, url_secrets
from notifier.http.exchange import Answer, RequestOptions, send
from notifier.http.poster import Poster
from notifier.http.proxy import proxy_of
from notifier.http.retry_after import date_ms, retry_after
from notifier.http.tls import CertificateFileError, Certificates, TlsContextCache
from notifier.http.transport_errors import TransportError
from notifier.store.tables.request_log import Headers, SentRequest, digest

ANSWER_LIMIT_BYTES = 4096
"""The maximum number of bytes of an answer's body that are read, after decompression; the rest is ignored."""

HIDDEN: Final = "[hidden]"
"""Logged in place of a header value that may be secret."""

_SECRET_ANSWER_HEADERS: Final = frozenset(
    {"set-cookie", "authorization", "cookie", "www-authenticate", "proxy-authenticate"}
)
_MAX_ANSWER_HEADERS: Final = 40
"""The maximum number of header fields of an answer that are logged."""

_TEMPORARY_FAILURES: Final = frozenset(
    {
        AttemptResult.REQUEST_TIMEOUT,
        AttemptResult.TOO_EARLY,
        AttemptResult.THROTTLED,
        AttemptResult.SERVER_ERROR,
    }
)
"""The results that mean a temporary failure. For these, `Endpoint.send_options` returns an outcome."""

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_NO_PROXY: Final = SecretStr("")
_NO_CERTIFICATE_FILES: Final = Certificates()


def classify_by_status(answer: Answer) -> AttemptResult:
    """Return the result of an attempt from the answer's HTTP status alone."""
    return reason_of_status(answer.status)


class Endpoint:
    """An HTTP endpoint to which a destination sends its requests."""

    def __init__(
        self,
        url: SecretStr,
        timeout: float,
        session: aiohttp.ClientSession,
        clock: Clock,
        headers: Mapping[str, str],
        secrets: Iterable[SecretStr] = (),
        *,
        secret_headers: Collection[str] = (),
        proxy: SecretStr = _NO_PROXY,
        certificates: Certificates = _NO_CERTIFICATE_FILES,
    ) -> None:
        """Initialise with the URL, the time limit of one attempt (seconds), and the headers that all requests have.

        `secrets` and the secrets in the URL are removed from all texts that this object returns. The values of
        `secret_headers` (names in lower case) are not logged. `proxy` is the configuration's value.
        """
        address = url.get_secret_value()
        through = proxy_of(address, proxy.get_secret_value())
        self._poster = Poster(session, address, headers, timeout=timeout, limit=ANSWER_LIMIT_BYTES, proxy=through)
        self._session = session
        self._address = address
        # Only the status and the headers of an answer to OPTIONS matter.
        self._options_request = RequestOptions(
            headers, timeout, ANSWER_LIMIT_BYTES, truncate=True, needs_body=False, proxy=through
        )
        self._tls_contexts = TlsContextCache(certificates, clock)
        self._clock = clock
        self._cached_success = (b"", "")
        of_proxy = () if through is None else through.secrets()
        self._secrets = (*map(SecretStr, (*url_secrets(address), *of_proxy)), *secrets)
        parts = urlsplit(address)
        self._common_headers = {"host": parts.netloc.rpartition("@")[2], **headers}
        if parts.username is not None:
            self._common_headers["authorization"] = HIDDEN
        self._common_headers |= dict.fromkeys(secret_headers, HIDDEN)

    async def attempt(
        self,
        body: bytes,
        headers: Mapping[str, str] = _NO_HEADERS,
        *,
        classify: Callable[[Answer], AttemptResult] = classify_by_status,
        needs_body: bool = False,
    ) -> Outcome:
        """Send one POST, and return its outcome.

        Errors of the peer, the network or the certificate files are outcomes, too. `headers` are added to this request
        only. `classify` returns the result for an answer. An answer with an incomplete body is valid, unless
        `needs_body`.
        """
        try:
            tls = await self._tls_contexts.context()
        except CertificateFileError as error:
            return Outcome(AttemptResult.CERTIFICATE_REJECTED, detail=self.redact(str(error)))
        try:
            answer = await self._poster.post(body, headers, truncate=True, needs_body=needs_body, ssl_context=tls)
        except TransportError as error:
            return Outcome(
                reason_of_transport(error.reason),
                detail=self.redact(error.message),
                through_proxy=error.through_proxy,
                request=partial(self._log_entry, body, headers, None),
            )
        reason = classify(answer)
        logged = partial(self._log_entry, body, headers, answer)
        if reason is AttemptResult.DELIVERED:
            text = self._success_text(answer.body)
            return Outcome(reason, answer.status, detail=text, peer_clock_ms=_answered_ms(answer), request=logged)
        return replace(self._failure_outcome(reason, answer), request=logged)

    async def send_options(self, headers: Mapping[str, str]) -> Answer | Outcome:
        """Send one OPTIONS request with these additional headers, and return the answer.

        If there is no answer, or the answer reports a temporary failure, return an outcome instead.
        """
        try:
            tls = await self._tls_contexts.context()
            options = replace(
                self._options_request, headers={**self._options_request.headers, **headers}, ssl_context=tls
            )
            answer = await send(self._session, "OPTIONS", self._address, b"", options)
        except CertificateFileError as error:
            return Outcome(AttemptResult.CERTIFICATE_REJECTED, detail=self.redact(str(error)))
        except TransportError as error:
            return Outcome(
                reason_of_transport(error.reason),
                detail=self.redact(error.message),
                through_proxy=error.through_proxy,
            )
        if reason_of_status(answer.status) in _TEMPORARY_FAILURES:
            return self._failure_outcome(reason_of_status(answer.status), answer)
        return answer

    def _failure_outcome(self, reason: AttemptResult, answer: Answer) -> Outcome:
        """Return the outcome of an answer that reports a failure."""
        asked = retry_after(answer.headers, self._clock.now_ms())
        wait = None if asked is None else min(asked, LONGEST_WAIT_SECONDS)
        return Outcome(
            reason, answer.status, wait, self.redact(_failure_text(answer)), peer_clock_ms=_answered_ms(answer)
        )

    def _log_entry(self, body: bytes, headers: Mapping[str, str], answer: Answer | None) -> SentRequest:
        """Return a request and its answer for the log of requests, without secrets."""
        sent = {**self._common_headers, **headers, "content-length": str(len(body))}
        secrets = tuple(secret.get_secret_value() for secret in self._secrets)
        text = "" if answer is None else safe_beginning(answer.body.decode(errors="replace"), secrets)
        answered = None if answer is None else self._redacted_headers(answer)
        return SentRequest(tuple(sent.items()), len(body), digest(body), answered, text)

    def _redacted_headers(self, answer: Answer) -> Headers:
        return tuple(
            (self.redact(name), HIDDEN if name.lower() in _SECRET_ANSWER_HEADERS else self.redact(value))
            for name, value in list(answer.headers.items())[:_MAX_ANSWER_HEADERS]
        )

    def _success_text(self, body: bytes) -> str:
        """Return the body of a successful answer as text without secrets.

        Returns "" for a long body. The latest text is cached, because most successful answers are equal.
        """
        if body != self._cached_success[0]:
            # A long body after a success is dropped, because searching it for secrets would take too long.
            text = body.decode(errors="replace") if len(body) <= LONGEST_DETAIL else ""
            self._cached_success = (body, self.redact(text))
        return self._cached_success[1]

    def redact(self, text: str) -> str:
        """Return `text` as one short line without the secrets of this endpoint."""
        return safe_line(text, tuple(secret.get_secret_value() for secret in self._secrets)) if text else ""


def _answered_ms(answer: Answer) -> int | None:
    """Return the time in the Date header (Unix ms); None if the header is missing or the answer is from a cache."""
    return None if "Age" in answer.headers else date_ms(answer.headers.get("Date", ""))


def _failure_text(answer: Answer) -> str:
    """Return an answer's body as text, with the `Location` header before it if there is one.

    The header comes first because long text is cut at the end.
    """
    text = answer.body.decode(errors="replace")
    target = answer.headers.get("Location")
    return text if target is None else f"Location: {target} {text}"
