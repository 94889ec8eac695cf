"""Many searches at the same time do not hold up polls, deliveries or the stop of the daemon."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from notifier.store.database import Database
from notifier.store.errors import StoreError, StoreReason
from tests.support.daemon import World, ready, status_when

if TYPE_CHECKING:
    from notifier.daemon.daemon import Daemon


def many_people(db: Database) -> None:
    db.execute(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000)"
        " INSERT INTO people (source, id, name) SELECT 'acme-1', 'p' || x, 'Person Number ' || x FROM n"
    )


async def test_excess_searches_get_busy_and_deliveries_and_stop_continue(world: World, run: Any) -> None:
    daemon: Daemon = await run(world.settings())
    await ready(daemon)
    await daemon._store.run(many_people)
    searching = [
        asyncio.create_task(daemon.operations.find_records(f"nobody of this name {number} aeiou aeiou aeiou"))
        for number in range(250)
    ]
    world.complete()
    began = time.monotonic()
    await status_when_not_busy(daemon)
    found = await asyncio.gather(*searching, return_exceptions=True)
    busy = [error for error in found if isinstance(error, StoreError)]
    assert busy
    assert {error.reason for error in busy} == {StoreReason.BUSY}
    assert time.monotonic() - began < 20
    more = [asyncio.create_task(daemon.operations.find_records("nobody of this name")) for _ in range(250)]
    await asyncio.sleep(0)
    began = time.monotonic()
    await daemon.stop()
    assert time.monotonic() - began < 5
    await asyncio.gather(*more, return_exceptions=True)


async def status_when_not_busy(daemon: "Daemon") -> None:
    while True:
        try:
            await status_when(daemon, "hr", "delivered", 1)
        except StoreError as error:
            if error.reason is not StoreReason.BUSY:
                raise
        else:
            return
