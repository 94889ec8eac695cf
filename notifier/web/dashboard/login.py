"""Signs a browser in, by a form for the token or by a link that is valid once.

The browser then gets a cookie with a random session id. The form works without JavaScript, and only on a page of this
server: the guard refuses forms from other origins, and this module refuses forms without an `Origin` header.
"""

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

from aiohttp import hdrs, web

from notifier.web.daemon_api import ActionResult
from notifier.web.dashboard.templating import PageRenderer, redirect
from notifier.web.security.guard import Guard, caller
from notifier.web.security.guess_limiter import delay_wrong_token
from notifier.web.security.links import VALID_SECONDS, SignInLinks
from notifier.web.security.sessions import cookie_name

if TYPE_CHECKING:
    from notifier.web.response_models.shared import MessageDocument
    from notifier.web.response_models.status import SignInLinkDocument

_log = logging.getLogger(__name__)

SIGN_IN: Final = "/sign-in"

_LOCAL_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
"""Matches a path on this server. Other texts, such as `//host`, might lead a browser to another server."""


class SignInPages:
    """Serves the sign-in page with its form for the token, and handles links that sign a browser in."""

    def __init__(self, guard: Guard, links: SignInLinks, renderer: PageRenderer, url: Callable[[], str | None]) -> None:
        """Initialise with the guard, links and renderer.

        `url` returns one of these:

        - The dashboard's URL for a local browser, if the server listens on a port.
        - "" if the server listens on no port, but on a Unix socket other than the owner's. A link is then only a path.
          The operator adds the address of a proxy or tunnel to that socket.
        - None if the server listens only on the owner's socket.
        """
        self._guard = guard
        self._links = links
        self._renderer = renderer
        self._url = url

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(SIGN_IN, self._show_form),
            web.post(SIGN_IN, self._sign_in),
            web.post("/sign-out", self._sign_out),
        ]

    def answer_link_request(self) -> "ActionResult[SignInLinkDocument | MessageDocument]":
        """Return the result of `POST /v1/sign-in-link`: a failure if the server listens only on the owner's socket."""
        address = self.make_link()
        if address is None:
            message = "the daemon listens on no port now: `listen` under [http] is empty, or `notifier status` says why"
            return ActionResult(ok=False, body={"message": message})
        return ActionResult(ok=True, body={"url": address, "valid_seconds": round(VALID_SECONDS)})

    def make_link(self) -> str | None:
        """Return a new link that signs one browser in; None if the server listens only on the owner's socket."""
        url = self._url()
        return None if url is None else f"{url.rstrip('/')}{SIGN_IN}?link={self._links.make()}"

    async def _show_form(self, request: web.Request) -> web.Response:
        path = _safe_path(request.query.get("next", "/"))
        if self._guard.is_trusted(request):
            return redirect(path)
        link = request.query.get("link")
        if link is None or request.method != hdrs.METH_GET:
            if request.headers.get("Sec-Fetch-Site", "none") in {"none", "same-origin"}:
                return await self._page(path)
            # A browser sends no session cookie when it follows a link from another site; it may have one nevertheless.
            return await self._redirect_page("One moment", f"{SIGN_IN}?next={quote(path, safe='')}")
        if not self._links.use(link):
            return await self._page(
                path, 403, "This link was already used, or is too old: `notifier dashboard` prints a new one."
            )
        # If the link was on a page of another site, the browser sends the new cookie only with requests of this page.
        answer = await self._redirect_page("Signed in", path)
        self._begin_session(request, answer, is_secure=False)
        return answer

    async def _sign_in(self, request: web.Request) -> web.Response:
        # aiohttp's `post()` raises various errors for a body that no browser sends, and writes files to the disk.
        form = dict(parse_qsl((await request.read()).decode(errors="replace")))
        token, path = form.get("token", ""), _safe_path(form.get("next", "/"))
        if self._guard.is_trusted(request):
            return redirect(path)
        if hdrs.ORIGIN not in request.headers:
            return await self._page(
                path, 403, "This browser does not send the origin of the form: use another browser."
            )
        if not self._guard.is_right_token(token):
            return await self._refuse_token(request, path)
        answer = redirect(path)
        # A proxy in front of this server may use TLS; only the origin shows that.
        self._begin_session(request, answer, is_secure=urlsplit(request.headers[hdrs.ORIGIN]).scheme == "https")
        return answer

    async def _refuse_token(self, request: web.Request, path: str) -> web.Response:
        if not self._guard.token:
            return await self._page(path, 403, "No token is configured to sign in with: run `notifier dashboard`.")
        if wait_seconds := await delay_wrong_token(request, self._guard.guess_limiter):
            page = await self._page(path, 429, f"Too many wrong tokens came from here: try again in {wait_seconds} s.")
            page.headers[hdrs.RETRY_AFTER] = str(wait_seconds)
            return page
        return await self._page(path, 403, "That is not the token: see `token` under `[http]`.")

    def _begin_session(self, request: web.Request, answer: web.Response, *, is_secure: bool) -> None:
        host = request.headers[hdrs.HOST]
        _log.info("signed in", extra={"address": caller(request)})
        session = self._guard.sessions.begin(host, is_secure=is_secure)
        name = cookie_name(host, is_secure=is_secure)
        answer.set_cookie(name, session, httponly=True, samesite="Strict", secure=is_secure)

    async def _sign_out(self, request: web.Request) -> web.Response:
        session = self._guard.session_of(request)
        if session is not None:
            self._guard.sessions.end(session)
        answer = redirect(SIGN_IN)
        for is_secure in (True, False):
            name = cookie_name(request.headers.get(hdrs.HOST, ""), is_secure=is_secure)
            answer.del_cookie(name, httponly=True, samesite="Strict", secure=is_secure)
        return answer

    async def _redirect_page(self, title: str, path: str) -> web.Response:
        """Return a page, not a redirect, that sends the browser to `path`.

        The request for `path` then comes from a page of this server, so the browser sends the session cookie.
        """
        return await self._renderer.page(
            "redirect.html", 200, title=title, next=path, query="", path="", can_sign_out=False
        )

    async def _page(self, path: str, code: int = 200, problem: str = "") -> web.Response:
        has_token = bool(self._guard.token)
        return await self._renderer.page(
            "sign_in.html",
            code,
            problem=problem,
            next=path,
            query="",
            path="",
            can_sign_out=False,
            has_token=has_token,
        )


def is_browser_page_request(request: web.Request) -> bool:
    """Return whether a request comes from a browser and is for a page of the dashboard."""
    accepts_pages = "text/html" in request.headers.get(hdrs.ACCEPT, "")
    return request.method in {hdrs.METH_GET, hdrs.METH_HEAD} and accepts_pages and not request.path.startswith("/v1/")


def redirect_to_sign_in(request: web.Request) -> web.Response:
    """Return a redirect to the sign-in page, which sends the browser back to this request's page after signing in."""
    return redirect(f"{SIGN_IN}?next={quote(request.path_qs, safe='')}")


def _safe_path(wanted: str) -> str:
    return wanted if _LOCAL_PATH.fullmatch(wanted) else "/"
