"""The command `notifier sandbox`, which serves the simulated API."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import click

from notifier import log
from notifier.cli.errors import CommandError
from notifier.cli.formatting import format_count
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo
from notifier.cli.parameter_types import LISTEN, RATE, Address
from notifier.config import TcpAddress
from notifier.daemon.signals import stop_on_signal
from notifier.sandbox import CONTROL, DEFAULT_TOKEN, Account, Growth, RateLimit, build_account, make_app, serve
from notifier.sandbox.control import parse_fault
from notifier.sandbox.control_http import describe
from notifier.sandbox.fault_kinds import FAULT_KINDS
from notifier.sandbox.notation import NotationError

_ADDRESS: Final = "127.0.0.1:8788"


class FaultType(click.ParamType[str]):
    """The type of an option that takes a fault, such as `late:4s,page=1`."""

    name = "fault"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text unchanged if it is a valid fault. Raises BadParameter, like click's own types."""
        try:
            parse_fault(str(value))
        except NotationError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def _list_faults(ctx: click.Context, _param: click.Parameter, is_given: bool) -> None:
    if is_given:
        echo(*describe())
        ctx.exit()


@click.command(
    epilog=examples(
        "notifier sandbox",
        "notifier sandbox --records 1000000 --rate 5/s --no-rate-limit",
        "notifier sandbox --fault late:4s,limit=1000,times=3 --fault stale:10m,page=1,every=2",
    )
)
@click.option("--listen", type=LISTEN, metavar="ADDR", default=_ADDRESS, show_default=True, help="Where to listen.")
@click.option(
    "--records",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many made-up records to start with; else the documented examples.",
)
@click.option("--rate", type=RATE, metavar="N/s", help="Rate at which new records are added: 5/s, 5/m or 5/h.")
@click.option("--no-rate-limit", is_flag=True, help="Answer more than 80 requests a minute.")
@click.option(
    "--fault",
    "faults",
    type=FaultType(),
    multiple=True,
    metavar="NAME[:VALUE][,KEY=VALUE...]",
    help=f"Inject this fault into the answers (repeatable): {', '.join(FAULT_KINDS)}.",
)
@click.option(
    "--list-faults",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_faults,
    help="Describe each fault, the requests it can be limited to and how to start it later, then exit.",
)
@pass_global_options
def sandbox(
    global_options: GlobalOptions,
    listen: Address | None,
    records: int | None,
    rate: float | None,
    faults: Sequence[str],
    *,
    no_rate_limit: bool,
) -> None:
    """Serve the simulated API, and nothing else.

    Serves both documented versions of the API under /v1. Clients need the token that this command prints. Ctrl-C stops
    it.

    While it runs, requests to /control start and stop faults and edit the account; `curl localhost:8788/control`
    explains how.
    """
    log.setup(global_options.log_level(default="error"), "text")
    if not isinstance(listen, TcpAddress):
        raise click.BadParameter("the simulated API can listen only on host:port", param_hint="--listen")
    account = build_account(records or 0)
    rate_limit = None if no_rate_limit else RateLimit()
    asyncio.run(_serve(account, listen, rate_limit, rate, faults))


async def _serve(
    account: Account, address: TcpAddress, rate_limit: RateLimit | None, rate: float | None, faults: Sequence[str]
) -> None:
    app = make_app(account, rate_limit=rate_limit)
    for fault in faults:
        app[CONTROL].begin(fault)
    with stop_on_signal() as stop:
        try:
            async with serve(app, address.host, address.port) as base_url:
                _introduce(account, base_url, rate_limit, faults)
                growth = asyncio.create_task(Growth(account).run(rate)) if rate else None
                await stop.wait()
                if growth is not None:
                    growth.cancel()
                    with suppress(asyncio.CancelledError):
                        await growth
        except OSError as error:
            # Removes the address, which asyncio puts in front of the system's message.
            why = str(error.strerror).rpartition(": ")[2]
            raise CommandError(f"cannot listen on {address} ({why}): give another --listen") from error


def _introduce(account: Account, base_url: str, rate_limit: RateLimit | None, faults: Sequence[str]) -> None:
    echo(
        f"The simulated KPA Flex API, {format_count(len(account), 'completed training')}",
        "",
        f"  base URL  {base_url}",
        f"  token     {DEFAULT_TOKEN}",
        f"  limit     {f'{rate_limit.requests} requests in {rate_limit.window:g} s' if rate_limit else 'none'}",
        f"  control   {base_url.removesuffix('/v1')}/control",
        *(f"  fault     {fault}" for fault in faults),
        "",
        "To watch it, add this to config.toml:",
        "",
        "[sources.sandbox]",
        f'base_url = "{base_url}"',
        f'token = "{DEFAULT_TOKEN}"',
        'poll_interval = "5s"',
        "",
        "Ctrl-C ends it.",
    )
