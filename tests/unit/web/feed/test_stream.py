"""The feed as a stream of server-sent events."""

import asyncio
import socket
import struct
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from notifier.destinations.webhook.envelope import cloudevent
from notifier.events import Event
from notifier.store.errors import StoreError, StoreReason
from notifier.store.recovery.compare import skip_event_numbers
from notifier.web.feed.broadcast import StreamTiming
from notifier.web.feed.subscriber import Subscriber
from tests.support.event_stream import Listener, detect, listening, numbers
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.local_interface import Interface


async def test_stream_without_after_begins_with_new_events(interface: "Interface") -> None:
    await detect(interface, range(3))
    async with listening(interface) as listener:
        assert listener.response.headers["Content-Type"] == "text/event-stream"
        assert listener.response.headers["Cache-Control"] == "no-store"
        await detect(interface, [10])
        (event,) = await listener.next(1)
        assert event.id == "4"
        assert event.data["subject"] == "10"
        assert event.data["specversion"] == "1.0"
        assert event.fields == {"id", "data"}
        assert listener.retry == "2000"


@pytest.mark.parametrize(("query", "last"), [("?after=2", None), ("", "2"), ("?after=0", "2"), ("?after=2", "")])
async def test_stream_resumes_after_the_last_event_read(interface: "Interface", query: str, last: str | None) -> None:
    await detect(interface, range(4))
    async with listening(interface, query, last) as listener:
        assert numbers(await listener.next(2)) == [3, 4]
        await detect(interface, [10])
        assert numbers(await listener.next(1)) == [5]


async def test_stream_filters_by_source_and_type(interface: "Interface") -> None:
    async with (
        listening(interface, "?source=other") as other,
        listening(interface, "?type=completion.created&source=acme") as acme,
        listening(interface, "?type=completion.removed&after=0") as removed,
    ):
        for number in range(6):
            await detect(interface, [number], source="other" if number % 2 else "acme")
        assert numbers(await other.next(3)) == [2, 4, 6]
        assert numbers(await acme.next(3)) == [1, 3, 5]
        await interface.feed.stop()
        assert await removed.to_the_end() == []


async def test_stream_with_a_number_beyond_the_newest_sends_all_events(interface: "Interface") -> None:
    await detect(interface, range(3))
    async with listening(interface, last="4000") as listener:
        assert numbers(await listener.next(3)) == [1, 2, 3]


async def test_stream_loses_and_repeats_no_event_between_history_and_new_events(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch
) -> None:
    # All ways in which an event can be sent: from memory, from the store, in one batch or in several.
    monkeypatch.setattr("notifier.web.feed.broadcast._TAIL_BYTES", 20_000)
    monkeypatch.setattr("notifier.web.feed.broadcast._BATCH_BYTES", 5_000)
    monkeypatch.setattr("notifier.web.feed.broadcast._EVENTS_PER_READ", 30)
    bursts, size = 25, 37
    last = bursts * size

    async def detecting() -> None:
        for burst in range(bursts):
            await detect(interface, range(burst * size, (burst + 1) * size))
            await asyncio.sleep(0.005)

    async def following(pauses: float) -> None:
        """Reconnect again and again, each time after the last event received."""
        had: list[int] = []
        while len(had) < last:
            async with listening(interface, "?after=0", str(had[-1]) if had else None) as listener:
                had += numbers(await listener.next(min(301, last - len(had))))
            await asyncio.sleep(pauses)
        assert had == list(range(1, last + 1))

    async with asyncio.TaskGroup() as group:
        group.create_task(detecting())
        for pauses in (0.0, 0.02, 0.1):
            group.create_task(following(pauses))


async def test_stream_formats_an_event_once_for_all_readers_and_sends_in_batches(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch
) -> None:
    written, handed = Counter[int](), 0
    send = Subscriber.send

    def writing(event: Event) -> dict[str, Any]:
        written[event.sequence] += 1
        return cloudevent(event)

    async def handing(reader: Subscriber, some: bytes) -> None:
        nonlocal handed
        handed += 1
        await send(reader, some)

    monkeypatch.setattr("notifier.web.feed.sse.cloudevent", writing)
    monkeypatch.setattr(Subscriber, "send", handing)
    async with listening(interface) as one, listening(interface) as two, listening(interface, "?source=acme") as three:
        for first in range(0, 200, 10):
            await detect(interface, range(first, first + 10))
        for listener in (one, two, three):
            assert numbers(await listener.next(200)) == list(range(1, 201))
    assert set(written.values()) == {1}
    # Each reader gets the opening, and then 20 batches at most.
    assert handed <= 3 * 21


