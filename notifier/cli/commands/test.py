"""`notifier test`."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import click

from notifier import logs
from notifier.cli.completing import destination_names
from notifier.cli.configuration import read_settings, require_destination
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import say, say_facts, say_json
from notifier.cli.text import NOTHING, counted, harmless, harmless_json
from notifier.clock import SystemClock
from notifier.completions import Event
from notifier.config import Destination, Settings
from notifier.deliver import registry
from notifier.deliver.outcome import Outcome, Reason, Trouble, trouble
from notifier.deliver.preview import Preview, Previewing, requests
from notifier.deliver.sample import sample_event
from notifier.ledger.outbox import Delivery
from notifier.transport import new_session

_ADVICE: Final = {
    Trouble.ENDPOINT: "check its `url`, and whether what stands there is up",
    Trouble.EVENT: "it answers but refuses what is sent: check its `url`, `secret` and `headers`, and its own log",
    Trouble.REVOKED: "nothing will be accepted there any more: put a new `url` into the configuration",
}


_MOST_EVENTS: Final = 1000


@click.command(
    epilog=examples("notifier test safety-channel", "notifier test safety-channel --preview --events 25"),
)
@click.argument("destination", shell_complete=destination_names)
@click.option("--preview", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option("--events", type=click.IntRange(1, _MOST_EVENTS), default=1, metavar="N", help="Preview so many at once.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line.")
@takes_given
def test(given: Given, destination: str, *, preview: bool, events: int, as_json: bool) -> None:
    """Send one sample event to DESTINATION and show the answer.

    The event says that it is a test; nothing is stored, and there is one attempt only.
    """
    if events > 1 and not preview:
        raise click.UsageError("one event is sent, never more: --events goes with --preview")
    settings = read_settings(given)
    require_destination(settings, destination)
    logs.set_up(given.log_level(), "text")
    clock = SystemClock()
    source = _source(settings, settings.destinations[destination])
    if preview:
        samples = [sample_event(source, clock.now_ms(), number) for number in range(1, events + 1)]
        previews = asyncio.run(_previews(settings, destination, samples))
        if as_json:
            say_json(_preview_document(number, preview) for number, preview in previews)
        else:
            _show(previews)
        return
    event = sample_event(source, clock.now_ms())
    started = clock.monotonic()
    outcome = asyncio.run(_send(settings, destination, event))
    milliseconds = round((clock.monotonic() - started) * 1000)
    document = {
        "destination": destination,
        "event": event.id,
        "result": outcome.reason,
        "status": outcome.status,
        "answer": outcome.detail,
    }
    if as_json:
        say_json([{**document, "milliseconds": milliseconds}])
    else:
        facts = [(name, str(value or NOTHING)) for name, value in document.items()]
        say_facts([*facts, ("time", f"{milliseconds} ms")])
    if outcome.reason is not Reason.DELIVERED:
        raise Failure(f"{destination} has not taken the event ({outcome.reason}): {_ADVICE[trouble(outcome.reason)]}")


def _source(settings: Settings, destination: Destination) -> str:
    """Return a source whose events go there."""
    return next(iter(destination.sources or settings.sources))


async def _send(settings: Settings, name: str, event: Event) -> Outcome:
    async with new_session() as session:
        destination = registry.build(name, settings.destinations[name], session, SystemClock())
        return await destination.send([_delivery(name, event)])


async def _previews(settings: Settings, name: str, events: Sequence[Event]) -> list[tuple[int, Preview]]:
    """Return the requests that events waiting together would make, each with how many it carries."""
    async with new_session() as session:
        destination = registry.build(name, settings.destinations[name], session, SystemClock())
        if not isinstance(destination, Previewing):
            raise Failure(f"what goes to the type `{settings.destinations[name].type}` cannot be shown beforehand")
        waiting = [_delivery(name, event) for event in events]
        groups = requests(waiting, destination.grouping)
        return [(len(group), await destination.preview(group)) for group in groups]


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
            say("")
        say(f"request {number} of {len(previews)}, with {counted(events, 'event')}")
        say_facts(sorted(preview.headers.items()))
        for line in preview.lines:
            text = line.lstrip()
            say("  " + " " * (len(line) - len(text)) + harmless(text))
        say(harmless_json(preview.body.decode()))


def _delivery(name: str, event: Event) -> Delivery:
    return Delivery(event, name, attempts=0, first_attempt_ms=None)
