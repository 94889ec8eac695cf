"""Parses listening addresses, and checks URLs."""

import ipaddress
import re
import unicodedata
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from notifier.config.errors import InvalidValue
from notifier.http.proxy import is_loopback

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_HIGHEST_PORT: Final = 65_535
LONGEST_SOCKET_PATH: Final = 107
"""The most bytes that the path of a Unix socket can have on Linux (unix(7))."""

_LISTEN: Final = 'must be "host:port", "[::1]:port", "unix:/absolute/path", or "" for none'


class TcpAddress(Struct, frozen=True):
    """A TCP address to listen on. The host has no brackets; port 0 means any free port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        """Return the address in the notation of the configuration."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(Struct, frozen=True):
    """A Unix socket to listen on; its path is absolute."""

    path: Path

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect; always true."""
        return True

    def __str__(self) -> str:
        """Return the address in the notation of the configuration."""
        return f"unix:{self.path}"


def parse_listen(written: object) -> TcpAddress | UnixAddress | None:
    """Return the address given as `http.listen` or `--listen`, or None for `""`. Raises InvalidValue."""
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
            raise InvalidValue(_LISTEN)


def _parse_unix(path: str) -> UnixAddress:
    if not path.startswith("/") or not path.isprintable():
        raise InvalidValue("must be an absolute path after `unix:`, such as unix:/run/notifier/notifier.sock")
    if len(path.encode(errors="surrogateescape")) > LONGEST_SOCKET_PATH:
        raise InvalidValue(
            f"must be a socket path of at most {LONGEST_SOCKET_PATH} bytes, because the system does not allow a"
            " longer one"
        )
    return UnixAddress(Path(path))


def _parse_tcp(written: str) -> TcpAddress:
    host, colon, port = written.rpartition(":")
    if not colon:
        raise InvalidValue(_LISTEN)
    if not host:
        raise InvalidValue('must name the host before the port, such as 127.0.0.1 ("0.0.0.0" for every network)')
    if not _PORT.fullmatch(port) or int(port) > _HIGHEST_PORT:
        raise InvalidValue(f"must have a port from 0 to {_HIGHEST_PORT} after the last colon")
    return TcpAddress(_parse_host(host), int(port))


def _parse_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise InvalidValue("must have an IPv6 address between the brackets, such as [::1]:8787") from None
    if ":" in host:
        raise InvalidValue("must have its IPv6 address in brackets, such as [::1]:8787")
    if not _HOST.fullmatch(host):
        raise InvalidValue(_LISTEN)
    _check_host(host)
    return host


def check_url(url: str) -> SplitResult:
    """Return the parts of an http or https URL. Raises InvalidValue for anything else."""
    return _check_web_url(url, "https:// or http://")


def _check_web_url(url: str, allowed: str) -> SplitResult:
    """Return the parts of an http or https URL. Raises InvalidValue, whose message names the `allowed` schemes."""
    parts = _split_url(url, ("https", "http"), allowed)
    _check_credentials(unquote(parts.username or ""), unquote(parts.password or ""))
    return parts


def check_broker_url(url: str, encrypted: str, plain: str) -> SplitResult:
    """Return the parts of a broker's URL. Raises InvalidValue if the URL is not valid.

    `encrypted` and `plain` are the two allowed schemes, such as `amqps` and `amqp`.
    """
    parts = _split_url(url, (encrypted, plain), f"{encrypted}:// or {plain}://")
    if parts.fragment:
        raise InvalidValue("must not contain a `#`; in a password, it is written as %23")
    if not (unquote(parts.username or "") + unquote(parts.password or "")).isprintable():
        raise InvalidValue("must have a user name and a password without control characters")
    return parts


def _split_url(url: str, schemes: tuple[str, str], allowed: str) -> SplitResult:
    if any(character.isspace() or not character.isprintable() for character in url):
        raise InvalidValue("must be a URL without spaces and line breaks")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidValue("must be a URL with a valid host and port") from None
    if parts.scheme not in schemes or not parts.hostname:
        raise InvalidValue(f"must be a URL that begins with {allowed} and a host")
    _check_host(parts.hostname)
    return parts


def _check_host(host: str) -> None:
    if ":" in host:
        return
    try:
        is_name = not host.isascii() or _HOST_NAME.fullmatch(host) is not None
        host.encode("idna")
    except UnicodeError:
        is_name = False
    if not is_name:
        raise InvalidValue(
            "must have a valid host: letters, digits, hyphens and dots, and at most 63 characters between dots"
        )


def _check_credentials(user: str, password: str) -> None:
    """Raise InvalidValue for a user or password that Basic authentication cannot carry (RFC 7617, section 2)."""
    if ":" in user:
        raise InvalidValue(
            "must have a user name without a colon, because Basic authentication cannot separate it from the password"
        )
    if any(unicodedata.category(character) == "Cc" for character in user + password):
        raise InvalidValue("must have a user name and a password without control characters")


def check_encrypted_url(url: str) -> SplitResult:
    """Return the parts of an https URL, or of an http URL whose host is this machine.

    Raises InvalidValue for any other URL.
    """
    parts = _check_web_url(url, "https://")
    if is_plain_beyond_loopback(url):
        raise InvalidValue("must begin with https://; http:// is allowed only for this machine (127.0.0.1, localhost)")
    return parts


def is_plain_beyond_loopback(url: str) -> bool:
    """Return whether requests to a valid URL leave this machine unencrypted."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
