"""What a running daemon shows of one source and one destination."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from notifier.web.daemon_api import UnknownNameError
from tests.support.daemon import status_when, until_swept

if TYPE_CHECKING:
    from tests.support.daemon import World


async def test_details_show_requests_states_and_filters(world: "World", run: Any) -> None:
    world.receiver_answers = 503
    daemon = await run(world.settings(events=["completion.created"]))
    await until_swept(daemon)
    await daemon._activity.save_changes()
    world.complete()
    async with asyncio.timeout(20):
        while not (hr := await daemon.operations.details.destination("hr")).hours[-1].failed:
            await asyncio.sleep(0.02)
    await status_when(daemon, "hr", "state", "retrying")
    await daemon._activity.save_changes()
    hr = await daemon.operations.details.destination("hr")
    assert [(change.state, change.reason) for change in hr.states] == [("retrying", "server_error"), ("untried", None)]
    assert hr.filters == "new completions of all people, trainings and sources"
    assert [it.destination for it in hr.events] == ["hr"]
    acme = await daemon.operations.details.source("acme-1")
    assert acme.hours[-1].requests >= 2
    assert acme.hours[-1].failed == 0
    assert acme.states[0].state == "ok"
    assert "sandbox" not in [setting.value for setting in acme.settings]
    for read in (daemon.operations.details.source, daemon.operations.details.destination):
        with pytest.raises(UnknownNameError):
            await read("nobody")


async def test_hourly_request_counts_survive_a_restart(run: Any) -> None:
    daemon = await run()
    await until_swept(daemon)
    before = (await daemon.operations.details.source("acme-1")).hours[-1].requests
    await daemon.stop()
    again = await run()
    assert (await again.operations.details.source("acme-1")).hours[-1].requests >= before


async def test_details_show_failed_requests_of_a_rate_limited_source(world: "World", run: Any) -> None:
    world.api_limits = True
    daemon = await run()
    async with asyncio.timeout(20):
        while not (await daemon.operations.details.source("acme-1")).hours[-1].failed:
            await asyncio.sleep(0.02)
    await daemon._activity.save_changes()
    detail = await daemon.operations.details.source("acme-1")
    assert (detail.states[0].state, detail.states[0].reason) == ("rate_limited", "rate_limit_exceeded")
