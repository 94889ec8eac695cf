"""Opens the listening sockets of the interface, or takes those that systemd passes."""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

from notifier.config import TcpAddress
from notifier.config.urls import LONGEST_SOCKET_PATH
from notifier.http.proxy import is_loopback

BACKLOG: Final = 64
"""Maximum length of a socket's accept queue. asyncio may accept this many connections before limits are checked."""

_FIRST_SYSTEMD_DESCRIPTOR: Final = 3
"""The first file descriptor that systemd passes (sd_listen_fds(3))."""

_OWNER_ONLY_UMASK: Final = 0o177


class ListenError(Exception):
    """Listening on an address failed; the message says which address, why, and what to do."""


async def open_tcp_sockets(address: TcpAddress) -> list[socket.socket]:
    """Open a listening socket on each address of the host. Raises ListenError."""
    opened: list[socket.socket] = []
    missing: OSError | None = None
    try:
        addresses = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, place in dict.fromkeys(addresses):
            try:
                opened.append(_open_tcp_socket(family, place))
            except OSError as error:
                if not _is_switched_off(error, str(place[0])):
                    raise
                missing = error
        if missing is not None and not opened:
            raise missing
    except OSError as error:
        for listener in opened:
            listener.close()
        raise ListenError(
            f'cannot listen on {address} ({error.strerror}): free that address, or set another [http] listen (""'
            " for none)"
        ) from error
    return opened


def _open_tcp_socket(family: int, place: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _is_switched_off(error: OSError, host: str) -> bool:
    """Return whether an address cannot be bound because the machine or container has no IPv6 (or no IPv4).

    The name localhost may resolve to `::1` even without IPv6.
    """
    return error.errno == errno.EAFNOSUPPORT or (error.errno == errno.EADDRNOTAVAIL and is_loopback(host))


def open_unix_socket(path: Path) -> socket.socket:
    """Open a listening socket that only the owner can connect to. Raises ListenError.

    A socket that a killed process left at this path is replaced.
    """
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise ListenError(f"the socket's path {path} is longer than {LONGEST_SOCKET_PATH} bytes: shorten it")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        mask = os.umask(_OWNER_ONLY_UMASK)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(
            f"cannot listen on the socket {path} ({error.strerror}): free that path, or make its folder writable"
        ) from error
    return listener


def take_systemd_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Return the listening sockets that systemd passes, and remove the environment variables that announce them.

    A child process that inherited the variables would treat the sockets as its own. See sd_listen_fds(3).
    """
    number, process = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not number.isdecimal():
        return []
    found = []
    for descriptor in range(_FIRST_SYSTEMD_DESCRIPTOR, _FIRST_SYSTEMD_DESCRIPTOR + int(number)):
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        found.append(listener)
    return found


def is_reachable_by_other_machines(listener: socket.socket) -> bool:
    """Return whether other machines can connect to a listening socket."""
    return listener.family != socket.AF_UNIX and not is_loopback(str(listener.getsockname()[0]))


def _remove_stale(path: Path) -> None:
    """Delete the socket at `path`, if there is one. If a process listens on it, keep it, so that binding fails."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            return
