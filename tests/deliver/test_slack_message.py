"""The layout of Slack messages: examples that one can read, then what holds for any input."""

import string
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.completions import Event, EventType
from notifier.deliver.slack_message import LINES, body, lay_out
from notifier.deliver.slack_templates import Templates
from notifier.deliver.slack_text import day, literal

if TYPE_CHECKING:
    from tests.deliver.conftest import MakeEvent


SHIPPED = Templates(None, print)


def message(events: list[Event], *, digest: bool, templates: Templates = SHIPPED) -> bytes:
    """Write the body of one request."""
    return body(lay_out(events, templates, digest=digest))


def drawn(events: list[Event], *, digest: bool = False) -> str:
    """Draw a message as Slack shows it: `*bold*`, `code`, bullets; nested ones further in."""
    (block,) = orjson.loads(message(events, digest=digest))["blocks"]
    lines = []
    for element in block["elements"]:
        match element:
            case {"type": "rich_text_section"}:
                lines.append(_drawn_line(element))
            case {"type": "rich_text_list", "indent": depth, "elements": items}:
                lines += [f"{'  ' * depth}• {_drawn_line(item)}" for item in items]
    return "\n".join(lines)


def _drawn_line(section: dict[str, Any]) -> str:
    marks = {"bold": "*", "code": "`"}
    return "".join(
        "".join(marks[style] for style in element.get("style", {}))
        + element["text"]
        + "".join(marks[style] for style in element.get("style", {}))
        for element in section["elements"]
    )


ANN = {"user_id": "5f1", "user_name": "Ann Lee"}
BO = {"user_id": "5f2", "user_name": "Bo"}
SESSION = {"group_training_id": "77", "instructor_id": "5f9", "instructor_name": "Ida Wu"}


def test_one_completion_is_one_line(make_event: "MakeEvent") -> None:
    event = make_event(expires_on="2021-02-27", instructor_id="5f9", instructor_name="Ida Wu")
    line = "completed Ladder Safety on 27 Feb 2020 · expires 27 Feb 2021 · instructor Ida Wu · #1238"
    assert drawn([event]) == f"*David Ball* {line}"
    assert orjson.loads(message([event], digest=False))["text"] == f"David Ball {line}"


def test_what_is_not_known_is_left_out_and_ids_stand_for_names(make_event: "MakeEvent") -> None:
    event = make_event(user_name=None, training_title=None, completed_on=None, instructor_id="5f9")
    assert drawn([event]) == "*user 5e580f0cb780600088bd2c11* completed training 1046 · instructor 5f9 · #1238"


def test_a_change_says_what_was_and_what_is(make_event: "MakeEvent") -> None:
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


def test_notes_that_look_like_days_stay_as_they_are(make_event: "MakeEvent") -> None:
    event = make_event(kind=EventType.UPDATED, previous={"notes": "20200227"}, notes="2020-02-28")
    assert "notes 20200227 → 2020-02-28" in drawn([event])


def test_half_a_character_costs_no_more_than_itself(make_event: "MakeEvent") -> None:
    assert drawn([make_event(user_name="Zo\ud83d Ball")]).startswith("*Zo\ufffd Ball* completed Ladder Safety")


@pytest.mark.parametrize("data", [b"", b"[]", b'{"completion": 5}', b"{" * 100_000])
def test_data_that_says_nothing_still_names_its_record(make_event: "MakeEvent", data: bytes) -> None:
    assert drawn([make_event()._replace(data=data)]) == "*somebody* completed a training · #1238"


def test_a_removal_says_so(make_event: "MakeEvent") -> None:
    assert drawn([make_event(kind=EventType.REMOVED)]) == (
        "*David Ball* · Ladder Safety on 27 Feb 2020 was removed · #1238"
    )


def test_a_notice_says_its_condition_state_and_summary(make_alert: "MakeEvent") -> None:
    assert drawn([make_alert()]) == (
        "⚠️ *Alert: source failing* · acme · No successful poll for 15 minutes. · since 2026-11-21T16:45:00.000Z"
    )
    assert drawn([make_alert(state="resolved", summary="Polls succeed again.", since=None)]) == (
        "✅ *Resolved: source failing* · acme · Polls succeed again."
    )


