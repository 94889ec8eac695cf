"""Adds records to an account while clients read it."""

import asyncio
from collections.abc import Iterator
from itertools import islice

from notifier.sandbox.account import Account
from notifier.sandbox.record_generator import RecordGenerator
from notifier.sandbox.records import Record, day_of

_SHORTEST_PAUSE_SECONDS = 0.01
"""The shortest pause between two additions. At high rates, several records are added at once."""


class Growth:
    """Adds realistic records to an account: most are dated today, others days or months ago.

    Some belong to group sessions. The same `seed` gives the same records, except for dates and times, which depend on
    the account's clock. Raises ValueError if the account has no people or no trainings.
    """

    def __init__(self, account: Account, *, seed: int = 0) -> None:
        self._account = account
        self._generator = RecordGenerator(
            [user["id"] for user in account.users],
            [training.ids for training in account.trainings],
            seed=seed,
            next_id=account.next_id,
        )
        self._entries = self._generate_records()

    def grow(self, records: int = 1) -> list[Record]:
        """Add this many records now, and return the added records."""
        added = list(islice(self._entries, records))
        self._account.add_many(added)
        return added

    async def run(self, rate: float) -> None:
        """Add `rate` records a second, on average, until cancelled."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        added = 0
        while True:
            due = int((loop.time() - started) * rate) - added
            self.grow(due)
            added += due
            next_due = started + (added + 1) / rate
            await asyncio.sleep(max(_SHORTEST_PAUSE_SECONDS, next_due - loop.time()))

    def _generate_records(self) -> Iterator[Record]:
        while True:
            session = self._generator.generate_session(day_of(self._account.now_ms()))
            for user in session.attendees:
                yield self._generator.generate_record(session, user, self._account.now_ms())
