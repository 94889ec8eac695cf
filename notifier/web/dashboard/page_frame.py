"""Renders the dashboard's pages in their common frame, and shows errors as pages."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import web

from notifier.store.errors import StoreError
from notifier.web.daemon_api import UnknownEventError, UnknownNameError, UnknownRecordError
from notifier.web.dashboard.templating import PageRenderer
from notifier.web.requests import WrongRequestError

_log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ERROR_PAGES: Final[Mapping[type[Exception], tuple[int, str]]] = {
    UnknownRecordError: (404, "No such record"),
    UnknownEventError: (404, "No such event"),
    UnknownNameError: (404, "No such name"),
    WrongRequestError: (400, "This address is not right"),
}
"""The HTTP status and the page's title for each exception whose message is shown to the visitor."""


class PageFrame:
    """Renders pages, and turns errors into pages."""

    def __init__(self, renderer: PageRenderer, has_session: Callable[[web.Request], bool]) -> None:
        """Initialise with the renderer. `has_session` says whether a request comes from a signed-in browser."""
        self.renderer = renderer
        self._has_session = has_session

    async def page(self, request: web.Request, template: str, code: int = 200, **values: object) -> web.Response:
        """Render a page and return it as a response."""
        shared = {"query": "", "place": request.path, "can_sign_out": self._has_session(request)}
        return await self.renderer.page(template, code, **(shared | values))

    def with_error_pages(self, handler: Handler) -> Handler:
        """Return a handler that calls `handler` and turns its errors into pages."""

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except tuple(_ERROR_PAGES) as error:
                code, title = _ERROR_PAGES[type(error)]
                query = request.match_info.get("key", "")
                return await self.page(request, "error.html", code, title=title, text=error, query=query)
            except StoreError as error:
                title = "The state file cannot be read now"
                return await self.page(request, "error.html", 503, title=title, text=error.message)
            except web.HTTPNotFound:
                return await self.page(request, "error.html", 404, title="No such page", text="nothing is here")
            except web.HTTPException:
                raise
            except Exception:  # a failed page must not affect others
                if request.transport is None or request.transport.is_closing():
                    raise
                _log.exception("a page failed with an internal error", extra={"path": request.path})
                text = "it is in the log, with the place in the program where it happened"
                return await self.page(request, "error.html", 500, title="An internal error", text=text)

        return handle
