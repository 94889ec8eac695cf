"""Batches that fail because of one event: few requests find it, and a batch that is sent again keeps its id."""

import asyncio
from collections import Counter

import pytest
from aiohttp import web

from tests.support.waiting import until
from tests.support.workers import Arrival, Receiver, Rig, answering, keys, refusing

TO_FIND_ONE_IN_A_HUNDRED = 2 * 7
"""The requests after the one that failed: two halves each time, down to a single event."""


def accepted_subjects(receiver: Receiver) -> set[str]:
    """Return the subjects in all requests without the bad event."""
    return {subject for arrival in receiver.arrivals if "537" not in arrival.subjects for subject in arrival.subjects}


@pytest.mark.parametrize("status", [422, 500])
async def test_batches_with_one_bad_event_deliver_the_others_in_few_requests(
    rig: Rig, receiver: Receiver, status: int
) -> None:
    receiver.answer = refusing(status, "537")
    await rig.enter(*keys(1000))
    async with rig.running(rig.http(receiver.url, batch_size=100, retry_first="50ms", retry_max="1h")):
        await until(lambda: len(accepted_subjects(receiver)) == 999)
        await until(lambda: ["537"] in [arrival.subjects for arrival in receiver.arrivals])
    spoiled = [arrival for arrival in receiver.arrivals if "537" in arrival.subjects]
    assert await rig.states() == {"delivered": 999, "pending": 1}
    in_company = [arrival for arrival in spoiled if len(arrival.ids) > 1]
    assert len(in_company) <= 7
    probes = len(spoiled) + 1
    assert len(receiver.arrivals) <= 10 + TO_FIND_ONE_IN_A_HUNDRED + probes
    times_sent = Counter(receiver.subjects)
    assert all(times_sent[key] == 1 for key in keys(1000) if key not in in_company[0].subjects)


async def test_batch_cut_off_by_a_stop_is_sent_again_under_the_same_id(rig: Rig, receiver: Receiver) -> None:
    async def hang(_arrival: Arrival, _request: web.Request) -> web.StreamResponse:
        if len(receiver.arrivals) > 4:
            await asyncio.sleep(60)
            raise AssertionError
        return web.Response()

    receiver.answer = hang
    await rig.enter(*keys(90))
    async with rig.running(rig.http(receiver.url, batch_size=10)):
        await until(lambda: receiver.active == 5)
    receiver.answer = answering(200)
    async with rig.running(rig.http(receiver.url, batch_size=10)):
        await rig.settled()
    sent = {arrival.message_id: arrival.ids for arrival in receiver.arrivals[4:9]}
    assert {arrival.message_id: arrival.ids for arrival in receiver.arrivals[9:]} == sent
    assert len(sent) == 5
