from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from msgspec.structs import replace

from notifier.config.webhooks import BatchForm, HttpFormat
from notifier.destinations.sample import SampleKind, sample_event, sample_events
from notifier.destinations.webhook.envelope import batch, cloudevent, single
from notifier.destinations.webhook.event_schema import schema
from notifier.events import Change, Completion, DetectedBy, Event, EventType, Names, batch_id, event_data
from notifier.facts import TrainingFacts

if TYPE_CHECKING:
    from tests.support.destinations import MakeEvent

NOW_MS = 1_795_280_400_123
EXAMPLE = Event(
    sequence=42,
    id="evt_abcdefghijklmnopqrstuvwxyz",
    type="completion.created",
    source="acme",
    subject="1238",
    time_ms=NOW_MS,
    data=b'{"completion": {"key":"1238"}, "previous":null,"record":{"id":1238,"\\ud83d":1.50}}',
)
"""An event whose `data` has spaces, a number with a trailing zero and half a character; none of these may change."""

CLOUDEVENT = (
    b'{"specversion":"1.0","id":"evt_abcdefghijklmnopqrstuvwxyz","source":"/sources/acme",'
    b'"type":"completion.created","time":"2026-11-21T17:00:00.123Z","subject":"1238",'
    b'"sequence":"00000000000000000042","datacontenttype":"application/json","data":' + EXAMPLE.data + b"}"
)
STANDARD = (
    b'{"id":"evt_abcdefghijklmnopqrstuvwxyz","type":"completion.created","timestamp":"2026-11-21T17:00:00.123Z",'
    b'"source":"/sources/acme","data":' + EXAMPLE.data + b"}"
)
BATCH_ID = batch_id((EXAMPLE.id,))


def test_single_cloudevent_is_a_json_object() -> None:
    envelope = single(EXAMPLE, HttpFormat.CLOUDEVENTS)
    assert envelope.body == CLOUDEVENT
    assert (envelope.message_id, envelope.content_type) == (EXAMPLE.id, "application/cloudevents+json")


def test_single_standard_event_is_a_json_object() -> None:
    envelope = single(EXAMPLE, HttpFormat.STANDARD)
    assert envelope.body == STANDARD
    assert (envelope.message_id, envelope.content_type) == (EXAMPLE.id, "application/json")


def test_batch_of_one_cloudevent_is_an_array() -> None:
    envelope = batch([EXAMPLE], HttpFormat.CLOUDEVENTS)
    assert envelope.body == b"[" + CLOUDEVENT + b"]"
    assert (envelope.message_id, envelope.content_type) == (BATCH_ID, "application/cloudevents-batch+json")


def test_batch_of_one_standard_event_is_an_array_under_events() -> None:
    envelope = batch([EXAMPLE], HttpFormat.STANDARD)
    assert envelope.body == b'{"events":[' + STANDARD + b"]}"
    assert (envelope.message_id, envelope.content_type) == (BATCH_ID, "application/json")


@pytest.mark.parametrize("form", HttpFormat)
def test_batch_keeps_the_order_of_its_events_and_its_id(make_event: "MakeEvent", form: HttpFormat) -> None:
    events = [make_event(sequence) for sequence in (3, 1, 2)]
    first, again = batch(events, form), batch(events, form)
    parsed = orjson.loads(first.body)
    assert [event["id"] for event in (parsed["events"] if form is HttpFormat.STANDARD else parsed)] == [
        e.id for e in events
    ]
    assert first == again
    assert first.message_id != batch(events[:2], form).message_id


@pytest.mark.parametrize("form", HttpFormat)
def test_single_alert_has_notifier_as_its_source(make_alert: "MakeEvent", form: HttpFormat) -> None:
    assert orjson.loads(single(make_alert(), form).body)["source"] == "/notifier"


def validated(event: Event) -> dict[str, Any]:
    written: dict[str, Any] = orjson.loads(orjson.dumps(cloudevent(event)))
    Draft202012Validator(schema()).validate(written)
    return written


def test_schema_is_a_valid_json_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("kind", [EventType.CREATED, EventType.UPDATED, EventType.REMOVED])
def test_completion_event_matches_the_schema(make_event: "MakeEvent", kind: EventType) -> None:
    written = validated(make_event(kind=kind, previous={"notes": "old"} if kind is EventType.UPDATED else None))
    assert list(written) == schema()["required"]
    assert list(written["data"]) == schema()["$defs"]["change"]["required"]
    assert list(written["data"]["completion"]) == schema()["$defs"]["completion"]["required"]


