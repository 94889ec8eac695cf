"""Events as CSV rows: every name is text, and no cell is a formula."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.events import Event
from notifier.store.queries.history import PastDelivery
from notifier.store.tables.outbox import DeliveryState
from notifier.web.event_rows import COLUMNS, csv_rows, escape_cell, group_by_event, header_line, json_lines

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1", "\x00=1")


def make_event(number: int = 42, **fields: Any) -> Event:
    completion = {"user_name": "David Ball", "user_id": "u1", "training_title": "Ladder Safety", "training_id": "7"}
    data = json.dumps({"completion": completion | {"completed_on": "2026-02-27"} | fields, "previous": None})
    return Event(number, "evt_a", "completion.created", "acme", "1238", 1_795_280_400_123, data.encode())


def make_delivery(destination: str, state: DeliveryState, number: int = 42) -> PastDelivery:
    of = (number, destination, "evt_a", "completion.created", "acme", "1238")
    return PastDelivery(state, *of, 1, None, None, None, None, None, None)


def parse_csv(content: bytes) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO((header_line() + content).decode(), newline=""))]


def test_csv_row_contains_the_completion_and_its_deliveries() -> None:
    deliveries = group_by_event(
        [make_delivery("hr", DeliveryState.DELIVERED), make_delivery("gate", DeliveryState.DEAD)]
    )
    (row,) = parse_csv(csv_rows([make_event(user_employee_number="E-17")], deliveries))
    assert tuple(row) == COLUMNS
    assert {name: value for name, value in row.items() if value} == {
        "sequence": "42",
        "detected_at": "2026-11-21T17:00:00.123Z",
        "type": "completion.created",
        "source": "acme",
        "record": "1238",
        "person": "David Ball",
        "person_id": "u1",
        "employee_number": "E-17",
        "training": "Ladder Safety",
        "training_id": "7",
        "completed_on": "2026-02-27",
        "delivered_to": "hr",
        "given_up": "gate",
        "event_id": "evt_a",
    }


def test_csv_row_of_an_alert_has_its_summary_and_an_unknown_name_is_the_id() -> None:
    alert = Event(1, "evt_b", "notifier.alert", "", "sources/acme", 0, b'{"summary": "A gap."}')
    first, second = parse_csv(csv_rows([alert, make_event(user_name=None)], {}))
    assert (first["summary"], first["person"]) == ("A gap.", "")
    assert second["person"] == "u1"


@pytest.mark.parametrize("name", FORMULAS)
def test_csv_rows_escape_names_that_begin_like_a_formula(name: str) -> None:
    (row,) = parse_csv(csv_rows([make_event(user_name=name, training_title=name)], {}))
    assert row["person"].startswith("'")
    assert row["training"].startswith("'")


@given(st.text())
def test_csv_rows_write_one_line_per_event_for_any_name(name: str) -> None:
    content = csv_rows([make_event(user_name=name), make_event()], {})
    assert content.count(b"\n") == 2
    first, second = parse_csv(content)
    assert second["person"] == "David Ball"
    assert not first["person"].lstrip().startswith(("=", "+", "-", "@"))


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1))
def test_escape_cell_keeps_other_text(text: str) -> None:
    assert escape_cell(f"a{text}") == f"a{text}"


def test_json_lines_are_the_cloudevents_of_the_feed() -> None:
    first, second = json_lines([make_event(), make_event(43)]).splitlines()
    assert json.loads(first)["data"]["completion"]["user_name"] == "David Ball"
    assert json.loads(second)["sequence"].endswith("43")
