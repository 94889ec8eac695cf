"""The errors of exchanges without a complete answer, made from aiohttp's exceptions. Their texts contain no secrets."""

import os
import re
import ssl
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from notifier.http.connector import (
    MAX_HEAD_BYTES,
    MAX_INTERIM,
    TOO_MANY_INTERIM,
    TOO_MUCH_BEFORE,
    TOO_MUCH_WITHOUT_BODY,
)
from notifier.http.proxy import Proxy
from notifier.http.resolver import LOOK_UP_SECONDS, NameTimeoutError
from notifier.redact import hide_partial_secret, redact

EXCHANGE_ERRORS: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""All exceptions with which aiohttp aborts an exchange."""


LONGEST_FIELD_BYTES: Final = 2**16
"""The maximum bytes of an answer's first line or of one header field. It is high because some proxies add security
policies of many kilobytes.
"""

MAX_FIELDS: Final = 400
"""The maximum number of header fields in an answer."""

_PARSER_MESSAGE: Final = re.compile(
    r"(?P<what>[^:\n]+)(?::\s+(?P<why>[^:\n]+))?:\s+b(?P<quote>['\"])(?P<line>.*)(?P=quote)\n"
)
"""Matches a message of aiohttp's parser that names a problem and quotes the faulty line."""

_LIMIT_MESSAGES: Final = {
    TOO_MUCH_BEFORE: f"the answer's header is longer than {MAX_HEAD_BYTES:,} bytes, interim answers included",
    TOO_MANY_INTERIM: f"more than {MAX_INTERIM} interim answers (1xx) came before an answer",
    TOO_MUCH_WITHOUT_BODY: f"more than {MAX_HEAD_BYTES:,} bytes came without any of the answer's body",
}

_LONGEST_QUOTE: Final = 60


class TransportReason(StrEnum):
    """Why no complete answer arrived."""

    NAME_NOT_RESOLVED = "name_not_resolved"
    CONNECT_FAILED = "connect_failed"
    PROXY_REFUSED = "proxy_refused"
    CERTIFICATE_REJECTED = "certificate_rejected"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    ANSWER_TOO_LARGE = "answer_too_large"
    PROTOCOL_BROKEN = "protocol_broken"


class TransportError(Exception):
    """An exchange that failed before a complete answer arrived. The peer may have acted on the request.

    `message` contains no URL and no secret. If `through_proxy` is true, a proxy was used and may be the cause.
    """

    def __init__(self, reason: TransportReason, message: str, *, through_proxy: bool = False) -> None:
        """Initialise with the reason and a sentence for people."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.through_proxy = through_proxy


def connect_timeout(timeout: float) -> float:
    """Return the time limit for connecting, in seconds. It is shorter than `timeout`.

    If this limit is exceeded, it is certain that nothing was sent.
    """
    return timeout - min(1.0, timeout / 4)


def too_large_error(limit: int) -> TransportError:
    """Return the error for a body longer than `limit` bytes."""
    return TransportError(TransportReason.ANSWER_TOO_LARGE, f"the answer is longer than {limit} bytes")


def raise_if_proxy_refused(status: int, address: URL, proxy: Proxy | None) -> None:
    """Raise TransportError if `status` is the proxy's refusal of the user name or password."""
    if proxy is not None and address.scheme == "http" and status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise _proxy_error(proxy, status)


def as_transport_error(error: Exception, timeout: float, proxy: Proxy | None = None) -> TransportError:
    """Return the error for an exchange that aiohttp aborted with `error`.

    `proxy` is the proxy that the exchange used (None: none).
    """
    failure = _classify(error, timeout, proxy)
    return TransportError(failure.reason, failure.message, through_proxy=proxy is not None)


def _classify(error: Exception, timeout: float, proxy: Proxy | None) -> TransportError:
    reason = TransportReason
    match error:
        case aiohttp.ClientHttpProxyError() if proxy is not None:
            return _proxy_error(proxy, error.status)
        case aiohttp.ClientConnectorError() | aiohttp.ClientSSLError() | aiohttp.ConnectionTimeoutError():
            return _connect_error(error, timeout, proxy)
        case TimeoutError():
            return TransportError(reason.TIMEOUT, f"no whole answer within {timeout:g} seconds")
        case aiohttp.ClientOSError(__cause__=ssl.SSLError() as cause):
            # With TLS 1.3, a peer rejects the client certificate only after the handshake.
            return TransportError(reason.CERTIFICATE_REJECTED, f"TLS failed: {_system_message(cause)}")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return TransportError(reason.CONNECTION_LOST, "the peer closed the connection before it had answered")
        case aiohttp.InvalidURL() | ValueError():
            return TransportError(reason.PROTOCOL_BROKEN, "no request could be made: check the URL and the headers")
        case aiohttp.ClientError():
            return _unreadable_answer_error(error)
        case _:
            return TransportError(reason.CONNECTION_LOST, f"the connection broke ({type(error).__name__})")


