"""All kinds of listeners with their configurations, and clients for them."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from notifier.web.listening.transport import ListenerKind
from notifier.web.security.guard import GUARD
from notifier.web.security.sessions import cookie_name

if TYPE_CHECKING:
    from tests.support.local_interface import Interface, Open

TOKEN: Final = "correct-horse-battery-staple"
WRONG: Final = "wrong-horse-battery-staple"


@dataclass(frozen=True)
class Way:
    """A kind of listener, and its configuration."""

    listener_kind: ListenerKind
    token: str = ""
    anonymous: bool = False

    def __str__(self) -> str:
        more = ", token" if self.token else ", anonymous" if self.anonymous else ""
        return f"{self.listener_kind}{more}"

    @property
    def is_trusted(self) -> bool:
        """Whether every client may do everything without credentials."""
        return self.listener_kind is ListenerKind.OWNER or self.anonymous

    @property
    def accepts_any_host(self) -> bool:
        """Whether the `Host` header is not checked, because a token is required instead."""
        return bool(self.token) and self.listener_kind is not ListenerKind.OWNER

    async def open(self, listen: "Open", folder: Path) -> "Entrance":
        """Start an interface with this listener, and return a client for it."""
        configured = f"unix:{folder}/configured.sock" if self.listener_kind is ListenerKind.UNIX else "127.0.0.1:0"
        interface = await listen(configured, self.token, anonymous=self.anonymous)
        socket = folder / "configured.sock" if self.listener_kind is ListenerKind.UNIX else interface.socket
        return Entrance(self, interface, None if self.listener_kind is ListenerKind.TCP else socket)


WAYS: Final = (
    Way(ListenerKind.TCP),
    Way(ListenerKind.TCP, token=TOKEN),
    Way(ListenerKind.TCP, anonymous=True),
    Way(ListenerKind.UNIX),
    Way(ListenerKind.UNIX, token=TOKEN),
    Way(ListenerKind.UNIX, anonymous=True),
    Way(ListenerKind.OWNER),
    Way(ListenerKind.OWNER, token=TOKEN),
    Way(ListenerKind.OWNER, anonymous=True),
)


@dataclass
class Answer:
    """The answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Entrance:
    """A client of a running interface, over one kind of listener."""

    way: Way
    interface: "Interface"
    socket: Path | None

    @property
    def host(self) -> str:
        """The default value of the `Host` header."""
        return "localhost" if self.socket else f"127.0.0.1:{self.interface.port}"

    def session(self, host: str = "") -> dict[str, str]:
        """Sign a browser in, and return the header that it sends from then on."""
        guard, host = self.interface.app[GUARD], host or self.host
        return {"Cookie": f"{cookie_name(host, is_secure=False)}={guard.sessions.begin(host)}"}

    def credentials(self, host: str = "") -> dict[str, str]:
        """Return the header that allows a program or a browser everything; no header if none is needed."""
        if self.way.is_trusted:
            return {}
        return {"Authorization": f"Bearer {TOKEN}"} if self.way.token else self.session(host)

    async def ask(self, method: str, path: str, *, host: str | None = None, **headers: str) -> Answer:
        """Send a request. The names of headers are given with underscores instead of hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connector = aiohttp.UnixConnector(str(self.socket)) if self.socket else aiohttp.TCPConnector()
        url = f"http://{self.host}{path}"
        async with (
            aiohttp.ClientSession(connector=connector) as client,
            client.request(
                method, url, headers={"Host": self.host if host is None else host, **sent}, allow_redirects=False
            ) as response,
        ):
            return Answer(response.status, dict(response.headers), await response.read())

    async def raw(self, request: bytes) -> bytes:
        """Send raw bytes, and return what the server sends until it closes the connection."""
        if self.socket:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.interface.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer
