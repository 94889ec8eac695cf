"""The daemon is killed at a slot of a schedule: afterwards it sends the same digest again, and nothing else."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from notifier.cli import daemon_client
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from tests.support.program import Program, Receiver, served
from tests.support.waiting import until

SCHEDULED_DESTINATION = """
[destinations.crew]
type = "slack"
url = "{url}/slack"
schedule = "daily {hour:02}:00"
timezone = "UTC"
"""


def channel_status(program: Program) -> Mapping[str, Any]:
    """Return the channel's status from the daemon, or an empty mapping while the daemon starts."""
    answer = daemon_client.request(program.folder / "notifier.db", "GET", "/v1/status")
    return {} if answer is None else answer.body["destinations"]["crew"]


async def test_kill_at_the_slot_does_not_lose_or_split_the_digest(program: Program, receiver: Receiver) -> None:
    account = build_account(20)
    async with served(account) as api:
        hour = (datetime.now(UTC).hour + 12) % 24
        program.configure(api, receiver.url, more=SCHEDULED_DESTINATION.format(url=receiver.url, hour=hour))
        program.start()
        await until(lambda: "sweep has read the whole list" in program.said())
        added = Growth(account, seed=5).grow(6)
        await until(lambda: channel_status(program).get("scheduled") == len(added), pause=0.05)
        assert receiver.slack == []
        program.kill()
        # Move the stored start of the slots back by a day, as if a slot had come while no daemon was running.
        with closing(sqlite3.connect(program.folder / "notifier.db")) as db, db:
            db.execute("UPDATE destinations SET slots_from = slots_from - 86400000 WHERE name = 'crew'")
        receiver.status = 500
        program.start()
        await until(lambda: channel_status(program).get("state") == "retrying", pause=0.05)
        program.kill()
        Growth(account, seed=6).grow(1)
        program.start()
        await until(lambda: channel_status(program).get("scheduled") == 1, pause=0.05)
        receiver.status = 200
        await until(lambda: channel_status(program).get("pending") == 1, pause=0.05)
        await program.stop()
    (digest,) = receiver.slack
    assert digest["text"].startswith(f"{len(added)} trainings completed")
