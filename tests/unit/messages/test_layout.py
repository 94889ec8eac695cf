"""The text of messages, which is the same for every service: readable examples."""

from typing import TYPE_CHECKING

import orjson
import pytest
from msgspec.structs import replace

from notifier.events import Event, EventType
from notifier.messages.layout import lay_out
from notifier.messages.rich_text import Line
from notifier.messages.templates import Templates

if TYPE_CHECKING:
    from tests.support.destinations import MakeEvent

SHIPPED = Templates(None, print)


def drawn(events: list[Event], *, digest: bool = False) -> str:
    """Return a message as lines, without any size limit: `*bold*`, `code`, and bullets, indented if nested."""
    layout = lay_out(events, SHIPPED, digest=digest, fits=lambda _: True)
    bullets = {None: "", 0: "• ", 1: "  • "}
    return "\n".join(bullets[row.depth] + _drawn_line(row.line) for row in layout)


def _drawn_line(line: Line) -> str:
    marks = {"bold": "*", "code": "`", None: ""}
    return "".join(f"{marks[span.style]}{span.text}{marks[span.style]}" for span in line)


ANN = {"user_id": "5f1", "user_name": "Ann Lee"}
BO = {"user_id": "5f2", "user_name": "Bo"}
SESSION = {"group_training_id": "77", "instructor_id": "5f9", "instructor_name": "Ida Wu"}


def test_message_about_one_completion_is_one_line(make_event: "MakeEvent") -> None:
    event = make_event(expires_on="2021-02-27", instructor_id="5f9", instructor_name="Ida Wu")
    line = "completed Ladder Safety on 27 Feb 2020 · valid until 27 Feb 2021 · instructor Ida Wu · #1238"
    assert drawn([event]) == f"*David Ball* {line}"


def test_message_omits_unknown_values_and_shows_ids_for_unknown_names(make_event: "MakeEvent") -> None:
    event = make_event(user_name=None, training_title=None, completed_on=None, instructor_id="5f9")
    assert drawn([event]) == "*user 5e580f0cb780600088bd2c11* completed training 1046 · instructor 5f9 · #1238"


def test_message_about_a_change_shows_old_and_new_values(make_event: "MakeEvent") -> None:
    previous = {"expires_on": None, "instructor_id": "5f8", "notes": "", "has_attachments": False}
    event = make_event(
        kind=EventType.UPDATED,
        previous=previous,
        expires_on="2021-02-27",
        instructor_id="5f9",
        instructor_name="Ida Wu",
        notes="renewed",
        has_attachments=True,
    )
    assert drawn([event]) == (
        "*David Ball* · Ladder Safety on 27 Feb 2020 was changed: instructor 5f8 → Ida Wu, "
        "expires none → 27 Feb 2021, notes none → renewed, attachments no → yes · #1238"
    )


def test_message_about_a_change_does_not_format_notes_as_days(make_event: "MakeEvent") -> None:
    event = make_event(kind=EventType.UPDATED, previous={"notes": "20200227"}, notes="2020-02-28")
    assert "notes 20200227 → 2020-02-28" in drawn([event])


def test_message_replaces_a_lone_surrogate_and_keeps_the_rest(make_event: "MakeEvent") -> None:
    assert drawn([make_event(user_name="Zo\ud83d Ball")]).startswith("*Zo\ufffd Ball* completed Ladder Safety")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"completion": 5}', b"{" * 100_000])
def test_message_about_unusable_data_shows_the_key(make_event: "MakeEvent", data: bytes) -> None:
    assert drawn([replace(make_event(), data=data)]) == "*somebody* completed a training · #1238"


def test_message_about_a_removal_is_one_line(make_event: "MakeEvent") -> None:
    assert drawn([make_event(kind=EventType.REMOVED)]) == (
        "*David Ball* · Ladder Safety on 27 Feb 2020 was removed · #1238"
    )


def test_message_about_an_alert_shows_condition_state_and_summary(make_alert: "MakeEvent") -> None:
    assert drawn([make_alert()]) == (
        "⚠️ *acme: cannot be read* · No successful poll for 15 minutes · since 21 Nov 2026, 16:45 UTC"
    )
    assert drawn([make_alert(state="resolved", summary="Polls succeed again.", since=None)]) == (
        "✅ *Resolved* · acme: cannot be read"
    )


def test_message_about_several_begins_with_their_counts(make_event: "MakeEvent", make_alert: "MakeEvent") -> None:
    events = [
        make_event(1),
        make_event(2, **ANN, completed_on="2020-02-28"),
        make_event(3, kind=EventType.REMOVED, **BO),
        make_alert(4, since=None),
    ]
    assert drawn(events).splitlines() == [
        "*2 trainings completed, 1 record removed, 1 alert*",
        "• *David Ball* completed Ladder Safety on 27 Feb 2020 · #1197",
        "• *Ann Lee* completed Ladder Safety on 28 Feb 2020 · #1198",
        "• *Bo* · Ladder Safety on 27 Feb 2020 was removed · #1199",
        "• ⚠️ *acme: cannot be read* · No successful poll for 15 minutes",
    ]


