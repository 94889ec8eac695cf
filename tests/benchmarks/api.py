"""The simulated API in a process of its own; prints its base URL, and adds a record for every line it reads."""

import argparse
import asyncio
import sys

from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from notifier.sandbox.server import make_app, serve


async def main() -> None:
    """Serve an account of as many records as asked for until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int)
    asked = parser.parse_args()
    account = build_account(asked.records)
    growth = Growth(account, seed=1)
    async with serve(make_app(account, rate_limit=None)) as url:
        print(url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            growth.grow(1)


if __name__ == "__main__":
    asyncio.run(main())
