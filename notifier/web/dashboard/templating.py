"""Renders pages from templates and serves static files. Templates and files are read once and cached."""

import asyncio
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson
from aiohttp import hdrs, web
from msgspec import Struct

from notifier import __version__

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER: Final = Path(__file__).parent
_CACHE_FOREVER: Final = "public, max-age=31536000, immutable"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Forbids inline content and content from other hosts, so that even an unescaped name could do no harm."""

PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    # The request of a form must name its origin, which is checked; other hosts get no referrer.
    "Referrer-Policy": "same-origin",
}


class Asset(Struct, frozen=True):
    """A static file. `content_hash` is part of the file's URL, so that the URL changes with the content."""

    body: bytes
    content_type: str
    content_hash: str


def redirect(path: str) -> web.Response:
    """Return a redirect to another page of this server, which the browser requests with GET."""
    return web.Response(status=303, headers={hdrs.LOCATION: path})


class PageRenderer:
    """Renders pages from templates, which are read and compiled for the first visitor.

    The first visitor waits a tenth of a second for them, but a daemon without visitors needs 6 MB less memory.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._assets: dict[str, Asset] = {}
        self._environment: Environment | None = None

    async def page(self, template: str, code: int, **values: Any) -> web.Response:
        """Render a page and return it as a response."""
        environment = await self._ready()
        # Rendered in a thread, because a long list takes time and other requests must not wait for it.
        text = await asyncio.to_thread(environment.get_template(template).render, values)
        answer = web.Response(text=text, status=code, content_type="text/html", headers=PAGE_HEADERS)
        answer.enable_compression()
        return answer

    async def asset(self, name: str) -> web.Response:
        """Return a static file as a response. Raises HTTPNotFound."""
        await self._ready()
        asset = self._assets.get(name)
        if asset is None:
            raise web.HTTPNotFound
        headers = {hdrs.CACHE_CONTROL: _CACHE_FOREVER}
        answer = web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers)
        answer.enable_compression()
        return answer

    async def _ready(self) -> "Environment":
        async with self._lock:
            if self._environment is None:
                self._assets = await asyncio.to_thread(_read_assets)
                self._environment = await asyncio.to_thread(_read_templates)
            return self._environment


@cache
def _read_assets() -> dict[str, Asset]:
    types = {"style.css": "text/css", "script.js": "text/javascript"}
    assets = {}
    for name, content_type in types.items():
        body = (_FOLDER / "static" / name).read_bytes()
        assets[name] = Asset(body, content_type, hashlib.blake2b(body, digest_size=6).hexdigest())
    return assets


@cache
def _read_templates() -> "Environment":
    # Imported here, because pages are seldom requested.
    from jinja2 import DictLoader, Environment, StrictUndefined  # noqa: PLC0415

    from notifier.web.dashboard import filters, view_model  # noqa: PLC0415

    assets = _read_assets()
    texts = {file.name: file.read_text(encoding="utf-8") for file in (_FOLDER / "templates").iterdir()}
    environment = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "asset": lambda name: f"/dashboard/{name}?{assets[name].content_hash}",
        "version": __version__,
        "percentage": view_model.percentage,
        "sweep_percentage": view_model.sweep_percentage,
        "counted": filters.counted,
    }
    environment.filters |= {
        "ago": filters.ago,
        "at": filters.at,
        "number": filters.number,
        "duration": filters.duration,
        "day": filters.day,
        "sentence": filters.sentence,
        "shorten": filters.shorten,
        "shorten_message": filters.shorten_message,
        "with_code": filters.with_code,
        "in_words": filters.in_words,
        "event_word": filters.event_word,
        "json": lambda value: orjson.dumps(value).decode(),
        "in_path": lambda key: quote(key, safe=""),
    }
    for name in texts:
        # Compiles the template now, in this thread, instead of on the event loop.
        environment.get_template(name)
    return environment
