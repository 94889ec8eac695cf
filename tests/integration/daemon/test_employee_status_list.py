"""A daemon whose announcements follow the account's employee status list."""

import asyncio
import time
from typing import Any

from notifier.config.source_settings import ExpiryDates
from notifier.watch.expiry_rounds import local_day
from tests.support.daemon import World, until_swept
from tests.support.waiting import DEADLINE


async def test_expiry_known_only_from_the_status_list_is_announced(world: World, run: Any) -> None:
    world.complete()
    person, training = world.account.users[0]["id"], world.account.trainings[0].ids
    today = local_day(world.account.now_ms())
    world.account.status_ends[person, training.v2] = int(today.strftime("%Y%m%d"))
    settings = world.settings(events=["completion.expiring"])
    source = settings.sources["acme-1"].model_copy(update={"expiry": True, "expiry_dates": ExpiryDates.EMPLOYEE_STATUS})
    daemon = await run(settings.model_copy(update={"sources": {"acme-1": source}}))
    await until_swept(daemon)
    end = time.monotonic() + DEADLINE
    while not world.received:
        assert time.monotonic() < end
        # The schedule starts due rounds only every half minute.
        await daemon._expiry.run_due_rounds()
        await asyncio.sleep(0.05)
    told = next(event for event in world.received if event["data"]["completion"]["user_id"] == person)
    assert told["type"] == "completion.expiring"
    assert told["data"]["completion"]["valid_until"] == today.isoformat()
    assert told["data"]["completion"]["valid_until_source"] == "employee_status"
