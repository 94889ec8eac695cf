"""The command `notifier test`, which sends a sample event to a destination, or shows what would be sent."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import aiohttp
import click

from notifier import log
from notifier.cli import daemon_client
from notifier.cli.context import read_settings, require_destination
from notifier.cli.errors import CommandError, StandbyError
from notifier.cli.formatting import NOTHING, format_count, terminal_safe, terminal_safe_json
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json, print_facts
from notifier.cli.parameter_types import OneOf, destination_names
from notifier.cli.store_access import open_store_read_only
from notifier.clock import SystemClock
from notifier.config import Destination, MessageSettings, Settings
from notifier.delivery.policy.schedule import timetable_of
from notifier.delivery.preview import group_into_requests
from notifier.destinations import registry
from notifier.destinations.base import Destination as AnyDestination
from notifier.destinations.base import Preview, SupportsPreview, close
from notifier.destinations.outcome import AttemptResult, FailureScope, Outcome
from notifier.destinations.sample import SampleKind, sample_event, sample_events, sample_source
from notifier.events import Event
from notifier.http.exchange import new_session
from notifier.messages.phrasing import message_context
from notifier.regular_files import is_there
from notifier.store.tables.destinations import Health, read_health
from notifier.store.tables.outbox import Delivery

_ADVICE: Final = {
    FailureScope.PACE: "it asks for a pause: try again later",
    FailureScope.ENDPOINT: "check its address, and whether the receiver is running",
    FailureScope.UNKNOWN: "check its address, and whether the receiver is running",
    FailureScope.EVENT: (
        "it answers but refuses the event: check its `url`, `secret` and `headers`, and the receiver's log"
    ),
    FailureScope.PERMANENT: "this address will not accept anything any more: enter a new `url` in the configuration",
}


_ADVICE_BY_REASON: Final = {
    AttemptResult.ACCESS_REFUSED: "check the user name, the password, and what this user may write",
    AttemptResult.TARGET_MISSING: "check the name of its topic, queue or exchange, and whether it exists",
    AttemptResult.CERTIFICATE_REJECTED: "check the address and `ca_file`, and the certificates of both sides",
    AttemptResult.PROXY_REFUSED: "check its `proxy`, or the variables HTTPS_PROXY and NO_PROXY",
    AttemptResult.ORIGIN_REFUSED: "let the receiver allow its `origin`, or remove that key",
}
"""The advice for some results. It is more specific than the advice for their failure scope."""

_PROXY_OR_RECEIVER: Final = (
    "check its `proxy`, or the variables HTTPS_PROXY and NO_PROXY, and whether the proxy is running; then its address"
)
"""The advice if a request through a proxy got no answer."""

_MAX_EVENTS: Final = 1000
_DIGEST_EVENTS: Final = 5


@click.command(
    epilog=examples("notifier test safety-channel", "notifier test safety-channel --preview --kind digest"),
)
@click.argument("destination", shell_complete=destination_names)
@click.option("--preview", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option(
    "--events",
    type=click.IntRange(1, _MAX_EVENTS),
    metavar="N",
    help="Number of events to preview together. Default: as many as a message of that kind needs.",
)
@click.option(
    "--kind",
    type=OneOf([str(kind) for kind in SampleKind]),
    help="What to preview. Default: created, or a digest if the destination has a schedule.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line.")
@pass_global_options
def test(
    global_options: GlobalOptions,
    destination: str,
    *,
    preview: bool,
    events: int | None,
    kind: str | None,
    as_json: bool,
) -> None:
    """Send one sample event to DESTINATION and show the answer.

    The event is marked as a test and is not stored. There is one attempt, with the present configuration file. If
    DESTINATION was paused after failures, a successful attempt ends the pause. But if the running daemon has not loaded
    the latest changes of DESTINATION in this file yet, the output says so, and the pause continues.
    """
    if kind is not None and not preview:
        raise click.UsageError("only an event of the kind `created` is sent; --kind needs --preview")
    if events is not None and events > 1 and not preview:
        raise click.UsageError("only one event is sent; --events needs --preview")
    settings = read_settings(global_options)
    require_destination(settings, destination)
    log.setup(global_options.log_level(), "text")
    clock = SystemClock()
    source = sample_source(settings, settings.destinations[destination])
    if preview:
        has_schedule = timetable_of(settings.destinations[destination]) is not None
        sample_kind = SampleKind(kind) if kind else SampleKind.DIGEST if has_schedule else SampleKind.CREATED
        count = events or _default_count(sample_kind, settings.destinations[destination])
        samples = sample_events(sample_kind, source, clock.now_ms(), count)
        previews = asyncio.run(_previews(settings, destination, samples, is_digest=sample_kind is SampleKind.DIGEST))
        if as_json:
            echo_json(_preview_document(number, preview) for number, preview in previews)
        else:
            _show(previews)
        return
    state = _destination_state(settings, destination)
    event = sample_event(source, clock.now_ms())
    started = clock.monotonic()
    outcome = asyncio.run(_send_sample(settings, destination, event))
    milliseconds = round((clock.monotonic() - started) * 1000)
    # If the daemon uses an older configuration, the pause may concern another address, so it continues.
    can_end_pause = outcome.reason is AttemptResult.DELIVERED and not state["unfollowed"]
    pause_ended = can_end_pause and _end_pause(settings, destination)
    document = {
        "destination": destination,
        "event": event.id,
        "result": outcome.reason,
        "status": outcome.status,
        "answer": outcome.detail,
    }
    if as_json:
        echo_json([{**document, "waited": pause_ended, "milliseconds": milliseconds, **state}])
    else:
        facts = [(name, str(value or NOTHING)) for name, value in document.items()]
        print_facts([*facts, ("time", f"{milliseconds} ms")])
        if pause_ended:
            echo(f"the pause of {destination} after failures has ended")
        if state["message"]:
            echo(f"But {state['message']}")
    if outcome.reason is not AttemptResult.DELIVERED:
        raise CommandError(f"{destination} did not accept the event ({outcome.reason}): {_advice(outcome)}")


def _advice(outcome: Outcome) -> str:
    default = _PROXY_OR_RECEIVER if outcome.through_proxy else _ADVICE[outcome.scope]
    return _ADVICE_BY_REASON.get(outcome.reason, default)


def _destination_state(settings: Settings, destination: str) -> Mapping[str, Any]:
    """Return a destination's state, and the changes of its configuration that the daemon has not loaded yet."""
    # Imported here, because the imports take half a second and a preview does not need them.
    from notifier.daemon.api.deliveries import destination_document  # noqa: PLC0415
    from notifier.daemon.configuration import UnloadedChanges  # noqa: PLC0415

    # On a machine whose daemon stands by, the test shows whether this machine could take over.
    with suppress(StandbyError):
        answer = daemon_client.request(settings.store.path, "GET", f"/v1/destinations/{destination}")
        if answer is not None:
            return {key: answer.body[key] for key in ("state", "reason", "unfollowed", "message")}
    health = Health()
    # Errors of the state file are ignored, because the test does not need the file.
    if settings.store.url.get_secret_value() or is_there(settings.store.path):
        with suppress(CommandError), open_store_read_only(settings.store) as db:
            health = read_health(db, destination)
    return destination_document(destination, health, UnloadedChanges())


