"""Reads the feed of events over the daemon's Unix socket, and reconnects when the daemon restarts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
from msgspec import Struct

from notifier.cli.errors import CommandError
from notifier.daemon.socket_path import socket_path
from notifier.web.feed.sse import POSITION_HEADER

RECONNECT_SECONDS: Final = 0.5
"""Seconds between two attempts to reconnect to the daemon."""

SILENCE_TIMEOUT_SECONDS: Final = 60.0
"""Seconds without data after which the connection counts as lost. The daemon sends data every 15 seconds."""

LONGEST_LINE_BYTES: Final = 64 * 2**20

_CONNECTION_ERRORS: Final = (aiohttp.ClientError, TimeoutError, OSError)


class FeedEvent(Struct, frozen=True):
    """An event of the feed: its sequence number, and the event as a CloudEvent."""

    number: int
    cloudevent: dict[str, Any]


class BrokenFeedError(Exception):
    """The daemon sent data that is not a valid event."""


class EventStreamParser:
    """Parses a stream of server-sent events that have an `id` and one line of `data`. Comments are skipped."""

    def __init__(self) -> None:
        self._incomplete_line = b""
        self._event_number = b""
        self._data: bytes | None = None

    def feed(self, piece: bytes) -> Iterator[FeedEvent]:
        """Parse the next bytes of the stream, and yield the events that they complete. Raises BrokenFeedError."""
        *lines, self._incomplete_line = (self._incomplete_line + piece).split(b"\n")
        if len(self._incomplete_line) > LONGEST_LINE_BYTES:
            raise BrokenFeedError("an event is too long")
        for line in lines:
            if line.startswith(b"id: "):
                self._event_number = line.removeprefix(b"id: ")
            elif line.startswith(b"data: "):
                self._data = line.removeprefix(b"data: ")
            elif not line and self._data is not None:
                data, self._data = self._data, None
                yield self._event(data)

    def _event(self, data: bytes) -> FeedEvent:
        try:
            number, document = int(self._event_number), orjson.loads(data)
        except ValueError as error:
            raise BrokenFeedError("an event is not JSON with a number") from error
        if not isinstance(document, dict):
            raise BrokenFeedError("an event is not a JSON object")
        return FeedEvent(number, document)


async def follow_events(
    state_file: Path, types: Sequence[str], on_connection_change: Callable[[bool], None]
) -> AsyncIterator[FeedEvent]:
    """Yield each event that is detected from now on; after a lost connection, reconnect and continue without a gap.

    `types`, if not empty, restricts the types of events. `on_connection_change` gets True after a connect and False
    after a disconnect. Raises CommandError if the first connect fails, or if the daemon refuses the request.
    """
    socket_file = socket_path(state_file)
    position: int | None = None
    is_connected = False
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(socket_file)),
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=SILENCE_TIMEOUT_SECONDS, sock_read=SILENCE_TIMEOUT_SECONDS
        ),
    ) as session:
        while True:
            try:
                headers = {} if position is None else {"Last-Event-ID": str(position)}
                query = [("type", one) for one in types]
                async with session.get("http://localhost/v1/events/stream", params=query, headers=headers) as answer:
                    if answer.status != HTTPStatus.OK:
                        await _raise_if_refused(answer, is_reconnect=position is not None)
                    else:
                        position = _start_position(answer, position)
                        if not is_connected:
                            is_connected = True
                            on_connection_change(is_connected)
                        parser = EventStreamParser()
                        async for piece in answer.content.iter_any():
                            for event in parser.feed(piece):
                                yield event
                                position = event.number
            except (*_CONNECTION_ERRORS, BrokenFeedError) as error:
                if position is None:
                    raise _unreachable_error(socket_file, error) from error
            if is_connected:
                is_connected = False
                on_connection_change(is_connected)
            await asyncio.sleep(RECONNECT_SECONDS)


def _start_position(answer: aiohttp.ClientResponse, known: int | None) -> int | None:
    """Return the number of the event after which the stream begins; None if this number is not known.

    If `known` is not None, the result is `known`. Otherwise, the result is the number in a header of the answer. An
    older daemon may omit this header.
    """
    header = answer.headers.get(POSITION_HEADER, "")
    return int(header) if known is None and header.isdecimal() else known


async def _raise_if_refused(answer: aiohttp.ClientResponse, *, is_reconnect: bool) -> None:
    """Raise CommandError for an answer that is an error.

    At a reconnect, do nothing if the daemon is only busy, stopping or standing by.
    """
    if is_reconnect and answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return
    try:
        message = (await answer.json())["error"]["message"]
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        message = f"HTTP status {answer.status}"
    raise CommandError(f"the daemon says: {message}")


def _unreachable_error(socket_file: Path, error: Exception) -> CommandError:
    if isinstance(error, PermissionError):
        return CommandError(
            f"{socket_file} refuses this user: run this command as root (sudo), or as the user that runs the daemon"
        )
    return CommandError("no daemon runs with this configuration: start `notifier run` first")