def _connect_error(error: Exception, timeout: float, proxy: Proxy | None) -> TransportError:
    """Return the error for an exchange that got no connection; nothing was sent."""
    reason = TransportReason
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return _tls_error(error, proxy)
        case aiohttp.ClientConnectorDNSError():
            late = f" within {LOOK_UP_SECONDS:g} seconds" if isinstance(error.os_error, NameTimeoutError) else ""
            name = error.host if proxy is None else f"{proxy.host} of the proxy"
            return TransportError(reason.NAME_NOT_RESOLVED, f"the name {name} could not be resolved{late}")
        case aiohttp.ConnectionTimeoutError():
            through = "" if proxy is None else f" through the proxy {proxy}"
            within = f"within {connect_timeout(timeout):g} seconds"
            return TransportError(reason.CONNECT_FAILED, f"no connection{through} {within}")
        case aiohttp.ClientProxyConnectionError():
            return TransportError(
                reason.CONNECT_FAILED, f"no connection to the proxy {proxy}: {_system_message(error)}"
            )
        case _:
            return TransportError(reason.CONNECT_FAILED, f"no connection: {_system_message(error)}")


def _proxy_error(proxy: Proxy, status: int) -> TransportError:
    """Return the error for a proxy that answered `status`: it could not reach the peer, or it refused the request."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    said = f"{status} {phrase}".rstrip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return TransportError(TransportReason.CONNECT_FAILED, f"the proxy {proxy} did not connect: {said}")
    advice = (
        f"check the user name and password in `{proxy.origin}`"
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
        else f"it must allow this address, or `{proxy.origin}` must name another one"
    )
    return TransportError(TransportReason.PROXY_REFUSED, f"the proxy {proxy} refused: {said}; {advice}")


def _tls_error(error: Exception, proxy: Proxy | None) -> TransportError:
    """Return the error for a failed TLS handshake.

    If the peer or the proxy does not speak TLS, the reason is PROTOCOL_BROKEN. Otherwise, it is CERTIFICATE_REJECTED.
    """
    is_of_proxy = (
        proxy is not None
        and isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError)
        and (error.host, error.port) == (proxy.host, proxy.port)
    )
    if any(word in str(error) for word in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")):
        whose = f"the proxy {proxy}" if is_of_proxy else "the peer"
        advice = "check the scheme and the port of the address"
        return TransportError(TransportReason.PROTOCOL_BROKEN, f"{whose} does not speak TLS at this port: {advice}")
    which = f"TLS with the proxy {proxy}" if is_of_proxy else "TLS"
    return TransportError(TransportReason.CERTIFICATE_REJECTED, f"{which} failed: {_system_message(error)}")


def _unreadable_answer_error(error: aiohttp.ClientError) -> TransportError:
    """Return the error for an answer that could not be read."""
    match error:
        case aiohttp.ClientResponseError():
            return unreadable_head_error(error.message)
        case aiohttp.ClientPayloadError(__cause__=HttpProcessingError() as cause) if not _is_cut_off(cause):
            return TransportError(TransportReason.PROTOCOL_BROKEN, _describe_parser_message(cause.message))
        case aiohttp.ClientPayloadError():
            return TransportError(TransportReason.CONNECTION_LOST, "the answer was cut off")
        case _:
            return TransportError(TransportReason.PROTOCOL_BROKEN, f"the exchange failed ({type(error).__name__})")


def unreadable_head_error(message: str) -> TransportError:
    """Return the error for an answer whose head could not be read; `message` comes from aiohttp's parser."""
    return TransportError(TransportReason.PROTOCOL_BROKEN, _describe_parser_message(message))


def _system_message(error: Exception) -> str:
    """Return the text that the operating system or OpenSSL has for an error. Such a text contains no URL."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            inner: BaseException | None = error.certificate_error
        case aiohttp.ClientConnectorError():
            inner = error.os_error
        case _:
            inner = error
    match inner:
        case ssl.SSLCertVerificationError():
            return inner.verify_message or "the certificate was not accepted"
        case ssl.SSLError():
            return inner.reason or "handshake failed"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError():
            return inner.strerror or type(inner).__name__
        case _:
            return type(inner).__name__


def _is_cut_off(error: HttpProcessingError) -> bool:
    return error.message.startswith("Not enough data")


def _describe_parser_message(message: str) -> str:
    """Describe the problem that a message of aiohttp's parser reports, without values of header fields."""
    if message in _LIMIT_MESSAGES:
        return _LIMIT_MESSAGES[message]
    if "bytes when reading" in message:
        return f"a line or field of the answer's header is longer than {LONGEST_FIELD_BYTES:,} bytes"
    if message.startswith("Too many headers"):
        return f"the answer's header has more than {MAX_FIELDS} fields"
    if encoding := re.match(r"Can not decode content-encoding: (\w+)", message):
        return f"the answer's body cannot be decoded: it is said to be {encoding[1]}"
    wrong = _PARSER_MESSAGE.match(message)
    if wrong is None:
        what = "a header field has a character that none may have" if "header" in message else _quoted(message)
        return f"not an HTTP answer: {what}"
    what = wrong["why"] or wrong["what"]
    if what.startswith("Expected HTTP/"):
        return f"not an HTTP answer: it begins with `{_quoted(wrong['line'])}`"
    name, colon, _ = wrong["line"].partition(":")
    place = f"the field {_quoted(name)}" if colon and wrong["why"] is None else f"the line `{_quoted(wrong['line'])}`"
    return f"not an HTTP answer: {what[0].lower()}{what[1:]}, in {place}"


def _quoted(text: str) -> str:
    line = "".join(character if character.isprintable() else " " for character in hide_partial_secret(redact(text)))
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1] + "…"
