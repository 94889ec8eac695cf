"""Who may talk to the local HTTP interface: not a web page in the operator's browser, nor anybody from outside.

Requests over the Unix socket are the owner's own, the file's permissions see to that. Over TCP the `Host` must be
one that this listener has (a page that points its own name at 127.0.0.1 sends its own name), what changes something
must be JSON and not come from a page of another origin, and beyond loopback every request needs the token, or the
cookie of a browser that has signed in with it.
"""

import hmac
import re
from dataclasses import dataclass

from aiohttp import hdrs, web

from notifier.config.addresses import is_loopback
from notifier.web.origins import SAFE_METHODS, is_foreign, is_json_or_nothing
from notifier.web.sessions import COOKIE, Sessions

Refusal = tuple[int, str, str]
"""HTTP status, reason, sentence."""

_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::[0-9]+)?")
_OPEN = frozenset({"/sign-in", "/dashboard/style.css", "/dashboard/script.js"})
"""What everybody may see who is to give the token: the page that asks for it, and how it looks."""

_FORMS = frozenset({"/sign-in", "/sign-out"})
"""Where a page's form is sent to, which cannot be JSON; nothing but the browser's own cookie depends on it."""


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules for requests over TCP; `token` is empty when none is required."""

    token: str
    sessions: Sessions

    def refusal(self, request: web.Request) -> Refusal | None:
        """Say why a request is refused; None when it may pass."""
        if _is_local_socket(request):
            return None
        host = request.headers.get(hdrs.HOST, "")
        if not self.token and not _names_loopback(host):
            return 403, "foreign_host", "this address only answers to loopback names: use 127.0.0.1 or localhost"
        if is_foreign(request.method, request.headers):
            return 403, "foreign_origin", "a page of another origin may not read or change anything here"
        if self.token and request.path not in _OPEN and not self._has_token(request) and not self.has_session(request):
            return 401, "token_required", "send the header `Authorization: Bearer TOKEN` with the [http] token"
        is_form = request.path in _FORMS
        if request.method not in SAFE_METHODS and not is_form and not is_json_or_nothing(request.headers):
            return 415, "unsupported_media_type", "send JSON, and the header `Content-Type: application/json`"
        return None

    def is_token(self, sent: str) -> bool:
        """Tell whether this is the token, in a time that says nothing of how much of it is right."""
        # What is not UTF-8 arrives as surrogates.
        return hmac.compare_digest(sent.encode(errors="surrogateescape"), self.token.encode())

    def has_session(self, request: web.Request) -> bool:
        """Tell whether a request comes from a browser that has signed in."""
        session = request.cookies.get(COOKIE)
        return session is not None and self.sessions.is_open(session)

    def _has_token(self, request: web.Request) -> bool:
        scheme, _, sent = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        return scheme.lower() == "bearer" and self.is_token(sent)


def _is_local_socket(request: web.Request) -> bool:
    # The peer of a Unix socket has no address.
    return request.transport is not None and not request.transport.get_extra_info("peername")


def _names_loopback(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["address"] or match["name"] or "")
