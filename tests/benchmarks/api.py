"""Serves the simulated API in a separate process; prints its base URL, and adds a record for each line of its input."""

import argparse
import asyncio
import sys

from msgspec.structs import replace

from notifier.sandbox.fixtures import build_account
from notifier.sandbox.record_generator import RecordGenerator
from notifier.sandbox.records import date_number, day_of
from notifier.sandbox.server import make_app, serve


async def main() -> None:
    """Serve an account with a number of records until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int)
    options = parser.parse_args()
    account = build_account(options.records)
    trainings = [training.ids for training in account.trainings]
    people = [user["id"] for user in account.users]
    generator = RecordGenerator(people, trainings, seed=1, next_id=account.next_id)
    async with serve(make_app(account, rate_limit=None)) as url:
        print(url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            today = day_of(account.now_ms())
            session = replace(generator.generate_session(today), date_number=date_number(today))
            account.add_many([generator.generate_record(session, session.attendees[0], account.now_ms())])


if __name__ == "__main__":
    asyncio.run(main())