def test_alert_matches_the_schema(make_alert: "MakeEvent") -> None:
    assert list(validated(make_alert())["data"]) == schema()["$defs"]["notice"]["required"]


PREVIOUS_SCHEMA = Path(__file__).parent / "event_schema_1.0.json"
"""The schema of version 1.0. There may be receivers that check events against it."""

KNOWN = Names(
    {"5e58": "David Ball"},
    {"1046": "Ladder Safety"},
    {"5e58": {"employee_number": "E17", "field_office_ids": ["f1"], "job_title": None, "terminated_on": "2026-01-01"}},
    {"1046": TrainingFacts("rolling", 12, 30)},
)


@pytest.mark.parametrize("kind", [EventType.CREATED, EventType.UPDATED, EventType.REMOVED])
@pytest.mark.parametrize("names", [KNOWN, Names()])
def test_completion_event_matches_the_previous_schema(kind: EventType, names: Names) -> None:
    one = Completion("7", "1046", "5e58", "2026-01-01", None, NOW_MS, "5e58", None, "", False, b'{"id":7}')
    before = replace(one, notes="old") if kind is EventType.UPDATED else None
    data = event_data(Change(kind, one, 1, DetectedBy.HEAD, "new", before), names)
    written = validated(replace(EXAMPLE, type=kind, data=data))
    Draft202012Validator(orjson.loads(PREVIOUS_SCHEMA.read_bytes())).validate(written)
    if names is KNOWN:
        assert written["data"]["completion"]["valid_until"] == "2027-01-01"
        assert written["data"]["completion"]["instructor_employee_number"] == "E17"
        assert written["data"]["user"]["field_office_ids"] == ["f1"]


def test_schema_rejects_wrong_events(make_event: "MakeEvent", make_alert: "MakeEvent") -> None:
    for wrong in (
        make_event(completed_on="27.2.2020"),
        make_event(user_id=5),
        make_event(kind="completion.forgotten"),
        make_event(kind=EventType.ALERT),
        make_alert(state="perhaps"),
    ):
        with pytest.raises(ValidationError):
            validated(wrong)


def test_sample_event_is_valid_and_is_marked_as_a_sample() -> None:
    written = validated(sample_event("acme", NOW_MS))
    assert written["id"].startswith("evt_sample")
    assert written["sequence"] == "0" * 20
    assert written["subject"] == written["data"]["completion"]["key"] == "sample"
    assert "Sample" in written["data"]["completion"]["user_name"]
    assert "test" in written["data"]["completion"]["training_title"]
    assert written["data"]["completion"]["completed_on"] == "2026-11-21"


@pytest.mark.parametrize("kind", SampleKind)
def test_sample_events_of_each_kind_are_valid_and_have_dates_around_today(kind: SampleKind) -> None:
    (event,) = sample_events(kind, "acme", NOW_MS, 1)
    written = validated(event)
    completion, today = written["data"].get("completion"), "2026-11-21"
    match kind:
        case SampleKind.EXPIRING:
            assert today <= completion["valid_until"] <= "2026-12-21"
        case SampleKind.EXPIRED:
            assert "2026-11-01" < completion["valid_until"] < today
        case SampleKind.RENEWED:
            assert written["data"]["previous"]["valid_until"] < completion["valid_until"]
        case SampleKind.UPDATED:
            assert written["data"]["previous"] == {"expires_on": None}
        case _:
            assert written["type"] != "completion.updated"


def test_sample_events_of_different_times_have_different_ids() -> None:
    assert sample_event("acme", NOW_MS).id != sample_event("acme", NOW_MS + 1).id


def test_batch_in_message_form_is_a_standard_webhooks_message(make_event: "MakeEvent") -> None:
    events = [make_event(1), make_event(2)]
    plain = batch(events, HttpFormat.STANDARD)
    message = batch(events, HttpFormat.STANDARD, BatchForm.MESSAGE)
    assert message.message_id == plain.message_id
    document = orjson.loads(message.body)
    assert list(document) == ["id", "type", "timestamp", "data"]
    assert (document["id"], document["type"]) == (message.message_id, "notifier.batch")
    assert document["timestamp"] == "2026-11-21T17:00:00.123Z"
    assert document["data"] == orjson.loads(plain.body)
