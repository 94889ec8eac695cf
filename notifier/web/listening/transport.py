"""The kinds of listeners that accept requests, and the peer of a connection."""

import ipaddress
import socket
import struct
from enum import StrEnum
from typing import Final

_UCRED: Final = struct.Struct("3i")
"""The kernel's `struct ucred`: process, user, group."""

_IPV6_PREFIX_LENGTH: Final = 64


class ListenerKind(StrEnum):
    """The kind of listener that accepts a request."""

    OWNER = "owner"
    """The socket beside the state file; only its owner and root can connect to it."""
    UNIX = "unix"
    """A Unix socket from the configuration or from systemd."""
    TCP = "tcp"


def peer_of(connection: socket.socket) -> str:
    """Return the peer of a connection: a local user (`uid 1000`), an address, or "unknown" after a disconnect."""
    try:
        if connection.family == socket.AF_UNIX:
            _pid, uid, _gid = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
            return f"uid {uid}"
        return str(connection.getpeername()[0])
    except OSError:
        return "unknown"


def peer_key_of(peer: str) -> str:
    """Return the key under which a peer is counted: the peer itself or, for an IPv6 address, the /64 network."""
    try:
        ip = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, _IPV6_PREFIX_LENGTH), strict=False))
