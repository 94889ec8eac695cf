"""Lets a browser in: the token once, by a form, for a cookie that holds nothing but a session's random id.

The form works without script. It is taken only from the page itself: its request names its origin, and the guard has
refused any other.
"""

import logging
import math
import re
from typing import Final
from urllib.parse import quote, urlsplit

from aiohttp import hdrs, web

from notifier.web.dashboard.rendering import Rendering, moved
from notifier.web.guard import Guard
from notifier.web.sessions import COOKIE, Guesses

_log = logging.getLogger(__name__)

SIGN_IN: Final = "/sign-in"

_HERE: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
"""A place on this server: what a browser cannot take for another one."""


class SignIn:
    """The page that asks for the token, and what comes of it."""

    def __init__(self, guard: Guard, guesses: Guesses, rendering: Rendering) -> None:
        """Take who knows the token and the sessions."""
        self._guard = guard
        self._guesses = guesses
        self._rendering = rendering

    def routes(self) -> list[web.RouteDef]:
        """List the addresses."""
        return [
            web.get(SIGN_IN, self._show),
            web.post(SIGN_IN, self._sign_in),
            web.post("/sign-out", self._sign_out),
        ]

    async def _show(self, request: web.Request) -> web.Response:
        place = _place(request.query.get("next", "/"))
        if not self._guard.token or self._guard.has_session(request):
            return moved(place)
        return await self._page(place)

    async def _sign_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        token, place = form.get("token", ""), _place(str(form.get("next", "/")))
        if not self._guard.token:
            return moved(place)
        if wait := math.ceil(self._guesses.wait(request.remote)):
            page = await self._page(place, 429, f"Too many wrong tokens came from here: try again in {wait} s.")
            page.headers[hdrs.RETRY_AFTER] = str(wait)
            return page
        if hdrs.ORIGIN not in request.headers:
            return await self._page(place, 403, "This browser does not say where the form came from: use another one.")
        if not isinstance(token, str) or not self._guard.is_token(token):
            self._guesses.note_wrong(request.remote)
            _log.warning("a wrong token was given to sign in", extra={"address": request.remote})
            return await self._page(place, 403, "That is not the token: look at `token` under `[http]`.")
        self._guesses.note_right(request.remote)
        _log.info("signed in", extra={"address": request.remote})
        answer = moved(place)
        # Whoever stands before this server may speak TLS; only the origin tells.
        is_secure = urlsplit(request.headers[hdrs.ORIGIN]).scheme == "https"
        answer.set_cookie(COOKIE, self._guard.sessions.begin(), httponly=True, samesite="Strict", secure=is_secure)
        return answer

    async def _sign_out(self, request: web.Request) -> web.Response:
        self._guard.sessions.end(request.cookies.get(COOKIE, ""))
        answer = moved(SIGN_IN)
        answer.del_cookie(COOKIE, httponly=True, samesite="Strict")
        return answer

    async def _page(self, place: str, code: int = 200, trouble: str = "") -> web.Response:
        return await self._rendering.page(
            "sign_in.html", code, trouble=trouble, next=place, query="", can_sign_out=False
        )


def may_sign_in(request: web.Request) -> bool:
    """Tell whether a request without a token comes from a browser that wants to see a page."""
    accepts_pages = "text/html" in request.headers.get(hdrs.ACCEPT, "")
    return request.method in {hdrs.METH_GET, hdrs.METH_HEAD} and accepts_pages and not request.path.startswith("/v1/")


def to_sign_in(request: web.Request) -> web.Response:
    """Send a browser to the page that asks for the token, and back afterwards."""
    return moved(f"{SIGN_IN}?next={quote(request.path_qs, safe='')}")


def _place(wanted: str) -> str:
    return wanted if _HERE.fullmatch(wanted) else "/"
