"""The command `notifier deliveries`, which shows, drops and moves deliveries."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from notifier.cli import daemon_client
from notifier.cli.context import require_destination, settings_and_state_file, settings_without_daemon
from notifier.cli.errors import CommandError
from notifier.cli.formatting import NOTHING, Column, format_count, local_time, relative_time
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import TableWriter, echo, echo_json, is_terminal, show_pages
from notifier.cli.parameter_types import OneOf, destination_names, json_object_option, reject_empty
from notifier.cli.store_access import FollowedStore, follow_store
from notifier.clock import SystemClock
from notifier.config import Settings
from notifier.daemon.api.delivery import delivery_document
from notifier.store.database import Database
from notifier.store.queries import history
from notifier.store.queries.history import DeliveryCursor, DeliveryFilter, PastDelivery
from notifier.store.tables import requeue
from notifier.store.tables.outbox import DeliveryState
from notifier.store.tables.requeue import DropSelection
from notifier.web.requests import DROPPABLE_STATES

EVENT_ID: Final = "evt_"
"""The prefix of every event id; no destination's name can begin with it."""

_LATEST_ROWS: Final = 50
_PAGE: Final = 500
_CHECK_SECONDS: Final = 0.2
"""Seconds between two checks for new deliveries; a check takes some microseconds."""

