"""Serves simulated accounts in a separate process. A benchmark can change them and query when they were polled.

    accounts.py ACCOUNTS RECORDS

Prints its URL. Account N has its API at `/N/v1` below it. There are further requests:

- `POST /control/enter` and `POST /control/delete` with `{"count": C}`: enter or delete this many records of account 0,
  each at a random place below the first thousand records; the answer has their ids;
- `POST /control/total` with `{"shown": true}`: account 0 answers with `paging.total` from now on;
- `GET /control/arrivals`: the times, in Unix seconds, of each account's head polls since the last such request.
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
    """Handles the requests of a benchmark: changes account 0, and returns the head polls of all accounts."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._random = random.Random(1)
        self._arrivals: defaultdict[int, list[float]] = defaultdict(list)

    def note_head_polls(self, number: int) -> Middleware:
        """Return a middleware that records when the head polls of an account arrive."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            now = time.time()
            options = orjson.loads(await request.read())
            if (options.get("page"), options.get("limit")) == (1, HEAD_PAGE):
                self._arrivals[number].append(now)
            return await handler(request)

        return note

    async def enter(self, request: web.Request) -> web.Response:
        """Enter records with the dates of random records below the head."""
        alike = self._random.choices(list(self._account.records())[_OUT_OF_SIGHT:], k=(await request.json())["count"])
        entered = [
            self._account.add(user=record.user, training=record.training, date_number=record.date_number)
            for record in alike
        ]
        return web.json_response([record.id for record in entered])

    async def delete(self, request: web.Request) -> web.Response:
        """Delete random records below the head."""
        doomed = self._random.sample(list(self._account.records())[_OUT_OF_SIGHT:], k=(await request.json())["count"])
        return web.json_response([self._account.remove(record.id).id for record in doomed])

    async def total(self, request: web.Request) -> web.Response:
        """Turn `paging.total` on or off."""
        self._account.dialect = replace(self._account.dialect, total=(await request.json())["shown"])
        return web.json_response(self._account.dialect.total)

    async def arrivals(self, _request: web.Request) -> web.Response:
        """Return and clear the times of the head polls."""
        answer = web.json_response(self._arrivals)
        self._arrivals.clear()
        return answer


async def main() -> None:
    """Serve until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("accounts", type=int)
    parser.add_argument("records", type=int)
    options = parser.parse_args()
    accounts = [synthetic_account(options.records, seed=number) for number in range(options.accounts)]
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
    # A garbage collection of all records would delay answers, and the delay would be attributed to the notifier.
    gc.collect()
    gc.freeze()
    async with serve(app) as url:
        print(url.removesuffix("/v1"), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
