"""A removal that waits for a second look is reported even if the daemon is killed after the first look."""

import asyncio
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until


async def test_removal_waiting_for_its_second_look_is_reported_once_after_a_kill(
    program: Program, receiver: Receiver
) -> None:
    account = build_account(3000)
    questions: list[dict[str, Any]] = []

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = orjson.loads(await request.read())
        if "user_id" in asked:
            questions.append(asked)
        return await handler(request)

    async with served(account, note) as api:
        program.configure(api, receiver.url, source='confirm_after = "3s"\nnames = false')
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        doomed = [*account.records()][1500]
        account.remove(doomed.id)
        await until(lambda: bool(questions))
        assert receiver.events == []
        program.kill()
        program.start()
        await until(lambda: receiver.subjects == [str(doomed.id)])
        # This sweep has nothing to find. If the removal were reported twice, that would happen before its end.
        assert (await asyncio.to_thread(program.command, "sweep", "acme")).returncode == 0
        await program.stop()
    assert [event["type"] for event in receiver.events] == ["completion.removed"]