async def test_stream_without_events_sends_comments(interface: "Interface") -> None:
    async with listening(interface) as listener:
        reading = asyncio.create_task(listener.to_the_end())
        await until(lambda: listener.comments >= 2)
        assert listener.received == []
        await interface.feed.stop()
        await reading


async def test_stream_sends_comments_while_it_searches_old_events(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch
) -> None:
    await detect(interface, range(1000))
    monkeypatch.setattr("notifier.store.queries.feed.EXAMINED_AT_ONCE", 1)
    async with listening(interface, "?after=0&type=completion.removed") as listener:
        reading = asyncio.create_task(listener.to_the_end())
        await until(lambda: listener.comments >= 2)
        (reader,) = interface.feed.stream._readers
        assert reader.after < 1000
        await interface.feed.stop()
        assert await reading == []


async def test_stream_behind_skipped_numbers_sends_comments_and_the_next_event(interface: "Interface") -> None:
    await detect(interface, range(3))
    # A restored or rebuilt state file skips numbers.
    await interface.store.run(skip_event_numbers, 3)
    async with listening(interface, "?after=3") as listener:
        await _expect_comments_and_next_event(interface, listener)


async def test_stream_behind_deleted_events_sends_comments_and_the_next_event(interface: "Interface") -> None:
    await detect(interface, range(3))
    async with listening(interface, "?after=0") as other:
        await other.next(3)
        await interface.store.run(lambda db: db.execute("DELETE FROM events"))
        async with listening(interface, "?after=1") as listener:
            await _expect_comments_and_next_event(interface, listener)


@pytest.mark.parametrize("query", ["", "?after=3"])
async def test_stream_sends_an_event_that_is_written_while_it_begins(interface: "Interface", query: str) -> None:
    await detect(interface, range(3))
    # In PostgreSQL, an event has its number before others can read it.
    await _set_last_number(interface, 4)
    async with listening(interface, query) as listener:
        await until(lambda: interface.feed.stream.reader_count == 1)
        await _set_last_number(interface, 3)
        await _expect_comments_and_next_event(interface, listener)


async def _set_last_number(interface: "Interface", number: int) -> None:
    await interface.store.run(lambda db: db.execute("UPDATE sqlite_sequence SET seq = ?", [number]))


async def _expect_comments_and_next_event(interface: "Interface", listener: Listener) -> None:
    reading = asyncio.create_task(listener.next(1))
    await until(lambda: listener.comments >= 2)
    assert await detect(interface, [10]) == numbers(await reading)


