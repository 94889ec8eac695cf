"""Templates and the files that the pages need, read once and kept."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson
from aiohttp import hdrs, web
from jinja2 import DictLoader, Environment, StrictUndefined

from notifier import __version__
from notifier.web.dashboard import overview, words

_HERE: Final = Path(__file__).parent
_FOR_GOOD: Final = "public, max-age=31536000, immutable"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Nothing from another host, nothing inline: a name that became markup by some mistake could still do nothing."""

PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    # A form's request is to name its origin, by which it is let in; other hosts learn nothing.
    "Referrer-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages name; `mark` is in its address and changes with its content."""

    body: bytes
    content_type: str
    mark: str


def moved(place: str) -> web.Response:
    """Send a browser to another page of this server, to be fetched with GET."""
    return web.Response(status=303, headers={hdrs.LOCATION: place})


class Rendering:
    """Makes pages of templates; what it needs is read and compiled when it is prepared, or the first one asked for."""

    def __init__(self) -> None:
        """Read nothing yet."""
        self._reading = asyncio.Lock()
        self._assets: dict[str, Asset] = {}
        self._environment: Environment | None = None

    async def prepare(self) -> None:
        """Read and compile what pages need: it takes longer than the pages, and no visitor need wait for it."""
        await self._ready()

    async def page(self, template: str, code: int, **values: Any) -> web.Response:
        """Answer with a page."""
        environment = await self._ready()
        # A long list takes its moment, and others are not to wait for it.
        text = await asyncio.to_thread(environment.get_template(template).render, values)
        answer = web.Response(text=text, status=code, content_type="text/html", headers=PAGE_HEADERS)
        answer.enable_compression()
        return answer

    async def asset(self, name: str) -> web.Response:
        """Answer with a file that pages name. Raises HTTPNotFound."""
        await self._ready()
        asset = self._assets.get(name)
        if asset is None:
            raise web.HTTPNotFound
        headers = {hdrs.CACHE_CONTROL: _FOR_GOOD}
        answer = web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers)
        answer.enable_compression()
        return answer

    async def _ready(self) -> Environment:
        async with self._reading:
            if self._environment is None:
                self._assets = await asyncio.to_thread(_read_assets)
                self._environment = await asyncio.to_thread(_read_templates, self._assets)
            return self._environment


def _read_assets() -> dict[str, Asset]:
    types = {"style.css": "text/css", "script.js": "text/javascript"}
    assets = {}
    for name, content_type in types.items():
        body = (_HERE / "static" / name).read_bytes()
        assets[name] = Asset(body, content_type, hashlib.blake2b(body, digest_size=6).hexdigest())
    return assets


def _read_templates(assets: Mapping[str, Asset]) -> Environment:
    texts = {file.name: file.read_text(encoding="utf-8") for file in (_HERE / "templates").iterdir()}
    environment = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "asset": lambda name: f"/dashboard/{name}?{assets[name].mark}",
        "version": __version__,
        "part": overview.part,
        "sweep_part": overview.sweep_part,
        "counted": words.counted,
    }
    environment.filters |= {
        "ago": words.ago,
        "at": words.at,
        "number": words.number,
        "duration": words.duration,
        "day": words.day,
        "sentence": words.sentence,
        "short": words.short,
        "with_code": words.with_code,
        "worded": words.worded,
        "json": lambda value: orjson.dumps(value).decode(),
        "in_path": lambda key: quote(key, safe=""),
    }
    for name in texts:
        # Compiled now, off the event loop, and not by whoever comes first.
        environment.get_template(name)
    return environment
