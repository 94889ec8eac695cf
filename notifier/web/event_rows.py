"""Converts events to CSV, for spreadsheets, and to JSON Lines, for programs. Pure.

A spreadsheet evaluates a cell that begins like a formula, and names come from outside. Such a cell gets a leading
apostrophe, which makes it text (OWASP, "CSV Injection").
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import orjson

from notifier.clock import iso_utc
from notifier.destinations.webhook.envelope import cloudevent
from notifier.events import Event
from notifier.store.queries.history import PastDelivery
from notifier.store.tables.outbox import DeliveryState

COLUMNS: Final = (
    *("sequence", "detected_at", "type", "source", "record", "person", "person_id", "employee_number"),
    *("training", "training_id", "completed_on", "expires_on", "valid_until", "entered_at"),
    *("delivered_to", "waiting_for", "given_up", "summary", "event_id"),
)
"""The names of the columns. Later versions may add columns at the end."""

BYTE_ORDER_MARK: Final = "\ufeff".encode()
"""The first bytes of a file, by which spreadsheets recognise UTF-8."""

_CONTROL_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""Matches characters that could end a line, or control a terminal on which the file is shown."""

_FORMULA_START: Final = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""Matches the beginning of a text that spreadsheets treat as a formula, even after spaces or in full-width form."""


def header_line() -> bytes:
    """Return the header line of a CSV file."""
    return _encode_csv([COLUMNS])


def csv_rows(events: Iterable[Event], deliveries: Mapping[int, Sequence[PastDelivery]]) -> bytes:
    """Return events as lines of a CSV file. `deliveries` maps an event's number to its deliveries."""
    return _encode_csv(_row(event, deliveries.get(event.sequence, ())) for event in events)


def json_lines(events: Iterable[Event]) -> bytes:
    """Return events as CloudEvents, one on each line."""
    return b"".join(orjson.dumps(cloudevent(event), option=orjson.OPT_APPEND_NEWLINE) for event in events)


def group_by_event(deliveries: Iterable[PastDelivery]) -> dict[int, list[PastDelivery]]:
    """Group deliveries by the number of their event."""
    found: dict[int, list[PastDelivery]] = {}
    for delivery in deliveries:
        found.setdefault(delivery.sequence, []).append(delivery)
    return found


def escape_cell(text: str) -> str:
    """Return a cell's text on one line, with an apostrophe in front if a spreadsheet would treat it as a formula."""
    line = _CONTROL_CHARACTERS.sub(" ", text)
    return f"'{line}" if _FORMULA_START.match(line) else line


def _row(event: Event, deliveries: Sequence[PastDelivery]) -> tuple[str, ...]:
    data = orjson.loads(event.data)
    completion = data.get("completion") or {}

    def of(*names: str) -> str:
        return next((str(completion[name]) for name in names if completion.get(name) is not None), "")

    def to(state: DeliveryState) -> str:
        return " ".join(delivery.destination for delivery in deliveries if delivery.state is state)

    return (
        str(event.sequence),
        iso_utc(event.time_ms),
        event.type,
        event.source,
        event.subject,
        of("user_name", "user_id"),
        of("user_id"),
        of("user_employee_number"),
        of("training_title", "training_id"),
        of("training_id"),
        of("completed_on"),
        of("expires_on"),
        of("valid_until"),
        of("recorded_at"),
        to(DeliveryState.DELIVERED),
        to(DeliveryState.PENDING),
        to(DeliveryState.DEAD),
        data.get("summary") or "",
        event.id,
    )


def _encode_csv(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([escape_cell(cell) for cell in row] for row in rows)
    # A lone surrogate cannot be encoded; the text has one where the API sent a broken character.
    return text.getvalue().encode(errors="replace")
