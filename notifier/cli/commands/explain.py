"""The command `notifier explain`, which shows a record's history."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click
import orjson

from notifier.cli.context import read_settings
from notifier.cli.errors import NameNotFoundError
from notifier.cli.formatting import NOTHING, Column, counted, distance, moment
from notifier.cli.global_options import GlobalOptions, with_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import TableWriter, echo, echo_json, say_facts
from notifier.cli.store_access import reading
from notifier.clock import SystemClock
from notifier.daemon.api.record import forgotten, known_lives, life_document, not_judged, not_told, withheld
from notifier.daemon.api.record_sentences import FOUND, NOT_TOLD, not_judged_why, why
from notifier.delivery.subscriptions import subscriptions
from notifier.store.queries.history import PastDelivery
from notifier.store.queries.record_history import EventHistory, FieldChange, PastAttempt, RecordHistory
from notifier.store.subscriptions import Subscription
from notifier.store.tables.outbox import DeliveryState
from notifier.web.daemon_api import UnknownRecordError

_COLUMNS: Final = (Column("when"), Column("what"), Column("where"), Column("how"))

Row = tuple[str, str, str, str]


@click.command(epilog=examples("notifier explain 1238", "notifier explain v1-0f3a5c7e9b1d2468 --json"))
@click.argument("record")
@click.option("--json", "as_json", is_flag=True, help="Print JSON objects, one a line for each source.")
@with_global_options
def explain(given: GlobalOptions, record: str, *, as_json: bool) -> None:
    """Show a record's history and what was sent where.

    RECORD is the record's key. Shows every source that knows the record and, for each destination that was not
    notified, the reason. It works with and without a running daemon.
    """
    settings = read_settings(given)
    with reading(settings.store) as db:
        try:
            lives = known_lives(db, record)
        except UnknownRecordError as error:
            raise NameNotFoundError(str(error)) from error
    wanted = subscriptions(settings.destinations)
    confirm_after = {name: source.confirm_after for name, source in settings.sources.items()}
    if as_json:
        echo_json(life_document(life, wanted, confirm_after.get(life.source)) for life in lives)
    else:
        _show(lives, wanted, confirm_after, SystemClock().now_ms())


def _show(
    lives: Sequence[RecordHistory], wanted: Sequence[Subscription], confirm_after: Mapping[str, float], now_ms: int
) -> None:
    for number, life in enumerate(lives):
        if number:
            echo("")
        say_facts([*_facts(life), *_waits(life, confirm_after.get(life.source), now_ms)])
        echo("")
        if life.events:
            TableWriter(*_COLUMNS).show(_story(life, wanted, now_ms))
        else:
            echo("Its events are no longer stored." if forgotten(life) else "It caused no event.")


def _facts(life: RecordHistory) -> Iterator[tuple[str, str]]:
    yield "source", life.source
    yield "record", life.key
    yield "person", _named(life.user_name, life.user_id)
    yield "training", _named(life.training_title, life.training_id)
    yield "completed", life.completed_on or NOTHING
    yield "entered", moment(life.recorded_ms)
    yield "first seen", f"{moment(life.seen_ms)}, {FOUND[life.net]}"
    yield "treated as", why(life.reason)
    if life.removed_ms is not None:
        yield "removed", moment(life.removed_ms)
    yield "revision", str(life.revision)
    if revisions := forgotten(life):
        gone = f"{counted(len(revisions), 'event')}, up to revision {revisions[-1]}"
        yield "forgotten", f"{gone}: older than [store] retention, or created under a former name of the source"


def _waits(life: RecordHistory, confirm_after: float | None, now_ms: int) -> Iterator[tuple[str, str]]:
    """Yield the names and values of facts about unreported changes: the reason, the earliest time, what is missing."""
    if life.out_of_view:
        yield (
            "excluded",
            "the source's `training_id`, `user_id` or `has_attachments` excludes it now; nothing about it is reported",
        )
    for one in withheld(life, confirm_after):
        since = f"since {moment(one.since_ms)}: " if one.since_ms is not None else ""
        yield "not reported yet", f"{since}{one.why}"
        if one.not_before_ms is not None:
            due_ms = max(one.not_before_ms, now_ms)
            yield "reported at the earliest", f"{moment(one.not_before_ms)} ({distance(due_ms, now_ms)})"
        yield "still missing", one.missing


def _named(name: str | None, identifier: str) -> str:
    return identifier if name is None else f"{name} ({identifier})"


def _story(life: RecordHistory, wanted: Sequence[Subscription], now_ms: int) -> list[Row]:
    """Return the rows of the record's history in order of time; those about undelivered events are at the end."""
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


def _event_rows(source: str, event: EventHistory, wanted: Sequence[Subscription]) -> Iterator[Row]:
    what = f"{event.type.removeprefix('completion.')} (event {event.sequence})"
    yield moment(event.detected_ms), what, NOTHING, f"{event.id}, found {FOUND[event.net]}; {why(event.reason)}"
    for field, change in event.changes.items():
        yield "", f"changed {field}", NOTHING, _change(change)
    if not event.deliveries:
        yield "", "not sent", NOTHING, "no destination was configured to receive it"
    for destination, reason in not_told(source, event, wanted).items():
        yield "", "not sent", destination, NOT_TOLD[reason]
    for destination, filters in not_judged(event, wanted).items():
        yield "", "not judged", destination, not_judged_why(filters)


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
        why = "" if delivery.scheduled_ms is None else "waits for its destination's schedule: "
        when, how = moment(due_ms), f"{why}next attempt {distance(due_ms, now_ms)}"
    return when, f"{delivery.state} (event {delivery.sequence})", delivery.destination, how
