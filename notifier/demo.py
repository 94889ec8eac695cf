"""The demonstration: runs a simulated account, the real daemon and a simulated receiver in one process."""

import asyncio
import secrets
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import orjson
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

from notifier.config import load
from notifier.daemon.daemon import Daemon
from notifier.sandbox.account import Account
from notifier.sandbox.account_growth import Growth
from notifier.sandbox.fixtures import build_account
from notifier.sandbox.server import DEFAULT_TOKEN, make_app, serve
from notifier.web.listening.sockets import ListenError

if TYPE_CHECKING:
    from notifier.web.response_models.status import StatusDocument

_INITIAL_COMPLETIONS: Final = 400
_STEP_SECONDS: Final = 0.7
_LONGEST_RUN_SECONDS: Final = 20.0
_CHECK_EVERY_SECONDS: Final = 0.1
_FREE_PORT: Final = "127.0.0.1:0"

_CONFIGURATION: Final = """\
[store]
path = "notifier.db"

[http]
listen = "{listen}"

[sources.acme]
base_url = "{api}"
token = "{token}"
poll_interval = "1s"
page_size = 1000
requests_per_minute = 600

[destinations.safety-channel]
type = "slack"
url = "{receiver}/slack"

[destinations.hr-system]
type = "http"
url = "{receiver}/hook"
secret = "{secret}"
"""


class Receiver:
    """Simulates Slack and an HR system: prints each message that arrives, and checks the signatures of webhooks."""

    def __init__(self, secret: str, out: TextIO) -> None:
        """Initialise with the secret that signs the webhook requests, and with the stream to print to."""
        self._webhook = Webhook(secret)
        self._out = out
        self.events: set[str] = set()
        self.repeated_events = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on a free local port, and yield the URL."""
        app = web.Application()
        app.add_routes([web.post("/slack", self._slack), web.post("/hook", self._hook)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _slack(self, request: web.Request) -> web.Response:
        message = orjson.loads(await request.read())
        for line in message["text"].splitlines():
            print_line(self._out, "Slack", line)
        return web.Response(text="ok")

    async def _hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            self._webhook.verify(body, dict(request.headers))
        except WebhookVerificationError:
            print_line(self._out, "webhook", "a request with a wrong signature was refused")
            return web.Response(status=401)
        event = orjson.loads(body)
        self.repeated_events += event["id"] in self.events
        self.events.add(event["id"])
        completion = event["data"]["completion"]
        who = completion["user_name"] or completion["user_id"]
        what = completion["training_title"] or completion["training_id"]
        print_line(self._out, "webhook", f"{event['type']}  {event['id']}  {who}, {what}  (signature valid)")
        return web.Response()


async def run_demo(events: int, listen: str | None, out: TextIO, *, stay_seconds: float = 0.0) -> None:
    """Add `events` completions to a simulated account, and wait until all are delivered to both destinations.

    `listen` is the address of the HTTP interface with the dashboard; None: a free local port. The dashboard stays
    available for `stay_seconds` afterwards. Raises ConfigError, StoreError, ListenError.
    """
    account = build_account(_INITIAL_COMPLETIONS)
    with tempfile.TemporaryDirectory(prefix="notifier-demo-") as folder:
        secret = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
        receiver = Receiver(secret, out)
        async with serve(make_app(account, rate_limit=None)) as api, receiver.serve() as url:
            path = Path(folder, "config.toml")
            values = {
                "listen": listen or _FREE_PORT,
                "api": api,
                "token": DEFAULT_TOKEN,
                "receiver": url,
                "secret": secret,
            }
            await asyncio.to_thread(path.write_text, _CONFIGURATION.format(**values))
            daemon = Daemon(load(path, environ={}))
            await daemon.start()
            try:
                if daemon.interface_problem:
                    raise ListenError(daemon.interface_problem)
                _print_introduction(out, api, url, daemon.sign_in_link())
                # The notifier does not report completions that exist when it first reads the account.
                await _wait_until(daemon, lambda status: status["sources"]["acme"]["last_success"] is not None)
                await _run_scenario(account, daemon, receiver, events, out)
                if stay_seconds and (link := daemon.sign_in_link()):
                    await _keep_dashboard(link, stay_seconds, out)
            finally:
                await daemon.stop()


async def _run_scenario(account: Account, daemon: Daemon, receiver: Receiver, events: int, out: TextIO) -> None:
    growing = asyncio.create_task(_add_completions(account, events, out))
    try:
        await _wait_until(
            daemon, lambda status: all(one["delivered"] >= events for one in status["destinations"].values())
        )
    finally:
        growing.cancel()
        with suppress(asyncio.CancelledError):
            await growing
    again = f", {receiver.repeated_events} more than once" if receiver.repeated_events else ", each exactly once"
    out.write(
        f"\n{len(receiver.events)} completions were entered, found, and delivered to Slack and to the webhook{again}.\n"
        "For your own account, let `notifier init` write a configuration, then start `notifier run`.\n"
    )


async def _keep_dashboard(link: str, seconds: float, out: TextIO) -> None:
    out.write(f"\nThe dashboard stays open for {seconds:.0f} s more; Ctrl-C ends it: {link}\n")
    out.flush()
    # The demonstration is complete, so an interrupt during this wait is a normal end.
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(seconds)


async def _add_completions(account: Account, events: int, out: TextIO) -> None:
    """Add completions to the account one by one, with pauses; if there are many, add several at a time."""
    growth = Growth(account, seed=secrets.randbelow(1_000_000))
    titles = {training.ids: training.title for training in account.trainings}
    people = {user["id"]: f"{user['firstname']} {user['lastname']}" for user in account.users}
    steps = min(events, round(_LONGEST_RUN_SECONDS / _STEP_SECONDS))
    for step in range(steps):
        for record in growth.grow(events * (step + 1) // steps - events * step // steps):
            who, what = people.get(record.user, record.user), titles.get(record.training, str(record.training))
            print_line(out, "KPA Flex", f"{who} completes {what}")
        await asyncio.sleep(_STEP_SECONDS)


async def _wait_until(daemon: Daemon, condition: Callable[["StatusDocument"], bool]) -> None:
    while True:
        if condition(await daemon.operations.status()):
            return
        await asyncio.sleep(_CHECK_EVERY_SECONDS)


def _print_introduction(out: TextIO, api: str, receiver: str, dashboard: str | None) -> None:
    out.write(
        "Completion Notifier: who completed which training, reported as soon as it is entered.\n"
        "Everything runs on this machine. The account and both receivers are simulated: no message leaves it.\n\n"
        f"  KPA Flex   a simulated account with {_INITIAL_COMPLETIONS} completions, not reported     {api}\n"
        f"  Slack      a simulated channel                                      {receiver}/slack\n"
        f"  webhook    an HR system that checks signatures                      {receiver}/hook\n"
    )
    if dashboard:
        out.write(f"  dashboard  what an operator sees; this link signs a browser in once:\n             {dashboard}\n")
    out.write("\n")
    out.flush()


def print_line(out: TextIO, who: str, what: str) -> None:
    """Print one line with the time, who did something, and what they did."""
    out.write(f"{datetime.now().astimezone():%H:%M:%S}  {who:<9}  {what}\n")
    out.flush()
