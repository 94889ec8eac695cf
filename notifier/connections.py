"""Connections in a process that lives for years: addresses and authorities change meanwhile."""

import asyncio
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.abc import AbstractResolver
    from aiohttp.tracing import Trace

IDLE_CONNECTION = 30.0
"""Seconds that an unused connection is kept: shorter than what common servers do, so that few are found closed."""

CONNECTION_LIFE = 300.0
"""Seconds after which a connection is used no more: a busy one would stay with an address that its name has left."""

REMEMBER_NAMES = 10
"""Seconds that the address of a name is remembered."""

LOOK_AT_AUTHORITIES = 3600.0
"""Seconds between two looks at whether the system trusts others than it did."""

Version = tuple[tuple[int, int, int] | None, ...]


class MortalConnection(ResponseHandler):
    """A connection that is closed, instead of being kept for the next request, once it has lived its life."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin its life."""
        super().__init__(loop)
        self._dies_at = loop.time() + CONNECTION_LIFE

    @property
    def should_close(self) -> bool:
        """Whether the request that is being answered is the last one."""
        return super().should_close or self._loop.time() >= self._dies_at


class Connector(aiohttp.TCPConnector):
    """Makes connections by what names mean, and whom the system trusts, at the time.

    The library bounds no connection's age and reads the system's authorities once, when it is imported. What is
    replaced here of its inner life is little, and tests notice when it is asked for no more.
    """

    def __init__(self, resolver: "AbstractResolver | None" = None) -> None:
        """Find the addresses of names by `resolver`, by default as the system does."""
        super().__init__(limit=0, keepalive_timeout=IDLE_CONNECTION, ttl_dns_cache=REMEMBER_NAMES, resolver=resolver)
        self._factory = cast("partial[ResponseHandler]", partial(MortalConnection, loop=self._loop))
        self._authorities = _authorities()
        self._look_again_at = self._loop.time() + LOOK_AT_AUTHORITIES

    async def _create_connection(
        self, req: "ClientRequest", traces: "list[Trace]", timeout: "ClientTimeout"
    ) -> ResponseHandler:
        if req.is_ssl() and self._loop.time() >= self._look_again_at:
            self._look_again_at = self._loop.time() + LOOK_AT_AUTHORITIES
            found = await asyncio.to_thread(_authorities)
            if found != self._authorities:
                self._ssl = await asyncio.to_thread(_context)
                self._authorities = found
        return await super()._create_connection(req, traces, timeout)


def _authorities() -> Version:
    """Look at where the system keeps whom it trusts: what tells one version from the next (this blocks)."""
    paths = ssl.get_default_verify_paths()
    return tuple(_version(path) for path in (paths.cafile, paths.capath))


def _version(path: str | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
