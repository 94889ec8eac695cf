"""Decides which requests the local HTTP interface accepts.

- Most paths need the token or a browser's session. The owner's socket beside the state file needs neither, because only
  the owner can connect to it.
- Requests that pages of other sites make in the operator's browser are refused everywhere. A request that changes
  something must have a JSON body or none, except on FORM_PATHS.
- The `Host` header must name a loopback host on the owner's socket or, if no token is configured, on every listener. A
  page can make its own host name resolve to 127.0.0.1, but the browser then sends that name as `Host`.
"""

import hmac
import re
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web
from msgspec import Struct

from notifier.http.proxy import is_loopback
from notifier.web.listening.connections import connection_of
from notifier.web.listening.transport import ListenerKind
from notifier.web.security.guess_limiter import GuessLimiter
from notifier.web.security.origin import SAFE_METHODS, has_json_or_no_body, is_forbidden_cross_origin
from notifier.web.security.sessions import SECURE_COOKIE, Sessions, cookie_name

Refusal = tuple[int, str, str]
"""The answer to a refused request: the HTTP status, the error's name, and its message."""

PROBE_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""The paths that need no token on any listener, because load balancers and kubelets have none."""

METRICS_PATH: Final = "/metrics"
"""The path of the metrics. Without a configured token, the path is public, because metrics have no personal data."""

SIGN_IN_LINK_PATH: Final = "/v1/sign-in-link"
"""The path that creates a sign-in link. Only the owner's socket serves it."""

_HOST = re.compile(r"(?:\[(?P<address>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::[0-9]+)?")
_SIGN_IN_PATHS: Final = frozenset({"/sign-in", "/sign-out", "/dashboard/style.css", "/dashboard/script.js"})
"""The paths of the pages that sign a browser in or out, and of their static files."""

FORM_PATHS: Final = frozenset({"/sign-in", "/sign-out"})
"""The paths that accept HTML forms instead of JSON. Such a form changes only the browser's own session."""


class Guard(Struct, frozen=True):
    """Applies the rules of this module. If no token is configured, `token` is "".

    If `anonymous` is true and `token` is "", every request is trusted without a session.
    """

    token: str
    sessions: Sessions
    guess_limiter: GuessLimiter
    anonymous: bool = False

    def refusal(self, request: web.Request) -> Refusal | None:
        """Return the answer that refuses a request; None if the request is allowed."""
        is_owners = _came_over_owner_socket(request)
        if (is_owners or not self.token) and not _is_loopback_host(request.headers.get(hdrs.HOST, "")):
            return (
                403,
                "foreign_host",
                "this address only answers requests for loopback names: use 127.0.0.1 or localhost",
            )
        if is_forbidden_cross_origin(request.method, request.headers):
            return 403, "foreign_origin", "a page of another origin may not read or change anything"
        if request.path == SIGN_IN_LINK_PATH and not is_owners:
            return (
                403,
                "owner_only",
                "only the socket beside the state file provides such links: run `notifier dashboard`",
            )
        if not self._is_public_path(request.path) and not self.is_trusted(request):
            return self._token_required()
        is_form = request.path in FORM_PATHS
        if request.method not in SAFE_METHODS and not is_form and not has_json_or_no_body(request.headers):
            return 415, "unsupported_media_type", "send JSON, and the header `Content-Type: application/json`"
        return None

    def is_trusted(self, request: web.Request) -> bool:
        """Return whether the sender of a request may see and change everything."""
        if _came_over_owner_socket(request) or (self.anonymous and not self.token):
            return True
        return self._has_token(request) or self.has_session(request)

    def has_wrong_token(self, request: web.Request) -> bool:
        """Return whether a request contains a wrong token, even if its path needs no token."""
        scheme, _, sent = _authorization(request)
        return (
            bool(self.token)
            and not _came_over_owner_socket(request)
            and scheme.lower() == "bearer"
            and not self.is_right_token(sent)
        )

    def is_right_token(self, sent: str) -> bool:
        """Compare `sent` with the configured token in constant time. Return False if no token is configured."""
        # Bytes that are not UTF-8 arrive as surrogates.
        is_same = hmac.compare_digest(sent.encode(errors="surrogateescape"), self.token.encode())
        return bool(self.token) and is_same

    def session_of(self, request: web.Request) -> str | None:
        """Return the id of a request's session, and restart its idle time. If no session is open, return None."""
        host = request.headers.get(hdrs.HOST, "")
        for name, is_secure in ((SECURE_COOKIE, True), (cookie_name(host, is_secure=False), False)):
            session = request.cookies.get(name)
            if session is not None and self.sessions.extend(session, host, is_secure=is_secure):
                return session
        return None

    def has_session(self, request: web.Request) -> bool:
        """Return whether a request comes from a browser that has signed in."""
        return self.session_of(request) is not None

    def _is_public_path(self, path: str) -> bool:
        """Return whether a path may be requested without a token or session."""
        return path in PROBE_PATHS or path in _SIGN_IN_PATHS or (path == METRICS_PATH and not self.token)

    def _has_token(self, request: web.Request) -> bool:
        scheme, _, sent = _authorization(request)
        return scheme.lower() == "bearer" and self.is_right_token(sent)

    def _token_required(self) -> Refusal:
        if self.token:
            advice = "send the header `Authorization: Bearer TOKEN` with the [http] token"
        else:
            advice = "sign a browser in with `notifier dashboard`; programs need a `token` under [http], or the socket"
        return HTTPStatus.UNAUTHORIZED, "token_required", advice


GUARD: web.AppKey[Guard] = web.AppKey("guard", Guard)


def caller(request: web.Request) -> str:
    """Return the sender of a request, for the log: the user at the other end of a Unix socket, or an address."""
    return connection_of(request).peer


def _came_over_owner_socket(request: web.Request) -> bool:
    return connection_of(request).listener_kind is ListenerKind.OWNER


def _authorization(request: web.Request) -> tuple[str, str, str]:
    return request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")


def _is_loopback_host(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["address"] or match["name"] or "")
