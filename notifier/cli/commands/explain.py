"""`notifier explain`."""

from collections.abc import Iterator, Sequence
from typing import Final

import click
import orjson

from notifier.cli.columns import Column
from notifier.cli.configuration import read_settings
from notifier.cli.failures import UnknownName
from notifier.cli.given import Given, takes_given
from notifier.cli.help import examples
from notifier.cli.screen import Listing, say, say_facts, say_json
from notifier.cli.state_file import reading
from notifier.cli.text import NOTHING, counted, distance, moment
from notifier.clock import SystemClock
from notifier.daemon.explained import forgotten, known_lives, life_document, not_told
from notifier.daemon.sentences import FOUND, NOT_TOLD, why
from notifier.deliver.filters import subscriptions
from notifier.ledger.history import PastDelivery
from notifier.ledger.lives import EventLife, FieldChange, Life, PastAttempt
from notifier.ledger.outbox import DeliveryState
from notifier.ledger.subscriptions import Subscription
from notifier.web.control import UnknownRecordError

_COLUMNS: Final = (Column("when"), Column("what"), Column("where"), Column("how"))

Row = tuple[str, str, str, str]


@click.command(epilog=examples("notifier explain 1238", "notifier explain v1-0f3a5c7e9b1d2468 --json"))
@click.argument("record")
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line for each source.")
@takes_given
def explain(given: Given, record: str, *, as_json: bool) -> None:
    """Show a record's life: how it was found, what was sent where.

    RECORD is the record's key. Every source that knows it is shown, and of each destination that was not told, why. It
    works with and without a running daemon.
    """
    settings = read_settings(given)
    with reading(settings.store.path) as db:
        try:
            lives = known_lives(db, record)
        except UnknownRecordError as error:
            raise UnknownName(str(error)) from error
    wanted = subscriptions(settings.destinations)
    if as_json:
        say_json(life_document(life, wanted) for life in lives)
    else:
        _show(lives, wanted, SystemClock().now_ms())


def _show(lives: Sequence[Life], wanted: Sequence[Subscription], now_ms: int) -> None:
    for number, life in enumerate(lives):
        if number:
            say("")
        say_facts(_facts(life))
        say("")
        if life.events:
            Listing(*_COLUMNS).show(_story(life, wanted, now_ms))
        else:
            say("No event about it is kept any more." if forgotten(life) else "No event was made of it.")


def _facts(life: Life) -> Iterator[tuple[str, str]]:
    yield "source", life.source
    yield "record", life.key
    yield "person", _named(life.user_name, life.user_id)
    yield "training", _named(life.training_title, life.training_id)
    yield "completed", life.completed_on or NOTHING
    yield "entered", moment(life.recorded_ms)
    yield "first seen", f"{moment(life.seen_ms)}, {FOUND[life.net]}"
    yield "taken for", why(life.reason)
    if life.removed_ms is not None:
        yield "removed", moment(life.removed_ms)
    yield "revision", str(life.revision)
    if revisions := forgotten(life):
        gone = f"{counted(len(revisions), 'event')}, up to revision {revisions[-1]}"
        yield "forgotten", f"{gone}: older than [store] retention, or told under a former name of the source"


def _named(name: str | None, identifier: str) -> str:
    return identifier if name is None else f"{name} ({identifier})"


def _story(life: Life, wanted: Sequence[Subscription], now_ms: int) -> list[Row]:
    """Tell what happened in the order of time; what was not delivered stands last."""
    past: list[tuple[int, Row]] = []
    undelivered: list[Row] = []
    for event in life.events:
        past += ((event.detected_ms, row) for row in _event_rows(life.source, event, wanted))
        for delivery in event.deliveries:
            past += (
                (attempt.attempted_ms, _attempt_row(attempt, number, delivery.delivery))
                for number, attempt in enumerate(delivery.attempts, start=1)
            )
            if delivery.delivery.state is not DeliveryState.DELIVERED:
                undelivered.append(_undelivered_row(delivery.delivery, now_ms))
    return [row for _, row in sorted(past, key=lambda entry: entry[0])] + undelivered


def _event_rows(source: str, event: EventLife, wanted: Sequence[Subscription]) -> Iterator[Row]:
    what = f"{event.type.removeprefix('completion.')} (event {event.sequence})"
    yield moment(event.detected_ms), what, NOTHING, f"{event.id}, found {FOUND[event.net]}; {why(event.reason)}"
    for field, change in event.changes.items():
        yield "", f"changed {field}", NOTHING, _change(change)
    if not event.deliveries:
        yield "", "sent to nobody", NOTHING, "no destination was to get it"
    for destination, reason in not_told(source, event, wanted).items():
        yield "", "not sent", destination, NOT_TOLD[reason]


def _change(change: FieldChange) -> str:
    return f"{orjson.dumps(change.old).decode()} -> {orjson.dumps(change.new).decode()}"


def _attempt_row(attempt: PastAttempt, number: int, delivery: PastDelivery) -> Row:
    answer = attempt.reason if attempt.status is None else f"{attempt.reason} {attempt.status}"
    decision = "" if attempt.decision == attempt.reason else f", {attempt.decision}"
    detail = f": {attempt.detail}" if attempt.detail else ""
    how = f"{answer}{decision}, {attempt.milliseconds:,} ms{detail}"
    return moment(attempt.attempted_ms), f"attempt {number} (event {delivery.sequence})", delivery.destination, how


def _undelivered_row(delivery: PastDelivery, now_ms: int) -> Row:
    if delivery.state is DeliveryState.DEAD:
        when, how = NOTHING, "given up; the event is kept"
    elif delivery.next_attempt_ms is None:
        when, how = NOTHING, "waits for its destination to be enabled"
    else:
        due_ms = max(delivery.next_attempt_ms, now_ms)
        when, how = moment(due_ms), f"next attempt {distance(due_ms, now_ms)}"
    return when, f"{delivery.state} (event {delivery.sequence})", delivery.destination, how
