"""Property tests for each service: a message is within the service's limits, and shows every event."""

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.destinations import apprise, slack, teams
from notifier.events import Event, EventType
from notifier.messages.layout import MAX_LINES, Fits, Layout, lay_out
from notifier.messages.notices import alert_variables
from notifier.messages.template_names import Template, Variables
from notifier.messages.templates import Templates
from notifier.messages.variables import completion_variables, parse_event, session_key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.destinations import MakeEvent


class NotingTemplates(Templates):
    """The shipped templates. They record the last template that was rendered: in a digest, it is that of the digest."""

    last: Template | None = None

    def lines(self, template: Template, variables: Variables) -> list[str]:
        self.last = template
        return super().lines(template, variables)


SHIPPED = NotingTemplates(None, print)
INVISIBLE = str.maketrans("", "", "\u2060\u2068\u2069")
"""The invisible characters that are added to names: marks that isolate right-to-left text, and word joiners."""


@dataclass(frozen=True, slots=True)
class Service:
    """A destination type: its size check, and a function that validates a message and returns its text."""

    fits: Fits
    read: Callable[[Layout], str]


def read_slack(layout: Layout) -> str:
    """Check the rules of Slack for a message, and return all text of its blocks."""
    content = orjson.loads(slack.request_body(layout))
    assert 0 < len(content["text"]) <= 5 * 4000
    assert not set("<>") & set(content["text"])
    assert content["mrkdwn"] is False
    assert not any(char < " " and char != "\n" for char in content["text"])
    (block,) = content["blocks"]
    assert len(orjson.dumps(content["blocks"])) < 13_000
    sections: list[dict[str, Any]] = []
    for element in block["elements"]:
        sections += element["elements"] if element["type"] == "rich_text_list" else [element]
    assert sections
    assert all(section["elements"] for section in sections)
    texts = [piece["text"] for section in sections for piece in section["elements"]]
    assert all(0 < len(text) <= 3000 for text in texts)
    return "\n".join("".join(piece["text"] for piece in section["elements"]) for section in sections)


def read_teams(layout: Layout) -> str:
    """Check the rules of Teams for a message, and return all text of its card."""
    body = teams.request_body(layout)
    assert len(body) <= 28_000 / 2
    (attachment,) = orjson.loads(body)["attachments"]
    blocks = attachment["content"]["body"]
    assert all(block["inlines"] for block in blocks)
    assert all(run["text"] for block in blocks for run in block["inlines"])
    assert not any("{{" in run["text"] for block in blocks for run in block["inlines"])
    return "\n".join("".join(run["text"] for run in block["inlines"]) for block in blocks)


def read_apprise(layout: Layout) -> str:
    """Check that a message is within the limit of all apprise services, and return all its text."""
    title, body = apprise.title_and_body(layout)
    assert body
    assert len(title) + len(body) <= 1900
    assert "\n" not in title
    return f"{title}\n{body}"


SERVICES = {
    "slack": Service(slack.fits, read_slack),
    "teams": Service(teams.fits, read_teams),
    "apprise": Service(apprise.fits, read_apprise),
}


@pytest.fixture(scope="session", params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    return SERVICES[request.param]


def displayed(service: Service, events: list[Event], templates: Templates = SHIPPED, *, digest: bool = False) -> str:
    """Check the message about these events, and return all its text."""
    text = service.read(lay_out(events, templates, digest=digest, fits=service.fits))
    text.encode()
    assert not any((char < " " and char != "\n") or "\x7f" <= char <= "\x9f" for char in text)
    assert text.count("\u2068") == text.count("\u2069")
    return text


def is_digest() -> bool:
    """Return whether the last message was a digest."""
    return SHIPPED.last is Template.DIGEST


def check_each_is_shown(text: str, events: list[Event]) -> None:
    """Check that each event has its own line with the person and the key, or, for an alert, with the condition."""
    lines = [line.translate(INVISIBLE) for line in text.split("\n")]
    for event in events:
        if event.type == EventType.ALERT:
            needed = [alert_variables(parse_event(event).data, 8)["title"]]
        else:
            displayed = completion_variables(parse_event(event), 8).variables
            needed = [displayed["person"], f"#{displayed['key']}"] if displayed["key"] else [displayed["person"]]
        places = [line for line in lines if all(shortened(word) in line for word in needed)]
        assert places, needed


def shortened(word: str) -> str:
    """Return the part of a name that is shown even with the lowest limit for names."""
    return word.translate(INVISIBLE).removesuffix("…")


ANY_TEXT = (
    st.text(st.characters() | st.sampled_from('\x00\ud83d\udfff\u202eאש😀<&\\"@{'), max_size=400)
    | st.sampled_from(["😀" * 400, '"\\' * 300, "שלום " * 90, "@" * 300, "\ud800" * 300, "x" * 9000])
    | st.none()
)
"""Text of any code points, including lone surrogates, and text that takes much room in a message."""

NAMES = st.text(string.ascii_letters + " '-éßøאش", min_size=1, max_size=30).filter(lambda name: name.split())
TEXT_FIELDS = ("training_id", "training_title", "user_id", "user_name", "instructor_id", "instructor_name", "notes")
DATES = ("completed_on", "expires_on", "recorded_at")
FIELDS = st.fixed_dictionaries(dict.fromkeys((*TEXT_FIELDS, *DATES, "group_training_id"), ANY_TEXT))
KINDS = st.sampled_from([*EventType, "completion.of_tomorrow"])


@settings(max_examples=40)
@given(st.lists(st.tuples(KINDS, FIELDS, FIELDS | st.none()), min_size=1, max_size=MAX_LINES), st.booleans())
def test_message_with_arbitrary_fields_keeps_the_limits_and_shows_every_event(
    service: Service,
    make_event: "MakeEvent",
    items: list[tuple[str, dict[str, Any], dict[str, Any] | None]],
    digest: bool,
) -> None:
    events = [make_event(number, kind, old, **fields) for number, (kind, fields, old) in enumerate(items)]
    text = displayed(service, events, digest=digest)
    if digest or is_digest():
        # A change of every field is long: ten of them do not fit into the messages with the lowest limit.
        assert digest or (service is SERVICES["apprise"] and EventType.UPDATED in {event.type for event in events})
        assert is_digest()
    else:
        check_each_is_shown(text, events)


@settings(max_examples=40)
@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["1", "2", None])), min_size=1, max_size=MAX_LINES))
def test_message_shows_names_of_ordinary_length_in_full(
    service: Service, make_event: "MakeEvent", items: list[tuple[str, str, str | None]]
) -> None:
    events = [
        make_event(number, user_name=person, training_id=title, training_title=title, group_training_id=group)
        for number, (person, title, group) in enumerate(items)
    ]
    text = displayed(service, events)
    assert not is_digest()
    assert "…" not in text
    check_each_is_shown(text, events)
    lines = text.translate(INVISIBLE).split("\n")
    for event, (person, title, _) in zip(events, items, strict=True):
        assert [line for line in lines if " ".join(person.split()) in line and line.endswith(f"#{event.subject}")]
        assert any(" ".join(title.split()) in line for line in lines)