def test_several_stand_under_their_count(make_event: "MakeEvent", make_alert: "MakeEvent") -> None:
    events = [
        make_event(1),
        make_event(2, **ANN, completed_on="2020-02-28"),
        make_event(3, kind=EventType.REMOVED, **BO),
        make_alert(4, since=None),
    ]
    assert drawn(events).splitlines() == [
        "*2 trainings completed, 1 record removed, 1 notice*",
        "• *David Ball* completed Ladder Safety on 27 Feb 2020 · #1197",
        "• *Ann Lee* completed Ladder Safety on 28 Feb 2020 · #1198",
        "• *Bo* · Ladder Safety on 27 Feb 2020 was removed · #1199",
        "• ⚠️ *Alert: source failing* · acme · No successful poll for 15 minutes.",
    ]


def test_a_group_session_is_a_heading_with_its_people(make_event: "MakeEvent") -> None:
    events = [make_event(1, **SESSION), make_event(2, **SESSION, **ANN), make_event(3, **SESSION, **BO)]
    assert drawn(events).splitlines() == [
        "*Ladder Safety* · group session on 27 Feb 2020 · instructor Ida Wu · 3 people",
        "• *David Ball* · #1197",
        "• *Ann Lee* · #1198",
        "• *Bo* · #1199",
    ]


def test_a_group_session_among_others_stays_together(make_event: "MakeEvent") -> None:
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
        "  • *Bo* · expires 27 Feb 2021 · #1199",
        "• *Ann Lee* completed Ladder Safety on 27 Feb 2020 · #1198",
        "• *Bo* completed Ladder Safety on 27 Feb 2020 · instructor Ida Wu · #1200",
        "• *Bo* completed Ladder Safety on 28 Feb 2020 · instructor Ida Wu · #1201",
    ]


def test_a_digest_counts_and_says_where_to_see_the_rest(make_event: "MakeEvent", make_alert: "MakeEvent") -> None:
    titles = ["Ladder Safety"] * 30 + ["Forklift"] * 20 + [f"Course {number:02d}" for number in range(12)]
    events = [
        make_event(1000 + number, training_id=title, training_title=title, user_id=person, user_name=f"Person {person}")
        for number, title in enumerate(titles)
        for person in [f"{number % 11:02d}"]
    ]
    events += [make_event(2000, kind=EventType.UPDATED, training_id="Ladder Safety"), make_alert(2001, since=None)]
    assert drawn(events, digest=True).splitlines() == [
        "*62 trainings completed, 1 record changed, 1 notice*",
        "• ⚠️ *Alert: source failing* · acme · No successful poll for 15 minutes.",
        "• Ladder Safety: 31",
        "• Forklift: 20",
        *(f"• Course {number:02d}: 1" for number in range(8)),
        "• 4 other trainings: 4",
        "Person 00, Person 01, Person 02, Person 03, Person 04, Person 05, Person 06, Person 07 and 4 others",
        "Each one: `notifier events --after 999`",
    ]


def test_typed_text_is_never_formatting(make_event: "MakeEvent") -> None:
    content = orjson.loads(message([make_event(user_name="<!channel> *A* & <@U1>")], digest=False))
    assert content["mrkdwn"] is False
    assert content["text"].startswith("&lt;!channel&gt; *A* &amp; &lt;@U1&gt; completed")
    assert content["blocks"][0]["elements"][0]["elements"][0] == {
        "type": "text",
        "text": "<!channel> *A* & <@U1>",
        "style": {"bold": True},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        (" \t\u2028\u3000 ", ""),
        ("\u200b\u200d", ""),
        ("a\x00b\x1b[31m", "a b [31m"),
        ("a\ud800b", "a\ufffdb"),
        ("a\n\n\tb", "a b"),
        ("שלם", "\u2068שלם\u2069"),
        ("\u202egnp.exe", "gnp.exe"),
        ("\u2069\u2069escaped", "escaped"),
        ("123456789", "1234567…"),
        ("😀😀😀😀😀😀😀😀😀", "😀😀😀😀😀😀😀…"),
        (1046, "1046"),
    ],
)
def test_text_is_literal_bounded_and_disturbs_nothing_around_it(value: Any, text: str) -> None:
    assert literal(value, 8) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2020-02-27", "27 Feb 2020"),
        ("9999-12-31", "31 Dec 9999"),
        (None, ""),
        ("soon", "soon"),
        (20200227, "20200227"),
    ],
)
def test_days_are_written_for_people(value: Any, text: str) -> None:
    assert day(value, 20) == text


def texts(content: dict[str, Any]) -> Iterator[str]:
    """Yield every piece of text in a message's blocks."""
    for block in content["blocks"]:
        for element in block["elements"]:
            sections = element["elements"] if element["type"] == "rich_text_list" else [element]
            for section in sections:
                assert section["elements"]
                yield from (piece["text"] for piece in section["elements"])


