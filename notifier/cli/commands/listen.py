"""The command `notifier listen`, which follows the events of the running daemon."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from secrets import token_bytes
from typing import TYPE_CHECKING, Any, Final

import click
import orjson
from pydantic import ValidationError

from notifier import log
from notifier.cli import daemon_client
from notifier.cli.context import settings_and_state_file
from notifier.cli.errors import CommandError
from notifier.cli.formatting import Column
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import TableWriter, echo_json
from notifier.cli.parameter_types import OneOf
from notifier.cli.secret_option import read_secret
from notifier.clock import SystemClock
from notifier.config.error_messages import explain
from notifier.config.urls import is_plain_beyond_loopback
from notifier.config.webhooks import HttpFormat, HttpSettings
from notifier.daemon.signals import stop_on_signal
from notifier.events import Event, EventType

if TYPE_CHECKING:
    from notifier.cli.feed_client import FeedEvent
    from notifier.destinations.outcome import Outcome

ShowEvent = Callable[["FeedEvent", "Outcome | None"], None]

_COLUMNS: Final = (
    Column("seq", align_right=True, min_width=5),
    Column("detected", min_width=24),
    Column("what", min_width=18),
    Column("source", min_width=8),
    Column("record", min_width=8),
    Column("person", min_width=20),
    Column("training", min_width=28),
    Column("forwarded", min_width=9),
)


@click.command(
    epilog=examples(
        "notifier listen",
        "notifier listen --type completion.created --json",
        "notifier listen --forward http://127.0.0.1:8000/hooks/training --secret @secret.txt",
    )
)
@click.option("--forward", metavar="URL", help="Send each event there, signed, as an `http` destination would.")
@click.option(
    "--type",
    "types",
    multiple=True,
    type=OneOf([kind.value for kind in EventType]),
    metavar="T",
    help="Only events of this type (repeatable).",
)
@click.option("--secret", metavar="S", help="The secret that signs forwarded events; by default a new one.")
@click.option(
    "--format",
    "format_name",
    type=OneOf([format_.value for format_ in HttpFormat]),
    default=HttpFormat.CLOUDEVENTS.value,
    show_default=True,
    help="The format of forwarded events: cloudevents or standard.",
)
@click.option("--json", "as_json", is_flag=True, help="Print CloudEvents, one a line.")
@pass_global_options
def listen(
    global_options: GlobalOptions,
    forward: str | None,
    types: Sequence[str],
    secret: str | None,
    format_name: str,
    *,
    as_json: bool,
) -> None:
    """Follow the events of the running daemon, and forward them.

    Prints each event that is detected from now on, until Ctrl-C. If the daemon is restarted, this command reconnects
    and continues after the last event that it printed. With --forward, each event is also sent to URL, for example to
    a program under development on this machine. Events are sent one after the other, and a failed attempt is not
    repeated. The daemon's own deliveries do not change. With `--secret @FILE`, the secret is read from FILE.
    """
    _, state_file = settings_and_state_file(global_options)
    log.setup(global_options.log_level(default="error"), "text")
    if forward is None and secret is not None:
        raise click.UsageError("--secret needs --forward")
    forwarding = None if forward is None else _forwarding_settings(forward, read_secret(secret), format_name)
    if daemon_client.request(state_file, "GET", "/healthz") is None:
        raise CommandError("no daemon runs with this configuration: start `notifier run` first")
    if forwarding is not None and secret is None:
        click.echo(f"forwarded events are signed with {forwarding.secret[0].get_secret_value()}", err=True)

    async def run() -> None:
        # Imported here, because these imports take half a second and wrong usage is reported without them.
        from notifier.cli.feed_client import follow_events  # noqa: PLC0415
        from notifier.destinations.webhook.destination import HttpDestination  # noqa: PLC0415
        from notifier.http.exchange import new_session  # noqa: PLC0415
        from notifier.store.tables.outbox import Delivery  # noqa: PLC0415

        show = _show_json if as_json else _table(is_forwarded=forwarding is not None)
        async with new_session() as session:
            destination = None if forwarding is None else HttpDestination("forward", forwarding, session, SystemClock())
            async for event in follow_events(state_file, types, _print_connection_change):
                outcome = None
                if destination is not None:
                    outcome = await destination.send([Delivery(event_of(event.cloudevent), "forward")])
                show(event, outcome)

    asyncio.run(_run_until_stopped(run))


async def _run_until_stopped(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` until it ends or this process gets a stop signal. Raises the errors of `work`."""
    with stop_on_signal() as stop:
        working = asyncio.ensure_future(work())
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (working, stopped):
            task.cancel()
        await asyncio.wait([working, stopped])
        if not working.cancelled():
            working.result()


def _forwarding_settings(url: str, secret: str | None, format_name: str) -> HttpSettings:
    """Return settings for an HTTP destination with this URL. Raises UsageError if an option is invalid."""
    keys = {
        "type": "http",
        "url": url,
        "secret": secret or f"whsec_{b64encode(token_bytes(32)).decode()}",
        "format": format_name,
    }
    try:
        forwarding = HttpSettings.model_validate(keys)
    except ValidationError as error:
        (problem, *_) = explain(error, ())
        option = "--forward" if str(problem.key) == "url" else "--secret"
        raise click.UsageError(f"{option} {problem.message}") from None
    if is_plain_beyond_loopback(url):
        raise click.UsageError("--forward must be on this machine (127.0.0.1, localhost) or begin with https://")
    return forwarding


def _print_connection_change(is_connected: bool) -> None:
    click.echo("following the daemon's events" if is_connected else "the daemon has stopped: waiting for it", err=True)


def _show_json(event: "FeedEvent", outcome: "Outcome | None") -> None:
    echo_json([event.cloudevent])
    if outcome is not None:
        click.echo(f"{event.cloudevent.get('id')}: {_outcome_text(outcome)}", err=True)


def _table(*, is_forwarded: bool) -> "ShowEvent":
    listing = TableWriter(*(_COLUMNS if is_forwarded else _COLUMNS[:-1]), may_grow=True)

    def show(event: "FeedEvent", outcome: "Outcome | None") -> None:
        listing.show([(*_row(event), *([] if outcome is None else [_outcome_text(outcome)]))])

    return show


def _row(event: "FeedEvent") -> tuple[str, ...]:
    cloudevent = event.cloudevent
    data = cloudevent.get("data") or {}
    completion = data.get("completion") or {}
    return (
        str(event.number),
        str(cloudevent.get("time", "")),
        str(cloudevent.get("type", "")).removeprefix("completion."),
        str(cloudevent.get("source", "")).removeprefix("/sources/"),
        str(cloudevent.get("subject", "")),
        str(completion.get("user_name") or completion.get("user_id") or ""),
        str(completion.get("training_title") or completion.get("training_id") or data.get("summary") or ""),
    )


def _outcome_text(outcome: "Outcome") -> str:
    if outcome.status is not None:
        return f"{outcome.status}" if not outcome.detail else f"{outcome.status} {outcome.detail}"
    return f"{outcome.reason}: {outcome.detail}"


def event_of(document: Mapping[str, Any]) -> Event:
    """Convert a CloudEvent of the feed into an Event. Raises CommandError."""
    try:
        return Event(
            sequence=int(document["sequence"]),
            id=document["id"],
            type=document["type"],
            source=str(document["source"]).removeprefix("/sources/").removeprefix("/"),
            subject=document["subject"],
            time_ms=_parse_time_ms(document["time"]),
            data=orjson.dumps(document["data"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError("the daemon's feed has an unknown format: the daemon may have another version") from error


def _parse_time_ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)
