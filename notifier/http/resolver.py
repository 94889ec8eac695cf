"""Looks up host names with the system's resolver. A lookup that hangs does not delay other lookups.

Each lookup has its own thread. In the event loop's small thread pool, a few dead name servers would delay everything
else. A separate resolver library (c-ares) would ignore `/etc/nsswitch.conf`, a VPN and the host's name service.
"""

import asyncio
import socket
import threading
from contextlib import suppress

from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

LOOK_UP_SECONDS = 10.0
"""Seconds to wait for a lookup. A slower one continues in the background, and its result is stored."""

STALE_SECONDS = 3600.0
"""Seconds for which a known address is still used if its name cannot be looked up again."""

LOOK_UP_SECONDS_IF_KNOWN = 1.0
"""Seconds to wait for a lookup if an earlier address of the name is known."""

MAX_LOOK_UPS = 200
"""The maximum number of simultaneous lookups; each has its own thread."""

MAX_SLOW_LOOK_UPS = 16
"""The maximum number of simultaneous lookups of names whose previous lookup took too long."""


class NameTimeoutError(OSError):
    """A name was not resolved in time."""

    def __init__(self) -> None:
        """Initialise with a message that states the time limit."""
        super().__init__(None, f"not resolved within {LOOK_UP_SECONDS:g} seconds")


_NameKey = tuple[str, int, int]


class _Name(Struct):
    """A name: its latest result, and its lookup under way."""

    found: list[ResolveResult] | None = None
    found_at: float = 0.0
    under_way: asyncio.Future[list[ResolveResult]] | None = None
    is_slow: bool = False


class Resolver(AbstractResolver):
    """Looks up names in a limited number of threads, and each name in at most one thread at a time."""

    def __init__(self) -> None:
        """Initialise without known names; call this in the event loop that will use the resolver."""
        self._names: dict[_NameKey, _Name] = {}
        self._threads = asyncio.Semaphore(MAX_LOOK_UPS)
        self._slow_threads = asyncio.Semaphore(MAX_SLOW_LOOK_UPS)
        self._tasks: set[asyncio.Task[None]] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError."""
        loop = asyncio.get_running_loop()
        name = self._names.setdefault((host, port, family), _Name())
        if name.under_way is None:
            name.under_way = loop.create_future()
            task = loop.create_task(self._look_up(name, host, port, family), name=f"look up {host}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        known = name.found if name.found and loop.time() - name.found_at < STALE_SECONDS else None
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS_IF_KNOWN if known else LOOK_UP_SECONDS):
                return await asyncio.shield(name.under_way)
        except TimeoutError:
            name.is_slow = True
            if known:
                return known
            raise NameTimeoutError from None
        except OSError as error:
            # An unreachable name server proves nothing, so the known address is used. "No such name" is final.
            if known and error.errno == socket.EAI_AGAIN:
                return known
            raise

    async def close(self) -> None:
        """Stop waiting for lookups; threads that hang end when the system answers."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look_up(self, name: _Name, host: str, port: int, family: socket.AddressFamily) -> None:
        loop = asyncio.get_running_loop()
        waiting = name.under_way
        began = loop.time()
        try:
            slots = self._slow_threads if name.is_slow else self._threads
            async with slots:
                found = await _look_up_in_thread(host, port, family)
        except OSError as error:
            if waiting is not None and not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # Marked as retrieved, because the caller that waited may be gone.
        else:
            name.found, name.found_at = found, loop.time()
            if waiting is not None and not waiting.done():
                waiting.set_result(found)
        finally:
            name.is_slow = loop.time() - began >= LOOK_UP_SECONDS
            name.under_way = None
            if waiting is not None:
                waiting.cancel()


async def _look_up_in_thread(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """Look up a name in a daemon thread, so that the program can end before the lookup does. Raises OSError."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[ResolveResult]] = loop.create_future()

    def set_result(found: list[ResolveResult] | OSError) -> None:
        if not answer.done():
            answer.set_exception(found) if isinstance(found, OSError) else answer.set_result(found)

    def look_up() -> None:
        found: list[ResolveResult] | OSError
        try:
            found = _addresses(host, port, family)
        except (OSError, UnicodeError) as error:
            found = error if isinstance(error, OSError) else OSError(None, f"no name: {error}")
        # The event loop may have been closed in the meantime.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(set_result, found)

    try:
        threading.Thread(target=look_up, name=f"look up {host}", daemon=True).start()
    except RuntimeError as error:
        # The limit of threads is reached. As with an unreachable name server, a known address is used.
        raise socket.gaierror(socket.EAI_AGAIN, str(error)) from error
    return await answer


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = []
    for kind, _, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
    ):
        place = str(address[0])
        if kind == socket.AF_INET6 and len(address) > 3 and address[3]:  # noqa: PLR2004 - a link-local one, with its scope
            place, _ = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
        found.append(
            ResolveResult(
                hostname=host,
                host=place,
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        )
    return found
