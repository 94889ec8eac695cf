"""Follows the daemon's feed of events over its Unix socket, even across restarts of the daemon."""

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
from notifier.web.feed.sse import POSITION

AGAIN_SECONDS: Final = 0.5
"""Seconds between two attempts to reach the daemon again."""

SILENCE_SECONDS: Final = 60.0
"""Seconds without any byte after which the connection is taken as lost; the daemon sends some every 15 seconds."""

LONGEST_LINE_BYTES: Final = 64 * 2**20

_UNREACHABLE: Final = (aiohttp.ClientError, TimeoutError, OSError)


class FeedEvent(Struct, frozen=True):
    """An event of the feed: its number, and the CloudEvent."""

    number: int
    cloudevent: dict[str, Any]


class BrokenFeedError(Exception):
    """The feed contains something that is not an event."""


class FrameParser:
    """Parses the feed's server-sent events: comments, and events with an `id` and one line of `data`."""

    def __init__(self) -> None:
        self._rest = b""
        self._number = b""
        self._data: bytes | None = None

    def feed(self, piece: bytes) -> Iterator[FeedEvent]:
        """Add a piece of the stream, and yield the events that are complete then. Raises BrokenFeedError."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST_LINE_BYTES:
            raise BrokenFeedError("an event is too long")
        for line in lines:
            if line.startswith(b"id: "):
                self._number = line.removeprefix(b"id: ")
            elif line.startswith(b"data: "):
                self._data = line.removeprefix(b"data: ")
            elif not line and self._data is not None:
                data, self._data = self._data, None
                yield self._event(data)

    def _event(self, data: bytes) -> FeedEvent:
        try:
            number, document = int(self._number), orjson.loads(data)
        except ValueError as error:
            raise BrokenFeedError("an event is not JSON with a number") from error
        if not isinstance(document, dict):
            raise BrokenFeedError("an event is no JSON object")
        return FeedEvent(number, document)


async def follow(state_file: Path, types: Sequence[str], on_change: Callable[[bool], None]) -> AsyncIterator[FeedEvent]:
    """Yield each event of these types that is detected from now on, across restarts of the daemon.

    Without types, all events are yielded. `on_change` is called with True whenever the daemon is reached, and with
    False whenever the connection ends. Events that are detected while there is no connection are yielded later.
    Raises CommandError if no daemon runs at the beginning, or if the daemon refuses the request.
    """
    place = socket_path(state_file)
    position: int | None = None
    was_there = False
    async with aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(str(place)),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS),
    ) as session:
        while True:
            try:
                headers = {} if position is None else {"Last-Event-ID": str(position)}
                query = [("type", one) for one in types]
                async with session.get("http://localhost/v1/events/stream", params=query, headers=headers) as answer:
                    if answer.status != HTTPStatus.OK:
                        await _refused(answer)
                    else:
                        position = _position(answer, position)
                        if not was_there:
                            was_there = True
                            on_change(was_there)
                        parser = FrameParser()
                        async for piece in answer.content.iter_any():
                            for event in parser.feed(piece):
                                yield event
                                position = event.number
            except (*_UNREACHABLE, BrokenFeedError) as error:
                if position is None:
                    raise _not_there(place, error) from error
            if was_there:
                was_there = False
                on_change(was_there)
            await asyncio.sleep(AGAIN_SECONDS)


def _position(answer: aiohttp.ClientResponse, known: int | None) -> int | None:
    """Return the number of the event after which the stream begins; `known` is None at the first connection.

    At the first connection, the answer's header gives the number. The result is None if an older daemon does not send
    that header.
    """
    said = answer.headers.get(POSITION, "")
    return int(said) if known is None and said.isdecimal() else known


async def _refused(answer: aiohttp.ClientResponse) -> None:
    """Raise CommandError for a permanent refusal; return if the daemon is only busy or stopping."""
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return
    try:
        said = (await answer.json())["error"]["message"]
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        said = f"HTTP status {answer.status}"
    raise CommandError(f"the daemon says: {said}")


def _not_there(place: Path, error: Exception) -> CommandError:
    if isinstance(error, PermissionError):
        return CommandError(f"{place} refuses this user: run this command as the user that runs the daemon")
    return CommandError("no daemon runs with this configuration: start `notifier run` first")
