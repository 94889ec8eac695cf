"""Users' own templates: what they can say, what they cannot do, and how they are found wrong before they are used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.completions import Event, EventType
from notifier.config.destinations import SlackSettings
from notifier.deliver.message.check import problems
from notifier.deliver.message.layout import body, lay_out
from notifier.deliver.message.templates import Templates, Trouble
from notifier.deliver.message.text import spans, tidy
from notifier.deliver.message.words import Template, session_of

if TYPE_CHECKING:
    from tests.deliver.conftest import MakeEvent

SHIPPED = Path(__file__).parents[3] / "notifier" / "deliver" / "message" / "shipped"


def wrong(folder: Path) -> list[str]:
    """Return what is wrong with the templates of a folder."""
    settings = SlackSettings.model_validate(
        {"type": "slack", "url": "https://hooks.slack.com/services/x", "templates": str(folder)}
    )
    found = list(problems({"hr": settings}))
    assert {problem.key for problem in found} <= {"destinations.hr.templates"}
    return [problem.message for problem in found]


def said(templates: Templates, *events: Event, digest: bool = False) -> list[str]:
    return [row.text for row in lay_out(events, templates, digest=digest)]


def test_there_is_a_file_for_each_template_and_nothing_else() -> None:
    assert {file.name for file in SHIPPED.iterdir()} == {template.file for template in Template}


def test_what_a_user_copies_from_the_shipped_ones_is_right(tmp_path: Path) -> None:
    for file in SHIPPED.iterdir():
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    assert wrong(tmp_path) == []


def test_an_own_template_speaks_and_the_others_are_the_shipped_ones(tmp_path: Path, make_event: "MakeEvent") -> None:
    (tmp_path / "completed.j2").write_text("{{ training | upper | code }}:\n  {{ person | bold }}\n({{ source }})")
    troubles: list[Trouble] = []
    templates = Templates(tmp_path, troubles.append)
    assert said(templates, make_event(), make_event(43, EventType.REMOVED)) == [
        "1 training completed, 1 record removed",
        "• LADDER SAFETY: David Ball (acme)",
        "• David Ball · Ladder Safety on 27 Feb 2020 was removed · #1239",
    ]
    (row,) = lay_out([make_event()], templates, digest=False)
    assert [(span.text, span.style) for span in row.line] == [
        ("LADDER SAFETY", "code"),
        (": ", None),
        ("David Ball", "bold"),
        (" (acme)", None),
    ]
    assert troubles == []


def test_own_templates_share_parts(tmp_path: Path, make_event: "MakeEvent") -> None:
    (tmp_path / "completed.j2").write_text('{% from "_parts.j2" import who %}{{ who(person) }} did it')
    (tmp_path / "_parts.j2").write_text("{% macro who(name) %}{{ name | bold }}{% endmacro %}")
    assert wrong(tmp_path) == []
    assert said(Templates(tmp_path, print), make_event()) == ["David Ball did it"]


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("completed.j2", "hi\n{{ persn }}", "completed.j2, line 2: `persn` is unknown; did you mean `person`?"),
        ("removed.j2", "a\nb\n{% if %}", "removed.j2, line 3: Expected an expression, got 'end of statement block'"),
        ("changed.j2", "{% for c in changes %}\n{{ c.olt }}{% endfor %}-", "changed.j2, line 2: 'dict object' has no"),
        ("session.j2", "{{ training | bolt }}", "session.j2, line 1: No filter named 'bolt'."),
        ("member.j2", "{{ person.__class__.__mro__ }}", "member.j2, line 1: access to attribute '__class__' of 'str'"),
        ("heading.j2", "{{ completed.append(1) }}", "heading.j2, line 1: 'int object' has no attribute 'append'"),
        ("digest.j2", "{{ people.append('x') }}", "digest.j2, line 1: access to attribute 'append' of 'list'"),
        ("notice.j2", '{% include "none.j2" %}', "notice.j2, line 1: there is no file of the name none.j2"),
        ("other.j2", "{{ person + 1 }}", "other.j2, line 1: TypeError: can only concatenate str"),
        ("other.j2", "{% if person == 'David Ball' %}x{% endif %}", "other.j2: gives no text"),
        ("completed.j2", "{% for i in range(99999) %}x{% endfor %}", "completed.j2: gives more than 20,000 characters"),
        ("completed.j2", "x" * 3001, "gives more than Slack takes in a message, however short names are cut"),
        ("completed.j2", '{% include "completed.j2" %}', "completed.j2, line 1: RecursionError: "),
        ("complete.j2", "x", "complete.j2: no message is made with it; did you mean `completed.j2`?"),
    ],
)
def test_what_is_wrong_is_told_by_file_and_line(tmp_path: Path, file: str, text: str, told: str) -> None:
    (tmp_path / file).write_text(text)
    (message,) = wrong(tmp_path)
    assert message.startswith(told)


def test_every_wrong_file_is_told_once(tmp_path: Path) -> None:
    for template in Template:
        (tmp_path / template.file).write_text("{{ nobody_knows }}")
    assert {message.split(",")[0] for message in wrong(tmp_path)} == {template.file for template in Template}
    assert len(wrong(tmp_path)) == len(Template)


def test_a_file_that_is_no_text_is_told_and_replaced(tmp_path: Path, make_event: "MakeEvent") -> None:
    (tmp_path / "completed.j2").write_bytes(b"\xff\xfe\x00")
    assert wrong(tmp_path) == ["completed.j2: is not text in UTF-8"]
    (text,) = said(Templates(tmp_path, lambda _: None), make_event())
    assert text.startswith("David Ball completed")


def test_a_folder_that_goes_away_does_not_matter(tmp_path: Path, make_event: "MakeEvent") -> None:
    (text,) = said(Templates(tmp_path / "gone", lambda _: None), make_event())
    assert text.startswith("David Ball completed")


HOSTILE = {
    "completed.j2": "{{ notes }}\x01{{ person }}\x03 \x00\u202e{{ '\\ud800' }} {{ key }} {{ 'y' * notes | length }}",
    "member.j2": "\u2068 {{ key }} \x02{{ person }} {{ 'z' * 400 }}",
    "session.j2": "<!channel> {{ '<@U1>' * people }} \u2069\u2069\x02",
    "heading.j2": "\n\n\t* {{ '-' * completed }}\x0b\u2028&&& \x03\x01",
    "changed.j2": "{% for c in changes %}{{ c.old * 50 }}{% endfor %}{{ 1 // (changes | length - 3) }} {{ key }}",
    "digest.j2": "- \x01\x03\n- \n{% for p in people %}- - {{ p * 99 }}\n\n{% endfor %}{{ heading }}",
}
ANY = st.text(st.characters() | st.sampled_from('\x00\x01\x02\x03\ud83d\u202eאش😀<&\\"- \n'), max_size=60)
FIELDS = st.fixed_dictionaries(
    dict.fromkeys(("user_id", "user_name", "training_id", "training_title", "notes"), ANY | ANY.map(lambda x: x * 90))
    | {"group_training_id": st.sampled_from([None, "1", "2"])}
)
KINDS = st.sampled_from([EventType.CREATED, EventType.CREATED, EventType.UPDATED, "completion.of_tomorrow"])


def check_limits(content: bytes) -> str:
    """Check what Slack demands, and return all text of the message's blocks."""
    message = orjson.loads(content)
    assert 0 < len(message["text"]) <= 5 * 4000
    assert not set("<>") & set(message["text"])
    assert len(orjson.dumps(message["blocks"])) < 13_000
    sections: list[dict[str, Any]] = []
    for element in message["blocks"][0]["elements"]:
        sections += element["elements"] if element["type"] == "rich_text_list" else [element]
    assert sections
    assert all(section["elements"] for section in sections)
    texts = [piece["text"] for section in sections for piece in section["elements"]]
    assert all(0 < len(text) <= 3000 for text in texts)
    shown = "".join(texts)
    assert not any(char < " " and char != "\n" for char in shown)
    assert shown.count("\u2068") == shown.count("\u2069")
    return shown


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    folder = tmp_path_factory.mktemp("templates")
    for name, text in HOSTILE.items():
        (folder / name).write_text(text, encoding="utf-8")
    return Templates(folder, lambda _: None)