def test_message_about_a_group_session_is_a_heading_with_its_people(make_event: "MakeEvent") -> None:
    events = [make_event(1, **SESSION), make_event(2, **SESSION, **ANN), make_event(3, **SESSION, **BO)]
    assert drawn(events).splitlines() == [
        "*Ladder Safety* · group session on 27 Feb 2020 · instructor Ida Wu · 3 people",
        "• *David Ball* · #1197",
        "• *Ann Lee* · #1198",
        "• *Bo* · #1199",
    ]


def test_message_with_a_group_session_among_others_keeps_it_together(make_event: "MakeEvent") -> None:
    events = [
        make_event(1, **SESSION),
        make_event(2, **ANN),
        make_event(3, **SESSION, **BO, expires_on="2021-02-27"),
        make_event(4, **(SESSION | {"group_training_id": "78"}), **BO),
        make_event(5, **SESSION, **BO, completed_on="2020-02-28"),
    ]
    assert drawn(events).splitlines() == [
        "*5 trainings completed*",
        "• *Ladder Safety* · group session on 27 Feb 2020 · instructor Ida Wu · 2 people",
        "  • *David Ball* · #1197",
        "  • *Bo* · valid until 27 Feb 2021 · #1199",
        "• *Ann Lee* completed Ladder Safety on 27 Feb 2020 · #1198",
        "• *Bo* completed Ladder Safety on 27 Feb 2020 · instructor Ida Wu · #1200",
        "• *Bo* completed Ladder Safety on 28 Feb 2020 · instructor Ida Wu · #1201",
    ]


def test_digest_counts_events_by_training_and_shows_alerts(make_event: "MakeEvent", make_alert: "MakeEvent") -> None:
    titles = ["Ladder Safety"] * 30 + ["Forklift"] * 20 + [f"Course {number:02d}" for number in range(12)]
    events = [
        make_event(1000 + number, training_id=title, training_title=title, user_id=person, user_name=f"Person {person}")
        for number, title in enumerate(titles)
        for person in [f"{number % 11:02d}"]
    ]
    events += [make_event(2000, kind=EventType.UPDATED, training_id="Ladder Safety"), make_alert(2001, since=None)]
    assert drawn(events, digest=True).splitlines() == [
        "*62 trainings completed, 1 record changed, 1 alert*",
        "• ⚠️ *acme: cannot be read* · No successful poll for 15 minutes",
        "• Ladder Safety: 31",
        "• Forklift: 20",
        *(f"• Course {number:02d}: 1" for number in range(8)),
        "• 4 other trainings: 4",
        "Person 00, Person 01, Person 02, Person 03, Person 04, Person 05, Person 06, Person 07 and 4 others",
    ]


def test_message_with_enough_room_does_not_shorten_names(make_event: "MakeEvent") -> None:
    name = "Maximiliane Wolkenstein-Trostburg zu Rodenegg" * 3
    assert f"*{name}* completed" in drawn([make_event(user_name=name)])


def test_message_about_an_expiry_is_one_line(make_event: "MakeEvent") -> None:
    ending = make_event(kind=EventType.EXPIRING, valid_until="2026-12-21")
    assert drawn([ending]) == "*David Ball*: Ladder Safety expires on 21 Dec 2026 · #1238"
    over = make_event(kind=EventType.EXPIRED, valid_until="2026-11-20")
    assert drawn([over]) == "*David Ball*: Ladder Safety expired on 20 Nov 2026 · #1238"


@pytest.mark.parametrize(
    ("key", "valid_until", "wording"),
    [
        ("1100", "2027-12-21", "was renewed, valid until 21 Dec 2027"),
        ("1100", None, "was renewed"),
        (
            "1238",
            "2027-12-21",
            "no longer expires on 21 Dec 2026: the record was changed or removed, now valid until 21 Dec 2027",
        ),
        ("1238", "2026-12-21", "no longer expires on 21 Dec 2026: the record was changed or removed"),
        ("1238", None, "no longer expires on 21 Dec 2026: the record was changed or removed"),
        (None, None, "no longer expires as announced: the record was changed or removed"),
    ],
)
def test_message_about_a_renewed_event_gives_the_reason(
    make_event: "MakeEvent", key: str | None, valid_until: str | None, wording: str
) -> None:
    renewed = make_event(kind=EventType.RENEWED, valid_until=valid_until)
    data = orjson.loads(renewed.data)
    data["previous"] = {"key": key, "valid_until": "2026-12-21"} if key else None
    assert drawn([replace(renewed, data=orjson.dumps(data))]) == f"*David Ball*: Ladder Safety {wording} · #1238"


def test_digest_of_expiries_is_grouped_by_person(make_event: "MakeEvent") -> None:
    events = [
        make_event(number, EventType.EXPIRING, valid_until="2026-12-21", training_title=title, **who)
        for number, (title, who) in enumerate([("Cranes", ANN), ("Ladders", ANN), ("Cranes", BO)])
    ]
    assert drawn(events, digest=True).splitlines() == [
        "*3 trainings expire within 30 days*",
        "• *Ann Lee* (2): Cranes (until 21 Dec 2026), Ladders (until 21 Dec 2026)",
        "• *Bo*: Cranes (until 21 Dec 2026)",
    ]


def test_digest_of_61_expiries_counts_them_by_training(make_event: "MakeEvent") -> None:
    events = [make_event(number, EventType.EXPIRED, user_id=str(number)) for number in range(61)]
    assert drawn(events, digest=True).splitlines()[:2] == ["*61 trainings expired*", "• Ladder Safety: 61"]
