"""The command `notifier retry`, which puts deliveries back into the queue."""

from typing import TYPE_CHECKING, Any, Final

import click

from notifier.cli import daemon_client
from notifier.cli.context import require_destination, settings_and_state_file, settings_without_daemon
from notifier.cli.formatting import format_count
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import echo, echo_json
from notifier.cli.parameter_types import OneOf, destination_names, json_object_option
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import RetrySelection
from notifier.web.requests import EVENTS_REQUIRED, RETRYABLE_STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_EVENTS: Final = 1000
"""The maximum number of event ids in one request. The daemon refuses a request that is much larger."""


@click.command(
    epilog=examples(
        "notifier retry",
        "notifier retry --destination hr-system",
        "notifier retry --state pending --destination hr-system",
        "notifier retry evt_o5xz64gu32q36eieigh27fof3j",
        "notifier retry evt_o5xz64gu32q36eieigh27fof3j --state delivered --destination hr-system",
    )
)
@click.argument("event_ids", nargs=-1, metavar="[EVENT_ID]...")
@click.option("--destination", metavar="D", shell_complete=destination_names, help="Only those to this destination.")
@click.option(
    "--state",
    type=OneOf([str(state) for state in RETRYABLE_STATES]),
    default=str(DeliveryState.DEAD),
    show_default=True,
    help="Those that were given up, that wait for another attempt, or (with EVENT_ID) that were delivered.",
)
@json_object_option
@pass_global_options
def retry(
    global_options: GlobalOptions, event_ids: tuple[str, ...], destination: str | None, state: str, *, as_json: bool
) -> None:
    """Put deliveries back into the queue.

    Without EVENT_ID, the deliveries of all events are put back. Dead deliveries get all their attempts again; pending
    deliveries are tried at once. With EVENT_ID and `--state delivered`, a delivered event is sent again under the same
    id. A destination that pauses after failures is tried at once, even if nothing was put back.
    """
    if state == DeliveryState.DELIVERED and not event_ids:
        raise click.UsageError(EVENTS_REQUIRED)
    if len(event_ids) > _MOST_EVENTS:
        raise click.UsageError(f"name at most {_MOST_EVENTS:,} events at once (`xargs -n {_MOST_EVENTS}` does that)")
    settings, state_file = settings_and_state_file(global_options)
    require_destination(settings, destination)
    body: dict[str, Any] = {"event_ids": event_ids or None, "destination": destination, "state": state}
    # There is no time limit, because a long outage can leave hundreds of thousands of dead deliveries.
    answer = daemon_client.request(state_file, "POST", "/v1/deliveries/retry", body=body, timeout=None)
    if answer is not None:
        result: Mapping[str, Any] = answer.body
    else:
        # Imported only without a daemon, because the import takes half a second.
        from notifier.cli.offline_deliveries import retry_offline  # noqa: PLC0415

        settings = settings_without_daemon(global_options, settings)
        result = retry_offline(settings, RetrySelection(DeliveryState(state), event_ids, destination))
    count, waited = result["deliveries"], result["waited"]
    if as_json:
        echo_json([{**result, "daemon": answer is not None}])
        return
    echo(f"{format_count(count, 'delivery', 'deliveries')} put back into the queue")
    if result["message"]:
        echo(result["message"])
    if waited:
        when = "are tried now" if answer is not None else "are tried as soon as `notifier run` starts"
        echo(f"{', '.join(waited)} paused after failures; the waiting events {when}")
    if count and answer is None:
        echo("No daemon is running: they wait in the state file until `notifier run` delivers them.")