@given(st.lists(st.tuples(KINDS, FIELDS), min_size=1, max_size=10), st.booleans())
def test_no_template_breaks_a_message_or_loses_a_record(
    make_event: "MakeEvent", hostile: Templates, items: list[tuple[str, dict[str, str]]], digest: bool
) -> None:
    events = [
        make_event(number, kind, {"notes": "", **fields}, **fields) for number, (kind, fields) in enumerate(items)
    ]
    shown = check_limits(body(lay_out(events, hostile, digest=digest)))
    assert digest or all(event.subject in shown for event in events)


@given(st.integers(11, 50), st.sampled_from(["x", "😀", "\\", "ש", "Ann "]), st.integers(1, 300), st.integers(1, 40))
def test_a_group_session_of_any_size_is_told_whole_or_counted(
    make_event: "MakeEvent", people: int, wide: str, name: int, key: int
) -> None:
    events = [
        make_event(
            number, group_training_id="1", user_id=f"{number}", user_name=wide * name, key=f"{number:02}{wide * key}"
        )
        for number in range(people)
    ]
    assert len(set(map(session_of, events))) == 1
    shown = check_limits(body(lay_out(events, Templates(None, print), digest=False)))
    told = all(f"{number:02}{wide[0]}" in shown for number in range(people))
    assert told or f"{people} trainings completed" in shown
    assert told or len(wide.encode()) * min(key, 40) > 60


@given(st.text(st.characters() | st.sampled_from("\x01\x02\x03\u2068\u2069\u202e\n- ")))
def test_whatever_a_template_gives_becomes_one_valid_line(text: str) -> None:
    line = "".join(span.text for span in spans(tidy(text)))
    line.encode()
    assert not any(char < " " or "\u202a" <= char <= "\u202e" for char in line)
    assert tidy(tidy(text)) == tidy(text)