def _end_pause(settings: Settings, destination: str) -> bool:
    """End a destination's pause after failures; return whether it was paused."""
    try:
        answer = daemon_client.request(settings.store.path, "POST", f"/v1/destinations/{destination}/try", timeout=None)
    except StandbyError:
        return False
    if answer is not None:
        return bool(answer.body["waited"])
    if not is_there(settings.store.path):
        return False
    # Imported only without a daemon, because the import takes half a second.
    from notifier.cli.offline_deliveries import end_pause_offline  # noqa: PLC0415

    return end_pause_offline(settings, destination)


async def _send_sample(settings: Settings, name: str, event: Event) -> Outcome:
    async with new_session() as session:
        destination = _build_destination(settings, name, session)
        try:
            return await destination.send([_delivery(name, event)])
        finally:
            await close(destination)


def _default_count(kind: SampleKind, settings: Destination) -> int:
    """Return how many events a preview of this kind shows if the user gives no number."""
    match kind:
        case SampleKind.DIGEST if isinstance(settings, MessageSettings) and timetable_of(settings) is None:
            return settings.digest_above + 1
        case SampleKind.DIGEST | SampleKind.SESSION:
            return _DIGEST_EVENTS
        case _:
            return 1


async def _previews(
    settings: Settings, name: str, events: Sequence[Event], *, is_digest: bool
) -> list[tuple[int, Preview]]:
    """Preview the requests that would be sent if `events` were waiting for the destination `name`.

    Returns, for each request, the number of its events and its preview. With `is_digest`, the events wait for the next
    slot of the destination's schedule, if it has one.
    """
    async with new_session() as session:
        destination = _build_destination(settings, name, session)
        if not isinstance(destination, SupportsPreview):
            raise CommandError(f"the type `{settings.destinations[name].type}` has no preview")
        table, now_ms = timetable_of(settings.destinations[name]), SystemClock().now_ms()
        # Other previews have no slot: alerts do not wait for one, and with a slot a session would become a digest.
        slot_ms = table.next_slot_ms(now_ms) if table is not None and is_digest else None
        waiting = [Delivery(event, name, slot_ms=slot_ms) for event in events]
        groups = group_into_requests(waiting, destination, settings.destinations[name].rate)
        return [(len(group), await destination.preview(group)) async for group in groups]


def _build_destination(settings: Settings, name: str, session: aiohttp.ClientSession) -> AnyDestination:
    context = message_context(settings)
    return registry.build(name, settings.destinations[name], session, SystemClock(), context=lambda: context)


def _preview_document(events: int, preview: Preview) -> dict[str, Any]:
    return {
        "events": events,
        "headers": dict(preview.headers),
        "lines": preview.lines,
        "body": preview.body.decode(),
    }


def _show(previews: Sequence[tuple[int, Preview]]) -> None:
    for number, (events, preview) in enumerate(previews, start=1):
        if number > 1:
            echo("")
        echo(f"request {number} of {len(previews)}, with {format_count(events, 'event')}")
        print_facts(sorted(preview.headers.items()))
        for line in preview.lines:
            text = line.lstrip()
            echo("  " + " " * (len(line) - len(text)) + terminal_safe(text))
        echo(terminal_safe_json(preview.body.decode()))


def _delivery(name: str, event: Event) -> Delivery:
    return Delivery(event, name)
