"""The measurements of requests to the API: their time, and whether they failed."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.http.exchange import Answer
from notifier.http.transport_errors import TransportError, TransportReason
from notifier.kpa.measured_exchange import MeasuredExchange


class Scripted:
    """An exchange that returns `answer`, or raises a timeout if it is None."""

    def __init__(self, answer: Answer | None) -> None:
        self.answer = answer

    async def __call__(self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int) -> Answer:
        assert (method, parameters, limit_bytes) == ("m", {"page": 1}, 9)
        if self.answer is None:
            raise TransportError(TransportReason.TIMEOUT, "no answer")
        return self.answer

    @asynccontextmanager
    async def stream(self, method: str, parameters: Mapping[str, Any], *, limit_bytes: int) -> AsyncIterator[Any]:
        yield await self(method, parameters, limit_bytes=limit_bytes)


def answer(status: int, body: bytes) -> Answer:
    return Answer(status, CIMultiDictProxy(CIMultiDict[str]()), body)


@pytest.mark.parametrize(
    ("given", "failed"),
    [
        (answer(200, b'{"ok": true, "said": "\\"ok\\": false"}'), False),
        (answer(200, b' {\n"ok":false, "error": "invalid_auth"}'), True),
        (answer(200, b""), False),
        (answer(503, b"{}"), True),
        (None, True),
    ],
)
async def test_measured_exchange_records_time_and_failure_once(given: Answer | None, failed: bool) -> None:
    measured: list[tuple[float, bool]] = []
    exchange = MeasuredExchange(Scripted(given), lambda seconds, it: measured.append((seconds, it)))
    if given is None:
        with pytest.raises(TransportError):
            await exchange("m", {"page": 1}, limit_bytes=9)
    else:
        assert await exchange("m", {"page": 1}, limit_bytes=9) is given
    ((seconds, said),) = measured
    assert 0 <= seconds < 5
    assert said is failed


async def test_measured_exchange_counts_a_broken_stream_as_failed() -> None:
    measured: list[bool] = []
    exchange = MeasuredExchange(Scripted(None), lambda _, it: measured.append(it))
    with pytest.raises(TransportError):
        async with exchange.stream("m", {"page": 1}, limit_bytes=9):
            pass
    assert measured == [True]
