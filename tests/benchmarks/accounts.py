"""Simulated accounts in a process of their own, which a benchmark can change and ask who came when.

    accounts.py ACCOUNTS RECORDS

Prints its URL, below which account N has its API at `/N/v1`. Beside them stand

- `POST /control/enter` and `POST /control/delete` with `{"count": C}`: change so many records of account 0, each at a
  random place below the first thousand, and answer with their ids;
- `POST /control/total` with `{"shown": true}`: let account 0 answer with `paging.total` from now on;
- `GET /control/arrivals`: the moments, in Unix seconds, at which the head polls of each account came since the last
  such question.
"""

import argparse
import asyncio
import gc
import random
import sys
import time
from collections import defaultdict

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from msgspec.structs import replace

from notifier.sandbox import Account, make_app, serve, synthetic_account

HEAD_PAGE = 100
"""Records on a page of a head poll: what tells its requests from those of counts and sweeps."""

_OUT_OF_SIGHT = 1000


class Control:
    """What a benchmark does to the first account, and learns of all of them."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._random = random.Random(1)
        self._arrivals: defaultdict[int, list[float]] = defaultdict(list)

    def note_head_polls(self, number: int) -> Middleware:
        """Note when the head polls of an account come."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            now = time.time()
            asked = orjson.loads(await request.read())
            if (asked.get("page"), asked.get("limit")) == (1, HEAD_PAGE):
                self._arrivals[number].append(now)
            return await handler(request)

        return note

    async def enter(self, request: web.Request) -> web.Response:
        """Enter records now that are dated like ones that stand out of sight."""
        alike = self._random.choices(list(self._account.records())[_OUT_OF_SIGHT:], k=(await request.json())["count"])
        entered = [
            self._account.add(user=record.user, training=record.training, date_number=record.date_number)
            for record in alike
        ]
        return web.json_response([record.id for record in entered])

    async def delete(self, request: web.Request) -> web.Response:
        """Delete records that stand out of sight."""
        doomed = self._random.sample(list(self._account.records())[_OUT_OF_SIGHT:], k=(await request.json())["count"])
        return web.json_response([self._account.remove(record.id).id for record in doomed])

    async def total(self, request: web.Request) -> web.Response:
        """Show `paging.total`, or do not."""
        self._account.dialect = replace(self._account.dialect, total=(await request.json())["shown"])
        return web.json_response(self._account.dialect.total)

    async def arrivals(self, _request: web.Request) -> web.Response:
        """Tell when head polls came, and forget it."""
        answer = web.json_response(self._arrivals)
        self._arrivals.clear()
        return answer


async def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("accounts", type=int)
    parser.add_argument("records", type=int)
    asked = parser.parse_args()
    accounts = [synthetic_account(asked.records, seed=number) for number in range(asked.accounts)]
    control = Control(accounts[0])
    app = web.Application()
    app.add_routes(
        [
            web.post("/control/enter", control.enter),
            web.post("/control/delete", control.delete),
            web.post("/control/total", control.total),
            web.get("/control/arrivals", control.arrivals),
        ]
    )
    for number, account in enumerate(accounts):
        served = make_app(account, rate_limit=None, middlewares=[control.note_head_polls(number)])
        app.add_subapp(f"/{number}", served)
    # A collection that looks through every record would hold up the answers: the delay would pass for the notifier's.
    gc.collect()
    gc.freeze()
    async with serve(app) as url:
        print(url.removesuffix("/v1"), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
