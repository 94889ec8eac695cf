"""Where to listen, and which URLs may be talked to."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from notifier.config.problems import Wrong

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT: Final = 65_535
_LONGEST_SOCKET_PATH: Final = 107
_LISTEN: Final = 'must be "host:port", "[::1]:port", "unix:/absolute/path", or "" for none'


def is_loopback(host: str) -> bool:
    """Tell whether a host name or IP address (without brackets) can only mean this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP address to listen on; port 0 lets the system choose one. The host is without brackets."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        """Write the address as the configuration does."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket to listen on; its path is absolute."""

    path: Path

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect: always."""
        return True

    def __str__(self) -> str:
        """Write the address as the configuration does."""
        return f"unix:{self.path}"


def parse_listen(written: object) -> TcpAddress | UnixAddress | None:
    """Return the address that `http.listen` or `--listen` names, None for `""`. Raises Wrong."""
    match written:
        case TcpAddress() | UnixAddress() | None:
            return written
        case "":
            return None
        case str() if written.startswith("unix:"):
            return _parse_unix(written.removeprefix("unix:"))
        case str():
            return _parse_tcp(written)
        case _:
            raise Wrong(_LISTEN)


def _parse_unix(path: str) -> UnixAddress:
    if not path.startswith("/") or not path.isprintable():
        raise Wrong("must be an absolute path after `unix:`, such as unix:/run/notifier/notifier.sock")
    if len(path.encode(errors="surrogateescape")) > _LONGEST_SOCKET_PATH:
        raise Wrong(f"must be a socket path of at most {_LONGEST_SOCKET_PATH} bytes, the system takes no longer one")
    return UnixAddress(Path(path))


def _parse_tcp(written: str) -> TcpAddress:
    host, colon, port = written.rpartition(":")
    if not colon:
        raise Wrong(_LISTEN)
    if not host:
        raise Wrong('must name the host before the port, such as 127.0.0.1 ("0.0.0.0" for every network)')
    if not _PORT.fullmatch(port) or int(port) > _HIGHEST_PORT:
        raise Wrong(f"must have a port from 0 to {_HIGHEST_PORT} after the last colon")
    return TcpAddress(_parse_host(host), int(port))


def _parse_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise Wrong("must have an IPv6 address between the brackets, such as [::1]:8787") from None
    if ":" in host:
        raise Wrong("must have its IPv6 address in brackets, such as [::1]:8787")
    if not _HOST.fullmatch(host):
        raise Wrong(_LISTEN)
    return host


def check_url(url: str) -> SplitResult:
    """Take an http or https URL apart. Raises Wrong when it is none."""
    if any(character.isspace() or not character.isprintable() for character in url):
        raise Wrong("must be a URL without spaces and line breaks")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Wrong("must be a URL with a valid host and port") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Wrong("must be a URL that begins with https:// and a host")
    return parts


def check_encrypted_url(url: str) -> SplitResult:
    """Take a URL apart that must be https, or http to this machine. Raises Wrong."""
    parts = check_url(url)
    if is_plain_beyond_loopback(url):
        raise Wrong("must begin with https://; http:// is allowed for this machine only (127.0.0.1, localhost)")
    return parts


def is_plain_beyond_loopback(url: str) -> bool:
    """Tell whether what is sent to a (valid) URL crosses a network unencrypted."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