def check_limits(content: dict[str, Any]) -> None:
    """Check what Slack demands of any message."""
    assert len(content["blocks"]) <= 50
    assert len(orjson.dumps(content["blocks"])) < 13_000
    pieces = list(texts(content))
    assert all(0 < len(piece) <= 3000 for piece in pieces)
    assert 0 < len(content["text"]) <= 5 * 4000
    assert not set("<>") & set(content["text"])
    shown = "".join(chain(pieces, content["text"]))
    assert not any(char < " " and char != "\n" for char in shown)
    assert shown.count("\u2068") == shown.count("\u2069")


ANY_TEXT = st.text(st.characters() | st.sampled_from('\x00\ud83d\udfff\u202eאש😀<&\\"'), max_size=400) | st.none()
"""Any code points, lone surrogates included; long ones by way of `wide`."""

NAMES = st.text(string.ascii_letters + " '-éßøאش", min_size=1, max_size=30).filter(lambda name: name.split())
TEXT_FIELDS = ("training_id", "training_title", "user_id", "user_name", "instructor_id", "instructor_name", "notes")
FIELDS = st.fixed_dictionaries(
    dict.fromkeys((*TEXT_FIELDS, "group_training_id", "completed_on", "expires_on", "recorded_at"), ANY_TEXT)
)
KINDS = st.sampled_from([*EventType, "completion.of_tomorrow"])


@given(st.lists(st.tuples(KINDS, FIELDS, FIELDS | st.none()), min_size=1, max_size=LINES), st.booleans())
def test_whatever_is_in_the_fields_slack_s_limits_are_kept(
    make_event: "MakeEvent", items: list[tuple[str, dict[str, Any], dict[str, Any] | None]], digest: bool
) -> None:
    events = [make_event(number, kind, old, **fields) for number, (kind, fields, old) in enumerate(items)]
    content = orjson.loads(message(events, digest=digest))
    check_limits(content)
    if not digest:
        shown = " ".join(texts(content))
        assert all(f"#{event.subject}" in shown for event in events if event.type != EventType.ALERT)


@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["1", "2", None])), min_size=1, max_size=LINES))
def test_every_person_and_training_of_a_message_is_named(
    make_event: "MakeEvent", items: list[tuple[str, str, str | None]]
) -> None:
    events = [
        make_event(number, user_name=person, training_title=title, group_training_id=group)
        for number, (person, title, group) in enumerate(items)
    ]
    content = orjson.loads(message(events, digest=False))
    check_limits(content)
    pieces = list(texts(content))
    assert [piece for piece in pieces if piece == literal(items[0][0], 200)]
    for person, _, _ in items:
        assert literal(person, 200) in pieces
    for number, (_, title, group) in enumerate(items):
        same_session = [other for other in items[:number] if group and other[2] == group]
        assert same_session or any(literal(title, 200) in piece for piece in pieces)
    assert all(any(piece.endswith(f"#{event.subject}") for piece in pieces) for event in events)


@pytest.mark.parametrize("wide", ["x", "😀", "\\", '"', "\ud800", "ש", "&", "\x00a", "漢"])
@pytest.mark.parametrize("kind", [EventType.CREATED, EventType.UPDATED, EventType.REMOVED])
def test_ten_of_the_longest_still_fit_and_none_is_missing(make_event: "MakeEvent", wide: str, kind: EventType) -> None:
    old = dict.fromkeys((*TEXT_FIELDS, "group_training_id", "completed_on", "expires_on", "recorded_at"), wide * 9000)
    events = [make_event(number, kind, old, **(old | {"key": wide * 10 + str(number)})) for number in range(LINES)]
    content = orjson.loads(message(events, digest=False))
    check_limits(content)
    shown = " ".join(texts(content))
    assert all(f"{number}" in shown for number in range(LINES))


def test_names_are_cut_no_shorter_than_needed(make_event: "MakeEvent") -> None:
    name = "Maximiliane Wolkenstein-Trostburg zu Rodenegg" * 3
    assert f"*{name}* completed" in drawn([make_event(user_name=name)])


@pytest.mark.parametrize("count", [1, 11, 1000])
def test_a_digest_of_any_size_fits(make_event: "MakeEvent", make_alert: "MakeEvent", count: int) -> None:
    events = [
        make_event(
            number, user_id=str(number), user_name="😀" * 500, training_id=str(number), training_title="😀" * 900
        )
        for number in range(count)
    ]
    events += [make_alert(number, summary="😀" * 900, subject="😀" * 900) for number in range(5)]
    content = orjson.loads(message(events, digest=True))
    check_limits(content)
    assert next(texts(content)).startswith(f"{count:,} training")
