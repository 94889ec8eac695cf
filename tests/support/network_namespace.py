"""Network namespaces, each connected to this machine by a pair of virtual network cards that tests can cut."""

import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.needed_programs import needed


@dataclass(frozen=True, slots=True)
class Cable:
    """A pair of virtual network cards. `here` is the address on this machine, `there` that in the namespace."""

    namespace: str
    card: str
    here: str
    there: str

    def disconnect(self) -> None:
        """Take the namespace's network card down."""
        _ip("-n", self.namespace, "link", "set", self.card, "down")

    def reconnect(self) -> None:
        """Bring the namespace's network card up again."""
        _ip("-n", self.namespace, "link", "set", self.card, "up")

    def drop_requests(self) -> None:
        """Drop all packets from the namespace; packets to the namespace still arrive."""
        self._filter("-A", "OUTPUT", "-o")

    def deliver_requests(self) -> None:
        """End `drop_requests`."""
        self._filter("-D", "OUTPUT", "-o")

    def drop_answers(self) -> None:
        """Drop all packets to the namespace; packets from the namespace still arrive."""
        self._filter("-A", "INPUT", "-i")

    def deliver_answers(self) -> None:
        """End `drop_answers`."""
        self._filter("-D", "INPUT", "-i")

    def _filter(self, change: str, chain: str, direction: str) -> None:
        rule = ["iptables", "-w", change, chain, direction, self.card, "-j", "DROP"]
        _ip("netns", "exec", self.namespace, *rule)


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace with its own loopback, and a cable."""

    name: str
    cable: Cable

    @property
    def prefix(self) -> tuple[str, ...]:
        """The beginning of a command line that runs a command in the namespace."""
        return ("ip", "netns", "exec", self.name)

    def listener(self, port: int) -> socket.socket:
        """Return a socket of this process that listens on the namespace's loopback, which works without the cable."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._listener, port).result()

    def _listener(self, port: int) -> socket.socket:
        # A thread may enter another namespace for itself; its sockets stay there when it ends.
        with (Path("/run/netns") / self.name).open() as place:
            if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), 0) != 0:
                raise OSError(ctypes.get_errno(), "the namespace cannot be entered")
        return socket.create_server(("127.0.0.1", port))


Cut = tuple[str, Callable[[Cable], None], Callable[[Cable], None]]
CUTS: tuple[Cut, ...] = (
    ("link", Cable.disconnect, Cable.reconnect),
    ("requests", Cable.drop_requests, Cable.deliver_requests),
    ("answers", Cable.drop_answers, Cable.deliver_answers),
)
"""The ways to cut a cable: name, function that cuts it, function that repairs it."""


@contextlib.contextmanager
def namespaces(names: tuple[str, ...]) -> Iterator[list[Namespace]]:
    """Create namespaces that can reach this machine, but not each other; skip the test if that is not permitted."""
    needed("ip", "iproute2")
    needed("iptables", "iptables")
    if os.geteuid() != 0:
        skip = "making network namespaces takes root"
        assert "TESTS_MUST_NOT_SKIP" not in os.environ, skip
        pytest.skip(skip)
    with contextlib.ExitStack() as at_the_end:
        yield [_namespace(number, name, at_the_end) for number, name in enumerate(names)]


def _namespace(number: int, label: str, at_the_end: contextlib.ExitStack) -> Namespace:
    # Several runs of the tests may share the machine; 198.18.0.0/15 is set aside for tests of networks.
    run = os.getpid() % 512
    name = f"cut{os.getpid()}{label}"
    _ip("netns", "add", name)
    # The system removes the cards with the namespace, after its last process has ended.
    at_the_end.callback(_ip, "netns", "del", name)
    _ip("-n", name, "link", "set", "lo", "up")
    network = f"198.{18 + run // 256}.{run % 256}"
    cable = Cable(name, "cable", f"{network}.{number * 4 + 1}", f"{network}.{number * 4 + 2}")
    outer = f"cut{os.getpid()}-{number}"
    _ip("link", "add", outer, "type", "veth", "peer", "name", cable.card, "netns", name)
    at_the_end.callback(_remove_card, outer)
    _ip("addr", "add", f"{cable.here}/30", "dev", outer)
    _ip("link", "set", outer, "up")
    _ip("-n", name, "addr", "add", f"{cable.there}/30", "dev", cable.card)
    _ip("-n", name, "link", "set", cable.card, "up")
    return Namespace(name, cable)


def _remove_card(name: str) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):
        _ip("link", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL, capture_output=True)
