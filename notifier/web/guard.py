"""Who may talk to the local HTTP interface: not a web page in the operator's browser, nor anybody from outside.

Requests over the Unix socket are the owner's own, the file's permissions see to that. Over TCP the `Host` must be
one that this listener has (a page that points its own name at 127.0.0.1 sends its own name), what changes something
must be JSON and not come from a page of another origin, and beyond loopback every request needs the token.
"""

import hmac
import re
from dataclasses import dataclass

from aiohttp import hdrs, web

from notifier.config.addresses import is_loopback
from notifier.web.origins import SAFE_METHODS, is_foreign, is_json_or_nothing

Refusal = tuple[int, str, str]
"""HTTP status, reason, sentence."""

_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules for requests over TCP; `token` is empty when none is required."""

    token: str

    def refusal(self, request: web.Request) -> Refusal | None:
        """Say why a request is refused; None when it may pass."""
        if _is_local_socket(request):
            return None
        host = request.headers.get(hdrs.HOST, "")
        if not self.token and not _names_loopback(host):
            return 403, "foreign_host", "this address only answers to loopback names: use 127.0.0.1 or localhost"
        if is_foreign(request.method, request.headers):
            return 403, "foreign_origin", "a page of another origin may not read or change anything here"
        if self.token and not self._has_token(request):
            return 401, "token_required", "send the header `Authorization: Bearer TOKEN` with the [http] token"
        if request.method not in SAFE_METHODS and not is_json_or_nothing(request.headers):
            return 415, "unsupported_media_type", "send JSON, and the header `Content-Type: application/json`"
        return None

    def _has_token(self, request: web.Request) -> bool:
        scheme, _, sent = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        # What is not UTF-8 arrives as surrogates.
        return scheme.lower() == "bearer" and hmac.compare_digest(
            sent.encode(errors="surrogateescape"), self.token.encode()
        )


def _is_local_socket(request: web.Request) -> bool:
    # The peer of a Unix socket has no address.
    return request.transport is not None and not request.transport.get_extra_info("peername")


def _names_loopback(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["address"] or match["name"] or "")