async def test_stream_disconnects_a_slow_reader_which_can_resume(interface: "Interface") -> None:
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", interface.port))
    slow.sendall(b"GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: interface.feed.stream.reader_count == 1)
    async with listening(interface) as quick:
        for first in range(0, 3000, 500):
            await detect(interface, range(first, first + 500))
        assert numbers(await quick.next(3000)) == list(range(1, 3001))
        await until(lambda: interface.feed.stream.reader_count == 1)
    slow.setblocking(False)
    had = await asyncio.to_thread(read_all, slow)
    last = int(had.rpartition(b"\nid: ")[2].partition(b"\n")[0])
    assert 0 < last < 3000
    # The event with the last id may have been cut off: by the standard, it then counts as not received.
    async with listening(interface, last=str(last - 1)) as again:
        assert numbers(await again.next(3000 - last + 1)) == list(range(last, 3001))


def read_all(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pass
    connection.close()
    return b"".join(pieces)


async def test_stream_limits_readers_and_accepts_new_ones_when_others_leave(interface: "Interface") -> None:
    async with listening(interface):
        async with AsyncExitStack() as crowd:
            while interface.feed.stream.reader_count < 8:
                await crowd.enter_async_context(listening(interface))
            async with interface.over_tcp.get(f"{interface.url}/v1/events/stream") as response:
                assert response.status == 503
                assert (await response.json())["error"]["reason"] == "too_many_readers"
        await until(lambda: interface.feed.stream.reader_count == 1)
        async with listening(interface) as listener:
            await detect(interface, [1])
            assert numbers(await listener.next(1)) == [1]
    await until(lambda: interface.feed.stream.reader_count == 0)


async def test_stream_rejected_request_is_not_counted_as_a_reader(interface: "Interface") -> None:
    for _ in range(10):
        async with interface.over_tcp.get(f"{interface.url}/v1/events/stream?source=nobody") as response:
            assert response.status == 404
    assert interface.feed.stream.reader_count == 0


async def test_stream_head_request_is_rejected_and_not_counted_as_a_reader(interface: "Interface") -> None:
    async with interface.over_tcp.head(f"{interface.url}/v1/events/stream") as response:
        assert response.status == 405
    assert interface.feed.stream.reader_count == 0


async def test_stream_ends_without_an_error_when_the_feed_stops(interface: "Interface") -> None:
    async with listening(interface) as listener:
        reading = asyncio.create_task(listener.to_the_end())
        await detect(interface, [1])
        await until(lambda: len(listener.received) == 1)
        await interface.feed.stop()
        # No error: the chunked response ends with its last chunk.
        assert len(await reading) == 1
    async with interface.over_tcp.get(f"{interface.url}/v1/events/stream") as response:
        assert response.status == 503


async def test_stream_retries_after_store_errors_and_logs_once(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    troubles = [StoreError(StoreReason.IO_ERROR, "the disk reports errors")] * 3
    run = interface.feed.stream._reader.run_without_turn_limit

    async def failing(*args: object) -> object:
        if troubles and getattr(args[0], "__name__", "") == "_read_page_timed":
            raise troubles.pop()
        return await run(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("notifier.web.feed.broadcast._STORE_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(interface.feed.stream._reader, "run_without_turn_limit", failing)
    async with listening(interface) as listener:
        await detect(interface, [1])
        assert numbers(await listener.next(1)) == [1]
    assert not troubles
    assert caplog.text.count("the disk reports errors") == 1


async def test_stream_ends_on_an_internal_error_and_readers_can_resume(
    interface: "Interface", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(interface) as listener:
        with monkeypatch.context() as patch:
            patch.setattr("notifier.web.feed.sse.cloudevent", lambda _event: 1 / 0)
            await detect(interface, [1])
            assert await listener.to_the_end() == []
    assert "an internal error" in caplog.text
    async with listening(interface, last="0") as again:
        assert numbers(await again.next(1)) == [1]


async def test_stream_end_closes_its_connection(interface: "Interface") -> None:
    connection, writer = await asyncio.open_connection("127.0.0.1", interface.port)
    writer.write(b"GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: bool(interface.feed.stream._readers))
    for reader in interface.feed.stream._readers:
        reader.end()
    async with asyncio.timeout(5):
        assert (await connection.read()).endswith(b"\r\n0\r\n\r\n")
    writer.close()


async def test_stream_slow_reader_does_not_delay_the_stop(interface: "Interface") -> None:
    interface.feed.stream._timing = StreamTiming(slow_reader_seconds=60.0)
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.connect(("127.0.0.1", interface.port))
        stuck.sendall(b"GET /v1/events/stream?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await detect(interface, range(2000))
        await until(lambda: any(reader.has_unsent_data for reader in interface.feed.stream._readers))
        started = time.monotonic()
        await interface.feed.stop()
        await interface.stop()
        assert time.monotonic() - started < 10


async def test_stream_is_served_over_the_owners_socket(interface: "Interface") -> None:
    async with interface.over_socket.get("http://localhost/v1/events/stream?after=0") as response:
        await detect(interface, [1])
        async with asyncio.timeout(10):
            while not (await response.content.readline()).startswith(b"data: "):
                pass


async def test_stream_reader_that_disconnects_before_the_answer_causes_no_error(
    interface: "Interface", caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        reader = socket.create_connection(("127.0.0.1", interface.port))
        reader.sendall(b"GET /v1/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        # The request is sent, and the connection reset, before the answer can begin.
        await asyncio.sleep(0)
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reader.close()
        await asyncio.sleep(0.002)
    await until(lambda: interface.feed.stream.reader_count == 0)
    assert "internal error" not in caplog.text
