"""`notifier sandbox`."""

import asyncio
from contextlib import suppress
from typing import Final

import click

from notifier import logs
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import LISTEN, RATE, Address
from notifier.cli.screen import say
from notifier.cli.text import counted
from notifier.config import TcpAddress
from notifier.daemon.signals import stop_on_signal
from notifier.sandbox import DEFAULT_TOKEN, Account, Growth, RateLimit, build_account, make_app, serve

_ADDRESS: Final = "127.0.0.1:8788"


@click.command(epilog=examples("notifier sandbox", "notifier sandbox --records 1000000 --rate 5/s --no-rate-limit"))
@click.option("--listen", type=LISTEN, metavar="ADDR", default=_ADDRESS, show_default=True, help="Where to listen.")
@click.option(
    "--records",
    type=click.IntRange(min=1),
    help="How many made-up records to start with; else the documented examples.",
)
@click.option("--rate", type=RATE, metavar="N/s", help="How many records are entered from now on, as 5/s, 5/m or 5/h.")
@click.option("--no-rate-limit", is_flag=True, help="Answer more than 80 requests a minute.")
@takes_given
def sandbox(
    given: Given, listen: Address | None, records: int | None, rate: float | None, *, no_rate_limit: bool
) -> None:
    """Serve the simulated API only.

    Both documented versions, under /v1, for whoever has the token it prints. Ctrl-C ends it.
    """
    logs.set_up(given.log_level(otherwise="error"), "text")
    if not isinstance(listen, TcpAddress):
        raise click.BadParameter("the simulated API listens on host:port only", param_hint="--listen")
    account = build_account(records or 0)
    limit = None if no_rate_limit else RateLimit()
    asyncio.run(_serve(account, listen, limit, rate))


async def _serve(account: Account, address: TcpAddress, limit: RateLimit | None, rate: float | None) -> None:
    with stop_on_signal() as stop:
        try:
            async with serve(make_app(account, rate_limit=limit), address.host, address.port) as base_url:
                _introduce(account, base_url, limit)
                growth = asyncio.create_task(Growth(account).run(rate)) if rate else None
                await stop.wait()
                if growth is not None:
                    growth.cancel()
                    with suppress(asyncio.CancelledError):
                        await growth
        except OSError as error:
            # asyncio puts the address in front of the system's words.
            why = str(error.strerror).rpartition(": ")[2]
            raise Failure(f"cannot listen on {address} ({why}): give another --listen") from error


def _introduce(account: Account, base_url: str, limit: RateLimit | None) -> None:
    say(
        f"The simulated KPA Flex API, {counted(len(account), 'completed training')}",
        "",
        f"  base URL  {base_url}",
        f"  token     {DEFAULT_TOKEN}",
        f"  limit     {f'{limit.requests} requests in {limit.window:g} s' if limit else 'none'}",
        "",
        "To watch it, put this into config.toml:",
        "",
        "[sources.sandbox]",
        f'base_url = "{base_url}"',
        f'token = "{DEFAULT_TOKEN}"',
        'poll_interval = "5s"',
        "",
        "Ctrl-C ends it.",
    )
