"""Names that hang delay no other name, and a known address is used while the lookup of its name hangs."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from notifier.http import resolver as resolver_module
from notifier.http.exchange import RequestOptions, new_session, send
from notifier.http.resolver import MAX_SLOW_LOOK_UPS, NameTimeoutError, Resolver
from notifier.http.transport_errors import TransportError, TransportReason


@pytest.fixture
async def resolver() -> AsyncIterator[Resolver]:
    made = Resolver()
    yield made
    await made.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator["Names"]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.look_up)
    yield names
    names.go_on.set()


class Names:
    """A name service: names that begin with `silent` hang, with `unknown` fail, all others are 127.0.0.1."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent = "silent"
        self.unknown = "unknown"
        self.go_on = threading.Event()
        self._getaddrinfo = socket.getaddrinfo

    def look_up(self, host: str, *arguments: Any, **keywords: Any) -> Any:
        self.asked.append(host)
        if host.startswith(self.silent):
            self.go_on.wait(60)
        if host.startswith(self.unknown):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._getaddrinfo("127.0.0.1", *arguments, **keywords)


@pytest.mark.usefixtures("names")
async def test_resolver_with_99_hanging_names_delays_no_other_name_and_no_thread(resolver: Resolver) -> None:
    hanging = [asyncio.create_task(resolver.resolve(f"silent-{number}")) for number in range(99)]
    await asyncio.sleep(0)
    began = time.monotonic()
    (address,) = await resolver.resolve("localhost", 80)
    assert (address["host"], address["port"]) == ("127.0.0.1", 80)
    assert await asyncio.to_thread(lambda: 7) == 7
    assert time.monotonic() - began < 10
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_resolver_looks_up_a_name_once_for_concurrent_requests(resolver: Resolver, names: Names) -> None:
    found = await asyncio.gather(*(resolver.resolve("localhost", 80) for _ in range(20)))
    assert len(found) == 20
    assert names.asked == ["localhost"]


async def test_resolver_limits_the_look_ups_of_names_that_hang_repeatedly(
    resolver: Resolver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "LOOK_UP_SECONDS", 0.05)
    monkeypatch.setattr(resolver_module, "STALE_SECONDS", 0.0)
    many = [f"silent-{number}" for number in range(40)]
    outcomes = await asyncio.gather(*(resolver.resolve(name) for name in many), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NameTimeoutError}
    assert len(names.asked) == 40
    # Each of them has hung for longer than a lookup may take.
    await asyncio.sleep(0.1)
    names.go_on.set()
    await asyncio.sleep(0.2)
    names.go_on.clear()
    names.asked.clear()
    await asyncio.gather(*(resolver.resolve(name) for name in many), return_exceptions=True)
    assert len(names.asked) <= MAX_SLOW_LOOK_UPS


async def test_resolver_returns_the_last_known_address_while_its_name_hangs(
    resolver: Resolver, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver_module, "LOOK_UP_SECONDS_IF_KNOWN", 0.05)
    known = await resolver.resolve("hr.example.com", 443)
    names.silent = "hr"
    assert await resolver.resolve("hr.example.com", 443) == known


async def test_resolver_raises_for_a_known_name_that_no_longer_exists(resolver: Resolver, names: Names) -> None:
    await resolver.resolve("hr.example.com", 443)
    names.unknown = "hr"
    with pytest.raises(socket.gaierror):
        await resolver.resolve("hr.example.com", 443)


@pytest.mark.usefixtures("names")
async def test_resolver_without_a_thread_returns_only_known_addresses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A limit of the process or of the container can prevent new threads."""
    resolver = Resolver()
    known = await resolver.resolve("known.example.com", 80)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with new_session(resolver) as session:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert await resolver.resolve("known.example.com", 80) == known
            with pytest.raises(TransportError) as caught:
                await send(session, "POST", "http://hr.example.com/", b"", RequestOptions({}, 5, 10))
        assert caught.value.reason is TransportReason.NAME_NOT_RESOLVED
        assert await resolver.resolve("hr.example.com", 80)
    await resolver.close()


@pytest.mark.usefixtures("names")
async def test_send_reports_a_name_that_is_not_resolved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "LOOK_UP_SECONDS", 0.05)
    async with new_session() as session:
        with pytest.raises(TransportError) as caught:
            await send(session, "POST", "http://silent.example.com/", b"", RequestOptions({}, 5, 10))
    assert caught.value.reason is TransportReason.NAME_NOT_RESOLVED
    assert caught.value.message.startswith("the name silent.example.com could not be resolved within")
