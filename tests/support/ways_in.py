"""All the ways by which a request can come in, and the callers that may be there."""

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
    """A listener, and how it is configured."""

    transport: ListenerKind
    token: str = ""
    anonymous: bool = False

    def __str__(self) -> str:
        more = ", token" if self.token else ", anonymous" if self.anonymous else ""
        return f"{self.transport}{more}"

    @property
    def is_trusted(self) -> bool:
        """Whether everything may be done here without credentials."""
        return self.transport is ListenerKind.OWNER or self.anonymous

    @property
    def takes_any_name(self) -> bool:
        """Whether the token takes the place of the check of the name."""
        return bool(self.token) and self.transport is not ListenerKind.OWNER

    async def open(self, listen: "Open", folder: Path) -> "Entrance":
        """Open an interface, and return the way into it."""
        configured = f"unix:{folder}/configured.sock" if self.transport is ListenerKind.UNIX else "127.0.0.1:0"
        interface = await listen(configured, self.token, anonymous=self.anonymous)
        socket = folder / "configured.sock" if self.transport is ListenerKind.UNIX else interface.socket
        return Entrance(self, interface, None if self.transport is ListenerKind.TCP else socket)


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
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Entrance:
    """A way into an interface that listens."""

    way: Way
    interface: "Interface"
    socket: Path | None

    @property
    def host(self) -> str:
        """The host that a client names."""
        return "localhost" if self.socket else f"127.0.0.1:{self.interface.port}"

    def session(self, host: str = "") -> dict[str, str]:
        """Sign a browser in, and return the header that it sends from then on."""
        guard, host = self.interface.app[GUARD], host or self.host
        return {"Cookie": f"{cookie_name(host, is_secure=False)}={guard.sessions.begin(host)}"}

    def credentials(self, host: str = "") -> dict[str, str]:
        """Return the header that lets a program or a browser do everything; none where none is needed."""
        if self.way.is_trusted:
            return {}
        return {"Authorization": f"Bearer {TOKEN}"} if self.way.token else self.session(host)

    async def ask(self, method: str, path: str, *, host: str | None = None, **headers: str) -> Answer:
        """Make a request, with underscores for hyphens in the names of headers."""
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
        """Send bytes as they are, and return what comes back until the connection is closed."""
        if self.socket:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.interface.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer
