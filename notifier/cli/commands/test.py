"""`notifier test`."""

import asyncio
from typing import Final

import click

from notifier import logs
from notifier.cli.configuration import read_settings, require_destination
from notifier.cli.failures import Failure
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import say_facts
from notifier.cli.text import NOTHING
from notifier.clock import SystemClock
from notifier.completions import Event
from notifier.config import Destination, Settings
from notifier.deliver import registry
from notifier.deliver.outcome import Outcome, Reason, Trouble, trouble
from notifier.deliver.sample import sample_event
from notifier.ledger.outbox import Delivery
from notifier.transport import new_session

_ADVICE: Final = {
    Trouble.ENDPOINT: "check its `url`, and whether what stands there is up",
    Trouble.EVENT: "it answers but refuses what is sent: check its `url`, `secret` and `headers`, and its own log",
    Trouble.REVOKED: "nothing will be accepted there any more: put a new `url` into the configuration",
}


@click.command(epilog=examples("notifier test safety-channel"))
@click.argument("destination")
@takes_given
def test(given: Given, destination: str) -> None:
    """Send one sample event to DESTINATION and show the answer.

    The event says that it is a test; nothing is stored, and there is one attempt only.
    """
    settings = read_settings(given)
    require_destination(settings, destination)
    logs.set_up(given.log_level(), "text")
    clock = SystemClock()
    event = sample_event(_source(settings, settings.destinations[destination]), clock.now_ms())
    started = clock.monotonic()
    outcome = asyncio.run(_send(settings, destination, event))
    seconds = clock.monotonic() - started
    say_facts(
        [
            ("destination", destination),
            ("event", event.id),
            ("result", outcome.reason),
            ("status", NOTHING if outcome.status is None else str(outcome.status)),
            ("answer", outcome.detail or NOTHING),
            ("time", f"{seconds * 1000:.0f} ms"),
        ]
    )
    if outcome.reason is not Reason.DELIVERED:
        raise Failure(f"{destination} has not taken the event ({outcome.reason}): {_ADVICE[trouble(outcome.reason)]}")


def _source(settings: Settings, destination: Destination) -> str:
    """Return a source whose events go there."""
    return next(iter(destination.sources or settings.sources))


async def _send(settings: Settings, name: str, event: Event) -> Outcome:
    async with new_session() as session:
        destination = registry.build(name, settings.destinations[name], session, SystemClock())
        return await destination.send([Delivery(event, name, attempts=0, first_attempt_ms=None)])