_COLUMNS: Final = (
    Column("event", min_width=30),
    Column("record", min_width=8),
    Column("destination", min_width=12),
    Column("state", min_width=9),
    Column("attempts", align_right=True),
    Column("last answer", min_width=20),
    Column("decision", min_width=12),
    Column("next attempt"),
)


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "notifier deliveries",
        "notifier deliveries --state dead --destination hr-system",
        "notifier deliveries --follow",
        "notifier deliveries --state pending --json",
        "notifier deliveries drop evt_o5xz64gu32q36eieigh27fof3j --yes",
    ),
)
@click.option("--state", type=OneOf([str(state) for state in DeliveryState]), help="Only those in this state.")
@click.option("--destination", metavar="D", shell_complete=destination_names, help="Only those to this destination.")
@click.option("--follow", is_flag=True, help="Wait for further attempts, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line.")
@pass_global_options
@click.pass_context
def deliveries(
    context: click.Context,
    global_options: GlobalOptions,
    state: str | None,
    destination: str | None,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Show deliveries: what was sent, retried or given up.

    On a terminal, this shows the latest 50 deliveries, otherwise all; the newest comes last. With --follow, it then
    shows each further attempt as it is made. This works with and without a running daemon. `notifier deliveries drop`
    removes deliveries from the queue. After a destination was renamed, `notifier deliveries move` moves its deliveries
    to the new name.
    """
    if (command := context.invoked_subcommand) is not None:
        if state is not None or destination is not None or follow or as_json:
            raise click.UsageError(f"write the options of `{command}` after it: `notifier deliveries {command} ...`")
        return
    settings, state_file = settings_and_state_file(global_options)
    delivery_filter = DeliveryFilter(None if state is None else DeliveryState(state), destination)
    with follow_store(state_file if settings is None else settings.store) as store:
        _require_known_destination(store.current()[0], settings, destination)
        show_pages(_pages(store, delivery_filter, follow=follow), _show_json if as_json else _table(may_grow=follow))


@deliveries.command(
    epilog=examples(
        "notifier deliveries drop old-system --yes",
        "notifier deliveries drop evt_o5xz64gu32q36eieigh27fof3j --destination hr-system --yes",
        "notifier deliveries drop hr-system --unmatched --yes",
    )
)
@click.argument("what", metavar="DESTINATION|EVENT_ID", callback=reject_empty)
@click.option(
    "--destination",
    metavar="D",
    callback=reject_empty,
    shell_complete=destination_names,
    help="With EVENT_ID: only to this destination.",
)
@click.option(
    "--state",
    type=OneOf([str(state) for state in DROPPABLE_STATES]),
    default=str(DeliveryState.PENDING),
    show_default=True,
    help="Those that wait, or those that were given up.",
)
@click.option("--unmatched", is_flag=True, help="Only those whose events the destination's filters now exclude.")
@click.option("--yes", is_flag=True, help="Do it. Without --yes, only print how many there are, and exit with 1.")
@json_object_option
@pass_global_options
def drop(
    global_options: GlobalOptions,
    what: str,
    destination: str | None,
    state: str,
    *,
    unmatched: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove deliveries from the queue, so that they are not sent.

    With EVENT_ID, the deliveries of this event are removed. With DESTINATION, the deliveries to this destination are
    removed, even if the destination is no longer configured. The events are kept, and a replay can send them again.
    """
    settings, state_file = settings_and_state_file(global_options)
    if what.startswith(EVENT_ID):
        request = DropSelection((what,), destination, DeliveryState(state), unmatched=unmatched)
    elif destination is not None:
        raise click.UsageError("`--destination` needs an event's id: name the destination only once")
    else:
        request = DropSelection((), what, DeliveryState(state), unmatched=unmatched)
    body = {
        "event_ids": request.event_ids or None,
        "destination": request.destination,
        "state": state,
        "unmatched": unmatched,
        "dry_run": not yes,
    }
    answer = daemon_client.request(state_file, "POST", "/v1/deliveries/drop", body=body, timeout=None)
    if answer is not None:
        result: Mapping[str, Any] = answer.body
    else:
        # Imported only without a daemon, because the import takes half a second.
        from notifier.cli.offline_deliveries import drop_offline  # noqa: PLC0415

        settings = settings_without_daemon(global_options, settings)
        result = drop_offline(settings, request, dry_run=not yes)
    if as_json:
        echo_json([{**result, "daemon": answer is not None}])
        return
    echo(f"{format_count(result['deliveries'], 'delivery', 'deliveries')} {'dropped' if yes else 'would be dropped'}")
    echo(*(f"  {name}: {count:,}" for name, count in result["destinations"].items()))
    if not yes and result["deliveries"]:
        raise CommandError("nothing was dropped: add `--yes` to drop them")


@deliveries.command(epilog=examples("notifier deliveries move hr hr-system"))
@click.argument("old")
@click.argument("new", shell_complete=destination_names)
@json_object_option
@pass_global_options
def move(global_options: GlobalOptions, old: str, new: str, *, as_json: bool) -> None:
    """Move the deliveries that wait for OLD to NEW.

    OLD is a destination that is no longer configured, for example because it was renamed. Events keep their ids,
    and NEW is not sent anything that it already has.
    """
    settings, state_file = settings_and_state_file(global_options)
    require_destination(settings, new)
    body = {"from": old, "to": new}
    answer = daemon_client.request(state_file, "POST", "/v1/deliveries/move", body=body, timeout=None)
    if answer is not None:
        done, result = answer.done, answer.body
    else:
        # Imported only without a daemon, because the import takes half a second.
        from notifier.cli.offline_deliveries import move_offline  # noqa: PLC0415

        settings = settings_without_daemon(global_options, settings)
        moved = move_offline(settings, old, new)
        done, result = moved.ok, dict(moved.body)
    if not done:
        raise CommandError(result["message"])
    if as_json:
        echo_json([{**result, "daemon": answer is not None}])
        return
    echo(f"{format_count(result['deliveries'], 'delivery', 'deliveries')} moved to {new}")


def _require_known_destination(db: Database, settings: Settings | None, name: str | None) -> None:
    """Raise NameNotFoundError if the destination `name` is neither configured nor known to the store.

    If `settings` or `name` is None, nothing is checked.
    """
    if settings is not None and name is not None and name not in history.known_destination_names(db):
        require_destination(settings, name)


def _pages(store: FollowedStore, delivery_filter: DeliveryFilter, *, follow: bool) -> Iterator[list[PastDelivery]]:
    db, _ = store.current()
    last_attempt = requeue.newest_attempt_number(db)
    yield from _past_pages(db, delivery_filter)
    while follow:
        db, is_replaced = store.current()
        if is_replaced:
            # The new state file may number its attempts differently.
            last_attempt = min(last_attempt, requeue.newest_attempt_number(db))
        before = last_attempt
        attempted, last_attempt = history.attempted_after(db, last_attempt, delivery_filter, _PAGE)
        if attempted:
            yield attempted
        elif last_attempt == before:
            time.sleep(_CHECK_SECONDS)


def _past_pages(db: Database, delivery_filter: DeliveryFilter) -> Iterator[list[PastDelivery]]:
    if is_terminal():
        if latest := history.latest_deliveries(db, delivery_filter, _LATEST_ROWS):
            yield latest
        return
    cursor = DeliveryCursor()
    while page := history.deliveries_after(db, cursor, delivery_filter, _PAGE):
        yield page
        cursor = page[-1].cursor


def _show_json(page: Sequence[PastDelivery]) -> None:
    echo_json(delivery_document(delivery) for delivery in page)


def _table(*, may_grow: bool) -> Callable[[Sequence[PastDelivery]], None]:
    listing, clock = TableWriter(*_COLUMNS, may_grow=may_grow), SystemClock()
    return lambda page: listing.show(_row(delivery, clock.now_ms()) for delivery in page)


def _row(delivery: PastDelivery, now_ms: int) -> tuple[str, ...]:
    return (
        delivery.event,
        delivery.record,
        delivery.destination,
        delivery.state,
        str(delivery.attempts),
        f"{delivery.reason or NOTHING} {delivery.status or ''}",
        delivery.decision or NOTHING,
        _next_attempt(delivery, now_ms),
    )


def _next_attempt(delivery: PastDelivery, now_ms: int) -> str:
    due_ms = delivery.next_attempt_ms
    due = relative_time(None if due_ms is None else max(due_ms, now_ms), now_ms)
    return due if delivery.scheduled_ms is None else f"{due} (schedule: {local_time(delivery.scheduled_ms)[:16]})"
