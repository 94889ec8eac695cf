"""`notifier retry`."""

from typing import TYPE_CHECKING, Any

import click

from notifier import logs
from notifier.cli import running
from notifier.cli.completing import destination_names
from notifier.cli.configuration import read_settings, require_destination
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.parameters import OneOf, one_json_object
from notifier.cli.screen import say, say_json
from notifier.cli.text import counted
from notifier.ledger.again import Retry
from notifier.ledger.outbox import DeliveryState
from notifier.web.asked import RETRIED_STATES

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command(
    epilog=examples(
        "notifier retry",
        "notifier retry --destination hr-system",
        "notifier retry --state pending --destination hr-system",
        "notifier retry evt_o5xz64gu32q36eieigh27fof3j",
    )
)
@click.argument("event_ids", nargs=-1, metavar="[EVENT_ID]...")
@click.option("--destination", metavar="D", shell_complete=destination_names, help="Only those to this destination.")
@click.option(
    "--state",
    type=OneOf([str(state) for state in RETRIED_STATES]),
    default=str(DeliveryState.DEAD),
    show_default=True,
    help="Those that were given up, or those that wait for another attempt.",
)
@one_json_object
@takes_given
def retry(given: Given, event_ids: tuple[str, ...], destination: str | None, state: str, *, as_json: bool) -> None:
    """Put deliveries back into the queue.

    Of all events, or of those named. Dead deliveries begin anew, with all their attempts; pending ones are tried at
    once, even where the destination as a whole is in trouble and waits.
    """
    settings = read_settings(given)
    if destination is not None:
        require_destination(settings, destination)
    body: dict[str, Any] = {"event_ids": event_ids, "destination": destination, "state": state}
    answer = running.ask(settings.store.path, "POST", "/v1/deliveries/retry", body=body)
    if answer is not None:
        counts: Mapping[str, int] = answer.body["destinations"]
    else:
        # Half a second of imports that a running daemon makes unnecessary.
        from notifier.cli.alone_deliveries import retry_alone  # noqa: PLC0415

        logs.set_up(given.log_level(), "text")
        counts = retry_alone(settings, Retry(DeliveryState(state), event_ids, destination))
    count = sum(counts.values())
    if as_json:
        say_json([{"deliveries": count, "destinations": counts, "daemon": answer is not None}])
        return
    say(f"{counted(count, 'delivery', 'deliveries')} put back into the queue")
    if count and answer is None:
        say("No daemon runs: they wait in the state file until `notifier run` delivers them.")
