"""Chooses the proxy of a request, from the configuration or from the usual environment variables.

The variables are `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in capitals or small letters. They never apply to requests
to this machine. A proxy that is configured for a source or destination applies to all its requests, without exceptions.
"""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

DIRECT: Final = "none"
"""The configured value for "no proxy, whatever the environment says"."""

PROXY_KEY: Final = "proxy"
"""The configuration's key for a proxy; also the `origin` of a proxy that is configured there."""

_VARIABLES: Final = {"https": "HTTPS_PROXY", "http": "HTTP_PROXY"}
_EXCEPTIONS: Final = "NO_PROXY"
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_LOOPBACK: Final = ("localhost", "127.0.0.0/8", "::1")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SEPARATORS: Final = re.compile(r"[,\s]+")


class Proxy(Struct, frozen=True):
    """A proxy: its URL, which may contain a password, and `origin`, the variable or configuration key that sets it."""

    url: str
    origin: str

    def __repr__(self) -> str:
        """Return the proxy without its user name and password."""
        return f"Proxy({str(self)!r}, origin={self.origin!r})"

    def __str__(self) -> str:
        """Return the proxy's address without user name and password."""
        prefix = "https://" if urlsplit(self.url).scheme == "https" else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{prefix}{host}:{self.port}"

    @property
    def host(self) -> str:
        """The proxy's host name or IP address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The proxy's port; the default port of its scheme if the URL names none."""
        return _port(self.url)

    def secrets(self) -> tuple[str, ...]:
        """Return what must not be shown: the URL and its password. Without a password, nothing is secret."""
        password = urlsplit(self.url).password
        return (self.url, password, unquote(password)) if password else ()


def proxy_of(url: str, configured: str = "", environ: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy for requests to `url`, or None if they are sent directly.

    `configured` is the value of the key `proxy`: a URL, `none` for no proxy, or "" for the proxy that the environment
    names. `environ` is the environment (None: that of this process).
    """
    if configured == DIRECT:
        return None
    if configured:
        return Proxy(configured, PROXY_KEY)
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    host = parts.hostname or ""
    found = _proxy_from_environment(parts.scheme, environ)
    if found is None or proxy_url_problem(found.url) or is_loopback(host):
        return None
    return None if bypasses_proxy(host, _port(url), _variable(_EXCEPTIONS, environ)[1]) else found


def unusable_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each environment variable that is ignored because its proxy is unusable, and what is wrong with it."""
    for scheme in _VARIABLES:
        found = _proxy_from_environment(scheme, environ)
        if found is not None and (problem := proxy_url_problem(found.url)):
            yield found.origin, problem


def proxy_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the secrets in the environment variables that name proxies."""
    for scheme in _VARIABLES:
        found = _proxy_from_environment(scheme, environ)
        if found is not None and not proxy_url_problem(found.url):
            yield from found.secrets()


def proxy_url_problem(url: str) -> str | None:
    """Return what is wrong with the URL of a proxy, as the end of a sentence, or None if it is usable.

    The text does not contain the URL. A path is allowed, and so is a user name without a password.
    """
    example = "such as http://proxy.example.com:3128"
    if not url.isprintable() or " " in url:
        return f"must be a URL without spaces and line breaks, {example}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return f"must be a URL with a valid host and port, {example}"
    if parts.scheme.startswith("socks"):
        return "names a SOCKS proxy, which is not supported: name one that begins with http:// or https://"
    if parts.scheme not in _VARIABLES or not parts.hostname:
        return f"must be a URL that begins with http:// or https:// and a host, {example}"
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        return f"must be a URL with a valid host and port, {example}"
    return None


def proxy_environment(configured: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that make another program use the same proxy as this program."""
    if configured == DIRECT:
        return {}
    if configured:
        return {"https_proxy": configured, "http_proxy": configured, "no_proxy": ""}
    exceptions = ",".join(filter(None, (_variable(_EXCEPTIONS, environ)[1], *_LOOPBACK)))
    found = {name.lower(): _variable(name, environ)[1] for name in _VARIABLES.values()}
    return {**{name: value for name, value in found.items() if value}, "no_proxy": exceptions}


def is_loopback(host: str) -> bool:
    """Return whether a host name or IP address (without brackets) always refers to this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bypasses_proxy(host: str, port: int, exceptions: str) -> bool:
    """Return whether `exceptions` (the value of `NO_PROXY`) covers a host (without brackets) and port.

    Entries are separated by commas or spaces. An entry is `*` for every host, a host name (which covers the names below
    it), an address, or a network such as 10.0.0.0/8. A name or an address may be followed by a port.
    """
    host = host.lower().rstrip(".")
    return any(_matches(host, port, entry.lower()) for entry in _SEPARATORS.split(exceptions) if entry)


def _matches(host: str, port: int, entry: str) -> bool:
    if entry == "*":
        return True
    name, only_port = _split_port(entry)
    if only_port is not None and only_port != port:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = name.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))
    try:
        return address in ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int | None]:
    """Return an entry's name or address, and its port (None: every port)."""
    name, colon, port = entry.rpartition(":")
    # An IPv6 address is followed by a port only if it is in brackets.
    if colon and port.isascii() and port.isdecimal() and (":" not in name or name.endswith("]")):
        return name, int(port)
    return entry, None


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def _proxy_from_environment(scheme: str, environ: Mapping[str, str]) -> Proxy | None:
    name = _VARIABLES.get(scheme)
    if name is None:
        return None
    origin, url = _variable(name, environ)
    if not url:
        return None
    return Proxy(url if _SCHEME.match(url) else f"http://{url}", origin)


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the spelling of `name` that is set in the environment, and its value ("": not set).

    The spelling in small letters is preferred, as in curl and Python.
    """
    for spelling in (name.lower(), name):
        # A web server passes a request's header `Proxy` to its programs as HTTP_PROXY (https://httpoxy.org).
        if spelling == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
            continue
        if value := environ.get(spelling, "").strip():
            return spelling, value
    return name, ""
