"""The command `notifier explain`, which shows a record's history."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click
import orjson

from notifier.cli.context import read_settings
from notifier.cli.errors import NameNotFoundError
from notifier.cli.formatting import NOTHING, Column, format_count, local_time, relative_time
from notifier.cli.global_options import GlobalOptions, pass_global_options
from notifier.cli.help_text import examples
from notifier.cli.output import TableWriter, echo, echo_json, print_facts
from notifier.cli.store_access import open_store_read_only
from notifier.clock import SystemClock
from notifier.daemon.api.record import (
    deleted_revisions,
    history_document,
    known_histories,
    unjudged_filters,
    unsent_reasons,
    withheld_changes,
)
from notifier.daemon.api.record_sentences import (
    DETECTION_SENTENCES,
    UNSENT_SENTENCES,
    reason_sentence,
    unjudged_sentence,
)
from notifier.delivery.subscriptions import subscriptions_of
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
@pass_global_options
def explain(global_options: GlobalOptions, record: str, *, as_json: bool) -> None:
    """Show a record's history and what was sent where.

    RECORD is the record's key. Shows every source that knows the record and, for each destination that was not
    notified, the reason. This command works with and without a running daemon.
    """
    settings = read_settings(global_options)
    with open_store_read_only(settings.store) as db:
        try:
            histories = known_histories(db, record)
        except UnknownRecordError as error:
            raise NameNotFoundError(str(error)) from error
    subscribed = subscriptions_of(settings.destinations)
    confirm_after = {name: source.confirm_after for name, source in settings.sources.items()}
    if as_json:
        echo_json(
            history_document(record_history, subscribed, confirm_after.get(record_history.source))
            for record_history in histories
        )
    else:
        _show(histories, subscribed, confirm_after, SystemClock().now_ms())


def _show(
    histories: Sequence[RecordHistory],
    subscribed: Sequence[Subscription],
    confirm_after: Mapping[str, float],
    now_ms: int,
) -> None:
    for number, record_history in enumerate(histories):
        if number:
            echo("")
        print_facts(
            [
                *_facts(record_history),
                *_unreported_facts(record_history, confirm_after.get(record_history.source), now_ms),
            ]
        )
        echo("")
        if record_history.events:
            TableWriter(*_COLUMNS).show(_history_rows(record_history, subscribed, now_ms))
        else:
            echo("Its events are no longer stored." if deleted_revisions(record_history) else "It caused no event.")


def _facts(record_history: RecordHistory) -> Iterator[tuple[str, str]]:
    yield "source", record_history.source
    yield "record", record_history.key
    yield "person", _name_with_id(record_history.user_name, record_history.user_id)
    yield "training", _name_with_id(record_history.training_title, record_history.training_id)
    yield "completed", record_history.completed_on or NOTHING
    yield "entered", local_time(record_history.recorded_ms)
    yield "first seen", f"{local_time(record_history.seen_ms)}, {DETECTION_SENTENCES[record_history.detected_by]}"
    yield "treated as", reason_sentence(record_history.reason)
    if record_history.removed_ms is not None:
        yield "removed", local_time(record_history.removed_ms)
    yield "revision", str(record_history.revision)
    if revisions := deleted_revisions(record_history):
        gone = f"{format_count(len(revisions), 'event')}, up to revision {revisions[-1]}"
        yield "forgotten", f"{gone}: older than [store] retention, or created under a former name of the source"


def _unreported_facts(
    record_history: RecordHistory, confirm_after: float | None, now_ms: int
) -> Iterator[tuple[str, str]]:
    """Explain why changes of the record are not reported yet: yield the name and the value of each fact."""
    if record_history.out_of_view:
        yield (
            "excluded",
            "the source's `training_id`, `user_id` or `has_attachments` excludes it now; nothing about it is reported",
        )
    for change in withheld_changes(record_history, confirm_after):
        since = f"since {local_time(change.since_ms)}: " if change.since_ms is not None else ""
        yield "not reported yet", f"{since}{change.why}"
        if change.not_before_ms is not None:
            due_ms = max(change.not_before_ms, now_ms)
            yield "reported at the earliest", f"{local_time(change.not_before_ms)} ({relative_time(due_ms, now_ms)})"
        yield "still missing", change.missing


def _name_with_id(name: str | None, identifier: str) -> str:
    return identifier if name is None else f"{name} ({identifier})"


def _history_rows(record_history: RecordHistory, subscribed: Sequence[Subscription], now_ms: int) -> list[Row]:
    """Return rows about the past in chronological order, then a row for each pending or dead delivery."""
    past: list[tuple[int, Row]] = []
    undelivered: list[Row] = []
    for event in record_history.events:
        past += ((event.detected_ms, row) for row in _event_rows(record_history.source, event, subscribed))
        for delivery in event.deliveries:
            past += (
                (attempt.attempted_ms, _attempt_row(attempt, number, delivery.delivery))
                for number, attempt in enumerate(delivery.attempts, start=1)
            )
            if delivery.delivery.state is not DeliveryState.DELIVERED:
                undelivered.append(_undelivered_row(delivery.delivery, now_ms))
    return [row for _, row in sorted(past, key=lambda entry: entry[0])] + undelivered


def _event_rows(source: str, event: EventHistory, subscribed: Sequence[Subscription]) -> Iterator[Row]:
    what = f"{event.type.removeprefix('completion.')} (event {event.sequence})"
    yield (
        local_time(event.detected_ms),
        what,
        NOTHING,
        f"{event.id}, found {DETECTION_SENTENCES[event.detected_by]}; {reason_sentence(event.reason)}",
    )
    for field, change in event.changes.items():
        yield "", f"changed {field}", NOTHING, _change(change)
    unsent = unsent_reasons(source, event, subscribed)
    if not event.deliveries and not unsent:
        yield "", "not sent", NOTHING, "no destination was configured to receive it, or its deliveries were dropped"
    for destination, reason in unsent.items():
        yield "", "not sent", destination, UNSENT_SENTENCES[reason]
    for destination, filters in unjudged_filters(event, subscribed).items():
        yield "", "not judged", destination, unjudged_sentence(filters)


def _change(change: FieldChange) -> str:
    return f"{orjson.dumps(change.old).decode()} -> {orjson.dumps(change.new).decode()}"


def _attempt_row(attempt: PastAttempt, number: int, delivery: PastDelivery) -> Row:
    answer = attempt.reason if attempt.status is None else f"{attempt.reason} {attempt.status}"
    decision = "" if attempt.decision == attempt.reason else f", {attempt.decision}"
    detail = f": {attempt.detail}" if attempt.detail else ""
    how = f"{answer}{decision}, {attempt.milliseconds:,} ms{detail}"
    return local_time(attempt.attempted_ms), f"attempt {number} (event {delivery.sequence})", delivery.destination, how


def _undelivered_row(delivery: PastDelivery, now_ms: int) -> Row:
    if delivery.state is DeliveryState.DEAD:
        when, how = NOTHING, "given up; the event is kept"
    elif delivery.next_attempt_ms is None:
        when, how = NOTHING, "waits for its destination to be enabled"
    else:
        due_ms = max(delivery.next_attempt_ms, now_ms)
        why = "" if delivery.scheduled_ms is None else "waits for its destination's schedule: "
        when, how = local_time(due_ms), f"{why}next attempt {relative_time(due_ms, now_ms)}"
    return when, f"{delivery.state} (event {delivery.sequence})", delivery.destination, how