@pytest.mark.parametrize("wide", ["😀", "\\", "\ud800", "ש", "&", "\x00a", "@", "{"])
@pytest.mark.parametrize("kind", [EventType.CREATED, EventType.UPDATED])
def test_message_of_ten_longest_fits(service: Service, make_event: "MakeEvent", wide: str, kind: EventType) -> None:
    old = dict.fromkeys((*TEXT_FIELDS, *DATES, "group_training_id"), wide * 4000)
    events = [make_event(number, kind, old, **(old | {"key": f"{wide * 10}{number}"})) for number in range(MAX_LINES)]
    text = displayed(service, events)
    if kind is EventType.UPDATED and service is SERVICES["apprise"]:
        assert is_digest()
    else:
        check_each_is_shown(text, events)


@settings(max_examples=40)
@given(
    st.integers(11, 50), st.sampled_from(["x", "😀", "\\", "ש", "@", "Ann "]), st.integers(1, 300), st.integers(1, 40)
)
def test_group_session_of_any_size_is_listed_in_full_or_counted(
    service: Service, make_event: "MakeEvent", people: int, wide: str, name: int, key: int
) -> None:
    events = [
        make_event(
            number, group_training_id="1", user_id=f"{number}", user_name=wide * name, key=f"{number:02}{wide * key}"
        )
        for number in range(people)
    ]
    assert len(set(map(session_key, events))) == 1
    text = displayed(service, events)
    if is_digest():
        assert text.lstrip().startswith(f"{people} trainings completed")
        assert len(wide.encode()) * min(key, 40) > (0 if service is SERVICES["apprise"] else 60)
    else:
        check_each_is_shown(text, events)


@pytest.mark.parametrize("count", [1, 11, 1000])
def test_digest_of_any_size_keeps_the_limits(
    service: Service, make_event: "MakeEvent", make_alert: "MakeEvent", count: int
) -> None:
    events = [
        make_event(number, user_id=str(number), user_name="😀" * 500, training_id=str(number), training_title="@" * 900)
        for number in range(count)
    ]
    events += [make_alert(number, summary="😀" * 900, subject="😀" * 900) for number in range(5)]
    text = displayed(service, events, digest=True)
    assert text.startswith(f"{count:,} training")
    assert is_digest()


HOSTILE = {
    "completed.j2": "{{ notes }}\x01{{ person }}\x03 \x00\u202e{{ '\\ud800' }} {{ key }} {{ 'y' * notes | length }}",
    "member.j2": "\u2068 {{ key }} \x02{{ person }} {{ 'z' * 400 }}",
    "session.j2": "<!channel> {{ '<@U1>' * people }} \u2069\u2069\x02",
    "heading.j2": "\n\n\t* {{ '-' * completed }}\x0b\u2028&&& \x03\x01",
    "changed.j2": "{% for c in changes %}{{ c.old * 50 }}{% endfor %}{{ 1 // (changes | length - 3) }} {{ key }}",
    "digest.j2": "- \x01\x03\n- \n{% for p in people %}- - {{ p * 99 }}\n\n{% endfor %}{{ heading }}",
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    folder: Path = tmp_path_factory.mktemp("templates")
    for name, text in HOSTILE.items():
        (folder / name).write_text(text, encoding="utf-8")
    return Templates(folder, lambda _: None)


HOSTILE_KINDS = st.sampled_from([EventType.CREATED, EventType.CREATED, EventType.UPDATED, "completion.of_tomorrow"])
HOSTILE_FIELDS = st.fixed_dictionaries(
    dict.fromkeys(("user_id", "user_name", "training_id", "training_title", "notes"), ANY_TEXT)
    | {"group_training_id": st.sampled_from([None, "1", "2"])}
)


@settings(max_examples=40)
@given(st.lists(st.tuples(HOSTILE_KINDS, HOSTILE_FIELDS), min_size=1, max_size=MAX_LINES), st.booleans())
def test_hostile_templates_keep_the_limits_and_lose_no_record(
    service: Service,
    make_event: "MakeEvent",
    hostile: Templates,
    items: list[tuple[str, dict[str, str]]],
    digest: bool,
) -> None:
    events = [
        make_event(number, kind, {"notes": "", **fields}, **fields) for number, (kind, fields) in enumerate(items)
    ]
    text = displayed(service, events, hostile, digest=digest)
    if not digest:
        assert is_digest() or all(event.subject in text for event in events)
